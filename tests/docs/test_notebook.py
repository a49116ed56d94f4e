"""The notebook runs from its first cell to its last, and each answer shows itself as it should."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from shell import ROOT, SAMPLES

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def outputs(cells: list[Any], code: str) -> list[Any]:
    """What the one cell that holds this code has shown."""
    (cell,) = [cell for cell in cells if cell.cell_type == "code" and code in cell.source]
    held: list[Any] = cell.outputs
    return held


def test_no_output_is_kept() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []


@pytest.mark.exhaustive
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # the old folders' warning
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shutil.copytree(SAMPLES, tmp_path / "sample_images")
    (tmp_path / "docs").mkdir()
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in shown if output.get("name") == "stderr"] == []

    # An answer: HTML, the same overlay as PNG, a line of text.
    (answer,) = outputs(book.cells, 'explain("../sample_images/cat_and_espresso.jpg")')
    assert {"text/html", "image/png", "text/plain"} <= answer.data.keys()
    assert answer.data["text/html"].count("<img ") == 2
    assert "<b><bdi>967 espresso</bdi></b>" in answer.data["text/html"]
    with Image.open(io.BytesIO(base64.b64decode(answer.data["image/png"]))) as png:
        assert max(png.size) == 480
    assert "967 espresso" in answer.data["text/plain"]
    # Two classes, five methods, a folder: one picture each, beside the photo.
    assert outputs(book.cells, '"Egyptian cat"]')[0].data["text/html"].count("<img ") == 3
    (methods,) = outputs(book.cells, '"layer-cam"')
    assert methods.data["text/html"].count("<img ") == 6
    assert "eigen-cam never looks at the class" in methods.data["text/html"]
    bar, folder = outputs(book.cells, "answers = ")
    assert bar.data["text/html"].startswith("<progress max='7' value='7'></progress> 7 of 7 pictures, ")
    assert folder.data["text/html"].count("<img ") == 7
    # Half of the photo is the cup: what the text says of the numbers is so.
    (said,) = outputs(book.cells, "map_at_size.shape")
    assert said.text.startswith("(7, 7) (640, 640) ")
    assert int(said.text.rpartition("\n")[0].rpartition("\n")[2].partition("%")[0]) > 70
    # Pictures and files.
    assert outputs(book.cells, "answer.overlay(")[0].data.keys() >= {"image/png"}
    for name in ("espresso.png", "espresso.json", "report.html"):
        assert (tmp_path / "docs" / name).stat().st_size > 1000
