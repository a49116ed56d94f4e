"""The Dockerfile, as far as it can be held to the project without a Docker daemon."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
from shell import ROOT


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, (word, rest)."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.split(None, 1) for line in text.replace("\\\n", "").splitlines() if line.strip()]
    found: list[list[tuple[str, str]]] = []
    for word, rest in lines:
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


BUILD, FINAL = stages()


def copied() -> list[tuple[list[str], str]]:
    """The sources and the destination of each copy out of the repository."""
    copies = [shlex.split(rest) for word, rest in BUILD if word == "COPY"]
    return [(sources, destination) for *sources, destination in copies]


def test_all_that_it_copies_is_there_and_nothing_else_is_sent() -> None:
    sources = {source.rstrip("/") for found, _ in copied() for source in found}
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources


def test_both_stages_are_of_one_python_that_camcli_takes() -> None:
    bases = [stage[0][1].split()[0] for stage in stages()]
    assert bases[0] == bases[1]
    version = bases[0].removeprefix("python:").removesuffix("-slim")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_it_runs_the_command_as_no_root() -> None:
    last = dict(FINAL)
    assert json.loads(last["ENTRYPOINT"]) == ["camcli"]
    assert int(last["USER"]) > 0
    assert [word for word, _ in FINAL[-3:]] == ["USER", "WORKDIR", "ENTRYPOINT"]


@pytest.mark.exhaustive
def test_what_it_copies_is_enough_to_build_camcli_with_the_opencv_that_needs_no_display(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for found, destination in copied():
        for name in found:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / destination)
            else:
                (source / destination).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, source / destination)
    (install,) = (rest for word, rest in BUILD if word == "RUN" and "sed" in rest)
    edit, _ = install.split(" && ")
    subprocess.run(["sh", "-c", edit], cwd=source, check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    needed = {re.split(r"[^\w-]", value)[0] for value in metadata.get_all("Requires-Dist", [])}
    assert "opencv-python-headless" in needed
    assert "opencv-python" not in needed
    assert "camcli/sinks/page/page.js" in names
