"""A page -> pixels."""

from __future__ import annotations

import io

from camcli.drawing import lettering
from camcli.drawing.figures.elements import BLACK, Part, Typeface

JPEG_QUALITY = 92
_KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def encoded(page: Part, kind: str, face: Typeface, scale: float, dpi: int | None) -> bytes:
    """A PNG, JPEG or WebP of the page, `scale` pixels for each of its units; it says `dpi`, if there is one."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (round(page.width * scale), round(page.height * scale)), "white")
    draw = ImageDraw.Draw(canvas)
    for picture in page.pictures:
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        drawn = Image.fromarray(picture.pixels)
        canvas.paste(drawn.resize(size) if drawn.size != size else drawn, _place(picture.x, picture.y, scale))
    for border in page.borders:
        left, top = _place(border.x, border.y, scale)
        right, bottom = _place(border.x + border.width, border.y + border.height, scale)
        around = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        draw.line(around, fill=BLACK, width=max(1, round(border.line * scale)))
    for text in page.texts:
        letters = lettering.font(text.words, text.size * scale, face.file)
        letters.write(draw, (text.x * scale, text.y * scale), text.words, text.colour, "ls")
    buffer = io.BytesIO()
    said = {} if dpi is None else {"dpi": (dpi, dpi)}
    canvas.save(buffer, _KINDS[kind], quality=JPEG_QUALITY, **({"subsampling": 0} if kind == "jpg" else {}), **said)
    return buffer.getvalue()


def _place(x: float, y: float, scale: float) -> tuple[int, int]:
    return round(x * scale), round(y * scale)
