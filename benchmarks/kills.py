"""Commands killed at random moments and started again, against ones that were never killed.

    python benchmarks/kills.py --photos DIR [--kills 60] [--pictures 100] [--only folder shards ...]

Each way to write something takes its share of the kills: SIGKILL comes at any moment from shortly before the first
file to the end, every other time right after something is begun that is not whole yet. Prints a row for each, and
fails where rows (timings aside) or files differ from those of the whole run, or anything else is left: beside what is
written, or in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_EXPLAIN = ("explain", "photos", "-q", "--json", "-b", "4")
# What is written -> the commands, one after the other, that write it.
WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "folder": ((*_EXPLAIN, "-o", "out"),),
    "several": (
        (*_EXPLAIN, "-o", "out", "-M", "grad-cam", "-M", "gradient", "-c", "top2", "--save", "overlay,panel,raw"),
    ),
    "shards": tuple((*_EXPLAIN, "-o", "out", "--shard", f"{number}/3") for number in (1, 2, 3)),
    "parquet": ((*_EXPLAIN, "-o", "out", "--results", "rows.parquet"),),
    "rows alone": ((*_EXPLAIN, "--save", "none", "--results", "rows.parquet"),),
    "norm run": ((*_EXPLAIN, "-o", "out", "--norm", "run"),),
    "compare": (("compare", "photos", "-q", "-c", "top2", "-o", "sheets/sheet.png"),),
    "one picture": (("explain", "photos/0.jpg", "-q", "-o", "one/one.png"),),
}
MOST_KILLS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run: `photos` and all that they write lie in `work`; `temporary` is their TMPDIR."""

    work: Path
    temporary: Path

    def start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "camcli", *command],
            cwd=self.work,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def files(self) -> Iterator[Path]:
        for path in (*self.work.rglob("*"), *self.temporary.rglob("*")):
            if not path.is_relative_to(self.work / "photos") and not path.is_dir():
                yield path

    def unfinished(self) -> bool:
        return any(part.startswith(".camcli-") for path in self.files() for part in path.parts)

    def contents(self) -> dict[str, str]:
        """The sha256 of each file, of rows all but their timings."""
        return {
            str(path.relative_to(self.work.parent)): hashlib.sha256(_content(path)).hexdigest() for path in self.files()
        }

    def clear(self) -> None:
        for path in (*self.work.iterdir(), *self.temporary.iterdir()):
            if path.name != "photos":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _content(path: Path) -> bytes:
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    elif path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        rows = read_table(path).to_pylist()
    else:
        return path.read_bytes()
    return json.dumps([{key: value for key, value in row.items() if key != "ms"} for row in rows]).encode()


def whole(place: Place, command: tuple[str, ...]) -> tuple[float, float]:
    """Seconds until anything is written and until the end of a run that nothing disturbs."""
    before = set(place.files())
    start = time.perf_counter()
    process = place.start(command)
    first = None
    while process.poll() is None:
        if first is None and set(place.files()) - before:
            first = time.perf_counter() - start
        time.sleep(0.005)
    end = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"exit code {process.returncode} of {' '.join(command)}")
    return first or end, end


def killed(place: Place, command: tuple[str, ...], rng: random.Random, times: tuple[float, float]) -> int:
    """Kills a run up to `MOST_KILLS` times, then lets it end; how often."""
    kills, most = 0, rng.randint(1, MOST_KILLS)
    while True:
        process = place.start(command)
        if kills < most:
            if rng.random() < 0.5:
                while process.poll() is None and not place.unfinished():
                    time.sleep(0.001)
                _wait(process, rng.uniform(0, 0.1 * (times[1] - times[0])))
            else:
                _wait(process, rng.uniform(0.8 * times[0], times[1]))
            process.kill()
        code = process.wait()
        if code != -signal.SIGKILL:
            if code:
                sys.exit(f"exit code {code} of {' '.join(command)}")
            return kills
        kills += 1


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def tried(place: Place, way: str, kills: int, rng: random.Random) -> tuple[int, int, int]:
    """(kills, runs, how many of them came to something else) of one way to write."""
    times = [whole(place, command) for command in WAYS[way]]
    expected = place.contents()
    done = runs = different = 0
    while done < kills:
        place.clear()
        for command, time_ in zip(WAYS[way], times, strict=True):
            done += killed(place, command, rng, time_)
        runs += 1
        found = place.contents()
        if found != expected:
            different += 1
            wrong = sorted(path for path in {**found, **expected} if found.get(path) != expected.get(path))
            print(f"{way}: {len(wrong)} differ, such as {', '.join(wrong[:3])}", file=sys.stderr)
    place.clear()
    return done, runs, different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--kills", type=int, default=60, help="all ways together")
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "work", Path(folder) / "temporary")
        place.temporary.mkdir()
        (place.work / "photos").mkdir(parents=True)
        found = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        for number, photo in enumerate(found[: options.pictures]):
            shutil.copy(photo, place.work / "photos" / f"{number}.jpg")
        whole(place, WAYS["one picture"][0])  # the first one finds nothing cached
        place.clear()
        print("| what | kills | runs | different |\n|---|---|---|---|")
        for way in options.only:
            kills, runs, different = tried(place, way, -(-options.kills // len(options.only)), rng)
            print(f"| {way} | {kills} | {runs} | {different} |", flush=True)
            failed += different
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
