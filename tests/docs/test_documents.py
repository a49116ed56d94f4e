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
from terminals import bare, terminal

from camcli import cli, methods
from camcli.cli import styled
from camcli.errors import ExitCode
from camcli.tasks.caption import Caption
from camcli.tasks.classify import Classify
from camcli.tasks.detect import Detect
from camcli.tasks.segment import Segment
from camcli.tasks.watch import Watch

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def shell(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The block in a real shell, with the installed command."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-c", f"set -e\n{block}"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


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


def test_the_documented_report_is_what_a_terminal_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sample_images").mkdir()
    shutil.copy(SAMPLES / "cat_chelsea.jpg", "sample_images")
    (row,) = run("explain", "sample_images/cat_chelsea.jpg", "-o", "camcli_out", "--json").rows
    terminal(monkeypatch, "stdout")
    assert f"```\n{bare(styled.page_of(row, []))}\n```" in README


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.exhaustive
def test_the_readme_runs(tmp_path: Path) -> None:
    """All ```sh blocks in real shells, two at a time, on the samples, with the installed command."""
    shutil.copytree(SAMPLES, tmp_path / "sample_images")

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda block: shell(block, tmp_path), blocks("sh")):
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


@pytest.mark.exhaustive
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


def methods_by_task() -> str:
    """The table of docs/places.md: which method goes with which task, and why not."""
    tasks = (Classify(), Watch(), Segment(), Detect(), Caption(end=0))
    lines = [f"| method | {' | '.join(task.name for task in tasks)} |", "|---" * (1 + len(tasks)) + "|"]
    reasons: dict[str, int] = {}
    for name in methods.names():
        needs = methods.get(name).needs
        cells = []
        for task in tasks:
            lacking = sorted(needs & task.lacks.keys())
            cells.append(f"no ({reasons.setdefault(task.lacks[lacking[0]], len(reasons) + 1)})" if lacking else "yes")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {reason}" for reason, number in reasons.items())])


def test_the_table_of_methods_and_tasks_is_the_codes() -> None:
    """`python -c "import test_documents; print(test_documents.methods_by_task())"` in tests/docs prints it."""
    assert methods_by_task() in (ROOT / "docs" / "places.md").read_text()


@pytest.mark.exhaustive
def test_the_guide_to_places_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "places.md").read_text(), re.DOTALL)
    script = re.sub(r"-o (\w+\.jpg)", rf"-o {tmp_path}/\1", script)
    done = shell(script, ROOT)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["detection.jpg", "pixel.jpg", "region.jpg"]


@pytest.mark.exhaustive
def test_the_guide_to_words_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "words.md").read_text(), re.DOTALL)
    for name in ("examples", "sample_images"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 12
    assert len(list((tmp_path / "acts").glob("*.strip.jpg"))) == 11


@pytest.mark.exhaustive
def test_the_guide_to_the_report_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "report.md").read_text(), re.DOTALL)
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("**/*.html")) == ["again.html", "classes.html", "report.html"]


@pytest.mark.exhaustive
def test_the_guide_to_paper_figures_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "paper-figure.md").read_text(), re.DOTALL)
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.svg").read_text().startswith("<svg")
    assert (tmp_path / "column.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "grey.png") as picture:
        assert picture.width == round(120 / 25.4 * 450)


@pytest.mark.exhaustive
def test_the_guide_to_films_runs(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "films.md").read_text(), re.DOTALL)
    script = script.replace("pan.gif", f"{tmp_path}/pan.gif").replace("-o ", f"-o {tmp_path}/")
    done = shell(script, ROOT)
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in tmp_path.glob("*/*.*") if path.suffix in (".gif", ".jpg"))
    assert made == [
        "pan.gif.grad-cam.967-espresso.gif",
        "pan.gif.grad-cam.967-espresso.strip.jpg",
        "pan.gif.grad-cam.overlay.gif",
    ]
