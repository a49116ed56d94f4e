"""Every file below some folders through `camcli explain`, each in a process of its own.

    python benchmarks/hostile.py DIR...

Prints how each kind of answer was given, the slowest and the largest file, and every file that was neither explained
nor refused by one row, took over 10 s, or over 2 GB. Pillow's own odd files are in its sdist, below Tests/images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 10.0
MAX_BYTES = 2e9


@dataclass(frozen=True)
class Run:
    path: Path
    answer: str
    seconds: float
    bytes: int
    wrong: str


def explained(path: Path, timeout: float = 60.0) -> Run:
    """What one run says of the file, its seconds, and the peak RSS of the largest process of it."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "camcli", "explain", "--json", "-q", "-o", out, "--", str(path)]
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
            started = time.perf_counter()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=errors)
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                if time.perf_counter() - started > timeout:
                    process.kill()
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(ended[1])
            said.seek(0)
            errors.seek(0)
            lines, stderr = said.read().splitlines(), errors.read().decode(errors="replace")
    rows = [json.loads(line) for line in lines]
    error = rows[0].get("error") if len(rows) == 1 else None
    largest = ended[2].ru_maxrss * 1024
    wrong = [
        name
        for name, is_so in {
            f"exit code {process.returncode}": process.returncode != (4 if error else 0),
            f"{len(rows)} rows": len(rows) != 1,
            "a bug": error is not None and error["kind"] == "bug",
            f"stderr: {stderr}": "Traceback" in stderr,
            f"{seconds:.1f} s": seconds > MAX_SECONDS,
            f"{largest / 1e9:.1f} GB": largest > MAX_BYTES,
        }.items()
        if is_so
    ]
    answer = f"refused: {error['kind']}" if error else "explained"
    return Run(path, answer, seconds, largest, ", ".join(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    wrong = False
    print("| folder | files | answers | slowest | largest |\n|---|---|---|---|---|")
    for folder in parser.parse_args().folders:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = list(pool.map(explained, paths))
        answers = ", ".join(f"{count} {answer}" for answer, count in Counter(run.answer for run in runs).most_common())
        slowest, largest = max(runs, key=lambda run: run.seconds), max(runs, key=lambda run: run.bytes)
        print(
            f"| {folder.name} | {len(runs)} | {answers} | {slowest.seconds:.1f} s ({slowest.path.name}) "
            f"| {largest.bytes / 1e6:.0f} MB ({largest.path.name}) |",
            flush=True,
        )
        for run in runs:
            if run.wrong:
                wrong = True
                print(f"\n{run.path}: {run.wrong}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
