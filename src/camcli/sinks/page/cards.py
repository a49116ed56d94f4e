"""Rows -> cards: what a page tells of one input, as JSON data. `web/src/data.ts` has the same types."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from camcli.entries import Region
from camcli.maps import regions
from camcli.records import Row
from camcli.sinks.page.seen import Seen, Shown
from camcli.storage import uris

# Keys of a row that a card has as they are.
_TAKEN = ("input", "moment", "again", "bound", "error", "clip", "size", "box", "truth", "correct", "note")
_OF_ENTRY = ("id", "label", "probability", "logit", "part")
_OF_TARGET = (*_OF_ENTRY, "name", "quantity", "value", "negated")
_OF_ANSWER = ("method", "layer", "box", "peak", "bbox", "max", "moment", "curve", "note")


def card(row: Row, seen: Seen, run: int, typed: str | None, folder: str) -> dict[str, Any]:
    """The card of a row. `run` is the number of what it was made with; `typed` the input as one types it, if a
    command makes the card again; `folder` the page's, which the files' links begin at."""
    made: dict[str, Any] = {key: row[key] for key in _TAKEN if key in row}
    if typed is not None and typed != row["input"]:
        made["typed"] = typed
    if "error" in row:
        return made
    made |= {key: said for key in ("missing", "doubt") if (said := getattr(seen, key)) is not None}
    answers = zip(row["explanations"], seen.shown, strict=True)
    return {
        **made,
        "run": run,
        "top": [_entry(entry, _OF_ENTRY) for entry in row["top"]],
        "explanations": [_answer(answer, shown, folder) for answer, shown in answers],
    }


def _answer(answer: Row, shown: Shown, folder: str) -> dict[str, Any]:
    files = {kind: link for kind, path in answer["files"].items() if (link := _link(path, folder)) is not None}
    own = {key: answer[key] for key in _OF_ANSWER if key in answer}
    target = _entry(answer["target"], _OF_TARGET) | ({"contrasted": True} if "minus" in answer["target"] else {})
    return {**own, "target": target, **({"files": files} if files else {}), **shown}


def _entry(entry: Row, keys: Sequence[str]) -> dict[str, Any]:
    """An entry's or a target's own words, and its place as the page draws it."""
    made = {key: entry[key] for key in keys if key in entry}
    where: Mapping[str, Any] = entry.get("where") or {}
    made |= {key: where[key] for key in ("box", "share", "points") if key in where}
    if "region" in where:
        region = where["region"]
        mask = regions.mask(region["counts"], tuple(region["size"]))
        made["outlines"] = regions.outlines(Region(mask, tuple(region["box"])))
    return made


def _link(path: str, folder: str) -> str | None:
    """The link from a page in a folder of this machine to a file of it; None to and from elsewhere."""
    local = uris.local_path(path) if path != "-" else None
    if local is None or uris.local_path(folder) is None:
        return None
    try:
        return quote(os.path.relpath(local, folder).replace(os.sep, "/"))
    except ValueError:  # another drive
        return None
