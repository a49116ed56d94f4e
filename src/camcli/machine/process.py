"""The settings of a command's own process, made before torch is imported: malloc, OpenMP, MKL.

A command owns its process and may change these; a library may not. So only `cli` and a run's worker processes call
this. The user's own settings in the environment stay.
"""

from __future__ import annotations

import ctypes
import os
import sys

# By default glibc maps each large activation anew, faults its pages in one by one, and unmaps it: up to half the time
# of a batch. <malloc.h>: parameter -> value
_MALLOC = {
    -4: 0,  # M_MMAP_MAX: no allocation gets a mapping of its own
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: freed memory stays with the process
    -2: 64 * 2**20,  # M_TOP_PAD: the heap grows in steps of 64 MiB
    -8: 1,  # M_ARENA_MAX: threads share it; their own heaps would be unmapped whenever a large picture is freed
}
_ENVIRONMENT = {
    # Products in one order however many threads share them. Convolutions may still differ in their last digit.
    "MKL_CBWR": "AUTO,STRICT",
    # GNU's threads spin ten times as long by default, on cores that decoding and drawing could use.
    "GOMP_SPINCOUNT": "30000",
}


def tune() -> bool:
    """True if freed memory is kept for the next batch; False without glibc, or with CAMCLI_MALLOC=stock. Makes all
    settings.

    The process keeps the memory of its largest batch until it ends.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.platform.startswith("linux") or os.environ.get("CAMCLI_MALLOC") == "stock":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # musl has none
    return all(mallopt(parameter, value) == 1 for parameter, value in _MALLOC.items())
