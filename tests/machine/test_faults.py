"""What fails besides pictures: disks, devices, memory, code. It costs a row or ends the run, and never what is done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shell import Outcome, finish, run, spawn

from camcli.inputs import preprocessing
from camcli.running import pipeline
from camcli.running.engine import Engine
from camcli.sinks import files

Picture = Callable[..., Path]
COMMAND = ("explain", "in", "-o", "out", "--json", "-b", "2")


@pytest.fixture
def photos(picture: Picture) -> list[str]:
    """Six pictures, each of a width of its own."""
    names = [f"in/{i}.png" for i in range(6)]
    for i, name in enumerate(names):
        picture(name, (64 + i, 48))
    return names


def refusals(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(input, stage, kind) of each; all others are answered."""
    assert outcome.code == 4, outcome.err
    assert len(outcome.rows) == 6
    errors = [(row["input"], row.get("error")) for row in outcome.rows]
    return [(name, error["stage"], error["kind"]) for name, error in errors if error]


def pictures() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("out").glob("*.jpg")}


def failing(original: Callable[..., Any], width: int, error: Exception) -> Callable[..., Any]:
    """The function, but for frames of that width."""

    def stands_in(frame: Any, *arguments: Any, **options: Any) -> Any:
        if frame.size[0] == width:
            raise error
        return original(frame, *arguments, **options)

    return stands_in


@pytest.mark.parametrize(("error", "kind"), [(ZeroDivisionError("by zero"), "bug"), (MemoryError(), "memory")])
def test_what_fails_for_one_picture_stops_no_other(
    error: Exception, kind: str, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "view_of", failing(preprocessing.view_of, 66, error))
    monkeypatch.setitem(files.DRAWN, "overlay", failing(files.DRAWN["overlay"], 69, error))
    outcome = run(*COMMAND)
    assert refusals(outcome) == [(photos[2], "read", kind), (photos[5], "write", kind)]
    if kind == "bug":
        said = outcome.rows[5]["error"]["message"]
        assert said.startswith("ZeroDivisionError in test_faults.py:")
        assert "by zero; this is a bug in camcli: please report it" in said


def broken_after(batches: int, error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device fails once so many batches are computed."""
    original = Engine._explain_together
    done: list[int] = []

    def explain(self: Engine, items: Any) -> None:
        done.append(len(items))
        if len(done) > batches:
            raise error
        original(self, items)

    monkeypatch.setattr(Engine, "_explain_together", explain)


@pytest.mark.exhaustive
def test_a_device_that_fails_ends_the_run_and_loses_nothing(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run(*COMMAND)
    whole = pictures()
    shutil.rmtree("out")
    with monkeypatch.context() as patched:
        broken_after(1, RuntimeError("CUDA error: device-side assert triggered\nCompile with …"), patched)
        outcome = run(*COMMAND)
    assert outcome.code == 3
    assert "the device has failed (CUDA error: device-side assert triggered): start again, which goes on" in outcome.err
    assert [row["input"] for row in outcome.rows] == photos[:2]
    assert len(pictures()) == 2
    assert [row["input"] for row in run(*COMMAND).rows] == photos
    assert pictures() == whole


def test_a_device_that_fails_inside_the_network_is_no_refusal_of_the_picture(
    photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.nn.functional.conv2d

    def conv2d(images: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if len(images) > 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return original(images, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "conv2d", conv2d)
        patched.setattr(torch.nn.Conv2d, "_conv_forward", lambda self, x, w, b: conv2d(x, w, b, self.stride))
        outcome = run("classify", "in", "--json", "-m", "squeezenet1_1", "-w", "none")
    assert (outcome.code, outcome.out) == (3, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("CUDA error: no kernel image is available"),
            "the device has failed (CUDA error: no kernel image",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: …"), "the model does not fit in memory (DefaultCPU"),
        (MemoryError(), "the model does not fit in memory (MemoryError)"),
    ],
)
def test_a_machine_that_does_not_suffice_is_said_at_the_start(
    error: Exception, said: str, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine(*arguments: Any, **options: Any) -> Engine:
        raise error

    monkeypatch.setattr(pipeline, "Engine", engine)
    outcome = run(*COMMAND)
    assert outcome.code == 3
    assert said in outcome.err


def test_a_batch_that_had_to_be_halved_is_said(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine._explain_together

    def explain(self: Engine, items: Any) -> None:
        if len(items) > 3:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)")
        original(self, items)

    monkeypatch.setattr(Engine, "_explain_together", explain)
    outcome = run("classify", "in", "--json")
    assert outcome.code == 0
    assert len(outcome.rows) == 6
    assert "camcli: 6 pictures at once don't fit in memory: 3 from here on\n" in outcome.err


@pytest.mark.exhaustive
def test_inputs_that_go_and_change_while_it_runs(photos: list[str], picture: Picture) -> None:
    """Names come one by one; what is there when its turn comes is explained."""
    process = spawn("explain", "-", "-o", "out", "--json", "-b", "1")
    assert process.stdin is not None
    assert process.stdout is not None
    rows = []
    for number, name in enumerate(photos):
        if number == 2:
            Path(name).unlink()
        if number == 3:
            picture(name, (99, 48))
        if number == 4:
            Path(name).write_bytes(Path(name).read_bytes()[:100])
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
        rows.append(json.loads(process.stdout.readline()))
    assert finish(process).code == 4
    assert rows[2]["error"]["kind"] == "missing"
    assert rows[3]["size"] == [99, 48]
    assert rows[4]["error"]["message"] == "truncated: the picture ends too early"
    assert "top" in rows[5]


def on_a_disk_of_its_own(script: str) -> str:
    """What a shell script says with `out` as a tmpfs of its own, in a mount namespace; `camcli` is ours."""
    inside = (
        f'camcli() {{ {sys.executable} -m camcli "$@"; }}; mkdir out; mount -t tmpfs -o size=90k tmpfs out && {script}'
    )
    command = ["unshare", "--mount", "--map-root-user", "bash", "-c", inside]
    if shutil.which("unshare") is None or subprocess.run([*command[:3], "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.exhaustive
def test_a_disk_that_is_full_ends_the_run_and_more_room_lets_it_go_on(picture: Picture) -> None:
    for i in range(8):
        picture(f"in/{i}.png", (300, 200))
    explain = " ".join(COMMAND)
    run(*COMMAND)
    whole = pictures()
    shutil.rmtree("out")
    said = on_a_disk_of_its_own(
        f"camcli {explain} > first; echo first $?; ls -A out > listed; cp out/rows.jsonl recorded;"
        f"mount -o remount,size=4m out; camcli {explain} > second; echo second $?; cp -a out copy"
    )
    assert "first 3\n" in said
    assert "No space left on device" in said
    assert "second 0\n" in said
    recorded = Path("recorded").read_text().splitlines()
    assert 0 < len(recorded) < 8
    rows = [json.loads(line) for line in recorded]
    written = {Path(row["explanations"][0]["files"]["overlay"]).name for row in rows}
    listed = set(Path("listed").read_text().split())
    assert written <= listed
    assert not [name for name in listed if name.startswith(".") or name.endswith(".tmp")]
    shutil.rmtree("out")
    Path("copy").rename("out")
    assert pictures() == whole
    assert len(Path("second").read_text().splitlines()) == 8


@pytest.mark.exhaustive
def test_a_folder_that_becomes_read_only_is_said(picture: Picture) -> None:
    picture("in/0.png")
    said = on_a_disk_of_its_own(
        "mount -o remount,ro out; camcli explain in -o out; echo first $?; camcli explain in -o out/new; echo second $?"
    )
    assert "can't write to out: no permission in out" in said
    assert "can't write to out/new: no permission in" in said
    assert "first 2\n" in said
    assert "second 2\n" in said
