"""Raw values -> uint8 pictures the size of the original.

RGB uint8 (H, W, 3), or RGBA, transparent where the network did not look. OpenCV's BGR stays inside.

Three looks: graded, in which the opacity grows with the value, so that the photo stays what it is where the network did
not look, and a tint means a value; classic, one opacity for all of the map, as in the literature; and print, grey ink
on a pale photo, in which darkness alone tells the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from camcli.drawing import captions, colours, lettering, marks, predictions
from camcli.drawing.colours import Pixels
from camcli.drawing.lettering import SEPARATOR
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.maps import moments, scaling
from camcli.maps.spreading import cover, is_whole, spread
from camcli.records import Attribution, Frame

# Written across an answer that random weights don't change.
STAMP = "fails the sanity check"
# A picture with no longer side than this is enlarged square by square.
_TINY = 64
# So many rows are blended at once: they stay in the processor's cache.
_ROWS = 64

Place = tuple[slice, slice]


def overlay(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The map blended over (or the saliency put in place of) its part of the photo; the rest dimmed. (H, W, 3).

    Of a clip the frame that holds the largest value is shown, here and below."""
    import cv2

    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, box = _sized(frame, attribution.box or box, style)
    place, cut = _visible(box, photo)
    if style.printed:
        photo = colours.pale(photo)
    picture = np.empty_like(photo)
    for beside in _beside(place):
        if picture[beside].size:
            cv2.convertScaleAbs(photo[beside], picture[beside], alpha=style.brightness)
    if not attribution.values.any():
        picture[place] = photo[place]
    elif attribution.kind == "saliency":
        picture[place] = _painted(attribution, box, style)[cut]
    elif style.graded:
        levels = _levels(attribution, style)
        _tint(photo[place], _fine(levels, box)[cut], style, picture[place])
        if not _outlined(attribution):
            marks.contours(picture, place, levels, box, style.shares, style.line)
    else:
        painted = _painted(attribution, box, style)[cut]
        cv2.addWeighted(painted, style.opacity, photo[place], 1.0 - style.opacity, 0.0, picture[place])
    if style.printed:
        marks.hatched(picture, place, style.line)
    elif style.graded:
        marks.outline(picture, place, style.line)
    return _with_words(picture, frame, attribution, style)


def _tint(photo: Pixels, fine: Pixels, style: Style, picture: Pixels) -> None:
    """Writes the photo (H, W, 3) under the colours of levels (H, W), the opaquer the higher, to the picture."""
    import cv2

    faded = colours.faded(style.colormap, style.opacity)
    for top in range(0, len(photo), _ROWS):
        rows = slice(top, top + _ROWS)
        left = cv2.cvtColor(cv2.convertScaleAbs(fine[rows], alpha=-style.opacity, beta=255), cv2.COLOR_GRAY2RGB)
        cv2.multiply(photo[rows], left, left, scale=1 / 255)
        cv2.add(cv2.applyColorMap(fine[rows], faded), left, picture[rows])


def _outlined(attribution: Attribution) -> bool:
    """True if the region that is explained will have a line around it: a second one would be taken for it."""
    entry = attribution.target.entry
    return entry is not None and entry.where is not None and entry.where.region is not None


def _with_words(picture: Pixels, frame: Frame, attribution: Attribution, style: Style) -> Pixels:
    """The picture with the place of what is explained drawn on it, if it has one, the scale, and a stamp."""
    entry = attribution.target.entry
    if entry is not None and entry.where is not None:
        scale = picture.shape[1] / frame.size[0], picture.shape[0] / frame.size[1]
        picture = predictions.drawn(picture, entry, scale, style.font, style.line)
    if not attribution.values.any():
        return picture
    if style.legend:
        top = style.top_of(attribution)
        low = -top if attribution.kind == "saliency" else 0.0
        picture = marks.legend(
            picture, colours.scale_of(attribution.kind, style), (f"{low:.3g}", f"{top:.3g}"), style.font
        )
    return _stamped(picture, STAMP, style.font) if attribution.unchanged_by else picture


def photo(frame: Frame, style: Style) -> Pixels:
    """The photo alone, (H, W, 3); of a clip its first frame."""
    still = frame if frame.frames is None else frame.still(0)
    photo = _sized(still, (0, 0, *frame.size), style)[0]
    return colours.grey(photo) if style.printed else photo


def reduced(frame: Frame, side: int) -> Frame:
    """The frame with no more pixels than pictures of that longer side need; a clip as it is."""
    longer = max(frame.rgb.shape[:2])
    if frame.frames is not None or longer <= side:
        return frame
    size = _scaled(frame.size, side / max(frame.size))
    return replace(frame, rgb=_resized(frame.rgb, size), bands=None, full_size=frame.size)


def is_cropped(frame: Frame, box: Box) -> bool:
    """True if the network did not see all of the picture."""
    width, height = frame.size
    return box[0] > 0 or box[1] > 0 or box[2] < width or box[3] < height


def _at_peak(frame: Frame, attribution: Attribution, style: Style) -> tuple[Frame, Attribution, Style]:
    """A clip's frame that holds the largest value, its answer and the clip's scale; a picture as it is."""
    if frame.frames is None:
        return frame, attribution, style
    peak = moments.peak_frame(attribution, frame.frames)
    still = moments.at_frame(attribution, peak, frame.frames)
    return frame.still(peak), still, on_one_scale(attribution, style)


def on_one_scale(attribution: Attribution, style: Style) -> Style:
    """The style with one end of the scale for all of an answer, such as a clip's, if it has none of its own."""
    return replace(style, top=style.top_of(attribution))


def heatmap(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The coloured map or the centred grey saliency alone, (H, W, 4), transparent where the network did not look."""
    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, box = _sized(frame, attribution.box or box, style)
    place, cut = _visible(box, photo)
    picture = np.zeros((*photo.shape[:2], 4), dtype=np.uint8)
    picture[place][..., :3] = _painted(attribution, box, style)[cut]
    picture[place][..., 3] = 255
    return picture


def panel(frame: Frame, box: Box, attribution: Attribution, style: Style, heading: str = "") -> Pixels:
    """The photo and its overlay side by side over a caption: the heading; class, probability, method, layer; that
    something is dimmed, if it is."""
    from PIL import Image, ImageDraw

    frame, attribution, style = _at_peak(frame, attribution, style)
    photo, placed = _sized(frame, attribution.box or box, style)
    shown = colours.grey(photo) if style.printed else photo
    pair = np.concatenate([shown, overlay(frame, box, attribution, style)], axis=1)
    height, width = pair.shape[:2]
    unseen = any(photo[beside].size for beside in _beside(_visible(placed, photo)[0]))
    below = SEPARATOR.join(filter(None, (captions.caption(attribution), style.unseen if unseen else "")))
    lines, letters = lettering.fitted([line for line in (heading, below) if line], width - 8, style.font)
    high = round(1.5 * letters.size)
    across = max(width, *(round(letters.length(line)) + 8 for line in lines))
    canvas = Image.new("RGB", (across, height + high * len(lines) + high // 2), "white")
    canvas.paste(Image.fromarray(pair), ((across - width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        letters.write(draw, (across / 2, height + high * (number + 0.75)), line, "black", "mm")
    return np.asarray(canvas)


def _painted(attribution: Attribution, box: Box, style: Style) -> Pixels:
    """Colours over all pixels that the box touches, bilinear (align_corners=False), (height, width, 3)."""
    if attribution.kind == "saliency":
        shares = scaling.scaled(attribution.values, style.top_of(attribution))
        if len(shares) != 3 or style.printed:  # grey, or an array's bands: the strongest of each place
            strongest = np.abs(shares).argmax(0)[None]
            shares = np.take_along_axis(shares, strongest, 0).repeat(3, axis=0)
        grey = np.rint(np.clip(shares, -1, 1) * 127.5 + 127.5).astype(np.uint8).transpose(1, 2, 0)
        return _fine(grey, box)
    return colours.coloured(_fine(_levels(attribution, style), box), style)


def _levels(attribution: Attribution, style: Style) -> Pixels:
    """A map's values as 0 to 255 at the end of the scale, (h, w)."""
    shares = scaling.scaled(attribution.values, style.top_of(attribution))
    return np.asarray(np.rint(np.clip(shares, 0, 1) * 255), dtype=np.uint8)


def _fine(levels: Pixels, box: Box) -> Pixels:
    """Levels (h, w) or (h, w, C) at the pixels that the box touches."""
    if is_whole(box):
        return np.asarray(spread(levels, box), dtype=np.uint8)
    return np.asarray(np.rint(spread(levels.astype(np.float32), box)), dtype=np.uint8)


def _beside(place: Place) -> Iterator[Place]:
    """The parts of a picture above, below, left and right of a place."""
    rows, columns = place
    yield slice(None, rows.start), slice(None)
    yield slice(rows.stop, None), slice(None)
    yield rows, slice(None, columns.start)
    yield rows, slice(columns.stop, None)


def _visible(box: Box, photo: Pixels) -> tuple[Place, Place]:
    """The box's place in the photo, and the part of the painted box that lies there."""
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = cover(box)
    left, top, right, bottom = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
    return (
        (slice(top, bottom), slice(left, right)),
        (slice(top - y0, bottom - y0), slice(left - x0, right - x0)),
    )


def _sized(frame: Frame, box: Box, style: Style) -> tuple[Pixels, Box]:
    width, height = frame.size
    longer = max(width, height)
    scale = max(min(1.0, (style.max_side or longer) / longer), style.min_side / longer)
    size = _scaled((width, height), scale)
    photo = _resized(frame.rgb, size)
    if size == (width, height):
        return photo, box
    scale_x, scale_y = size[0] / width, size[1] / height
    if not is_whole(box):
        return photo, (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
    x0, y0 = round(box[0] * scale_x), round(box[1] * scale_y)
    x1, y1 = max(x0 + 1, round(box[2] * scale_x)), max(y0 + 1, round(box[3] * scale_y))
    return photo, (x0, y0, x1, y1)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = size
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(rgb: Pixels, size: tuple[int, int]) -> Pixels:
    """The pixels at (width, height). Those of a tiny picture stay squares: they are what it is about."""
    import cv2

    height, width = rgb.shape[:2]
    if size == (width, height):
        return rgb
    enlarged = cv2.INTER_NEAREST if max(width, height) <= _TINY else cv2.INTER_CUBIC
    way = enlarged if size[0] > width else cv2.INTER_AREA
    return np.asarray(cv2.resize(rgb, size, interpolation=way), dtype=np.uint8)


def _stamped(picture: Pixels, text: str, file: str | None) -> Pixels:
    """The picture with the text in a red bar across its foot."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    _, letters = lettering.fitted([text], canvas.width - 8, file)
    height = round(1.4 * letters.height)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, canvas.height - height, canvas.width, canvas.height), fill=(190, 0, 0))
    letters.write(draw, (canvas.width / 2, canvas.height - height / 2), text, "white", "mm")
    return np.asarray(canvas)
