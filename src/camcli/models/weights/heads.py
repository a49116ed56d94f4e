"""A network's head that differs in the file: of other classes, moved, or one layer in place of several.

A file tells names and shapes, not what is computed with them. So only a plain Linear or 1x1 convolution is put in
place of the head. Anything else in the file of the old head or of the new one counts as left over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]

# A factor that a cosine head has, and a Linear has not.
_FACTORS = frozenset({"scale", "logit_scale", "s", "tau", "temperature", "gamma", "alpha", "sigma", "eta"})


@dataclass(frozen=True, slots=True)
class Head:
    """A Linear or 1x1 convolution of the file's own, put in place of the module at `path`.

    weight, bias: the file's names. shape: of the weight, (classes, features, ...). flattened: it replaces a head of
    several layers, and so stands after a Flatten. moved: the file has it at another path. bare: it has no bias, but
    the network's own has one.
    """

    path: str
    weight: str
    bias: str | None
    shape: Shape
    flattened: bool = False
    moved: bool = False
    bare: bool = False

    @property
    def names(self) -> dict[str, str]:
        """The network's names for it once it is in place -> the file's."""
        path = f"{self.path}.1" if self.flattened else self.path
        return {f"{path}.weight": self.weight} | ({f"{path}.bias": self.bias} if self.bias else {})

    def holds(self, name: str) -> bool:
        return name in (self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Meeting:
    """The meeting of the names of a file with those of a network, as needed to find its head.

    wanted, given: shapes by name. renamed: the file's names -> the network's, "" for one to drop. missing,
    mismatched: names of the network. beside: names of the file that the network has not.
    """

    wanted: Mapping[str, Shape]
    given: Mapping[str, Shape]
    renamed: Mapping[str, str]
    missing: Sequence[str]
    mismatched: Sequence[str]
    beside: Sequence[str]


def found(meeting: Meeting) -> list[Head]:
    """The heads to rebuild: of another size in their own place, moved, or one in place of several layers."""
    last = last_weight(meeting.wanted)
    if last is None:
        return []
    return _in_place(meeting, last) or _moved(meeting, last)


def last_weight(wanted: Mapping[str, Shape]) -> str | None:
    """The name of the weight that the scores come from, as a rule."""
    return next((name for name in reversed(list(wanted)) if len(wanted[name]) > 1), None)


def displaced(head: Head, meeting: Meeting) -> Iterator[str]:
    """The names in the file that lose their place or their meaning if the head is put where it is wanted."""
    below = head.weight.rpartition(".")[0]
    elsewhere = head.moved or head.flattened
    for name, own in meeting.renamed.items():
        if own and (under(own, head.path) or (elsewhere and under(name, below))) and not head.holds(name):
            yield name
    if elsewhere and not under(meeting.renamed.get(head.weight, ""), head.path.split(".")[0]):  # from elsewhere
        for name in meeting.beside:
            if name not in meeting.renamed and not head.holds(name) and _computes(name, head, meeting.given):
                yield name


def taking_part(given: Mapping[str, Shape], names: Sequence[str]) -> list[str]:
    """The names beside a network with its head that look like those of layers before it or after it."""
    layers = {
        name.rpartition(".")[0]
        for name in names
        if (len(given[name]) > 1 and _last(name) == "weight") or _last(name) == "running_mean"
    }
    return [name for name in names if name.rpartition(".")[0] in layers]


def _in_place(meeting: Meeting, last: str) -> list[Head]:
    wanted, given, missing = meeting.wanted, meeting.given, meeting.missing
    theirs = {own: name for name, own in meeting.renamed.items() if own}
    path = last.rpartition(".")[0]

    def fits(own: str) -> bool:
        if own not in theirs or own not in wanted or not _is_head(wanted[own], given[theirs[own]]):
            return False
        bias = theirs.get(f"{own.removesuffix('weight')}bias")
        return bias is None or given[bias] == given[theirs[own]][:1]

    resized = {f"{name.rpartition('.')[0]}.weight" for name in meeting.mismatched}
    if (
        resized
        and last not in missing
        and all(map(fits, resized))
        and len({given[theirs[own]][0] for own in resized}) == 1
    ):
        return [_head(own.rpartition(".")[0], theirs[own], meeting) for own in sorted(resized)]
    if fits(last) and (f"{path}.bias" in wanted) != (f"{path}.bias" in theirs):
        return [_head(path, theirs[last], meeting)]
    return []


def _moved(meeting: Meeting, last: str) -> list[Head]:
    wanted, given, renamed, missing = meeting.wanted, meeting.given, meeting.renamed, meeting.missing
    path, root = last.rpartition(".")[0], last.split(".")[0]
    if last not in missing or not all(under(name, root) for name in missing):
        return []
    linear = [name for name, own in renamed.items() if own and under(own, root) and len(given[name]) > 1]
    below = [name for name in linear if under(renamed[name], path)]
    within = all(under(name, path) for name in missing)
    if len(below) == 1 and within and _is_moved(below[0], last, meeting):
        return [_head(path, below[0], meeting, moved=True)]
    linear = linear or [name for name in meeting.beside if len(given[name]) == 2]
    if len(linear) != 1:
        return []
    if within and _is_moved(linear[0], last, meeting):
        return [_head(path, linear[0], meeting, moved=True)]
    first = next(wanted[name] for name in wanted if under(name, root))
    entering = first[-1] if len(first) < 3 else 0
    if given[linear[0]][1:] == (entering,) and _last(linear[0]) == "weight":
        return [_head(root, linear[0], meeting, flattened=True)]
    return []


def _head(path: str, weight: str, meeting: Meeting, *, flattened: bool = False, moved: bool = False) -> Head:
    bias: str | None = f"{weight.removesuffix('weight')}bias"
    bias = bias if bias in meeting.given else None
    bare = bias is None and f"{path}.bias" in meeting.wanted
    return Head(path, weight, bias, meeting.given[weight], flattened, moved, bare)


def _is_head(wanted: Shape, given: Shape) -> bool:
    """True if `given` turns the same features into any number of classes, by a Linear or a 1x1 convolution."""
    return len(wanted) > 1 and wanted[1:] == given[1:] and wanted[2:] in ((), (1, 1))


def _is_moved(name: str, last: str, meeting: Meeting) -> bool:
    """True if the tensor can be the weight of a Linear: a layer of somebody's own names its parameters otherwise."""
    return _last(name) == "weight" and _is_head(meeting.wanted[last], meeting.given[name])


def _computes(name: str, head: Head, given: Mapping[str, Shape]) -> bool:
    """True if a tensor beside the network and its head, as far as name and shape tell, takes part in the scores."""
    shape, (path, _, kind) = given[name], name.rpartition(".")
    if is_normaliser(name, shape):
        return False
    pair = kind in ("weight", "bias") and given.get(f"{path}.weight") == given.get(f"{path}.bias")
    factor = is_factor(name) and shape in ((), (1,))
    return len(shape) > 1 or shape == head.shape[1:] or pair or factor or kind in ("running_mean", "running_var")


def is_factor(name: str) -> bool:
    return _last(name) in _FACTORS


def is_normaliser(name: str, shape: Shape) -> bool:
    """True if the tensor is a mean or std of colours: such a network normalises its pictures itself."""
    return _last(name).removesuffix("_").rpartition("_")[2] in ("mean", "std") and sorted(shape)[-1:] in ([1], [3])


def under(name: str, path: str) -> bool:
    return name.startswith(path + ".")


def _last(name: str) -> str:
    return name.rpartition(".")[2]
