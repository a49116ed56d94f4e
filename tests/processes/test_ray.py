"""The cluster engine against the local one: same rows, same files, whatever dies in between."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
from shell import SAMPLES, Outcome, finish, refused, spawn

from camcli.errors import CamcliError, InputError, RequestError, SetupError
from camcli.machine.faults import machine_failures
from camcli.models.weights.pickles import UnsafeFileError
from camcli.records import Ref, Row
from camcli.running import cluster
from camcli.running.cluster import Job
from camcli.running.engine import Engine
from camcli.specs import OutputSpec, Spec

pytestmark = [
    pytest.mark.exhaustive,
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
    """A pickle that could run code is found by the workers; the code and the words are the local engine's."""
    torch.save(nets.Convolutional(), "whole.pth")
    asked = ("explain", SAMPLES / "espresso.jpg", "-m", "squeezenet1_1", "-w", "whole.pth")
    outcome: Outcome = finish(spawn(*asked, "--engine", "ray", "--workers", "1"))
    assert outcome.code == 3
    assert refused(3, *asked).strip() in outcome.err


# A worker is a plain object: what it tells, and what comes of that, needs no cluster.

TINY = """
from torch import nn
import beside_tiny

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def raises():
    raise RuntimeError('no such thing: 猫 "[ray]"\\nmore')
"""


@pytest.fixture
def tiny(picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of the user's own network, which imports its neighbour."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("tiny.py").write_text(TINY)
    Path("beside_tiny.py").touch()
    picture("a.png", (32, 32))
    return job()


def job(model: str = "tiny.py:tiny", **asked: Any) -> Job:
    return Job(Spec(model=model, resize=32, crop=32, device="cpu", **asked), OutputSpec("out"))


def received(given: Job, says: list[str] | None = None, blocks: int = 1) -> list[Row]:
    """The rows of blocks of one picture each, from one worker."""
    worker = cluster._Worker(given, 1)
    block = {"refs": pickle.dumps([Ref(0, "a.png", path=Path("a.png"))])}
    told = [record["told"] for _ in range(blocks) for record in worker(block)]
    return list(cluster._received(told, (says if says is not None else []).append))


def test_remarks_of_the_workers_are_said_once(tiny: Job) -> None:
    says: list[str] = []
    rows = received(tiny, says, blocks=2) + received(tiny, says)
    assert len(rows) == 3
    assert says[1] == "tiny.py:tiny: 3 classes without names: --labels FILE gives them"
    assert says[:2] == says[2:]


def test_what_is_remarked_on_the_way_is_said_too(tiny: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine.answer

    def answer(self: Engine, batch: Any) -> Any:
        self.on_remark("half as many from here on")
        return original(self, batch)

    monkeypatch.setattr(Engine, "answer", answer)
    says: list[str] = []
    received(tiny, says, blocks=2)
    assert says.count("half as many from here on") == 1
    assert says[-1] == "half as many from here on"


class OfAPluginError(SetupError):
    """Of a module that the command can't import, perhaps."""

    exit_code: int = 7


class NeverPickledError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


@pytest.mark.parametrize(
    ("error", "kind", "code", "said"),
    [
        (UnsafeFileError("refused: 猫"), SetupError, 3, "refused: 猫"),
        (RequestError("two\nlines {} %s [ray] \udcff"), RequestError, 2, "two\nlines {} %s [ray] \udcff"),
        (OfAPluginError("mine"), CamcliError, 7, "mine"),
        (InputError("open", "missing", "no such file"), CamcliError, 4, "no such file"),
        (RuntimeError("CUDA error: no kernel image"), SetupError, 3, "the device has failed (CUDA error: no kernel"),
        (MemoryError(), SetupError, 3, "the model does not fit in memory (MemoryError)"),
        (OSError(28, "No space left on device", "there"), SetupError, 3, "can't write there: No space left on device"),
        (NeverPickledError("odd"), CamcliError, 1, "NeverPickledError: odd; this is a bug in camcli"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
@pytest.mark.parametrize("where", ["camcli.running.engine.prepare", "camcli.running.engine.Engine.answer"])
def test_errors_of_workers_end_the_run_with_their_code(
    tiny: Job,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[CamcliError],
    code: int,
    said: str,
    where: str,
) -> None:
    """As they start or later: also what can't be pickled, and is of a class that only they know."""

    def fail(*arguments: object) -> None:
        raise error

    # As the engine guards both, itself or what calls it.
    monkeypatch.setattr(where, machine_failures()(fail))
    with pytest.raises(kind) as raised:
        received(tiny)
    assert raised.value.exit_code == code
    assert str(raised.value).startswith(said)
    assert "in fail" in str(raised.value.__cause__)  # for --debug


def test_the_users_code_may_raise_anything(tiny: Job) -> None:
    with pytest.raises(SetupError, match=r'tiny.py:raises raised RuntimeError: no such thing: 猫 "\[ray\]"'):
        received(job("tiny.py:raises"))


def test_a_worker_finds_the_code_where_the_command_does(tiny: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts in another folder, with another path."""
    Path("code").mkdir()
    Path("tiny.py").rename("code/tinier.py")
    monkeypatch.syspath_prepend("code")
    there = job("tinier:tiny")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != "code"])
    assert len(received(there)) == 1


def test_a_run_that_is_done_needs_no_cluster(tiny: Job) -> None:
    assert list(cluster.rows(tiny, [], None, pytest.fail)) == []


def test_without_ray_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ray'] = None; from camcli import cli; "
        f"sys.argv = ['camcli', 'explain', {str(SAMPLES / 'espresso.jpg')!r}, '--engine', 'ray']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install camcli[ray]" in done.stderr
