"""What stands in words above and below a picture."""

from __future__ import annotations

from pathlib import Path

from camcli.drawing.lettering import SEPARATOR
from camcli.records import Attribution, Explained


def heading(result: Explained) -> str:
    """One line: the file, the model, what it predicted, and what is true, if that is known."""
    best = result.top[0] if result.top else None
    said = f"predicted {best.name}" if best is not None and best.probability is not None else ""
    if said and result.truth is not None:
        said += ": right" if result.truth.correct else f", truth {result.truth.id} {result.truth.label}"
    return SEPARATOR.join(filter(None, (Path(result.ref.name).name, result.model, said)))


def caption(attribution: Attribution) -> str:
    """One line: id and name, probability, method, layer, and the note, such as why it is blank."""
    parts = (about(attribution), attribution.method, attribution.layer, attribution.note)
    return SEPARATOR.join(part for part in parts if part)


def about(attribution: Attribution) -> str:
    """The id and name of what is explained, and its probability."""
    target = attribution.target
    probability = target.entry.probability if target.entry and not target.minus else None
    value = f"p = {probability:.3f}" if probability is not None else f"{target.quantity} = {target.value:.3f}"
    return f"{target.name}{SEPARATOR}{value}"
