"""glibc's allocator, told to keep what networks allocate again and again.

By default glibc maps each large activation anew, faults its pages in one by one, and unmaps it: up to half the time
of a batch. A command owns its process and may change that; a library may not, so only `cli` calls this.
"""

from __future__ import annotations

import ctypes
import os
import sys

# <malloc.h>: parameter -> value
_SETTINGS = {
    -4: 0,  # M_MMAP_MAX: no allocation gets a mapping of its own
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: freed memory stays with the process
    -2: 64 * 2**20,  # M_TOP_PAD: the heap grows in steps of 64 MiB
}


def tune() -> bool:
    """Keep freed memory for the next batch; False where there is no glibc, or CAMCLI_MALLOC=stock says not to.

    The process keeps the memory of its largest batch until it ends. Results don't change by a bit.
    """
    if not sys.platform.startswith("linux") or os.environ.get("CAMCLI_MALLOC") == "stock":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # musl has none
    return all(mallopt(parameter, value) == 1 for parameter, value in _SETTINGS.items())
