"""Report pages for the tests of a browser: made-up answers of every kind, under names that no page should trust."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from results import attributed, explained

from camcli.cli import retyping
from camcli.entries import Entry, Place, Region
from camcli.records import Explained, Failed, Frame, Moment, Question, Ref, Result, Truth
from camcli.sinks import as_row, open_page
from camcli.specs import PageSpec

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
CLASSES = ("cat", "dog", HOSTILE)
# Of 60 cards each tenth is refused, each third of the others is wrong.
COUNT, REFUSED, WRONG = 60, 6, 18


def data_of(page: Path) -> dict[str, Any]:
    """The JSON of a page, from inside it or from its folder."""
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    if inside is not None:
        return _json(inside[1])
    script = (page.parent / f"{page.stem}_files" / "rows.js").read_text()
    text = script.removeprefix("globalThis.CAMCLI=JSON.parse('").removesuffix("')")
    return _json(text.replace("\\'", "'").replace("\\\\", "\\"))


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _ref(number: int, name: str) -> Ref:
    return Ref(number, name, path=Path(name), root=Path())


def classified() -> Iterator[Result]:
    """Pictures of three classes by two methods; each is about the best class and about the true one."""
    rng = np.random.default_rng(0)
    answered = 0
    for number in range(COUNT):
        ref = _ref(number, f"photos/{number:03} {HOSTILE}.jpg".replace("</", "<|"))
        if number % 10 == 9:
            yield Failed(ref, "decode", "broken", f"it ends {HOSTILE}")
            continue
        is_wrong = answered % 3 == 2
        answered += 1
        true = number % 3
        best = (true + 1) % 3 if is_wrong else true
        share = 0.3 + 0.6 * number / COUNT
        top = (Entry(best, CLASSES[best], share, 5.0), Entry(3 - best - 1 if best != 1 else 0, "other", 1 - share, 1.0))
        values = np.zeros((4, 4), np.float32)
        values[number % 4, 3] = 2
        asked = [top[0]] + ([Entry(true, CLASSES[true], 1 - share, 1.0)] if is_wrong else [])
        answers = [
            replace(attributed(values * scale, target=entry, note="flat" if number == 0 else None), method=method)
            for entry in asked
            for method, scale in (("grad-cam", 1), ("hires-cam", 2))
        ]
        rgb = rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)
        result = explained(ref, *answers, frame=Frame(ref, rgb))
        yield replace(result, box=(16, 0, 64, 48), top=top, truth=Truth(true, CLASSES[true], not is_wrong))


def detected() -> Explained:
    """Two boxes and a region, each explained."""
    ref = _ref(0, "boxes.jpg")
    mask = np.zeros((10, 10), bool)
    mask[2:8, 2:8] = True
    places = (
        (Place((4, 4, 30, 30)), 1),
        (Place((40, 10, 70, 40)), 2),
        (Place((16, 0, 40, 24), 0.25, Region(mask, (16, 0, 64, 48))), None),
    )
    top = tuple(Entry(i, f"thing {i}", 0.9 - 0.1 * i, 3.0, part, place) for i, (place, part) in enumerate(places))
    frame = Frame(ref, np.full((48, 80, 3), 128, np.uint8))
    return replace(explained(ref, *(attributed(target=entry) for entry in top), frame=frame), top=top)


def captioned() -> Explained:
    """A caption and its words, each explained."""
    ref = _ref(0, "words.jpg")
    told = (
        Entry(None, "a red cup", 0.5, -1.0),
        *(Entry(i, w, 0.9, 2.0, i) for i, w in enumerate("a red cup".split(), 1)),
    )
    answers = [replace(attributed(target=entry), target=Question(entry.label, 1.0, entry=entry)) for entry in told]
    return replace(explained(ref, *answers), top=told)


def clip() -> Explained:
    """A clip of four frames, each of one grey, whose heat is in the third one."""
    ref = _ref(0, "film.mp4")
    rgb = np.stack([np.full((48, 80, 3), 60 * (i + 1), np.uint8) for i in range(4)])
    moments = tuple(Moment(5 * i, i / 5) for i in range(4))
    values = np.zeros((4, 4, 4), np.float32)
    values[2, 1, 1] = 3
    return explained(ref, attributed(values), frame=Frame(ref, rgb, moments=moments, rate=5.0))


def written(file: Path, *results: Result, embed_mb: float | None = None) -> Path:
    """The page of these results."""
    with open_page(PageSpec(str(file), embed_mb), retyping.described) as page:
        for result in results:
            page.draw(result)
            page.add(as_row(result))
    return file
