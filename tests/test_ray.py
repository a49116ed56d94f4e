"""The cluster engine against the local one: same rows, same files, whatever dies in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shell import SAMPLES, Outcome, finish, refused, spawn

from camcli.records import Row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for workers in /proc"),
]

# Sums don't depend on threads, but the last batch's kernels do.
THREADS = ("--threads", "1")


@pytest.fixture(scope="module", autouse=True)
def _has_ray() -> None:
    pytest.importorskip("ray")


def timeless(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "ms"} for row in rows]


def many(count: int) -> Path:
    """A folder of links to the sample photos, some of them no pictures."""
    folder = Path("in")
    folder.mkdir()
    photos = sorted(SAMPLES.glob("*.jpg"))
    for number in range(count):
        if number % 50 == 7:
            (folder / f"{number:03}.jpg").write_bytes(b"no picture")
        else:
            small = next(photo for photo in photos[number % 3 :] if photo.stat().st_size < 500_000)
            (folder / f"{number:03}.jpg").symlink_to(small)
    return folder


def workers() -> list[int]:
    """The processes of engines, by their names."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and b"ray::MapWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_rows_and_files_are_those_of_the_local_engine_though_a_worker_is_killed() -> None:
    folder = many(100)
    local = finish(spawn("explain", folder, "-o", "out", "--json", "-q", *THREADS))
    kept = {path: path.read_bytes() for path in Path("out").rglob("*.jpg")}
    shutil.rmtree("out")
    process = spawn("explain", folder, "-o", "out", "--json", "-q", *THREADS, "--engine", "ray", "--workers", "2")
    for _ in range(600):
        if len(list(Path("out").rglob("*.jpg"))) > 20:
            break
        time.sleep(0.1)
    running = workers()
    os.kill(running[0], signal.SIGKILL)
    outcome = finish(process)  # whose rows are all of stdout, where Ray likes to talk
    assert len(running) == 2
    assert outcome.code == local.code == 4
    assert timeless(outcome.rows) == timeless(local.rows)
    assert len(outcome.rows) == 100
    assert {path: path.read_bytes() for path in Path("out").rglob("*.jpg")} == kept


def test_what_stops_the_local_engine_stops_this_one() -> None:
    """A layer that is none is found by the workers; its code and words are the local engine's."""
    photo = SAMPLES / "espresso.jpg"
    outcome: Outcome = finish(spawn("explain", photo, "-l", "nowhere", "--engine", "ray", "--workers", "1"))
    assert outcome.code == 2
    assert refused(2, "explain", photo, "-l", "nowhere").strip() in outcome.err


def test_without_ray_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ray'] = None; from camcli import cli; "
        f"sys.argv = ['camcli', 'explain', {str(SAMPLES / 'espresso.jpg')!r}, '--engine', 'ray']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install camcli[ray]" in done.stderr
