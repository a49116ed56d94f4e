"""What a page asks of a row from anywhere, beyond the types of its keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from camcli.maps import fingerprints
from camcli.records import Row
from camcli.sinks import schema


def wrong(row: Row) -> str | None:
    """The first key that a card can't be made of; None without."""
    if (lacking := schema.wrong(row, whole=True)) is not None:
        return lacking
    if not isinstance(row.get("bound", {}), dict):
        return "bound"
    if "error" in row:
        return None
    if len(row["size"]) != 2 or min(row["size"]) < 1:
        return "size"
    if row.get("clip") == []:
        return "clip"
    if not _is_box(row["box"]):
        return "box"
    if not all(_is_placed(entry) for entry in row["top"]):
        return "top.where.box"
    return next(filter(None, map(_wrong_answer, row["explanations"])), None)


def _wrong_answer(answer: Row) -> str | None:
    if not fingerprints.is_grid(answer["fingerprint"]["grid"]):
        return "explanations.fingerprint.grid"
    sizes = (("box", 4), ("bbox", 4), ("peak", 2))
    if wrong_size := next((key for key, size in sizes if len(answer.get(key) or [0] * size) != size), None):
        return f"explanations.{wrong_size}"
    if "box" in answer and not _is_box(answer["box"]):
        return "explanations.box"
    if not _is_placed(answer["target"]):
        return "explanations.target.where.box"
    return None if math.isfinite(answer["max"]) else "explanations.max"


def _is_placed(entry: Row) -> bool:
    where: dict[str, Any] = entry.get("where") or {}
    return "box" not in where or len(where["box"]) == 4


def _is_box(box: Sequence[float]) -> bool:
    return len(box) == 4 and all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]
