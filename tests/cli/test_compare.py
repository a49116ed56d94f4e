"""`camcli compare` from the shell: its files, their formats and sizes, pages, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from shell import refused, run

from camcli.drawing import lettering
from camcli.drawing.figures import pdf

Picture = Callable[..., Path]
TINY = """
from torch import nn
def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""
NET = ("-m", "tiny.py:tiny", "-M", "grad-cam", "-M", "cam", "--resize", "32", "--crop", "32")


@pytest.fixture(autouse=True)
def _tiny(picture: Picture, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("tiny.py").write_text(TINY)
    for name in ("a", "b"):
        picture(f"photos/{name}.png", (80, 60))


def test_the_format_is_that_of_the_ending_or_the_one_that_is_named() -> None:
    starts = {"png": b"\x89PNG", "jpg": b"\xff\xd8", "webp": b"RIFF", "svg": b"<svg", "pdf": b"%PDF"}
    for format, start in starts.items():
        for file, given in ((f"by-ending.{format}", ()), (f"compare.{format}", ("--format", format))):
            named = () if given else ("-o", file)
            outcome = run("compare", "photos/a.png", *NET, *named, *given)
            assert outcome.code == 0, outcome.err
            assert Path(file).read_bytes().startswith(start)
            assert outcome.err.splitlines()[-1] == f"camcli: 3 pictures in {file}"


@pytest.mark.exhaustive
def test_pages_are_named_and_counted(picture: Picture) -> None:
    for number in range(9):
        picture(f"many/{number}.png", (60, 60))
    for format in ("svg", "pdf"):
        outcome = run("compare", "many", *NET, "-o", f"fig.{format}", "--width", "page")
        files = ["fig.svg", "fig-2.svg", "fig-3.svg"] if format == "svg" else ["fig.pdf"]
        assert outcome.err.splitlines()[-1] == f"camcli: 27 pictures on 3 pages: {', '.join(files)}"
        assert sorted(path.name for path in Path().glob(f"fig*.{format}")) == sorted(files)


def test_pictures_are_counted_whatever_their_shape(picture: Picture) -> None:
    """Issue: one that is a row of pixels high on the sheet was taken for a colour bar."""
    picture("long.png", (6000, 30))
    for format in ("png", "svg", "pdf"):
        sized = ("--max-side", "100") if format == "png" else ()
        assert f"3 pictures in a.{format}" in run("compare", "long.png", *NET, "-o", f"a.{format}", *sized).err


def test_letters_that_no_font_has_are_told_once(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_of_system", lambda character: ())
    picture("猫.png", (40, 40))
    for format, times in (("png", 1), ("pdf", 1), ("svg", 0)):  # whoever opens the SVG may have a font for it
        said = run("compare", "猫.png", *NET, "-o", f"a.{format}").err
        assert said.count("no font here has 猫: --font FILE names one that does") == times


def test_an_svg_says_that_it_holds_no_font() -> None:
    font = Path(lettering.__file__).parent / "fonts" / "DejaVuSans.ttf"
    said = run("compare", "photos/a.png", *NET, "-o", "a.svg", "--font", font).err
    assert "the .svg names the font 'DejaVu Sans' and holds none: it must be installed" in said
    assert "font-family=\"'DejaVu Sans', Arial" in Path("a.svg").read_text()


@pytest.mark.parametrize(("width", "millimetres"), [("column", 89), ("page", 183), ("84.5", 84.5)])
def test_the_width_is_that_of_the_paper(width: str, millimetres: float) -> None:
    assert run("compare", "photos/a.png", *NET, "--width", width, "-o", "a.svg").code == 0
    root = ElementTree.fromstring(Path("a.svg").read_text())
    assert float(root.attrib["width"].removesuffix("pt")) / 72 * 25.4 == pytest.approx(millimetres, abs=0.01)
    assert run("compare", "photos/a.png", *NET, "--width", width, "--dpi", 150, "-o", "a.png").code == 0
    with Image.open("a.png") as picture:
        assert picture.width == round(millimetres / 25.4 * 150)


def test_small_pictures_are_enlarged_to_the_side_that_is_asked_for() -> None:
    assert run("compare", "photos/a.png", *NET, "--max-side", 300, "-o", "a.png").code == 0
    with Image.open("a.png") as picture:
        assert picture.width > 3 * 300


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-o", "a.txt"), "-o a.txt: the sheet is a .png, .jpg, .webp, .svg, .pdf file"),
        (("-o", "-"), "-o -: the sheet is a"),
        (("-o", "-", "--format", "pdf"), "-o -: the sheet is a"),
        (("-o", "a.svg", "--format", "pdf"), "-o a.svg and --format pdf say two formats"),
        (("--format", "eps"), "--format 'eps' is none of png, jpg, webp, svg, pdf"),
        (("--width", "wide"), "--width 'wide': column, page, or millimetres from 30 to 1200"),
        (("--width", "nan"), "--width 'nan': column"),
        (("--width", "5"), "--width '5': column"),
        (("--width", "page", "--max-side", "100"), "--max-side is in pixels"),
        (("-o", "a.pdf", "--max-side", "100"), "--max-side is in pixels"),
        (("--dpi", "300"), "--dpi goes with --width"),
        (("--norm", "fixed"), "--norm fixed and --norm-max VALUE go together"),
        (("--norm", "all"), "--norm 'all' is none of image, run, fixed"),
        (("--norm", "fixed", "--norm-max", "-1"), "--norm-max must be above 0"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_before_anything_runs(flags: tuple[str, ...], said: str) -> None:
    assert said in refused(2, "compare", "photos/a.png", *NET, *flags)


def test_without_matplotlib_a_pdf_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    assert "pip install camcli[figure]" in refused(3, "compare", "photos/a.png", *NET, "-o", "a.pdf")
    assert run("compare", "photos/a.png", *NET, "-o", "a.svg").code == 0


def test_folders_of_classes_mark_what_is_wrong(picture: Picture) -> None:
    Path("names.txt").write_text("x\ny\nz\n")
    for name in "xyz":
        picture(f"val/{name}/{name}.png", (60, 60))
    outcome = run("compare", "val", *NET, "--labels", "names.txt", "-c", "folder", "-o", "a.svg", "--json")
    assert outcome.code == 0, outcome.err
    shown = "".join(ElementTree.fromstring(Path("a.svg").read_text()).itertext())
    assert sum(row["correct"] for row in outcome.rows) == shown.count("✓ predicted") == 1
    assert shown.count("✗ predicted") == 2


@pytest.mark.exhaustive
def test_matplotlib_is_imported_for_a_pdf_alone() -> None:
    code = """
import sys
from camcli import cli
sys.argv = ["camcli", "compare", "photos/a.png", *sys.argv[1:]]
try:
    cli.main()
except SystemExit:
    pass
print("matplotlib" in sys.modules)
"""
    for file in ("a.png", "a.svg"):
        command = [sys.executable, "-c", code, *NET, "-q", "-o", file]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "False\n", done.stderr
