"""A page -> SVG: text stays text, pictures are embedded. The same page gives the same bytes."""

from __future__ import annotations

import io
from base64 import b64encode
from xml.sax.saxutils import escape, quoteattr

from camcli.drawing import lettering
from camcli.drawing.figures.elements import Border, Part, Picture, Text, Typeface

# What journals ask for comes first: its letters are no wider than the last one's, in which the lines are measured.
_FONTS = "Arial, Helvetica, 'DejaVu Sans', sans-serif"
_JPEG_QUALITY = 95


def encoded(page: Part, face: Typeface, *, printed: bool) -> bytes:
    """The page as SVG; its units are points if it is `printed`, else pixels. It names fonts, and holds none."""
    unit = "pt" if printed else "px"
    width, height = f"{page.width:.2f}", f"{page.height:.2f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}{unit}" height="{height}{unit}" '
        f'viewBox="0 0 {width} {height}" font-family={quoteattr(_fonts(face))}>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *map(_picture, page.pictures),
        *map(_border, page.borders),
        *map(_text, page.texts),
        "</svg>\n",
    ]
    return "\n".join(lines).encode()


def _fonts(face: Typeface) -> str:
    """The names of the fonts, the user's first."""
    if face.file is None:
        return _FONTS
    family = lettering.plain(lettering.family(face.file)).replace("\\", "").replace("'", "")
    return f"'{family}', {_FONTS}"


def _text(text: Text) -> str:
    anchor = {"l": "start", "m": "middle", "r": "end"}[text.anchor]
    colour = "#{:02x}{:02x}{:02x}".format(*text.colour)
    return (
        f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size:.2f}" fill="{colour}" text-anchor="{anchor}" '
        f'xml:space="preserve">{escape(lettering.plain(text.words))}</text>'
    )


def _picture(picture: Picture) -> str:
    place = _place(picture.x, picture.y, picture.width, picture.height)
    return f'<image {place} preserveAspectRatio="none" href={quoteattr(_embedded(picture))}/>'


def _border(border: Border) -> str:
    way = f"M{border.x:.2f} {border.y:.2f}h{border.width:.2f}v{border.height:.2f}h{-border.width:.2f}z"
    return f'<path d="{way}" fill="none" stroke="#000000" stroke-width="{border.line:.2f}"/>'


def _place(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'


def _embedded(picture: Picture) -> str:
    """A colour bar as it is; a photo as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    kind = "png" if picture.kind == "bar" else "jpeg"
    if kind == "png":
        Image.fromarray(picture.pixels).save(buffer, "PNG")
    else:
        Image.fromarray(picture.pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
