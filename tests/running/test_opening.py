"""An engine has the same guards however it is opened: explain, classify, compare, bench, verify, doctor, Python."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from shell import Outcome, run

from camcli import Engine, Spec, expand, load_model
from camcli.errors import SetupError
from camcli.inputs import decoding
from camcli.inputs.guards import NoRoomError
from camcli.records import Explained, Ref
from camcli.specs import ModelSpec

Picture = Callable[..., Path]
NET = ("-m", "squeezenet1_1", "-w", "none")
WAYS = {
    "explain": ("explain", "a.png", *NET, "--save", "none"),
    "classify": ("classify", "a.png", *NET),
    "compare": ("compare", "a.png", *NET, "-M", "grad-cam"),
    "bench": ("bench", "a.png", *NET, "--save", "none", "-n", "1"),
    "verify": ("verify", "rows.jsonl"),
}


@cache
def row() -> bytes:
    """Of a.png, for verify."""
    return run("explain", "a.png", *NET, "--save", "none", "--json").stdout


@pytest.fixture
def rows(picture: Picture, one_thread: None) -> None:
    """a.png, and the rows of it."""
    picture("a.png", (400, 300))
    Path("rows.jsonl").write_bytes(row())


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_that_pillow_alone_would_refuse(way: str, rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of 182 megapixels is to Pillow's own limit: more than twice it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 55_000)
    outcome = run(*WAYS[way])
    assert outcome.code == 0, outcome.err
    assert Image.MAX_IMAGE_PIXELS == 55_000


def test_python_takes_what_the_command_line_takes(rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 55_000)
    (result,) = Engine(Spec("squeezenet1_1", "none", methods=())).explain(expand(["a.png"]))
    assert isinstance(result, Explained)
    assert Image.MAX_IMAGE_PIXELS == 55_000


def test_182_megapixels_are_read_outside_the_command_line() -> None:
    """Up to where they are decoded, which takes seconds: there is room for them or not."""
    Image.new("1", (14_000, 13_000)).save("large.png")
    with pytest.raises(NoRoomError):
        decoding.read(Ref(0, "large.png", Path("large.png")), room=lambda pixels: pixels != 182_000_000)


@pytest.mark.parametrize("command", ["explain", "compare", "bench"])
def test_the_limit_can_be_set_wherever_it_is_named(command: str, rows: None) -> None:
    outcome = run(*WAYS[command], "--max-pixels", "119999")
    assert outcome.code == (3 if command == "bench" else 4)
    if command != "bench":
        assert "400x300 is more than --max-pixels 0.119999 million" in outcome.err


def cuda_fails(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A device that fails after so many convolutions."""
    original = torch.nn.Conv2d._conv_forward
    done: list[int] = []

    def fails(self: torch.nn.Conv2d, *tensors: Any) -> Any:
        done.append(1)
        if len(done) > after:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with …")
        return original(self, *tensors)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", fails)


def said_of_the_device(outcome: Outcome) -> bool:
    return outcome.code == 3 and "the device has failed (CUDA error: an illegal memory access" in outcome.err


@pytest.mark.parametrize("after", [0, 30], ids=["at-once", "later"])
@pytest.mark.parametrize("way", [*WAYS, "doctor"])
def test_a_device_that_fails_is_this_machines_and_no_bug(
    way: str, after: int, rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "doctor" and after == 0:
        after = 1
    cuda_fails(monkeypatch, after)
    outcome = run(*WAYS.get(way, ("doctor", "--json")))
    if way == "doctor":
        assert outcome.code == 3
        assert json.loads(outcome.out)["problem"].startswith("the device has failed")
    else:
        assert said_of_the_device(outcome), outcome.err


@pytest.mark.parametrize("after", [0, 30])
def test_python_is_told_of_a_device_that_fails(after: int, rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_fails(monkeypatch, after)
    with pytest.raises(SetupError, match="the device has failed"):
        list(Engine(Spec("squeezenet1_1", "none")).explain(expand(["a.png"])))


def test_loading_alone_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.nn.Module, device: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(SetupError, match="the model does not fit in memory"):
        load_model(ModelSpec("squeezenet1_1", "none"))


LIBRARIES = {
    "libGL.so.1: cannot open shared object file: No such file or directory": "apt-get install libgl1",
    "libgthread-2.0.so.0: cannot open shared object file: No such file or directory": "apt-get install libglib2.0-0",
    "libfoo.so.3: cannot open shared object file: No such file or directory": "install libfoo",
}


@pytest.fixture
def broken_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put an OpenCV in place that can't be imported."""

    def broken(message: str) -> None:
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / "cv2.py").write_text(f"raise ImportError({message!r})")
        monkeypatch.syspath_prepend(folder)
        for name in [name for name in sys.modules if name.split(".")[0] == "cv2"]:
            monkeypatch.delitem(sys.modules, name)
        for name in ("camcli.running.pipeline", "camcli.running.timing"):
            monkeypatch.delitem(sys.modules, name, raising=False)

    return broken


@pytest.mark.parametrize("message", LIBRARIES)
def test_an_opencv_without_its_library_names_it_and_two_ways_out(
    message: str, broken_opencv: Callable[[str], None]
) -> None:
    broken_opencv(message)
    outcome = run("doctor", "--json")
    assert outcome.code == 3
    problem = json.loads(outcome.out)["problem"]
    assert message.split(":")[0] in problem
    assert LIBRARIES[message] in problem
    assert "pip uninstall opencv-python && pip install opencv-python-headless" in problem


@pytest.mark.parametrize("way", WAYS)
def test_every_command_says_what_opencv_lacks(way: str, rows: None, broken_opencv: Callable[[str], None]) -> None:
    broken_opencv(next(iter(LIBRARIES)))
    outcome = run(*WAYS[way])
    assert outcome.code == 3
    assert "bug in camcli" not in outcome.err
    assert "apt-get install libgl1" in outcome.err


def test_python_says_what_opencv_lacks(rows: None, broken_opencv: Callable[[str], None]) -> None:
    broken_opencv(next(iter(LIBRARIES)))
    with pytest.raises(SetupError, match=r"libGL\.so\.1.*apt-get install libgl1"):
        list(Engine(Spec("squeezenet1_1", "none")).explain(expand(["a.png"])))


def test_an_opencv_that_is_not_there(monkeypatch: pytest.MonkeyPatch, rows: None) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "camcli.running.pipeline", raising=False)
    outcome = run(*WAYS["explain"])
    assert outcome.code == 3
    assert "`pip install opencv-python-headless`" in outcome.err


def test_doctor_lists_the_opencv_that_is_installed() -> None:
    (facts,) = run("doctor", "--json").rows
    assert {"opencv-python", "opencv-python-headless"} <= facts.keys()
