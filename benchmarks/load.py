"""Many tiny pictures in one folder: rows a second and memory, and what it takes to go on with a run that is done.

    python benchmarks/load.py [--counts 100 1000 5000 20000] [--saved overlay]

Pictures of 32 pixels and a network of one convolution, so that what is measured is all that camcli does beside
computing: `camcli explain FOLDER -o OUT --json`, journal and all, and then the same command again. Rows are counted
from the first one on, so that starting counts for nothing; memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

NETWORK = """
from torch import nn


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""
FLAGS = ("-m", "tiny.py:tiny", "--resize", "32", "--crop", "32", "--json", "-q", "--threads", "1")


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds to the first row and to the last one, how many came, CPU seconds, and the peak of memory in MB."""

    first: float
    last: float
    rows: int
    cpu: float
    peak: float

    @property
    def rate(self) -> float:
        return (self.rows - 1) / (self.last - self.first)


def pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:06}.png"), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))


def explained(where: Path, name: str, saved: str) -> Run:
    """One `camcli explain` of a folder, its rows read as they come."""
    command = [sys.executable, "-m", "camcli", "explain", name, "-o", f"out-{name}", "--save", saved, *FLAGS]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE)
    assert process.stdout is not None
    times = array("d", (time.perf_counter() - start for _ in process.stdout))
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Run(times[0], times[-1], len(times), used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 5000, 20000])
    parser.add_argument("--saved", default="overlay", help="what --save is given")
    options = parser.parse_args()
    print("| pictures | rows/s | CPU s | peak MB | all again, s | CPU s | peak MB |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "tiny.py").write_text(NETWORK)
        for count in options.counts:
            pictures(folder / str(count), count)
            once, again = (explained(folder, str(count), options.saved) for _ in range(2))
            print(
                f"| {count} | {once.rate:.0f} | {once.cpu:.1f} | {once.peak:.0f} "
                f"| {again.last:.1f} | {again.cpu:.1f} | {again.peak:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
