"""Results -> the sheet that compares them.

Photos and predictions once, methods as heads of columns, classes as heads of rows, what the colours mean, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from camcli.drawing import captions, colours, overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.figures.contents import Bar, Block, Line, Row, Sheet, Tile
from camcli.drawing.figures.elements import BLACK
from camcli.drawing.lettering import SEPARATOR
from camcli.drawing.styles import Style
from camcli.records import Attribution, Explained, Kind
from camcli.specs import OutputSpec

_RIGHT, _WRONG = (0, 100, 50), (170, 0, 0)


class Results:
    """Results by picture, in the order of the pictures. `side`: of a photo so many pixels are kept; nothing is drawn
    before all results are there, as they may share a scale."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._found: dict[int, list[Explained]] = {}

    def add(self, result: Explained) -> None:
        kept = replace(result, frame=overlays.reduced(result.frame, self._side))
        self._found.setdefault(result.ref.index, []).append(kept)

    @property
    def pictures(self) -> list[list[Explained]]:
        """The results of each picture: one for each model."""
        return [self._found[index] for index in sorted(self._found)]


def compared(pictures: Sequence[Sequence[Explained]], look: OutputSpec) -> Sheet:
    """The sheet of results: a list for each picture."""
    return _Comparison(pictures, look).sheet()


@dataclass
class _Comparison:
    pictures: Sequence[Sequence[Explained]]
    look: OutputSpec
    _notes: dict[str, int] = field(default_factory=dict)

    def sheet(self) -> Sheet:
        blocks = [self._block(results) for results in self.pictures]
        heads = [SEPARATOR.join(filter(None, column)) for column in self._columns]
        return Sheet(heads, blocks, list(self._bars()), list(self._legend()), list(self._notes))

    @cached_property
    def _all(self) -> list[Explained]:
        return [result for results in self.pictures for result in results]

    @cached_property
    def _answers(self) -> list[tuple[str, Attribution]]:
        """Each answer, and the model that gave it."""
        return [(self._model(result), own) for result in self._all for own in result.attributions]

    @cached_property
    def _style(self) -> Style:
        return replace(Style.of(self.look, self.look.norm_max), legend=False)

    @cached_property
    def _several_models(self) -> bool:
        return len({(result.model, result.weights) for result in self._all}) > 1

    @cached_property
    def _several_weights(self) -> bool:
        """True if a model's name does not tell it from another one."""
        return len({(result.model, result.weights) for result in self._all}) > len({r.model for r in self._all})

    @cached_property
    def _by_layer(self) -> bool:
        """True if a method was read at several layers, which are columns of their own then."""
        return any(
            len({own.layer for own in result.attributions if own.method == method}) > 1
            for result in self._all
            for method in {own.method for own in result.attributions}
        )

    @cached_property
    def _columns(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(self._column(own) for _, own in self._answers))

    def _column(self, own: Attribution) -> tuple[str, str]:
        return own.method, (own.layer or "") if self._by_layer else ""

    @cached_property
    def _tops(self) -> dict[tuple[str, str, str | None], float]:
        """The largest value of each method at a layer of a model, in the run."""
        tops: dict[tuple[str, str, str | None], float] = {}
        for model, own in self._answers:
            key = model, own.method, own.layer
            tops[key] = max(tops.get(key, 0.0), self._style.top_of(own))
        return tops

    def _model(self, result: Explained) -> str:
        return f"{result.model} {Path(result.weights).name}" if self._several_weights else result.model

    def _block(self, results: Sequence[Explained]) -> Block:
        first = results[0]

        def draw(side: int, line: float) -> Pixels:
            return overlays.photo(first.frame, _sized(self._style, side, line))

        caption = [(Path(first.ref.name).name, BLACK), *(line for result in results for line in self._said(result))]
        rows = [row for result in results for row in self._rows(result)]
        return Block(Tile(first.frame.size, draw), caption, rows)

    def _said(self, result: Explained) -> Iterator[Line]:
        """What was predicted and what is true, if that is known; and the prediction, if no row is about it."""
        best = result.top[0] if result.top and result.top[0].probability is not None else None
        if best is None:
            return
        said = f"{self._model(result)}: predicted {best.name}" if self._several_models else f"predicted {best.name}"
        if result.truth is None:
            if not any(_about(own, best.id) for own in result.attributions):
                yield said, BLACK
        elif result.truth.correct:
            yield f"✓ {said}", _RIGHT
        else:
            yield f"✗ {said}", _WRONG
            yield f"truth {result.truth.id} {result.truth.label}", BLACK

    def _rows(self, result: Explained) -> Iterator[Row]:
        model = self._model(result) if self._several_models else ""
        nothing: list[Tile | None] = [None] * len(self._columns)
        if not result.attributions:
            yield Row(SEPARATOR.join(filter(None, (model, result.note))), nothing)
        for name in dict.fromkeys(own.target.name for own in result.attributions):
            answers = [own for own in result.attributions if own.target.name == name]
            tiles = nothing.copy()
            for own in answers:
                tiles[self._columns.index(self._column(own))] = self._tile(result, own)
            tags = ["predicted"] if result.top and _about(answers[0], result.top[0].id) else []
            tags += ["truth"] if result.truth and _about(answers[0], result.truth.id) else []
            yield Row(SEPARATOR.join(filter(None, (model, captions.about(answers[0]), *tags))), tiles)

    def _tile(self, result: Explained, own: Attribution) -> Tile:
        style = self._style
        if self.look.norm == "run":
            style = replace(style, top=self._tops[self._model(result), own.method, own.layer])

        def draw(side: int, line: float) -> Pixels:
            return overlays.overlay(result.frame, result.box, own, _sized(style, side, line))

        note = () if own.note is None else (self._notes.setdefault(own.note, len(self._notes) + 1),)
        largest = f"scale to {style.top_of(own):.3g}" if self.look.legend and own.values.any() else ""
        caption = " ".join(filter(None, (largest, *(f"[{number}]" for number in note))))
        return Tile(result.frame.size, draw, caption, note)

    def _bars(self) -> Iterator[Bar]:
        for kind in dict.fromkeys(own.kind for _, own in self._answers):
            low, high = self._ends(kind)
            yield Bar(colours.scale_of(kind, self._style), low, high)

    def _ends(self, kind: Kind) -> tuple[str, str]:
        """What the ends of a colour bar stand for."""
        if self.look.norm == "image":
            return ("0", "largest value of each map") if kind == "map" else ("−", "+ each picture on its own scale")
        tops = {self._style.top_of(own) for _, own in self._answers if own.kind == kind}
        if self.look.norm == "run":
            tops = {self._tops[model, own.method, own.layer] for model, own in self._answers if own.kind == kind}
        if len(tops) > 1:
            return ("0", "largest value of each method") if kind == "map" else ("−", "+ each method on its own scale")
        (top,) = tops
        return ("0" if kind == "map" else f"−{top:.3g}", f"{top:.3g}")

    def _legend(self) -> Iterator[str]:
        marks = list(self._style.marks) if any(own.kind == "map" for _, own in self._answers) else []
        if any(
            overlays.is_cropped(result.frame, own.box or result.box)
            for result in self._all
            for own in result.attributions
        ):
            marks.append(f"{self._style.unseen.capitalize()} by the network")
        if marks:
            yield ". ".join(marks)
        if self.look.norm == "run" and len(self._tops) > 1:
            ends = (f"{self._key(*key)} {top:.3g}" for key, top in self._tops.items())
            yield f"Scales end at: {', '.join(ends)}"
        for model in dict.fromkeys(model for model, _ in self._answers):
            layers: dict[str, list[str]] = {}
            for layer, method in dict.fromkeys((o.layer, o.method) for m, o in self._answers if m == model and o.layer):
                layers.setdefault(layer, []).append(method)
            one = len(layers) == 1
            said = (f"layer {layer}" if one else f"{layer} ({', '.join(own)})" for layer, own in layers.items())
            yield SEPARATOR.join(filter(None, (model, "" if self._by_layer else "; ".join(said))))

    def _key(self, model: str, method: str, layer: str | None) -> str:
        return " ".join(filter(None, (model if self._several_models else "", method, layer if self._by_layer else "")))


def _sized(style: Style, side: int, line: float) -> Style:
    return replace(style, max_side=side, min_side=side, line=line)


def _about(own: Attribution, number: int | None) -> bool:
    """True if the answer says what speaks for the class of that id, as a whole."""
    target = own.target
    entry = target.entry
    plain = entry is not None and entry.part is None and not target.negated and target.minus is None
    return plain and number is not None and entry is not None and entry.id == number
