"""What starting costs: whole processes, ratios to `python -c "import torch"`, arms in turn.

python benchmarks/startup.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "sample_images" / "cat_chelsea.jpg"
ARMS = {
    "import torch": ["-c", "import torch"],
    "import torchvision": ["-c", "import torchvision"],
    "camcli --help": ["-m", "camcli", "--help"],
    "camcli models": ["-m", "camcli", "models"],
    "camcli explain, one picture": ["-m", "camcli", "explain", str(SAMPLE), "-q"],
}


def seconds(arguments: list[str], folder: str) -> float:
    """One process from start to exit."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {label: [] for label in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            timed = {label: seconds(arguments, folder) for label, arguments in ARMS.items()}
            if number:  # the first round warms the file cache and writes bytecode
                for label, value in timed.items():
                    found[label].append(value / timed["import torch"])
    print("| process | median | lowest-highest |\n|---|---|---|")
    for label, values in found.items():
        print(f"| {label} | {statistics.median(values):.2f} | {min(values):.2f}-{max(values):.2f} |")


if __name__ == "__main__":
    main()
