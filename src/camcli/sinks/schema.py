"""A row, defined once for JSON rows, the columns of Parquet, the journal and `verify`, and the README's table.

A new key is one line in `ANSWERED` (or below it) and its value in `rows`: its type, and a line of documentation.
Optional keys are left out if there is nothing to say, and are null in a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

from camcli.records import Row

SCHEMA = 2


class Plain(Enum):
    """A value without parts, by the types that JSON gives it; DATA is anything, in a table as JSON text."""

    TEXT = (str,)
    WHOLE = (int,)
    NUMBER = (float, int)
    FLAG = (bool,)
    DATA = (dict, list, str, int, float, bool)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of any number of values."""

    each: Type


@dataclass(frozen=True, slots=True)
class MapOf:
    """Values by names that are data."""

    each: Type


@dataclass(frozen=True, slots=True)
class Struct:
    """These keys in this order; in a table one column of JSON text if they differ from run to run (`as_text`)."""

    keys: tuple[Key, ...]
    as_text: bool = False


Type: TypeAlias = "Plain | ListOf | MapOf | Struct"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `says` is its line in the README, "" if another one tells it; `null`: its value may be null."""

    name: str
    type: Type
    says: str = ""
    optional: bool = False
    null: bool = False


TEXT, WHOLE, NUMBER, FLAG, DATA = Plain
WHOLES = ListOf(WHOLE)
NUMBERS = ListOf(NUMBER)

_MOMENT = Struct((Key("frame", WHOLE), Key("seconds", NUMBER, null=True)))
_PLACE = (
    Key("box", NUMBERS, "[x0, y0, x1, y1] in the picture", optional=True),
    Key("share", NUMBER, "the region's share of what the network saw", optional=True),
    Key(
        "region",
        Struct((Key("size", WHOLES), Key("counts", TEXT), Key("box", NUMBERS))),
        "its mask: COCO's compressed RLE (`size` [height, width], `counts`), spread over `box`",
        optional=True,
    ),
    Key(
        "points",
        ListOf(Struct((Key("name", TEXT), Key("x", NUMBER), Key("y", NUMBER), Key("score", NUMBER, null=True)))),
        "its keypoints: `name`, `x`, `y`, `score`",
        optional=True,
    ),
)
_SCORE = (
    Key("id", WHOLE, "the class's number, from 0; null of a whole caption", null=True),
    Key("label", TEXT, "its name"),
    Key("probability", NUMBER, "softmax; sigmoid for one logit or several labels; null without classes", null=True),
    Key("logit", NUMBER, "the score before that; null if it can't be told", null=True),
    Key("part", WHOLE, "its number among the picture's detections, or its caption's words, from 1", optional=True),
    Key("where", Struct(_PLACE), "its place, of a region or detection", optional=True),
)
_TOLD = tuple(replace(key, says="") for key in _SCORE)
_TARGET = (
    *(replace(key, null=key.name != "label") for key in _TOLD),
    Key("name", TEXT, "in a caption: id and label, what it is contrasted with, whether it is negated"),
    Key("quantity", TEXT, "the number: logit, softmax, output, function, similarity, or another of the task's"),
    Key("value", NUMBER, "the number that is explained"),
    Key("minus", Struct(_TOLD), "the class that it is contrasted with (`--contrast`), as in `top`", optional=True),
    Key("negated", FLAG, "with `--counterfactual`", optional=True),
)
_NEURONS = ListOf(Struct((Key("channel", WHOLE), Key("weight", NUMBER))))
_ANSWER = (
    Key("method", TEXT, "its name"),
    Key("target", Struct(_TARGET), "what is explained: an entry as in `top`, null where it is none, and"),
    Key("layer", TEXT, "null where the method looks at none; several, fused or stages, joined by +", null=True),
    Key(
        "box", NUMBERS, "[x0, y0, x1, y1] of what the map covers, if not the row's: a detector's canvas", optional=True
    ),
    Key("peak", WHOLES, "[x, y] of the largest value; null where there is none", null=True),
    Key("moment", _MOMENT, "of a clip: the frame that the peak and the box are in", optional=True),
    Key("curve", NUMBERS, "of a clip: the answer's mean in each of `clip`", optional=True),
    Key(
        "bbox", WHOLES, "[x0, y0, x1, y1] of the largest part above 15 % of its maximum; null for saliencies", null=True
    ),
    Key("max", NUMBER, "the largest raw \\|value\\|"),
    Key(
        "fingerprint",
        Struct((Key("sha256", TEXT), Key("grid", TEXT))),
        "`sha256` of the values, and an 8x8 `grid` of their means",
    ),
    Key("files", MapOf(TEXT), "path or URI by kind"),
    Key(
        "neurons",
        Struct((Key("top", _NEURONS), Key("bottom", _NEURONS))),
        "with `--neurons`: `top` and `bottom`, each `channel` and `weight`",
        optional=True,
    ),
    Key(
        "sanity",
        ListOf(Struct((Key("randomised", TEXT), Key("rank_correlation", NUMBER), Key("ssim", NUMBER)))),
        "with `--sanity`: `randomised`, `rank_correlation`, `ssim`",
        optional=True,
    ),
    Key(
        "note",
        TEXT,
        "what is wrong with the answer: blank, flat, another class's too, unchanged by random weights, decided by "
        "rounding",
        optional=True,
    ),
)
_PROVENANCE = (
    Key("weights_sha256", TEXT, "null without a file", null=True),
    Key("preset", DATA, "the preprocessing"),
    Key("device", TEXT, "what computed it"),
    Key("dtype", TEXT, "the weights' type"),
    Key("versions", MapOf(TEXT), "of camcli, torch and the model's library"),
    Key("spec", DATA, "all that was asked, less what is unset"),
)

NAMED = (
    Key("schema", WHOLE, "2; another number where the meaning of a key has changed"),
    Key("input", TEXT, "the input as named"),
    Key("moment", _MOMENT, "of a film's frame: its number from 0, and its time", optional=True),
    Key("again", WHOLE, "2, 3, …: of inputs whose files would be called the same, which one this is", optional=True),
    Key(
        "bound", DATA, "what goes with the picture: the line's other keys, `--question`, `--partner`, …", optional=True
    ),
)
ANSWERED = (
    Key("clip", ListOf(_MOMENT), "the frames of a clip", optional=True),
    Key("size", WHOLES, "[width, height]"),
    Key("box", NUMBERS, "[x0, y0, x1, y1] of what the map covers; it may stick out of the picture"),
    Key("model", TEXT, "its name"),
    Key("weights", TEXT, "the enum member or the file's name"),
    Key("layer", TEXT, "the (first) target layer, null where none is used", null=True),
    Key("top", ListOf(Struct(_SCORE)), "the best classes, regions or detections, each"),
    Key(
        "truth",
        Struct((Key("id", WHOLE), Key("label", TEXT))),
        "with `--class folder`: `id` and `label` of the folder's class",
        optional=True,
    ),
    Key("correct", FLAG, "whether that is the best one", optional=True),
    Key(
        "note",
        TEXT,
        "where the file was not as usual: dark for its bits, a soft fourth band, white taken from its largest value; "
        "or why nothing is explained",
        optional=True,
    ),
    Key("explanations", ListOf(Struct(_ANSWER)), "the answers, each"),
    Key("provenance", Struct(_PROVENANCE, as_text=True), "what the row was made with"),
    Key("ms", MapOf(NUMBER), "wall milliseconds: `decode`, `preprocess`, the share of a batch's `forward`, `explain`"),
)
REFUSED = (
    Key(
        "error",
        Struct(
            (
                Key("stage", TEXT, "where it stopped"),
                Key(
                    "kind",
                    TEXT,
                    "a stable word: `missing`, `not-a-picture`, `unsupported`, `too-large`, `broken`, `negative`, "
                    "`memory`, …",
                ),
                Key("message", TEXT, "a sentence"),
            )
        ),
        "instead of all that follows `again`, for a refused picture",
    ),
)
KEYS = (*NAMED, *ANSWERED, *REFUSED)
_ROW_ANSWERED, _ROW_REFUSED = Struct((*NAMED, *ANSWERED)), Struct((*NAMED, *REFUSED))


def row(values: Mapping[str, Any]) -> Row:
    """The row of these values: its keys in their order, its text whole Unicode.

    Raises: ValueError: a key is missing, or in no definition.
    """
    made: Row = _made(values, _definition(values))
    return made


def wrong(values: Any, *, whole: bool = False) -> str | None:
    """The first key with a value of another type, in a row from anywhere; None without, "" for the row itself.

    Keys may be missing, unless the row must be `whole`, and there may be others: rows of other versions can be read.
    """
    return _wrong(values, _definition(values), whole) if isinstance(values, dict) else ""


def table() -> Iterator[str]:
    """The lines of the README's table."""
    yield "| key | |"
    yield "|---|---|"
    yield from _documented(KEYS, "")


def text(name: str) -> str:
    """The name with U+FFFD for half a surrogate pair, which names that are no UTF-8 hold and JSON can't."""
    return name if name.isascii() else name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _definition(values: Mapping[str, Any]) -> Struct:
    return _ROW_REFUSED if "error" in values else _ROW_ANSWERED


def _made(value: Any, type_: Type) -> Any:
    if value is None:
        return None
    if isinstance(type_, Struct):
        return _struct(value, type_)
    if isinstance(type_, ListOf):
        return [_made(each, type_.each) for each in value]
    if isinstance(type_, MapOf):
        return {name: _made(each, type_.each) for name, each in value.items()}
    return unicode(value)


def _struct(values: Mapping[str, Any], struct: Struct) -> Row:
    made = {key.name: _made(values[key.name], key.type) for key in struct.keys if _there(key, values)}
    if unknown := values.keys() - made.keys():
        raise ValueError(f"{', '.join(sorted(unknown))} in no definition of a row: add it to camcli.sinks.schema")
    return made


def _there(key: Key, values: Mapping[str, Any]) -> bool:
    if key.name in values:
        return True
    if not key.optional:
        raise ValueError(f"a row without {key.name}")
    return False


def unicode(value: Any) -> Any:
    """The value, all text in it whole Unicode."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {name: unicode(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(unicode, value))
    return value


def _wrong(value: Any, type_: Type, whole: bool) -> str | None:
    """The path of a value of another type below this one; None without, "" for itself."""
    if isinstance(type_, Plain):
        return None if type(value) in type_.value else ""
    if isinstance(type_, Struct):
        return _wrong_key(value, type_, whole) if isinstance(value, dict) else ""
    if not isinstance(value, list if isinstance(type_, ListOf) else dict):
        return ""
    for each in value if isinstance(value, list) else value.values():
        if (path := _wrong(each, type_.each, whole)) is not None:
            return path
    return None


def _wrong_key(values: Mapping[str, Any], struct: Struct, whole: bool) -> str | None:
    for key in struct.keys:
        held = values.get(key.name)
        may_be_none = key.optional or (key.null if key.name in values else not whole)
        if held is None and may_be_none:
            continue
        if (path := _wrong(held, key.type, whole)) is not None:
            return f"{key.name}.{path}" if path else key.name
    return None


def _documented(keys: tuple[Key, ...], indent: str) -> Iterator[str]:
    for key in keys:
        if key.says:
            yield f"| {indent}`{key.name}` | {key.says} |"
            inner = key.type.each if isinstance(key.type, (ListOf, MapOf)) else key.type
            if isinstance(inner, Struct):
                yield from _documented(inner.keys, f"{indent}· ")
