"""The differences of a file and a network, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor

from camcli.models.weights import causes, heads
from camcli.models.weights.fitting import MAX_LISTED, Fit, are_folded, last_part, sizes_in
from camcli.models.weights.heads import Shape, under


def differences(fit: Fit, limit: int | None = None) -> str:
    """The differences of a file and a network, in words: at most `limit` names of each kind."""
    if not fit.names:
        return "not one of its tensors is known there"
    parts = [
        f"{len(names)} {word} ({', '.join(names[:limit])}{', …' if limit and len(names) > limit else ''})"
        for names, word in (
            (fit.missing, "missing"),
            (fit.unexpected, "left over"),
            (fit.mismatched, "of another shape"),
        )
        if names
    ]
    return "; ".join(parts)


def hint(fit: Fit, own: Iterable[str], given: Mapping[str, Shape]) -> str:
    """The cause, as far as the names tell, and the way on; starts with ". ", or is "" if they tell nothing."""
    left_over = (*fit.unexpected, *fit.aside)
    if told := causes.told(given, left_over):
        return f". {told}"
    if fit.further:
        listed = (
            ", ".join(f"{name} {sizes_in(given[name])}" for name in fit.further if len(given[name]) > 1)
            or fit.further[0]
        )
        return (
            f". Beside the network stands {listed}: if that takes no part in the scores, "
            f"--weights-key {fit.prefix.removesuffix('.')} takes the network alone, with the head that it has; else "
            + causes.AS_CODE
        )
    if fit.unexpected and are_folded(fit):
        return ". Its batch norms seem to be folded into the convolutions: " + causes.AS_CODE
    return _of_several_layers(fit, own, given)


def in_the_way(fit: Fit, tensors: Mapping[str, Tensor]) -> str:
    """The obstacle to a file whose names and shapes fit; "" if there is none."""
    for name, theirs in fit.names.items():
        if last_part(name) in ("weight", "bias") and not tensors[theirs].is_floating_point():
            return f"{theirs} is {str(tensors[theirs].dtype).removeprefix('torch.')}. {causes.INTEGERS}"
    if not fit.rivals:
        return ""
    found = [prefix.removesuffix(".") for prefix in (fit.prefix, *fit.rivals)]
    return f"it holds {len(found)} networks ({', '.join(found)}): say which, --weights-key {' or '.join(found)}"


def remarks(fit: Fit, file: str) -> list[str]:
    """Remarks on what was done to make a file fit, beyond names and a head of another size."""
    said = [f"{file}: {head.weight} is the whole head" for head in fit.heads if head.flattened]
    said += [
        f"{file}: {head.weight} is taken for the head {head.path}, a plain Linear; no file tells what stood around it"
        for head in fit.heads
        if head.moved
    ]
    said += [
        f"{file}: the head has no bias, and is taken for a plain Linear; one that compares directions "
        "(cosine, ArcFace) needs its code, --model FILE.py:factory"
        for head in fit.heads
        if head.bare
    ]
    if fit.ordered:
        said.append(f"{file}: its {len(fit.names)} tensors have numbers for names, and are taken in their order")
    for made_by, count in Counter(fit.computed.values()).items():
        said.append(f"{file}: {count} weight{'s' * (count > 1)} computed from the parts that {made_by} keeps")
    if fit.aside:
        count, first = len(fit.aside), ", ".join(fit.aside[:3])
        said.append(
            f"{file}: {count} tensor{'s' * (count > 1)} beside the network left aside ({first}{', …' * (count > 3)})"
        )
    said += [
        f"{file}: the scores may have been scaled by {name}, and are reported without"
        for name in fit.aside
        if heads.is_factor(name)
    ]
    if fit.colours:
        listed = ", ".join(
            f"{name} {','.join(f'{value:g}' for value in values)}" for name, values in fit.colours.items()
        )
        said.append(f"{file}: the network seems to normalise its pictures itself ({listed}): check --mean and --std")
    return said


def _of_several_layers(fit: Fit, own: Iterable[str], given: Mapping[str, Shape]) -> str:
    """The commonest reason of all: a new head of two or more layers, whose activations no file records."""
    root = list(own)[-1].split(".")[0]
    linear = [name for name, shape in given.items() if len(shape) == 2]
    layers = [name for name in linear if under(name.removeprefix(fit.prefix), root)]
    if fit.missing:
        layers = layers or [name for name in linear if name in fit.aside or name in fit.unexpected]
    if len(layers) < 2 or any(not under(name, root) for name in fit.missing):
        return ""
    listed = ", ".join(f"{name} {sizes_in(given[name])}" for name in layers[:MAX_LISTED])
    return (
        f". Its head has layers of its own ({listed}), and what lies between them is not in the file: "
        "give the network as code, --model FILE.py:factory"
    )
