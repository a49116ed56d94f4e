"""Runs into a folder, killed at random moments and started again, against one that was never killed.

    python benchmarks/kills.py --photos DIR --kills 60

The first pictures of DIR are explained; SIGKILL comes at any moment from shortly before the first row to the end.
Prints a row for each run, and fails where rows (timings aside) or files differ from those of the whole run, or
anything else is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def started(photos: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "camcli", "explain", str(photos), "-o", str(out), "-q", "--json", "-b", "4"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(out: Path) -> dict[str, str]:
    """The sha256 of each file, of rows all but their timings."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
            content = json.dumps([{k: v for k, v in row.items() if k != "ms"} for row in rows]).encode()
        found[str(path.relative_to(out))] = hashlib.sha256(content).hexdigest()
    return found


def recorded(out: Path) -> int:
    rows = out / "rows.jsonl"
    return rows.read_bytes().count(b"\n") if rows.exists() else 0


def whole_run(photos: Path, out: Path) -> tuple[float, float]:
    """Seconds until the first row and until the end of a run that nothing disturbs."""
    start = time.perf_counter()
    process = started(photos, out)
    while process.poll() is None and not recorded(out):
        time.sleep(0.005)
    first = time.perf_counter() - start
    if process.wait():
        sys.exit(f"exit code {process.returncode}")
    return first, time.perf_counter() - start


def killed(photos: Path, out: Path, rng: random.Random, earliest: float, latest: float) -> list[int]:
    """Kills a run until it comes through or all is written, then lets it end; the rows recorded at each kill."""
    at: list[int] = []
    pictures = len(list(photos.iterdir()))
    while True:
        process = started(photos, out)
        try:
            code = process.wait(rng.uniform(earliest, latest) if recorded(out) < pictures else None)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != -signal.SIGKILL:
            if code:
                sys.exit(f"exit code {code}")
            return at
        at.append(recorded(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        for photo in sorted(path for path in arguments.photos.iterdir() if path.is_file())[: arguments.pictures]:
            shutil.copy(photo, photos)
        whole_run(photos, out)  # the first one finds nothing cached
        shutil.rmtree(out)
        first, end = whole_run(photos, out)
        whole = contents(out)
        print(f"{recorded(out)} pictures, {len(whole)} files, first row after {first:.1f} s, end after {end:.1f} s\n")
        print("| run | kills | rows at each kill | the same |\n|---|---|---|---|")
        kills, run, different = 0, 0, 0
        while kills < arguments.kills:
            shutil.rmtree(out)
            at = killed(photos, out, rng, 0.8 * first, end)
            same = contents(out) == whole
            kills, run, different = kills + len(at), run + 1, different + (not same)
            print(f"| {run} | {len(at)} | {', '.join(map(str, at))} | {'yes' if same else 'NO'} |", flush=True)
    print(f"\n{kills} kills over {run} runs, {different} different")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
