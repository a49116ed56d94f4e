"""Real processes and real pipes: streaming, readers that leave, signals, and what a start imports."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import SAMPLES, finish, run, spawn

Picture = Callable[..., Path]

TORCH_FREE = [
    ("--help",),
    ("--version",),
    ("explain", "--help"),
    ("models", "res*"),
    ("methods",),
    ("methods", "--json"),
    ("explain", "missing.jpg"),
    ("explain", "missing.jpg", "-m", "resnet5", "-M", "gradcam"),
]


def imports_torch(arguments: list[str], environment: dict[str, str] | None = None) -> bool:
    """Whether a camcli process with these arguments has torch in sys.modules at its end."""
    probe = (
        "import sys, atexit; from camcli.__main__ import main;"
        "atexit.register(lambda: sys.stderr.write('TORCH' if 'torch' in sys.modules else 'FREE'));"
        f"sys.argv = ['camcli', *{arguments!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, env=os.environ | (environment or {})
    )
    assert done.stderr.endswith(("TORCH", "FREE")), done.stderr
    return done.stderr.endswith("TORCH")


@pytest.mark.parametrize("arguments", TORCH_FREE, ids=" ".join)
def test_light_commands_leave_torch_out(arguments: tuple[str, ...]) -> None:
    assert not imports_torch(list(arguments))


@pytest.mark.exhaustive
def test_the_probe_would_notice() -> None:
    assert imports_torch(["classes", "efficientnet_lite0", "tabby"])


@pytest.mark.exhaustive
def test_the_first_row_comes_before_the_list_ends(picture: Picture) -> None:
    """The writer stays open and has sent two batches: the answers to the first are there."""
    name = picture("a.png").name.encode() + b"\n"
    with spawn("explain", "-", "--json", "--save", "none", "--batch-size", "4", "-q") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        killer = threading.Timer(60, process.kill)
        killer.start()
        process.stdin.write(name * 8)
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert first["top"]
        assert process.poll() is None
        process.stdin.close()
        assert len(process.stdout.readlines()) == 7
        assert process.wait(60) == 0
        killer.cancel()


@pytest.mark.exhaustive
def test_ten_thousand_paths_into_head(picture: Picture) -> None:
    """`| head -1` ends it quietly with 141."""
    name = picture("a.png").name
    Path("list.txt").write_text(f"{name}\n" * 10_000)
    shell = f"{sys.executable} -m camcli explain - --json --save none < list.txt | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120, check=True)
    row, code = done.stdout.splitlines()
    assert json.loads(row)["input"] == name
    assert (code, done.stderr) == ("141", "")


@pytest.mark.exhaustive
def test_interrupted_runs_say_so_and_leave_no_torn_file(picture: Picture) -> None:
    name = picture("a.png").name.encode() + b"\n"
    process = spawn("explain", "-", "--json", "-b", "1", "-o", "out")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(name * 3)
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "camcli: interrupted; the same command goes on from here"
    assert [p.name for p in Path("out").iterdir() if p.name.startswith(".")] == []


@pytest.mark.exhaustive
def test_a_pipeline_of_real_tools() -> None:
    """find -print0 into camcli into another process, on the samples."""
    find = f"find {SAMPLES} -name '*bee.jpg' -print0 | {sys.executable} -m camcli explain - -o out/ --json"
    done = subprocess.run(["bash", "-c", find], capture_output=True, text=True, check=True, timeout=120)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["top"][0]["label"] == "bee"
    assert Path(row["explanations"][0]["files"]["overlay"]).is_file()


def test_the_installed_command_is_there() -> None:
    command = Path(sys.executable).with_name("camcli")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").out
    assert done.stdout.startswith("camcli 0.")


def on_a_terminal(
    *arguments: object, stdout: bool, columns: int = 60, environment: Mapping[str, str] | None = None
) -> tuple[int, str, bytes]:
    """(exit code, what a terminal showed, what the pipe got) with stderr, and maybe stdout, on it."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    told = {"TERM", "COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY", "NO_COLOR"}
    variables = {name: value for name, value in os.environ.items() if name not in told}
    variables |= {"TERM": "xterm", "COLUMNS": str(columns)} | dict(environment or {})
    streams = {"stdout": terminal if stdout else subprocess.PIPE, "stderr": terminal}
    with spawn(*arguments, env=variables, **streams) as process:
        os.close(terminal)
        shown = bytearray()
        with contextlib.suppress(OSError):  # Linux's way to say that the last writer has left
            while chunk := os.read(controller, 4096):
                shown += chunk
        os.close(controller)
        piped = b"" if process.stdout is None else process.stdout.read()
        return process.wait(60), shown.decode(), piped


@pytest.mark.exhaustive
def test_a_terminal_gets_progress_and_whole_lines(picture: Picture) -> None:
    names = [picture(f"a rather long file name that wraps {i}.png").name for i in range(2)]
    code, shown, _ = on_a_terminal("explain", *names, stdout=True)
    assert code == 0
    for name in names:
        assert len(re.findall(rf"  {re.escape(name)}\s", shown)) == 1
    assert "2/2" in shown


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(picture: Picture, name: str, value: str) -> None:
    for inputs in ([picture("a.png")], [picture("a.png"), picture("b.png")]):
        code, shown, _ = on_a_terminal(
            "explain", *inputs, "--show", "--save", "none", stdout=True, environment={name: value}
        )
        assert code == 0
        assert "--show: this terminal is to have no colours" in shown
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown), shown
        if name == "TERM":
            assert "\x1b" not in shown


@pytest.mark.exhaustive
@pytest.mark.parametrize("columns", [40, 80, 100])
def test_no_line_of_the_report_is_wider_than_the_terminal(columns: int) -> None:
    """But for paths and names, which can be copied whole."""
    photo = SAMPLES / "cat_chelsea.jpg"
    code, shown, _ = on_a_terminal("explain", photo, "-v", "--save", "none", stdout=True, columns=columns)
    assert code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert lines[0].startswith("╭")
    assert max(map(len, lines)) <= columns
    assert "made with efficientnet_lite0" in shown


@pytest.mark.exhaustive
def test_a_picture_is_shown_below_a_bar_and_without_one(picture: Picture) -> None:
    """Red and blue halves come back out of the half blocks, in a single run and beside progress; stdin stays data."""
    names = []
    for index in range(2):
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[:, :30, 0] = pixels[:, 30:, 2] = 255
        names.append(f"{index}.png")
        Image.fromarray(pixels).save(names[-1])
    for inputs in (names[:1], names):
        asked = ("--show", "--save", "none", "--fit", "squash", "--opacity", "0")
        code, shown, _ = on_a_terminal("explain", *inputs, *asked, stdout=True, environment={"COLORTERM": "truecolor"})
        assert code == 0
        rows = [line for line in shown.splitlines() if "▀" in line]
        assert len(rows) == (20 if len(inputs) == 1 else 2 * 11)
        for row in rows:
            assert re.search(r"38;2;255;0;0;48;2;255;0;0m▀", row)
            assert re.search(r"38;2;0;0;255;48;2;0;0;255m▀", row)


@pytest.mark.exhaustive
def test_progress_never_reaches_a_pipe(picture: Picture) -> None:
    names = [picture(f"{i}.png").name for i in range(2)]
    code, shown, piped = on_a_terminal("explain", *names, "--json", stdout=False)
    assert code == 0
    assert [json.loads(line)["input"] for line in piped.splitlines()] == names
    assert "2/2" in shown


def test_a_picture_is_not_written_to_a_terminal() -> None:
    code, shown, _ = on_a_terminal("explain", SAMPLES / "espresso.jpg", "-o", "-", stdout=True)
    assert code == 2
    assert "would write a picture to the terminal" in shown


def test_names_never_drive_the_terminal_nor_look_like_lines(picture: Picture) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\ncamcli: error: fake\u202e"
    good, bad = picture(f"in/{evil}.png"), Path(f"in/{evil}.jpg")
    bad.write_bytes(b"no picture")
    Path("labels.txt").write_text("\n".join(f"\x1b[2Jclass {i}" for i in range(1000)))
    for outcome in (
        run("explain", "in", "--labels", "labels.txt"),
        run("explain", good, "--labels", "labels.txt"),
        run("classify", bad),
        run("explain", f"in/{evil}"),
        run("classify", good, "-w", f"{evil}.pth"),
    ):
        told = outcome.out + outcome.err
        assert "owned" in told
        assert not set(told) & {"\x1b", "\x07", "\u202e"}
        assert not [line for line in told.splitlines() if line.startswith("camcli: error: fake")]


@pytest.mark.exhaustive
def test_labels_and_names_are_data_on_a_terminal_too(picture: Picture) -> None:
    evil = "[red]\x1b[2J\x1b]0;owned\x07\n[/red]"
    Path("labels.txt").write_text("\n".join(f"{i} {evil}".replace("\n", "") for i in range(1000)))
    names = [picture(f"in/{evil}{i}.png") for i in range(2)]
    for inputs in (names[:1], names):
        asked = ("--labels", "labels.txt", "--show", "-M", "grad-cam", "-M", "hires-cam", "-c", "top2")
        code, shown, _ = on_a_terminal("explain", *inputs, *asked, stdout=True, columns=100)
        assert code == 0, shown
        assert "[red]" in shown
        assert "owned" in shown
        assert not re.search(r"\x1b\[2J|\x1b]0|\x07", shown)


@pytest.mark.exhaustive
def test_the_shells_own_pipes_are_read_once() -> None:
    for photo in ("espresso.jpg", "tripod_gray.jpg"):
        command = f"{sys.executable} -m camcli classify <(cat {SAMPLES / photo}) --json"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["top"]
