"""The wheel is whole: it is built of the source distribution, checked, installed and used where no checkout is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from shell import ROOT, SAMPLES

from camcli._version import __version__

pytestmark = pytest.mark.exhaustive


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions; the wheel is built of the unpacked source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    done = python("-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"camcli-{__version__}.dist-info/METADATA"))


def test_a_package_index_takes_both(dist: Path) -> None:
    checked = python("-m", "twine", "check", "--strict", *sorted(dist.iterdir()))
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    checked = python("-m", "check_wheel_contents", "--config", ROOT / "pyproject.toml", wheel)
    assert checked.returncode == 0, checked.stdout
    packaged = ROOT / "src" / "camcli"
    files = {path.relative_to(packaged.parent).as_posix() for path in packaged.rglob("*") if path.is_file()}
    with ZipFile(wheel) as archive:
        held = set(archive.namelist())
    beside = held - files
    assert {name for name in files if "__pycache__" not in name} <= held
    assert beside == {
        f"camcli-{__version__}.data/data/share/man/man1/camcli.1",
        *(
            f"camcli-{__version__}.dist-info/{name}"
            for name in (
                *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
                "licenses/src/camcli/drawing/fonts/LICENSE_DEJAVU",
            )
        ),
    }


def test_the_description_has_no_links_that_only_the_repository_follows(wheel: Path) -> None:
    told = metadata(wheel)
    assert told["Description-Content-Type"] == "text/markdown"
    description = str(told.get_payload())
    assert [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("http")] == []
    assert "*picture: Grad-CAM of tiger cat*" in description
    assert "[Selvaraju et al., arXiv:1610.02391](https://arxiv.org/abs/1610.02391)" in description
    assert "| Python, a notebook |" in description


def test_the_source_distribution_has_what_the_description_names(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = set(archive.getnames())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert f"camcli-{__version__}/{link}" in held, link


def test_the_installed_wheel_explains_a_picture_and_writes_a_page(wheel: Path, tmp_path: Path) -> None:
    """The libraries are those of the tests; camcli is the wheel's, not the checkout's."""
    target = tmp_path / "installed"
    installed = python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    assert installed.returncode == 0, installed.stderr
    shutil.copy(SAMPLES / "espresso.jpg", tmp_path)

    def camcli(*arguments: str) -> subprocess.CompletedProcess[str]:
        return python(target / "bin" / "camcli", *arguments, PYTHONPATH=str(target))

    assert camcli("--version").stdout == f"camcli {__version__}\n"
    where = python("-c", "import camcli; print(camcli.__file__)", PYTHONPATH=str(target))
    assert Path(where.stdout.strip()).is_relative_to(target)
    done = camcli("explain", "espresso.jpg", "-o", "out", "--save", "panel", "--json", "--report", "page.html")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["top"][0]["label"] == "espresso"
    assert (tmp_path / "out" / "espresso.jpg.grad-cam.967-espresso.panel.jpg").is_file()
    assert "<script" in (tmp_path / "page.html").read_text(encoding="utf-8")
    manual = target / "share" / "man" / "man1" / "camcli.1"
    assert manual.read_bytes() == (ROOT / "docs" / "camcli.1").read_bytes()
    assert (target / "camcli" / "py.typed").is_file()
