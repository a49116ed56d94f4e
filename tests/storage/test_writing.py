"""Whole or not at all: what killed processes leave is removed, what can't be written ends the run with one code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem, register_implementation
from shell import Outcome, finish, run, spawn

from camcli.errors import SetupError
from camcli.sinks import open_sinks, open_table
from camcli.storage import writing
from camcli.storage.scratch import Scratch, sweep

Picture = Callable[..., Path]

TINY = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""
MODEL = ("-m", "tiny.py:tiny", "-M", "grad-cam")
SMALL = ("--resize", "32", "--crop", "32")
# What is written -> the command that writes it.
WAYS = {
    "folder": ("explain", "a.png", "-o", "there/out", *SMALL),
    "raw values": ("explain", "a.png", "-o", "there/out", "--save", "raw", *SMALL),
    "one picture": ("explain", "a.png", "-o", "there/one.png", *SMALL),
    "table": ("explain", "a.png", "--save", "none", "--results", "there/rows.parquet", *SMALL),
    "norm run": ("explain", "a.png", "-o", "there/out", "--norm", "run", *SMALL),
    "sheet": ("compare", "a.png", "-o", "there/sheet.png", "--max-side", "32"),
}


@pytest.fixture(autouse=True)
def _tiny(picture: Picture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small picture, a tiny network, and a folder for temporary files, in which nothing else is."""
    pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("tiny.py").write_text(TINY)
    picture("a.png", (64, 64))
    Path("there").mkdir()
    Path("temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def hidden() -> list[str]:
    return sorted(str(path) for path in Path().rglob(".camcli-*"))


def killed(code: str) -> None:
    """Python that writes in this folder and is killed at its end."""
    script = (
        "import os, signal, tempfile; from pathlib import Path; tempfile.tempdir = 'temporary'\n"
        "from camcli.storage.scratch import Scratch; from camcli.storage.writing import whole\n"
        f"{code}\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL


def test_what_was_killed_leaves_nothing_behind_the_next_run() -> None:
    """Beside the table, the sheet and the one picture, in the output folder, and in the one for temporary files."""
    killed(
        "files = [whole(Path(name)) for name in ('there/rows.parquet', 'there/out/a.jpg')]\n"
        "for file in files: file.__enter__().write(b'half')\n"
        "waiting = Scratch(Path('temporary')); (waiting.folder / '1.waiting').write_bytes(b'half')"
    )
    assert {str(Path(path).parent) for path in hidden()} == {"there", "there/out", "temporary"}
    assert not list(Path("there").rglob("*.parquet"))
    for way in ("table", "folder"):
        assert run(*WAYS[way], *MODEL).code == 0
    assert hidden() == []


@pytest.mark.parametrize("way", ["one picture", "sheet"])
def test_one_file_is_enough_to_sweep(way: str) -> None:
    killed("file = whole(Path('there/x.png')); file.__enter__().write(b'half')")
    assert len(hidden()) == 1
    assert run(*WAYS[way], *MODEL).code == 0
    assert hidden() == []


def test_what_a_living_process_or_somebody_else_has_stays() -> None:
    ours = Scratch(Path("there"))
    (ours.folder / "half").write_bytes(b"half")
    Path("there/.camcli-mine").mkdir()
    Path("there/.camcli-mine/notes.txt").touch()
    Path("there/.camcli-empty").mkdir()
    Path("elsewhere").mkdir()
    (Path("elsewhere") / "lock").touch()
    Path("there/.camcli-link").symlink_to("../elsewhere")
    sweep(Path("there"))
    assert (ours.folder / "half").exists()
    assert Path("there/.camcli-mine/notes.txt").exists()
    assert Path("elsewhere/lock").exists()
    assert not Path("there/.camcli-empty").exists()
    ours.close()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")
def test_what_another_user_has_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that all may write to: a lock that is a link would make us empty the file that it leads to."""
    Path("precious").write_text("precious")
    Path("temporary/.camcli-trap").mkdir()
    Path("temporary/.camcli-trap/lock").symlink_to("../../precious")
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    sweep(Path("temporary"))
    assert Path("temporary/.camcli-trap").exists()
    assert Path("precious").read_text() == "precious"


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may have more bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def told(outcome: Outcome) -> str:
    return next(line for line in outcome.err.splitlines() if line.startswith("camcli: error: "))


@pytest.mark.parametrize("way", WAYS)
def test_a_write_that_fails_ends_every_sink_alike(way: str) -> None:
    with room(100):
        outcome = run(*WAYS[way], *MODEL, "-q")
    assert outcome.code == 3, outcome.err
    assert told(outcome).startswith("camcli: error: can't write ")
    assert told(outcome).endswith(": File too large")
    assert hidden() == []
    assert [path for path in Path("there").rglob("*") if path.suffix not in (".jsonl", "")] == []


@pytest.mark.parametrize(
    "flags",
    [("-o", f"there/{'x' * 300}/"), ("--save", "none", "--results", f"there/{'x' * 300}.parquet")],
    ids=["folder", "table"],
)
def test_a_name_that_is_too_long_is_refused_before_the_run(flags: tuple[str, ...]) -> None:
    outcome = run("explain", "a.png", *MODEL, *SMALL, *flags)
    assert outcome.code == 2
    assert told(outcome).startswith("camcli: error: can't write there/xxx")
    assert "File name too long; " in told(outcome)
    assert list(Path("there").iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_refused_before_the_run() -> None:
    Path("there/rows.parquet").mkdir()
    outcome = run(*WAYS["table"], *MODEL)
    assert outcome.code == 2
    assert told(outcome) == (
        "camcli: error: can't write there/rows.parquet: it is a folder; name another with --results"
    )


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_stdout_on_a_full_disk_is_said_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = finish(spawn("explain", "a.png", *MODEL, *SMALL, "-q", "-o", "-", stdout=full))
    assert outcome.code == 3
    *remarks, line = outcome.err.splitlines()
    assert not [remark for remark in remarks if "error" in remark]
    assert line == "camcli: error: can't write to stdout: No space left on device"


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "of somebody else")], ids=["pipe", "other"])
def test_what_ends_a_run_is_not_told_of_its_table(error: OSError) -> None:
    """`--results rows.parquet --json | head -1` ends with 141: the table was written well."""
    with pytest.raises(type(error)) as raised, open_table("there/rows.parquet"):
        raise error
    assert raised.value is error
    assert list(Path("there").iterdir()) == []


def test_a_table_at_a_uri_is_there_when_the_run_is_over() -> None:
    from fsspec.implementations.memory import MemoryFileSystem
    from pyarrow.parquet import read_table

    outcome = run(
        "classify", "a.png", "-m", "tiny.py:tiny", *SMALL, "--results", "memory://tables/rows.parquet", "--json"
    )
    assert outcome.code == 0, outcome.err
    with MemoryFileSystem().open("/tables/rows.parquet") as file:
        (row,) = read_table(file).to_pylist()
    assert row["input"] == json.loads(outcome.out)["input"]


def test_a_run_that_fails_under_norm_run_draws_nothing(picture: Picture) -> None:
    from results import explained

    from camcli.specs import OutputSpec

    spec = OutputSpec("there", norm="run")

    def fails() -> None:
        with open_sinks(spec) as files:
            files.write(explained("a.png"))
            assert [path.suffix for path in Path("temporary").rglob("*.waiting")] == [".waiting"]
            raise SetupError("the disk is full")

    with pytest.raises(SetupError, match="disk is full"):
        fails()
    assert [*Path("there").iterdir(), *Path("temporary").iterdir()] == []


def test_one_scratch_serves_all_files_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is not read once for each file that is written to it."""
    swept: list[Path] = []
    monkeypatch.setattr(writing, "sweep", swept.append)
    scratch = Scratch(Path("there"))
    for number in range(5):
        writing.put(b"content", f"there/{number}", scratch)
    scratch.close()
    assert swept == []
    assert sorted(path.name for path in Path("there").iterdir()) == ["0", "1", "2", "3", "4"]


class OddError(Exception):
    """As those of botocore, google.auth and aiohttp, which are no OSError."""


class OddFileSystem(AbstractFileSystem):  # type: ignore[misc]
    protocol = "odd"

    def _fails(self, *arguments: object, **options: object) -> Any:
        raise OddError("Unable to locate credentials")

    ls = info = cat_file = pipe_file = makedirs = _open = _fails


def test_stores_fail_in_their_own_ways() -> None:
    register_implementation("odd", OddFileSystem, clobber=True)
    asked = ("explain", "a.png", *MODEL, *SMALL, "-q")
    for flags in (("-o", "odd://b/out"), ("--save", "none", "--results", "odd://b/rows.parquet")):
        outcome = run(*asked, *flags)
        assert outcome.code == 3, outcome.err
        assert told(outcome).startswith("camcli: error: can't write odd://b/")
        assert told(outcome).endswith(": Unable to locate credentials")
    outcome = run("explain", "odd://b/photos", *MODEL, *SMALL)
    assert (outcome.code, told(outcome)) == (
        3,
        "camcli: error: can't list odd://b/photos: Unable to locate credentials",
    )
    (row,) = run("explain", "-", *MODEL, *SMALL, "--json", "--save", "none", stdin=b"odd://b/a.png\n").rows
    assert row["error"]["kind"] == "unreachable"


# However many there are.


def test_what_a_run_does_once_it_does_not_do_for_each_picture(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders are read a few times a run; a recorded row is parsed twice, and its files are looked at once."""
    from camcli.sinks import lines, recorded

    for number in range(40):
        picture(f"in/{number:02}.png", (32, 32))
    command = ("explain", "in", "-o", "there/out", "-b", "4", *MODEL, *SMALL)
    run("classify", "a.png", "-m", "tiny.py:tiny")  # imports read folders, too
    read: list[object] = []
    parsed: list[object] = []
    looked_for: list[str] = []
    scandir, loads, file = os.scandir, json.loads, recorded.Folder._file

    def scanned(*arguments: Any) -> Any:
        read.append(arguments)
        return scandir(*arguments)

    class Json:
        dumps = staticmethod(json.dumps)

        @staticmethod
        def loads(text: Any) -> Any:
            parsed.append(text)
            return loads(text)

    def found(self: recorded.Folder, named: str) -> Path:
        looked_for.append(named)
        return file(self, named)

    monkeypatch.setattr(os, "scandir", scanned)
    for module in (lines, recorded):
        monkeypatch.setattr(module, "json", Json)
    monkeypatch.setattr(recorded.Folder, "_file", found)
    assert run(*command).code == 0
    assert len(read) < 20
    assert len(parsed) < 5
    assert looked_for == []
    for later in (read, parsed):
        later.clear()
    assert "40 of them done before" in run(*command).err
    assert len(read) < 20
    assert len(parsed) < 2 * 40 + 5
    assert len(looked_for) == 40
