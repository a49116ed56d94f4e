"""The rows of an earlier run, run again and compared."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from camcli.cli import console
from camcli.errors import ExitCode, RequestError
from camcli.fingerprints import deviation
from camcli.inputs import ref_named
from camcli.models import catalog, weights_url
from camcli.records import Row, Spec
from camcli.sinks import as_row, dump
from camcli.targets import QUANTITIES

# Other hardware, another batch: rounding moves a cell of the grid by a level or two. A shift moves it by tens.
SAME_WITHIN = 0.02

# Unlike any fingerprint, so that one compared with it is read in full.
NO_MAP = {"sha256": "", "grid": "0x0:"}


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the user has said that rows may do: run the code `model` and `target`, fetch the URL `weights`, load a
    checkpoint as with --trust-checkpoint."""

    model: str | None = None
    weights: str | None = None
    target: str | None = None
    checkpoint: bool = False


def check_all(rows: str, trusted: Trusted, *, json: bool, quiet: bool) -> ExitCode:
    """Run every row of the file again and say what became of it."""
    counts = {"identical": 0, "equal": 0, "differs": 0, "gone": 0}
    with sys.stdin.buffer if rows == "-" else Path(rows).open("rb") as lines:
        for _, same in groupby(_read(lines), key=lambda row: json_.dumps(_asked(row), sort_keys=True)):
            for check in _again(list(same), trusted):
                counts[check["status"]] += 1
                console.out(json_.dumps(check) if json else _line(check))
    if not quiet:
        console.say(", ".join(f"{count} {status}" for status, count in counts.items()))
    return ExitCode.SOME_FAILED if counts["differs"] or counts["gone"] else ExitCode.OK


def _read(lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        try:
            row = json_.loads(line)
            if isinstance(row, dict) and "error" in row:
                continue
            _compared(row, row)  # all parts are there
            for answer in row["explanations"]:
                deviation(answer["fingerprint"], NO_MAP)
            if not isinstance(_asked(row), dict) or not isinstance(row["input"], str):
                raise TypeError
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, StopIteration, RecursionError):
            raise RequestError(f"line {number} is no row of camcli with its provenance") from None
        yield row


def _asked(row: Row) -> Row:
    spec: Row = row["provenance"]["spec"]
    return spec


def _again(rows: Sequence[Row], trusted: Trusted) -> Iterator[dict[str, Any]]:
    """The rows of one spec, each with what became of it."""
    spec = _spec(_asked(rows[0]), trusted)
    from camcli.engine import Engine

    engine = Engine(spec)
    refs = (ref_named(index, row["input"]) for index, row in enumerate(rows))
    for row, result in zip(rows, engine.explain(refs), strict=True):
        yield _compared(row, json_.loads(dump(as_row(result))))


def _spec(given: Row, trusted: Trusted) -> Spec:
    """A row's spec. Rows come from anywhere, so they alone can't make code run, nor anything be fetched.

    Raises: RequestError: fields of another version or type, or code that the user has not named.
    """
    hints = get_type_hints(Spec)
    if unknown := given.keys() - hints.keys():
        raise RequestError(f"the rows were made by another version of camcli: unknown {', '.join(sorted(unknown))}")
    values = {}
    for name, value in given.items():
        try:
            values[name] = _typed(value, hints[name])
        except TypeError:
            raise RequestError(f"the rows ask for {name} {value!r}, which is none") from None
    spec = Spec(**values)
    if spec.model is not None and catalog.is_user_code(spec.model) and spec.model != trusted.model:
        raise RequestError(f"the rows run the code {spec.model}: if you trust it, say so with --model {spec.model}")
    if spec.target not in QUANTITIES and spec.target != trusted.target:
        raise RequestError(f"the rows run the code {spec.target}: if you trust it, say so with --target {spec.target}")
    if weights_url(spec) is not None and spec.weights != trusted.weights:
        raise RequestError(f"the rows fetch {spec.weights}: if you trust it, say so with --weights {spec.weights}")
    if spec.trust_checkpoint and not trusted.checkpoint:
        raise RequestError(
            f"the rows load {spec.weights} with --trust-checkpoint: if you trust it, give the flag again"
        )
    return spec


def _typed(value: Any, hint: Any) -> Any:
    """A value from JSON as a field of that type holds it. Raises: TypeError: it is of another."""
    choices = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, list):
        parts = [choices[0]] * len(value) if choices[-1] is Ellipsis else choices
        if len(parts) != len(value):
            raise TypeError
        return tuple(_typed(part, own) for part, own in zip(value, parts, strict=True))
    if get_origin(hint) is UnionType:
        return None if value is None else _typed_as_one(value, [own for own in choices if own is not NoneType])
    if get_origin(hint) is Literal:
        if value not in choices:
            raise TypeError
    elif type(value) is not hint and not (hint is float and type(value) is int):
        raise TypeError
    return value


def _typed_as_one(value: Any, hints: Sequence[Any]) -> Any:
    """A value as the first of these types that can hold it."""
    for hint in hints:
        try:
            return _typed(value, hint)
        except TypeError:
            continue
    raise TypeError


def _compared(then: Row, now: Row) -> dict[str, Any]:
    """What became of a row: its worst map's status, each map's, and what else has changed since."""
    if "error" in now:
        return {"input": then["input"], "status": "gone", "message": now["error"]["message"]}
    answers = {_key(answer): answer for answer in now["explanations"]}
    maps = [_map(answer, answers.get(_key(answer))) for answer in then["explanations"]]
    statuses = [answer["status"] for answer in maps] or [_prediction(then, now)]
    worst = next(status for status in ("differs", "equal", "identical") if status in statuses)
    return {"input": then["input"], "status": worst, "maps": maps, "changed": _changed(then, now)}


def _key(answer: Row) -> tuple[str, int | str, str | None]:
    target = answer["target"]
    return answer["method"], target["name"] if target["id"] is None else target["id"], answer["layer"]


def _map(then: Row, now: Row | None) -> dict[str, Any]:
    described = dict(zip(("method", "target", "layer"), _key(then), strict=True))
    if now is None:
        return {**described, "status": "differs", "deviation": None}
    moved = deviation(then["fingerprint"], now["fingerprint"])
    same_scale = abs(then["max"] - now["max"]) <= SAME_WITHIN * max(abs(then["max"]), abs(now["max"]))
    if then["fingerprint"] == now["fingerprint"]:
        status = "identical"
    else:
        status = "equal" if moved <= SAME_WITHIN and same_scale else "differs"
    return {**described, "status": status, "deviation": round(moved, 4)}


def _prediction(then: Row, now: Row) -> str:
    """The status of a row without maps: its best classes and their probabilities."""
    if [score["id"] for score in then["top"]] != [score["id"] for score in now["top"]]:
        return "differs"
    moved = max(
        abs(a[unit] - b[unit])
        for a, b in zip(then["top"], now["top"], strict=True)
        for unit in ["logit" if a["probability"] is None else "probability"]
    )
    if moved == 0:
        return "identical"
    return "equal" if moved <= SAME_WITHIN else "differs"


def _changed(then: Row, now: Row) -> dict[str, Any]:
    """What a row was made with that is not so now: name -> [then, now]."""
    before, after = (
        {**row["provenance"], **row["provenance"]["versions"], "top1": row["top"][0]["id"]} for row in (then, now)
    )
    return {
        name: [value, after.get(name)]
        for name, value in before.items()
        if name not in ("spec", "versions") and value != after.get(name)
    }


def _line(check: Mapping[str, Any]) -> str:
    if check["status"] == "gone":
        return f"gone       {check['input']}: {check['message']}"
    maps = ", ".join(f"{m['method']} of {m['target']} {m['status']}" for m in check["maps"])
    changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in check["changed"].items())
    parts = [f"{check['status']:<9}  {check['input']}", maps, changed and f"changed: {changed}"]
    return "  ".join(filter(None, parts))
