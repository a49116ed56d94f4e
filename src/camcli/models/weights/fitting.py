"""The places of a file's tensors in a network, and the network's head made to fit the file.

A fine-tuned checkpoint differs from its architecture in two honest ways: what a training loop put around the names
(`module.`, `model.`, `_orig_mod.`), and the head, which has other classes. Both are undone here; anything more is
another network, and a half-loaded network is never explained.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import torch
from torch import Tensor

from camcli.models.weights import children, heads, reparametrised
from camcli.models.weights.heads import Head, Meeting, Shape, under

Rename = Callable[[str], str | None]

# Parts of a name that wrappers leave: DataParallel and DDP, torch.compile, FSDP, activation checkpointing.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Not weights: counters of profilers and averages, and constants that older versions of a library saved.
_IGNORED = frozenset(
    {
        *("total_ops", "total_params", "num_batches_tracked", "n_averaged", "num_updates"),
        *("relative_position_index", "attn_mask", "position_ids"),
    }
)
_MAX_PREFIX_PARTS = 4
# The shapes of one number.
_ONE = {(), (1,)}
MAX_LISTED = 6
# Under another prefix lies another network if it has at least this share of the tensors.
_ALIKE = 0.9


@dataclass(frozen=True, slots=True)
class Fit:
    """The meeting of the names in a file with those of a network.

    names: the network's -> the file's. prefix: what stood before the file's. heads: rebuilt ones. stem: the first
    convolution's name if the file's has other input channels. missing, unexpected, mismatched: what keeps the
    two apart (the network's names, the file's, "name AxB, wanted CxD"). aside: what else the file holds.
    rivals: other prefixes, under which another network fits as well. further: names of layers beside the network
    that may take part in its scores. ordered: the file's names are the numbers of the network's children.
    computed: weights of which the file holds the parts -> what made those. colours: means and deviations beside the
    network, by which it may normalise its pictures itself.
    """

    names: Mapping[str, str]
    prefix: str
    heads: tuple[Head, ...]
    stem: str | None
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    aside: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    ordered: bool = False
    computed: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def meet(
    wanted: Mapping[str, Shape], tensors: Mapping[str, Tensor], rename: Rename = str, *, as_it_is: bool = False
) -> tuple[Fit, Mapping[str, Tensor]]:
    """(how a file fits a network, its tensors). Those that the network wants whole are computed from their parts."""
    whole, computed = reparametrised.computed(tensors, wanted)
    fit = match(wanted, shapes_of(whole), rename, as_it_is=as_it_is)
    different = tuple(rival for rival in fit.rivals if not _same(fit, rival, whole))
    colours = {
        name: tuple(round(value, 4) for value in whole[name].flatten().tolist())
        for name in fit.aside
        if heads.is_normaliser(name, tuple(whole[name].shape)) and not whole[name].is_meta
    }
    return replace(fit, rivals=different, computed=computed, colours=colours), whole


def below(tensors: Mapping[str, Tensor], path: str) -> Mapping[str, Tensor]:
    """The tensors under a prefix, which may have been wrapped, by the names below it."""
    cleaned = {name: _unwrapped(name, _WRAPPERS) for name in tensors}
    for names in ({name: name for name in tensors}, cleaned):
        part = OrderedDict((own[len(path) + 1 :], tensors[name]) for name, own in names.items() if under(own, path))
        if part:
            return part
    return {}


def match(
    wanted: Mapping[str, Shape], given: Mapping[str, Shape], rename: Rename = str, *, as_it_is: bool = False
) -> Fit:
    """Find each of a network's tensors in a file.

    wanted, given: shapes by name, the network's in the order of its modules. rename: the file's older or foreign
    names -> the network's; None drops one. as_it_is: no head is rebuilt, and no stem.
    """
    prefix, renamed, rivals = _renamed(wanted, given, rename)
    fit = _met(wanted, given, prefix, renamed, rivals, as_it_is=as_it_is)
    if fit.problems and (numbered := children.in_order(wanted, given, _IGNORED)):
        ordered = _met(wanted, given, "", numbered, as_it_is=as_it_is)
        if not ordered.problems:
            return replace(ordered, ordered=True, aside=())
    return replace(fit, rivals=rivals)


def _met(
    wanted: Mapping[str, Shape],
    given: Mapping[str, Shape],
    prefix: str,
    renamed: Mapping[str, str],
    rivals: tuple[str, ...] = (),
    *,
    as_it_is: bool = False,
) -> Fit:
    """The fit, once the file's names are the network's: what has its place and what has not."""
    names: dict[str, str] = {}
    unexpected = []
    for theirs, own in renamed.items():
        if own in wanted and own not in names:
            names[own] = theirs
        elif own and last_part(theirs) not in _IGNORED:
            unexpected.append(theirs)
    missing = [name for name in wanted if name not in names and last_part(name) != "num_batches_tracked"]
    mismatched = [
        own for own, theirs in names.items() if wanted[own] != given[theirs] and {wanted[own], given[theirs]} != _ONE
    ]
    aside = [name for name in given if name not in renamed]
    elsewhere = [name for name in aside if _unwrapped(name, _WRAPPERS).startswith(rivals)]
    stem = None if as_it_is else _other_channels(wanted, given, names, mismatched)
    mismatched = [name for name in mismatched if name != stem]
    meeting = Meeting(wanted, given, renamed, missing, mismatched, (*aside, *unexpected))
    rebuilt = [] if as_it_is else heads.found(meeting)
    for head in rebuilt:
        kept = {own: theirs for own, theirs in names.items() if not under(own, head.path)}
        missing = [name for name in missing if not under(name, head.path)]
        missing += [own for own, theirs in kept.items() if head.holds(theirs)]  # one tensor has one place
        names = {own: theirs for own, theirs in kept.items() if not head.holds(theirs)} | head.names
        mismatched = [name for name in mismatched if not under(name, head.path)]
        lost = [name for name in heads.displaced(head, meeting) if last_part(name) not in _IGNORED]
        lost = [name for name in lost if name not in elsewhere]
        unexpected = [name for name in dict.fromkeys([*unexpected, *lost]) if not head.holds(name)]
        aside = [name for name in aside if not head.holds(name) and name not in lost]
    further = _further(wanted, given, names, [name for name in aside if name not in elsewhere], prefix)
    unexpected += further
    aside = [name for name in aside if name not in further]
    described = [
        f"{names[name]} {sizes_in(given[names[name]])}, wanted {sizes_in(wanted[name])}" for name in mismatched
    ]
    return Fit(
        names=names,
        prefix=prefix,
        heads=tuple(rebuilt),
        stem=stem,
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        mismatched=tuple(described),
        aside=tuple(aside),
        further=tuple(further),
    )


def are_folded(fit: Fit) -> bool:
    """True if all that is missing are batch norms, and all that is left over are biases."""
    norms = {name.rpartition(".")[0] for name in fit.missing if name.endswith(".running_mean")}
    within = all(name.rpartition(".")[0] in norms for name in fit.missing)
    return bool(norms) and within and all(name.endswith(".bias") for name in fit.unexpected)


def _other_channels(
    wanted: Mapping[str, Shape], given: Mapping[str, Shape], names: Mapping[str, str], mismatched: Iterable[str]
) -> str | None:
    """The first convolution, if it differs by its input channels alone."""
    stem = next((name for name, shape in wanted.items() if len(shape) == 4), None)
    if stem is None or stem not in mismatched:
        return None
    return stem if _without_channels(wanted[stem]) == _without_channels(given[names[stem]]) else None


def _further(
    wanted: Mapping[str, Shape], given: Mapping[str, Shape], names: Mapping[str, str], aside: list[str], prefix: str
) -> list[str]:
    """Layers beside the network that may take part in its scores. Not those of another network, half its size or more:
    a teacher."""
    last = heads.last_weight(wanted)
    if last is None or not aside or last not in names:
        return []
    parent = prefix.removesuffix(".").rpartition(".")[0]
    groups: dict[str, list[str]] = {}
    for name in aside:
        groups.setdefault(_unwrapped(name, _WRAPPERS).removeprefix(f"{parent}.").split(".")[0], []).append(name)
    few = [name for group in groups.values() if len(group) < len(wanted) / 2 for name in group]
    return heads.taking_part(given, few)


def _renamed(
    wanted: Mapping[str, Shape], given: Mapping[str, Shape], rename: Rename
) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """(the prefix to take off, the file's names below it -> the network's, "" for one to drop; rival prefixes).

    The prefix is the one that makes most tensors meet, in name and then in shape. One may also have to be put on, if
    the network itself stands inside something. A rival is a prefix under which another network fits as well,
    its head aside.
    """
    legitimate = {part for name in wanted for part in name.split(".")}
    wrappers = _WRAPPERS - legitimate
    cleaned = {name: _unwrapped(name, wrappers) for name in given}
    best: tuple[tuple[int, int], str, dict[str, str]] = ((-1, -1), "", {})
    scores: dict[str, tuple[int, int]] = {}
    for off, on in product(_prefixes(cleaned.values()), _prefixes(wanted)):
        below = {theirs: name.removeprefix(off) for theirs, name in cleaned.items() if name.startswith(off)}
        renamed = {theirs: on + own if (own := rename(name)) else "" for theirs, name in below.items()}
        met = [(own, theirs) for theirs, own in renamed.items() if own in wanted]
        score = len(met), sum(wanted[own] == given[theirs] for own, theirs in met)
        scores[off] = max(score, scores.get(off, score))
        if score > best[0]:
            best = score, off, renamed
    (count, same), prefix, renamed = best
    rivals = [
        off
        for off, (met_there, same_there) in scores.items()
        if met_there >= _ALIKE * count
        and same_there >= _ALIKE * same - 2  # a head of other classes
        and not off.startswith(prefix)
        and not prefix.startswith(off)
    ]
    outermost = [off for off in rivals if not any(off != other and off.startswith(other) for other in rivals)]
    return prefix, renamed, tuple(outermost)


def _unwrapped(name: str, wrappers: Collection[str]) -> str:
    return ".".join(part for part in name.split(".") if part not in wrappers)


def _same(fit: Fit, rival: str, tensors: Mapping[str, Tensor]) -> bool:
    """True if the network under another prefix is the same, number for number."""
    twins = [(name, rival + name.removeprefix(fit.prefix)) for name in fit.names.values()]
    return all(twin in tensors and torch.equal(tensors[name], tensors[twin]) for name, twin in twins)


def _prefixes(names: Iterable[str]) -> list[str]:
    """ "" and each leading part that many of the names share."""
    names = list(names)
    counts = Counter(
        ".".join(name.split(".")[:parts]) + "."
        for name in names
        for parts in range(1, min(_MAX_PREFIX_PARTS, name.count(".")) + 1)
    )
    return ["", *(prefix for prefix, count in counts.items() if count > len(names) / 4)]


def _without_channels(shape: Shape) -> Shape:
    return shape[:1] + shape[2:]


def last_part(name: str) -> str:
    return name.rpartition(".")[2]


def sizes_in(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"
