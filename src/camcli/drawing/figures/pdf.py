"""Pages -> PDF: text stays text, in fonts that are embedded. The same pages give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from camcli.drawing import lettering
from camcli.drawing.figures.elements import Border, Part, Picture, Text, Typeface
from camcli.errors import SetupError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

_POINTS = 72.0
# TrueType stays TrueType: journals refuse Matplotlib's usual Type 3.
_TRUETYPE = 42


def check() -> None:
    """Raises: SetupError: what writes PDFs is not installed."""
    if find_spec("matplotlib") is None:
        raise SetupError("a PDF needs Matplotlib: `pip install camcli[figure]`; .svg goes without")


def encoded(pages: Sequence[Part], face: Typeface) -> bytes:
    """The pages, whose units are points, as a PDF. Raises: SetupError: as `check`."""
    check()
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    nobody = {"CreationDate": None, "Creator": "camcli", "Producer": None}
    with catch_warnings(), rc_context(_settings()), PdfPages(buffer, metadata=nobody) as file:
        simplefilter("ignore")  # a joiner of letters may have no glyph of its own
        for page in pages:
            figure = Figure(figsize=(page.width / _POINTS, page.height / _POINTS), dpi=_POINTS, facecolor="white")
            for picture in page.pictures:
                _picture(figure, page, picture)
            for border in page.borders:
                _border(figure, page, border)
            for text in page.texts:
                _text(figure, page, text, face)
            file.savefig(figure, facecolor="white")
    return buffer.getvalue()


def _settings() -> dict[Any, Any]:
    """Matplotlib's own, but for the fonts: a `matplotlibrc` of the user's, or of the folder's, would turn pictures
    upside down."""
    from matplotlib import rcParamsDefault

    own = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}
    return own | {"pdf.fonttype": _TRUETYPE}


def _place(page: Part, one: Picture | Border) -> tuple[float, float, float, float]:
    """Its place in shares of the page, y upwards."""
    return (
        one.x / page.width,
        1 - (one.y + one.height) / page.height,
        one.width / page.width,
        one.height / page.height,
    )


def _picture(figure: Figure, page: Part, picture: Picture) -> None:
    axes = figure.add_axes(_place(page, picture))
    axes.set_axis_off()
    axes.imshow(picture.pixels, aspect="auto", interpolation="none", origin="upper")


def _border(figure: Figure, page: Part, border: Border) -> None:
    from matplotlib.patches import Rectangle

    x, y, width, height = _place(page, border)
    figure.add_artist(Rectangle((x, y), width, height, fill=False, linewidth=border.line, transform=figure.transFigure))


def _text(figure: Figure, page: Part, text: Text, face: Typeface) -> None:
    """Each run of letters that one font has, at its place."""
    from matplotlib.font_manager import FontPath, FontProperties

    x = text.x - face.length(text.words, text.size) * {"l": 0.0, "m": 0.5, "r": 1.0}[text.anchor]
    colour = [part / 255 for part in text.colour]
    for words, (file, index) in lettering.font(text.words, text.size, face.file).parts(text.words):
        font = FontProperties(fname=FontPath(file, index), size=text.size)
        place = x, page.height - text.y
        if _has_outlines_of_postscript(file, index):
            _outlines(figure, words, font, place, colour)
        else:
            share = place[0] / page.width, place[1] / page.height
            figure.text(*share, words, fontproperties=font, color=colour, parse_math=False)
        x += face.length(words, text.size)


def _outlines(
    figure: Figure, words: str, font: FontProperties, place: tuple[float, float], colour: Sequence[float]
) -> None:
    """The letters as shapes: Matplotlib would embed such a font as the TrueType that it is not."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Shape
    from matplotlib.textpath import text_to_path
    from matplotlib.transforms import Affine2D

    size = font.get_size_in_points() / text_to_path.FONT_SCALE
    inches = Affine2D().scale(size).translate(*place).scale(1 / _POINTS) + figure.dpi_scale_trans
    points, codes = text_to_path.get_text_path(font, words)
    figure.add_artist(PathPatch(Shape(points, codes), facecolor=colour, linewidth=0, transform=inches))


@cache
def _has_outlines_of_postscript(file: str, index: int) -> bool:
    """True of an OpenType font that is not TrueType, such as .otf files and Noto's Chinese, Japanese and Korean."""
    with Path(file).open("rb") as font:
        start = font.read(4)
        if start == b"ttcf":
            font.seek(12 + 4 * index)
            font.seek(int.from_bytes(font.read(4), "big"))
            start = font.read(4)
    return start == b"OTTO"
