"""Results as rows of `schema`: one JSON object an input, no NaN, plain ASCII, whole Unicode; see the README."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeAlias

from camcli.entries import Box, Entry, Place
from camcli.inputs.refs import ref_named
from camcli.maps import moments, regions
from camcli.maps.fingerprints import fingerprint
from camcli.maps.locating import locate
from camcli.records import (
    Attribution,
    Explained,
    Failed,
    Frame,
    Moment,
    Picture,
    Provenance,
    Question,
    Ref,
    Row,
    Truth,
)
from camcli.sinks import schema


def as_row(result: Explained | Failed, files: Sequence[Mapping[Picture, str]] = ()) -> Row:
    """One result as JSON-ready data. `files` holds the written paths by kind, one mapping per attribution."""
    return schema.row(_values(result, files))


def _values(result: Explained | Failed, files: Sequence[Mapping[Picture, str]]) -> Row:
    named: Row = {"schema": schema.SCHEMA, "input": result.ref.name}
    if result.ref.moment is not None:
        named["moment"] = _moment(result.ref.moment)
    if result.ref.again > 1:
        named["again"] = result.ref.again
    if result.ref.bound:
        named["bound"] = dict(result.ref.bound)
    if isinstance(result, Failed):
        return {**named, "error": {"stage": result.stage, "kind": result.kind, "message": result.message}}
    written = list(files) or [{}] * len(result.attributions)
    if result.frame.frames is not None:
        named["clip"] = [_moment(moment, result.frame) for moment in result.frame.moments]
    return {
        **named,
        "size": list(result.frame.size),
        "box": _numbers(result.box),
        "model": result.model,
        "weights": result.weights,
        "layer": result.layer,
        "top": [_entry(entry) for entry in result.top],
        **_truth(result.truth),
        **({"note": note} if (note := "; ".join(filter(None, (result.frame.note, result.note)))) else {}),
        "explanations": [
            _explanation(attribution, paths, result)
            for attribution, paths in zip(result.attributions, written, strict=True)
        ],
        "provenance": _provenance(result.provenance),
        "ms": {stage: round(value, 2) for stage, value in result.ms.items()},
    }


# Fields of a preset that say something of clips alone.
_OF_CLIPS = ("antialias", "frames", "rate")
# An input: its name, its `again`, the number of a film's frame (-1 for other inputs), and what is bound to it, as JSON.
Input: TypeAlias = tuple[str, int, int, str]


def key(row: Row) -> Input:
    """The input that a row is of."""
    moment = row["moment"]["frame"] if "moment" in row else -1
    return row["input"], row.get("again", 1), moment, _told(row.get("bound", {}))


def key_of(ref: Ref) -> Input:
    """The `key` of the row that the ref will have."""
    moment = ref.moment.number if ref.moment is not None else -1
    return schema.text(ref.name), ref.again, moment, _told(ref.bound)


def ref_of(row: Row) -> Ref:
    """The input that a row is of, by its name: what came through a pipe is not there any more."""
    moment = Moment(row["moment"]["frame"], row["moment"]["seconds"]) if "moment" in row else None
    named = ref_named(0, row["input"])
    return replace(named, moment=moment, again=row.get("again", 1), bound=row.get("bound", {}))


def _told(bound: Mapping[str, Any]) -> str:
    return json.dumps(schema.unicode(bound), sort_keys=True) if bound else ""


def dump(row: Mapping[str, Any]) -> str:
    """One line of JSON, without the line's end."""
    return json.dumps(row, allow_nan=False)


def _explanation(attribution: Attribution, files: Mapping[Picture, str], result: Explained) -> dict[str, Any]:
    still, over_time = _in_time(attribution, result.frame)
    peak, bbox = locate(still, result.box, result.frame.size)
    row: dict[str, Any] = {
        "method": attribution.method,
        "target": _target(attribution.target),
        "layer": attribution.layer,
        **({"box": _numbers(attribution.box)} if attribution.box else {}),
        **over_time,
        "peak": list(peak) if peak else None,
        "bbox": list(bbox) if bbox else None,
        "max": float(f"{abs(attribution.values).max():.6g}"),
        "fingerprint": fingerprint(attribution.values, attribution.kind),
        "files": dict(files),
    }
    if attribution.neurons:
        weights = [{"channel": n.channel, "weight": float(f"{n.weight:.6g}")} for n in attribution.neurons]
        row["neurons"] = {"top": weights[: len(weights) // 2], "bottom": weights[len(weights) // 2 :]}
    if attribution.sanity:
        row["sanity"] = [
            {"randomised": c.randomised, "rank_correlation": round(c.rank_correlation, 4), "ssim": round(c.ssim, 4)}
            for c in attribution.sanity
        ]
    if attribution.note:
        row["note"] = attribution.note
    return row


def _in_time(attribution: Attribution, frame: Frame) -> tuple[Attribution, dict[str, Any]]:
    """(the answer at its peak's frame, if it is a clip's; what the row says of time)."""
    if frame.frames is None:
        return attribution, {}
    curve = [float(f"{value:.6g}") for value in moments.curve(attribution, frame.frames)]
    peak = moments.peak_frame(attribution, frame.frames)
    told = {"moment": _moment(frame.moments[peak], frame), "curve": curve}
    return moments.at_frame(attribution, peak, frame.frames), told


def _moment(moment: Moment, clip: Frame | None = None) -> dict[str, Any]:
    """A frame's number and its time; a folder of frames has no clock."""
    timed = clip is None or clip.rate is not None
    return {"frame": moment.number, "seconds": round(moment.seconds, 4) if timed else None}


def _provenance(provenance: Provenance) -> Row:
    """`asdict` without its copy of every dict and tuple for every row."""
    preset = asdict(provenance.preset)
    if provenance.preset.frames is None:
        preset = {name: value for name, value in preset.items() if name not in _OF_CLIPS}
    return {f.name: getattr(provenance, f.name) for f in fields(provenance)} | {"preset": preset}


def _truth(truth: Truth | None) -> dict[str, Any]:
    return {} if truth is None else {"truth": {"id": truth.id, "label": truth.label}, "correct": truth.correct}


def _entry(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": entry.id,
        "label": entry.label,
        "probability": None if entry.probability is None else round(entry.probability, 6),
        "logit": None if entry.score is None else round(entry.score, 5),
    }
    if entry.part is not None:
        row["part"] = entry.part
    if entry.where is not None:
        row["where"] = _place(entry.where)
    return row


def _place(where: Place) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if where.box is not None:
        row["box"] = _numbers(where.box)
    if where.share is not None:
        row["share"] = round(where.share, 6)
    if where.region is not None:
        height, width = where.region.mask.shape
        row["region"] = {
            "size": [height, width],
            "counts": regions.counts(where.region.mask),
            "box": _numbers(where.region.box),
        }
    if where.points:
        row["points"] = [
            {"name": p.name, "x": round(p.x, 3), "y": round(p.y, 3), "score": p.score and round(p.score, 5)}
            for p in where.points
        ]
    return row


def _numbers(box: Box) -> list[float]:
    """The box, whole pixels as whole numbers, others to a thousandth."""
    return [int(side) if float(side).is_integer() else round(side, 3) for side in box]


def _target(question: Question) -> dict[str, Any]:
    none: dict[str, Any] = {"id": None, "label": question.label, "probability": None, "logit": None}
    row = _entry(question.entry) if question.entry else none
    row |= {"name": question.name, "quantity": question.quantity, "value": float(f"{question.value:.6g}")}
    if question.minus:
        row["minus"] = _entry(question.minus)
    if question.negated:
        row["negated"] = True
    return row
