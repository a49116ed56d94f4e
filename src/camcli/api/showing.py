"""Answers as HTML, for notebooks: photo, overlays and scores in less than 100 kB, names as text whatever they hold.

A notebook that is not trusted leaves of HTML only plain tags and inline styles: no script, no style sheet, no aria. All
stands in tags that stay, and colours are the notebook's own, dark or light.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from camcli.drawing import captions, overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.styles import Style
from camcli.entries import Entry
from camcli.maps import locating, moments
from camcli.maps.spreading import cover
from camcli.records import Attribution, Explained
from camcli.sinks import schema
from camcli.sinks.encoding import encoded

# The most that is shown: pictures and classes of an answer, answers of a list, characters of a name or a note.
_MOST_PICTURES, _MOST_CLASSES, _MOST_ANSWERS, _MOST_TEXT = 12, 5, 20, 200
# Longer sides of pictures: the first with which all pictures fit into so many bytes, and these and the text into those.
_SIDES = (360, 300, 240, 200, 160, 128, 96, 64, 48)
_MOST_DRAWN, _MOST_BYTES = 64_000, 96_000
_JPEG_QUALITY = 80
_PALE = "opacity:0.7"
_BAR, _TRACK = "#3b82f6", "#80808033"


def of_answer(result: Explained) -> str:
    """One answer: its photo, an overlay for each explanation, the best classes, and the notes."""
    result = _small(result)
    shown = result.attributions[: _MOST_PICTURES - 1]
    width, height = result.frame.size
    head = (
        f"<p style='margin:0 0 6px 0'><b>{_name(result.ref.name)}</b> <span style='{_PALE}'>{width} × {height} · "
        f"{_name(result.model)} ({_name(result.weights)})</span></p>"
    )
    told = [
        (_text(result.ref.name), _of_photo(result)),
        *((_alt(result, one), _of_overlay(result, one)) for one in shown),
    ]
    foot = _scores(result) + "".join(map(_line, _notes(result)))
    return _html(
        head, told, foot, _SIDES, lambda side: [_photo(result, side), *(_overlay(result, one, side) for one in shown)]
    )


def of_answers(results: Sequence[Explained]) -> str:
    """The first answers of a list: each its first overlay, or its photo if nothing is explained, and its best class."""
    shown = [_small(result) for result in results[:_MOST_ANSWERS]]
    told = [
        (
            _alt(result, *result.attributions[:1]),
            f"{_name(Path(result.ref.name).name, 60)}<br><b>{_name(best(result))}</b>",
        )
        for result in shown
    ]
    more = len(results) - len(shown)
    foot = _line(f"And {more} more: camcli.report(answers, 'report.html') makes a page of all.") if more else ""
    return _html("", told, foot, _SIDES[4:], lambda side: [first(result, side) for result in shown])


def _html(
    head: str,
    told: Sequence[tuple[str, str]],
    foot: str,
    sides: Sequence[int],
    draw: Callable[[int], Sequence[Pixels]],
) -> str:
    """Pictures of the largest side that fits, each with what is `told` of it: in words instead of it, and below it."""
    room = min(_MOST_DRAWN, _MOST_BYTES - len("".join([head, foot, *chain(*told)]).encode()))
    made: list[tuple[str, Pixels]] = []
    for side in sides:
        made = [(base64.b64encode(_jpeg(drawn)).decode(), drawn) for drawn in draw(side)]
        if sum(len(text) for text, _ in made) <= room:
            break
    figures = (_figure(text, drawn, *words) for (text, drawn), words in zip(made, told, strict=True))
    return f"<div>{head}{''.join(figures)}{foot}</div>"


def _jpeg(drawn: Pixels) -> bytes:
    return encoded(drawn, ".jpg", _JPEG_QUALITY, whole_colour=False)


def _small(result: Explained) -> Explained:
    """The answer with a photo that is quickly drawn again and again; a clip as it is."""
    frame = result.frame
    if frame.frames is not None:
        return result
    return replace(result, frame=replace(frame, rgb=_photo(result, _SIDES[0]), full_size=frame.size))


def _photo(result: Explained, side: int) -> Pixels:
    return overlays.photo(result.frame, Style(max_side=side))


def _overlay(result: Explained, one: Attribution, side: int) -> Pixels:
    return overlays.overlay(result.frame, result.box, one, Style(max_side=side))


def first(result: Explained, side: int) -> Pixels:
    """The first overlay, or the photo if nothing is explained."""
    return _overlay(result, result.attributions[0], side) if result.attributions else _photo(result, side)


def _figure(text: str, drawn: Pixels, alt: str, caption: str) -> str:
    height, width = drawn.shape[:2]
    return (
        f"<figure style='display:inline-block;vertical-align:top;margin:0 12px 8px 0;max-width:{max(width, 160)}px'>"
        f"<img src='data:image/jpeg;base64,{text}' alt='{alt}' width='{width}' height='{height}' "
        "style='margin:0;max-width:100%;height:auto'>"
        f"<figcaption style='margin:2px 0 0 0;overflow-wrap:break-word'>{caption}</figcaption></figure>"
    )


def _of_photo(result: Explained) -> str:
    frames = result.frame.frames
    return f"<span style='{_PALE}'>{'photo' if frames is None else f'first of {frames} frames'}</span>"


def _of_overlay(result: Explained, one: Attribution) -> str:
    """What is explained, by what, and what is wrong with it."""
    by = f"{one.method} at {one.layer}" if one.layer else one.method
    if result.frame.frames is not None:
        moment = result.frame.moments[moments.peak_frame(one, result.frame.frames)]
        by += f", most in frame {moment.number}"
    note = f"<br>⚠ {_name(one.note)}" if one.note else ""
    return f"<b>{_name(captions.about(one))}</b><br><span style='{_PALE}'>{_name(by)}</span>{note}"


def _alt(result: Explained, one: Attribution | None = None) -> str:
    """An overlay in words: what is explained, and where the answer is strongest."""
    name = _text(result.ref.name)
    if one is None:
        return name
    width, height = result.frame.size
    frames = result.frame.frames
    still = one if frames is None else moments.at_frame(one, moments.peak_frame(one, frames), frames)
    peak, _ = locating.locate(still, result.box, result.frame.size)
    where = f"strongest {peak[0] / width:.0%} from the left, {peak[1] / height:.0%} from the top" if peak else "blank"
    return f"{_text(one.method)} of {_text(one.target.name)} over {name}: {where}"


def _scores(result: Explained) -> str:
    """The best classes with bars; those that are explained stand in bold."""
    asked = {one.target.entry.name for one in result.attributions if one.target.entry is not None}
    lines = "".join(_score(entry, entry.name in asked) for entry in result.top[:_MOST_CLASSES])
    return (
        f"<table style='display:inline-block;vertical-align:top;margin:0;border:none'>{lines}</table>" if lines else ""
    )


def _score(entry: Entry, asked: bool) -> str:
    name = f"<b>{_name(entry.name)}</b>" if asked else _name(entry.name)
    if entry.probability is not None:
        width = f"{min(max(entry.probability, 0.0), 1.0):.1%}"
        bar = f"<div style='width:100px;height:8px;background-color:{_TRACK}'>"
        bar += f"<div style='width:{width};height:8px;background-color:{_BAR}'></div></div>"
        value = f"{entry.probability:.3f}"
    else:
        bar, value = "", "" if entry.score is None else f"{entry.score:.4g}"
    cells = (("left", name), ("left", bar), ("right", value))
    line = "".join(f"<td style='text-align:{side};border:none'>{held}</td>" for side, held in cells)
    return f"<tr>{line}</tr>"


def _notes(result: Explained) -> Iterator[str]:
    """All else that a reader has to know, as HTML."""
    if result.truth is not None and not result.truth.correct:
        yield f"Not {_name(f'{result.truth.id} {result.truth.label}')}, as its folder says."
    for name, value in list(result.ref.bound.items())[:_MOST_CLASSES]:
        yield f"{_name(name)}: {_name(value if isinstance(value, str) else json.dumps(value))}"
    yield from (_name(note) for note in (result.frame.note, result.note) if note)
    x0, y0, x1, y1 = cover(result.box)
    width, height = result.frame.size
    if result.attributions and (x0 > 0 or y0 > 0 or x1 < width or y1 < height):
        yield "Outside of the dashes: what the network never saw."
    if (more := len(result.attributions) - (_MOST_PICTURES - 1)) > 0:
        yield f"And {more} more in .explanations."


def _line(text: str) -> str:
    return f"<p style='margin:4px 0 0 0;{_PALE}'>{text}</p>"


def _name(text: str, most: int = _MOST_TEXT) -> str:
    """Text from outside as HTML: it changes the direction of nothing beside it."""
    return f"<bdi>{_text(text, most)}</bdi>"


def _text(text: str, most: int = _MOST_TEXT) -> str:
    """Text from outside for HTML or an attribute, not too long, without control characters."""
    return html.escape(plain(text if len(text) <= most else f"{text[:most]}…"))


def best(result: Explained) -> str:
    """The best class and its value; without classes what is explained."""
    if not result.top:
        return captions.about(result.attributions[0]) if result.attributions else "nothing found"
    entry = result.top[0]
    value = entry.score if entry.probability is None else entry.probability
    return entry.name if value is None else f"{entry.name} {value:.3g}"


def plain(text: str) -> str:
    """Whole Unicode without control characters."""
    text = schema.text(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
