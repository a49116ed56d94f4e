"""Peak memory of whole commands: how it grows with the number of pictures and with their size.

python benchmarks/memory.py --photos DIR [--models efficientnet_lite0 ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from folder import copied, enlarged, photos

COUNTS = (100, 1000)
LARGE = 40


def peak(folder: Path, model: str) -> float:
    """Megabytes of one `camcli explain` of the folder."""
    weights = ["--weights", "DEFAULT" if model == "efficientnet_lite0" else "none"]
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "camcli", "explain", str(folder), "-m", model, *weights, "-o", out, "--json"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        return used.ru_maxrss / 1e3


def table(source: Path, models: list[str]) -> Iterator[str]:
    yield "| model | pictures | peak, MB |"
    yield "|---|---|---|"
    for model in models:
        for count, large in [*((count, False) for count in COUNTS), (LARGE, True)]:
            with tempfile.TemporaryDirectory() as made:
                (enlarged if large else copied)(photos(source, count), Path(made))
                yield f"| {model} | {count} of {'12 MP' if large else '0.2 MP'} | {peak(Path(made), model):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["efficientnet_lite0", "mobilenet_v3_large"])
    options = parser.parse_args()
    for line in table(options.photos, options.models):
        print(line, flush=True)


if __name__ == "__main__":
    main()
