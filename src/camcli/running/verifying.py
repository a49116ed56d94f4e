"""The rows of an earlier run, run again and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from types import UnionType
from typing import Any, BinaryIO, Literal, Union, get_args, get_origin, get_type_hints

from camcli._version import __version__
from camcli.errors import RequestError
from camcli.inputs.refs import again
from camcli.maps.fingerprints import deviation
from camcli.maps.locating import iou
from camcli.models import catalog, weights_url
from camcli.records import Result, Row
from camcli.sinks import as_row, dump, schema
from camcli.sinks.lines import lines_of
from camcli.sinks.rows import ref_of
from camcli.specs import TARGETS, Spec
from camcli.storage import pipes

# Other hardware, another batch: rounding moves a cell of the grid by a level or two. A shift moves it by tens.
SAME_WITHIN = 0.02

# Detections of one label with boxes so much alike are the same one.
SAME_IOU = 0.5
# Unlike any fingerprint, so that one compared with it is read in full.
NO_MAP = {"sha256": "", "grid": "0x0:"}
# Keys of a row and of a map that are compared or named elsewhere, or differ each time.
_TOLD_ELSEWHERE = ("top", "explanations", "provenance", "ms")
_MAPS_TOLD_ELSEWHERE = ("method", "layer", "fingerprint", "files")
# The best first.
STATUSES = ("identical", "equal", "differs", "gone")


@dataclass(frozen=True, slots=True)
class Trusted:
    """The things that the user allows to rows: run the code `model` and `target`, fetch the URL `weights`, load a
    checkpoint as with --trust-checkpoint."""

    model: str | None = None
    weights: str | None = None
    target: str | None = None
    checkpoint: bool = False


def verified(file: BinaryIO, trusted: Trusted, device: str | None, max_pixels: int) -> Iterator[dict[str, Any]]:
    """A report on each row of the file, run again, on that device if one is named.

    Raises: RequestError: a line is no row, of another version, or runs code that the user has not named.
    """
    for _, same in groupby(_read(lines_of(file)), key=lambda row: json.dumps(_asked(row), sort_keys=True)):
        together = list(same)
        spec = _spec(_asked(together[0]), trusted, _maker(together[0]))
        yield from _again(together, replace(spec, device=device or spec.device), max_pixels)


def _read(lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if isinstance(row, dict) and "error" in row:
                continue
            readable = schema.wrong(row) is None and isinstance(row["input"], str) and isinstance(_asked(row), dict)
            _compared(row, row)  # all parts are there
            for answer in row["explanations"]:
                deviation(answer["fingerprint"], NO_MAP)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, StopIteration, RecursionError):
            readable = False
        if not readable:
            raise RequestError(f"line {number} is no row of camcli with its provenance")
        if row.get("schema", schema.SCHEMA) > schema.SCHEMA:
            raise RequestError(
                f"line {number} is a row of schema {row['schema']}, made by {_maker(row)}; camcli {__version__} reads "
                f"schema {schema.SCHEMA}: verify it with the version that made it"
            )
        yield row


def _maker(row: Row) -> str:
    return f"camcli {row['provenance']['versions'].get('camcli', 'of another version')}"


def _asked(row: Row) -> Row:
    spec: Row = row["provenance"]["spec"]
    return spec


def _again(rows: Sequence[Row], spec: Spec, max_pixels: int) -> Iterator[dict[str, Any]]:
    """A report on each row of one spec."""
    kept = [row for row in rows if not _through_a_pipe(row)]
    results = _results(spec, kept, max_pixels) if kept else iter(())
    for row in rows:
        if _through_a_pipe(row):
            yield _gone(row, "it came through a pipe, which keeps nothing")
        else:
            yield _compared(row, json.loads(dump(as_row(next(results)))))


def _through_a_pipe(row: Row) -> bool:
    return row["input"] == "-" or pipes.is_open(row["input"])


def _results(spec: Spec, rows: Sequence[Row], max_pixels: int) -> Iterator[Result]:
    from camcli.running.engine import Engine

    engine = Engine(spec, max_pixels=max_pixels)
    return engine.explain(again(map(ref_of, rows), max_pixels))


def _spec(given: Row, trusted: Trusted, made_by: str = "another version") -> Spec:
    """A row's spec. Rows come from anywhere, so they alone can't make code run, nor anything be fetched.

    Fields that the row does not have are unset: earlier versions did not know them.

    Raises: RequestError: fields of another version or type, or code that the user has not named.
    """
    hints = get_type_hints(Spec)
    if unknown := given.keys() - hints.keys():
        raise RequestError(
            f"the rows were made by {made_by} and ask for {', '.join(sorted(unknown))}, which camcli {__version__} "
            "does not know: verify them with the version that made them"
        )
    values = {}
    for name, value in given.items():
        try:
            values[name] = _typed(value, hints[name])
        except TypeError:
            raise RequestError(f"the rows ask for {name} {value!r}, which is none") from None
    spec = Spec(**values)
    if spec.model is not None and catalog.is_user_code(spec.model) and spec.model != trusted.model:
        raise RequestError(f"the rows run the code {spec.model}: if you trust it, say so with --model {spec.model}")
    if spec.target not in TARGETS and spec.target != trusted.target:
        raise RequestError(f"the rows run the code {spec.target}: if you trust it, say so with --target {spec.target}")
    if weights_url(spec) is not None and spec.weights != trusted.weights:
        raise RequestError(f"the rows fetch {spec.weights}: if you trust it, say so with --weights {spec.weights}")
    if spec.trust_checkpoint and not trusted.checkpoint:
        named = spec.model if catalog.is_ultralytics(spec.model or "") else spec.weights
        raise RequestError(f"the rows load {named} with --trust-checkpoint: if you trust it, give the flag again")
    return spec


def _typed(value: Any, hint: Any) -> Any:
    """A value from JSON as a field of that type holds it. Raises: TypeError: it is of another."""
    choices = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, list):
        parts = [choices[0]] * len(value) if choices[-1] is Ellipsis else choices
        if len(parts) != len(value):
            raise TypeError
        return tuple(_typed(part, own) for part, own in zip(value, parts, strict=True))
    if get_origin(hint) in (UnionType, Union):
        for choice in choices:
            with suppress(TypeError):
                return _typed(value, choice)
        raise TypeError
    if get_origin(hint) is Literal:
        if value not in choices:
            raise TypeError
    elif type(value) is not hint and not (hint is float and type(value) is int):
        raise TypeError
    return value


def _compared(then: Row, now: Row) -> dict[str, Any]:
    """The report on a row: the worst status of its maps and its prediction, each map's, and what else has changed."""
    if "error" in now:
        return _gone(then, now["error"]["message"])
    maps = [_map(answer, _counterpart(answer, now["explanations"])) for answer in then["explanations"]]
    worst = max((_prediction(then, now), *(answer["status"] for answer in maps)), key=STATUSES.index)
    return {**_named(then), "status": worst, "maps": maps, "changed": _differences(_made_with(then), _made_with(now))}


def _gone(then: Row, message: str) -> dict[str, Any]:
    return {**_named(then), "status": "gone", "message": message}


def _named(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("input", "again", "moment", "bound") if key in row}


def _counterpart(answer: Row, others: Sequence[Row]) -> Row | None:
    """The answer to the same question, among others. Of detections the one with the same label and the box most like
    it: their numbers change with any score."""
    same = [other for other in others if _key(other) == _key(answer)]
    if "where" in answer["target"] and "part" in answer["target"]:
        return _nearest(answer, same, lambda other: other["target"])
    return next((other for other in same if other["target"].get("part") == answer["target"].get("part")), None)


def _nearest(own: Row, others: Sequence[Row], entry: Callable[[Row], Row]) -> Row | None:
    """The one of the others whose detection's box is most like that of one's own, and enough so; else None."""
    box = entry(own)["where"]["box"]
    near = [(iou(box, entry(other)["where"]["box"]), i) for i, other in enumerate(others) if "part" in entry(other)]
    best, i = max(near, default=(0.0, 0))
    return others[i] if best >= SAME_IOU else None


def _key(answer: Row) -> tuple[str, int | str, str | None]:
    target = answer["target"]
    return answer["method"], target["name"] if target["id"] is None else target["id"], answer["layer"]


def _map(then: Row, now: Row | None) -> dict[str, Any]:
    described = dict(zip(("method", "target", "layer"), _key(then), strict=True))
    if now is None:
        return {**described, "status": "differs", "deviation": None, "changed": {}}
    moved = deviation(then["fingerprint"], now["fingerprint"])
    same_scale = abs(then["max"] - now["max"]) <= SAME_WITHIN * max(abs(then["max"]), abs(now["max"]))
    if then["fingerprint"] == now["fingerprint"]:
        status = "identical"
    else:
        status = "equal" if moved <= SAME_WITHIN and same_scale else "differs"
    changed = _differences(_said_of(then), _said_of(now))
    return {**described, "status": status, "deviation": round(moved, 4), "changed": changed}


def _prediction(then: Row, now: Row) -> str:
    """The status of a prediction: the best class, and the recorded scores of the best ones.

    Classes whose scores are nearly the same may change places below the best one, or fall out of the row.
    """
    if then["top"] == now["top"]:
        return "identical"
    if not then["top"] or not now["top"]:
        return "differs"
    if "part" in then["top"][0] and "where" in then["top"][0]:
        return _detections(then["top"], now["top"])
    before, after = _scores(then), _scores(now)
    least = min(after.values())
    within = SAME_WITHIN * (1.0 if _unit(then) == "probability" else max(map(abs, before.values())))
    same_best = next(iter(before)) == next(iter(after))
    near = same_best and all(abs(value - after.get(name, least)) <= within for name, value in before.items())
    return "equal" if near else "differs"


def _detections(then: Sequence[Row], now: Sequence[Row]) -> str:
    """The status of detections: each has one of its label and place whose score is nearly the same; one near the least
    that was told may have gone."""
    least = min(entry["probability"] for entry in now)
    for own in then:
        other = _nearest(own, [entry for entry in now if entry["id"] == own["id"]], lambda entry: entry)
        score = other["probability"] if other is not None else least
        if abs(own["probability"] - score) > SAME_WITHIN:
            return "differs"
    return "equal"


def _unit(row: Row) -> str:
    return "logit" if row["top"][0]["probability"] is None else "probability"


def _scores(row: Row) -> dict[tuple[int | None, int | None], float]:
    return {(score["id"], score.get("part")): score[_unit(row)] for score in row["top"]}


def _made_with(row: Row) -> Row:
    """A row's words on its picture, its model and how it was made, by flat names."""
    told = {key.name: row.get(key.name) for key in schema.ANSWERED if key.name not in _TOLD_ELSEWHERE}
    made = dict(row["provenance"])
    versions, preset, spec = (made.pop(part) or {} for part in ("versions", "preset", "spec"))
    scores = {
        f"top.{s['id']}" + (f"#{s['part']}" if "part" in s else ""): {
            unit: s[unit] for unit in ("probability", "logit")
        }
        for s in row["top"]
    }
    return {
        "top1": row["top"][0]["id"] if row["top"] else None,
        **told,
        **made,
        **versions,
        **_flat({"preset": preset, "spec": spec}),
        **_flat(scores),
    }


def _said_of(answer: Row) -> Row:
    return _flat({key: value for key, value in answer.items() if key not in _MAPS_TOLD_ELSEWHERE})


def _flat(values: Mapping[str, Any]) -> Row:
    """The values, with a name for each value of an object among them."""
    flat: Row = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _differences(before: Row, after: Row) -> dict[str, Any]:
    """name -> [then, now], null if there was or is none."""
    return {
        name: [before.get(name), after.get(name)] for name in {**before, **after} if before.get(name) != after.get(name)
    }
