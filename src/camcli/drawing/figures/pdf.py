"""Pages -> PDF: text stays text, in fonts that are embedded. The same pages give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from camcli.drawing import lettering
from camcli.drawing.figures.elements import Border, Part, Picture, Text, Typeface
from camcli.errors import SetupError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 72.0
# TrueType stays TrueType: journals refuse Matplotlib's usual Type 3. A user's settings must not change the page.
_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "pdf.use14corefonts": False,
    "text.usetex": False,
    "savefig.bbox": None,
}


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
    with rc_context(_SETTINGS), catch_warnings(), PdfPages(buffer, metadata=nobody) as file:
        simplefilter("ignore")  # a character that no font has gets the first one's mark for it, as in other pictures
        for page in pages:
            figure = Figure(figsize=(page.width / _POINTS, page.height / _POINTS), dpi=_POINTS, facecolor="white")
            for picture in page.pictures:
                _picture(figure, page, picture)
            for border in page.borders:
                _border(figure, page, border)
            for text in page.texts:
                _text(figure, page, text, face)
            file.savefig(figure)
    return buffer.getvalue()


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
    axes.imshow(picture.pixels, aspect="auto", interpolation="none")


def _border(figure: Figure, page: Part, border: Border) -> None:
    from matplotlib.patches import Rectangle

    x, y, width, height = _place(page, border)
    figure.add_artist(Rectangle((x, y), width, height, fill=False, linewidth=border.line, transform=figure.transFigure))


def _text(figure: Figure, page: Part, text: Text, face: Typeface) -> None:
    """Each run of letters that one font has, at its place."""
    from matplotlib.font_manager import FontProperties

    x = text.x - face.length(text.words, text.size) * {"l": 0.0, "m": 0.5, "r": 1.0}[text.anchor]
    letters = lettering.font(text.words, text.size, face.file)
    for words, (file, index) in letters.parts(text.words):
        figure.text(
            x / page.width,
            1 - text.y / page.height,
            words,
            fontproperties=FontProperties(fname=_named(file, index), size=text.size),
            color=[part / 255 for part in text.colour],
            va="baseline",
            parse_math=False,
        )
        x += face.length(words, text.size)


def _named(file: str, index: int) -> str:
    """A font as Matplotlib takes it; one of several in a file from 3.11 on, before that the first one."""
    if index == 0:
        return file
    from matplotlib import font_manager

    named: str = font_manager.FontPath(file, index) if hasattr(font_manager, "FontPath") else file
    return named
