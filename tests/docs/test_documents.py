"""The README can't rot: it names every command and option, its shell blocks run, its table matches the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from shell import ROOT, SAMPLES, run

from camcli import cli, methods
from camcli.errors import ExitCode

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_readme(command: str) -> None:
    assert f"camcli {command}" in README
    options = [option for parameter in COMMANDS[command].params for option in parameter.opts if option[:2] == "--"]
    assert [option for option in options if option not in README and option != "--help"] == []


def test_the_readme_knows_every_method_and_exit_code() -> None:
    for name in methods.names():
        assert f"| `{name}` | {methods.get(name).kind} | {methods.get(name).paper} |" in README
    for code in ExitCode:
        assert f"| {int(code)} |" in README


def test_the_documented_row_is_the_row() -> None:
    (row,) = run("explain", SAMPLES / "espresso.jpg", "--json").rows
    documented = README.split("## JSON")[1].split("## From Python")[0]
    for key in (*row, *row["explanations"][0], *row["top"][0], *row["ms"], "note", "error"):
        assert f"`{key}`" in documented, key


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.exhaustive
def test_the_readme_runs(tmp_path: Path) -> None:
    """All ```sh blocks in real shells, two at a time, on the samples, with the installed command."""
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def shell(block: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"set -e\n{block}"]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(shell, blocks("sh")):
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "camcli_out" / "cat_chelsea.jpg.grad-cam.282-tiger-cat.overlay.jpg").is_file()
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "classes.jsonl").read_text().splitlines()) == 7


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (example, plugin) = blocks("python")
    exec(compile(example, "README", "exec"), {})
    assert "bee (7, 7)" in capsys.readouterr().out
    assert "def hires_cam" in plugin


def test_the_python_guide_runs_and_counts_its_lines_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "python.md").read_text()
    scripts = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for script in scripts:
        torch.manual_seed(0)
        exec(compile(script, "docs/python.md", "exec"), {})
    assert "hires-cam 285 Egyptian cat features" in capsys.readouterr().out
    ours, torchcam, grad_cam = (len(script.strip().splitlines()) for script in scripts[-3:])
    assert f"{ours} lines here, {torchcam} with torchcam and {grad_cam} with" in guide
    for name in ("overlay", "camcli", "torchcam", "grad-cam"):
        with Image.open(f"{name}.png") as drawn:
            assert drawn.width >= 224
