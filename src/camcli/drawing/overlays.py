"""Raw values -> uint8 pictures the size of the original.

RGB uint8 (H, W, 3), or RGBA, transparent where the network did not look. OpenCV's BGR stays inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camcli.drawing import predictions
from camcli.entries import Box
from camcli.maps import moments, scaling
from camcli.maps.spreading import cover, is_whole, spread
from camcli.records import Attribution, Frame

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Written across an answer that random weights don't change.
STAMP = "fails the sanity check"
# Brightness of the parts that the network never saw.
DIMMED = 0.4
# A map with a longer side than this is coloured before it has its full size.
_COLOUR_SIDE = 1024

Pixels = NDArray[np.uint8]
Font: TypeAlias = "ImageFont | FreeTypeFont"


@dataclass(frozen=True, slots=True)
class Style:
    """The way from values to colours. `top` is the raw value at the end of the scale; None: each answer's own
    `scaling.top_of`."""

    colormap: str = "turbo"
    opacity: float = 0.5
    top: float | None = None
    max_side: int | None = None


def overlay(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The map blended over (or the saliency put in place of) its part of the photo; the rest dimmed. (H, W, 3).

    Of a clip the frame that holds the largest value is shown, here and below."""
    import cv2

    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, box = _shrunk(frame, attribution.box or box, style)
    place, cut = _visible(box, photo)
    picture = np.empty_like(photo)
    for beside in _beside(place):
        if picture[beside].size:
            cv2.convertScaleAbs(photo[beside], picture[beside], alpha=DIMMED)
    if not attribution.values.any():
        picture[place] = photo[place]
        return _with_entry(picture, frame, attribution)
    painted = _painted(attribution, box, style)[cut]
    if attribution.kind == "map":
        cv2.addWeighted(painted, style.opacity, photo[place], 1.0 - style.opacity, 0.0, picture[place])
    else:
        picture[place] = painted
    picture = _with_entry(picture, frame, attribution)
    return _stamped(picture, STAMP) if attribution.unchanged_by else picture


def _with_entry(picture: Pixels, frame: Frame, attribution: Attribution) -> Pixels:
    """The picture with the place of what is explained drawn on it, if it has one."""
    entry = attribution.target.entry
    if entry is None or entry.where is None:
        return picture
    return predictions.drawn(picture, entry, (picture.shape[1] / frame.size[0], picture.shape[0] / frame.size[1]))


def photo(frame: Frame, style: Style) -> Pixels:
    """The photo alone, (H, W, 3); of a clip its first frame."""
    still = frame if frame.frames is None else frame.still(0)
    return _shrunk(still, (0, 0, *frame.size), style)[0]


def _at_peak(frame: Frame, attribution: Attribution, style: Style) -> tuple[Frame, Attribution, Style]:
    """A clip's frame that holds the largest value, its answer and the clip's scale; a picture as it is."""
    if frame.frames is None:
        return frame, attribution, style
    peak = moments.peak_frame(attribution, frame.frames)
    still = moments.at_frame(attribution, peak, frame.frames)
    return frame.still(peak), still, on_one_scale(attribution, style)


def on_one_scale(attribution: Attribution, style: Style) -> Style:
    """The style with one end of the scale for all of an answer, such as a clip's, if it has none of its own."""
    top = style.top if style.top is not None else scaling.top_of(attribution.values, attribution.kind)
    return replace(style, top=top)


def heatmap(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The coloured map or the centred grey saliency alone, (H, W, 4), transparent where the network did not look."""
    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, box = _shrunk(frame, attribution.box or box, style)
    place, cut = _visible(box, photo)
    picture = np.zeros((*photo.shape[:2], 4), dtype=np.uint8)
    picture[place][..., :3] = _painted(attribution, box, style)[cut]
    picture[place][..., 3] = 255
    return picture


def panel(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The photo and its overlay side by side over a caption: class, probability, method, layer."""
    from PIL import Image, ImageDraw

    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, _ = _shrunk(frame, box, style)
    pair = np.concatenate([photo, overlay(frame, box, attribution, style)], axis=1)
    height, width = pair.shape[:2]
    text = caption(attribution)
    font = _font(text, width)
    margin = font.getbbox("Ag")[3]
    canvas_width = max(width, round(font.getlength(text)) + margin)
    canvas = Image.new("RGB", (canvas_width, height + 2 * round(margin)), "white")
    canvas.paste(Image.fromarray(pair), ((canvas_width - width) // 2, 0))
    ImageDraw.Draw(canvas).text((canvas_width / 2, height + margin), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)


def caption(attribution: Attribution) -> str:
    """One line: id and name, probability, method, layer, and the note, such as why it is blank."""
    parts = (about(attribution), attribution.method, attribution.layer, attribution.note)
    return "  ·  ".join(part for part in parts if part)


def about(attribution: Attribution) -> str:
    """The id and name of what is explained, and its probability."""
    target = attribution.target
    probability = target.entry.probability if target.entry and not target.minus else None
    value = f"p = {probability:.3f}" if probability is not None else f"{target.quantity} = {target.value:.3f}"
    return f"{target.name}  ·  {value}"


def _painted(attribution: Attribution, box: Box, style: Style) -> Pixels:
    """Colours over all pixels that the box touches, bilinear (align_corners=False), (height, width, 3)."""
    import cv2

    x0, y0, x1, y1 = cover(box)
    size = x1 - x0, y1 - y0
    top = style.top if style.top is not None else scaling.top_of(attribution.values, attribution.kind)
    shares = scaling.scaled(attribution.values, top)
    if attribution.kind == "saliency":
        if len(shares) != 3:  # grey, or an array's bands: the strongest of each place
            strongest = np.abs(shares).argmax(0)[None]
            shares = np.take_along_axis(shares, strongest, 0).repeat(3, axis=0)
        grey = np.rint(np.clip(shares, -1, 1) * 127.5 + 127.5).astype(np.uint8).transpose(1, 2, 0)
        return _fine(grey, box)
    levels = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    if is_whole(box) and max(size) > _COLOUR_SIDE and max(levels.shape) < _COLOUR_SIDE / 4:
        # Neighbours differ by less than a level there: colours may be interpolated as well as levels.
        shrink = _COLOUR_SIDE / max(size)
        small = 0, 0, max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))
        coloured = _coloured(_fine(levels, small), style)
        return np.asarray(cv2.resize(coloured, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return _coloured(_fine(levels, box), style)


def _fine(levels: Pixels, box: Box) -> Pixels:
    """Levels (h, w) or (h, w, C) at the pixels that the box touches."""
    if is_whole(box):
        return np.asarray(spread(levels, box), dtype=np.uint8)
    return np.asarray(np.rint(spread(levels.astype(np.float32), box)), dtype=np.uint8)


def _coloured(fine: Pixels, style: Style) -> Pixels:
    """Levels (H, W) in colour."""
    import cv2

    if style.colormap == "gray":
        return np.asarray(cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    # Four bytes at a time: twice as fast as OpenCV's own lookup and a swap of channels.
    padded = np.take(_colours(style.colormap), fine).view(np.uint8).reshape(*fine.shape, 4)
    return np.asarray(cv2.cvtColor(padded, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def colour_bytes(colormap: str) -> bytes:
    """The colours of the 256 levels, R, G and B in turn."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return _coloured(levels, Style(colormap)).tobytes()


@cache
def _colours(colormap: str) -> NDArray[np.uint32]:
    """The colour of each level, RGB and a byte of padding in one number, (256,)."""
    import cv2

    levels = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{colormap.upper()}"))
    return np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA)).view(np.uint32).ravel()


def _beside(place: tuple[slice, slice]) -> Iterator[tuple[slice, slice]]:
    """The parts of a picture above, below, left and right of a place."""
    rows, columns = place
    yield slice(None, rows.start), slice(None)
    yield slice(rows.stop, None), slice(None)
    yield rows, slice(None, columns.start)
    yield rows, slice(columns.stop, None)


def _visible(box: Box, photo: Pixels) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The box's place in the photo, and the part of the painted box that lies there."""
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = cover(box)
    left, top, right, bottom = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    return (
        (slice(top, bottom), slice(left, right)),
        (slice(top - y0, bottom - y0), slice(left - x0, right - x0)),
    )


def _shrunk(frame: Frame, box: Box, style: Style) -> tuple[Pixels, Box]:
    width, height = frame.size
    scale = min(1.0, style.max_side / max(width, height)) if style.max_side is not None else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (frame.rgb.shape[1], frame.rgb.shape[0]):
        photo = frame.rgb
    else:
        import cv2

        photo = np.asarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if size == (width, height):
        return photo, box
    scale_x, scale_y = size[0] / width, size[1] / height
    if not is_whole(box):
        return photo, (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
    x0, y0 = round(box[0] * scale_x), round(box[1] * scale_y)
    x1, y1 = max(x0 + 1, round(box[2] * scale_x)), max(y0 + 1, round(box[3] * scale_y))
    return photo, (x0, y0, x1, y1)


def _stamped(picture: Pixels, text: str) -> Pixels:
    """The picture with the text in a red bar across its foot."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    font = _font(text, canvas.width)
    height = round(1.6 * font.getbbox("Ag")[3])
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, canvas.height - height, canvas.width, canvas.height), fill=(190, 0, 0))
    draw.text((canvas.width / 2, canvas.height - height / 2), text, fill="white", font=font, anchor="mm")
    return np.asarray(canvas)


def _font(text: str, width: int) -> Font:
    """Pillow's own font, as large as fits the caption into the width, but legible."""
    from PIL import ImageFont

    size = max(10.0, min(width / 40, 48.0))
    font = ImageFont.load_default(size)
    while size > 10 and font.getlength(text) > width - 8:
        size -= 1
        font = ImageFont.load_default(size)
    return font
