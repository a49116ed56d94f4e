"""Counted page faults, not seconds: memory that is freed and taken again must not be faulted in again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource, sys
import numpy as np
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: huge pages come and go with the machine's load
from camcli.machine.process import tune
tuned = tune()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.empty(40_000_000, dtype=np.uint8).fill(1)
print(int(tuned), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def probe(**environment: str) -> tuple[bool, int]:
    """(whether malloc was tuned, page faults of 20 allocations of 40 MB each)."""
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    tuned, faults = done.stdout.split()
    return tuned == "1", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_not_faulted_in_again() -> None:
    stock, faults_stock = probe(CAMCLI_MALLOC="stock")
    tuned, faults_tuned = probe(CAMCLI_MALLOC="")
    assert not stock
    if not tuned:
        pytest.skip("no glibc here")
    assert faults_tuned < faults_stock / 3
