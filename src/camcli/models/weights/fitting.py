"""Which tensor of a file belongs where in a network, and the network's head made to fit the file.

A fine-tuned checkpoint differs from its architecture in two honest ways: what a training loop put around the names
(`module.`, `model.`, `_orig_mod.`), and the head, which has other classes. Both are undone here; anything more is
another network, and a half-loaded network is never explained.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.models.weights import causes, children, heads, reparametrised
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
_MAX_LISTED = 6
# Under another prefix lies another network if it has at least this share of the tensors.
_ALIKE = 0.9


@dataclass(frozen=True, slots=True)
class Fit:
    """How the names in a file meet those of a network.

    names: the network's -> the file's. prefix: what stood before the file's. heads: rebuilt ones. stem: the first
    convolution's name where the file's has other input channels. missing, unexpected, mismatched: what keeps the
    two apart (the network's names, the file's, "name AxB, wanted CxD"). aside: what else the file holds.
    rivals: other prefixes under which a network lies that fits as well. further: names of layers beside the network
    that may take part in its scores. ordered: the file's names are the numbers of the network's children.
    computed: weights that the file holds the parts of -> what made them. colours: means and deviations beside the
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
    wanted: Mapping[str, Shape], tensors: Mapping[str, Tensor], rename: Rename = str
) -> tuple[Fit, Mapping[str, Tensor]]:
    """(how a file fits a network, its tensors: those that the network wants whole are computed from their parts)."""
    whole, computed = reparametrised.computed(tensors, wanted)
    fit = match(wanted, shapes_of(whole), rename)
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


def match(wanted: Mapping[str, Shape], given: Mapping[str, Shape], rename: Rename = str) -> Fit:
    """Find each of a network's tensors in a file.

    wanted, given: shapes by name, the network's in the order of its modules. rename: the file's older or foreign
    names -> the network's; None drops one.
    """
    prefix, renamed, rivals = _renamed(wanted, given, rename)
    fit = _met(wanted, given, prefix, renamed, rivals)
    if fit.problems and (numbered := children.in_order(wanted, given, _IGNORED)):
        ordered = _met(wanted, given, "", numbered)
        if not ordered.problems:
            return replace(ordered, ordered=True, aside=())
    return replace(fit, rivals=rivals)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], what: str, rename: Rename = str) -> Fit:
    """Hand each tensor of a file to the network, all of them, the head rebuilt where the file's is another.

    `what` starts the error: "weights.pth does not fit resnet18".

    Raises:
        SetupError: a tensor is missing, left over or of another shape, beyond a rebuilt head; or it is not known which
            of several networks in the file is meant.
    """
    own = net.state_dict()
    fit, tensors = meet(shapes_of(own), tensors, rename)
    if fit.problems:
        found = differences(fit, limit=_MAX_LISTED) + hint(fit, own, shapes_of(tensors))
        raise SetupError(f"{what}: {found}; see `camcli inspect`")
    if obstacle := in_the_way(fit, tensors):
        raise SetupError(f"{what} as it is: {obstacle}")
    for head in fit.heads:
        if not _can_stand_in(net.get_submodule(head.path), head):
            kind = type(net.get_submodule(head.path)).__name__
            raise SetupError(
                f"{what}: the head {head.path} is a {kind}, which a plain Linear ({head.weight} {_x(head.shape)}) "
                "can't stand in for: make the network with the file's number of classes (--model-arg)"
            )
    for head in fit.heads:
        _put(net, head)
    if fit.stem is not None:
        _widen(net.get_submodule(fit.stem.rpartition(".")[0]), tensors[fit.names[fit.stem]])
    state = OrderedDict((name, tensors[theirs]) for name, theirs in fit.names.items())
    state.update(
        (name, torch.zeros_like(v))
        for name, v in own.items()
        if _last(name) == "num_batches_tracked" and name not in state
    )
    state._metadata = _versions(net, tensors, fit.prefix)  # type: ignore[attr-defined]
    net.load_state_dict(state, strict=True, assign=True)
    net.float()  # half-precision files; a no-op otherwise
    return fit


def differences(fit: Fit, limit: int | None = None) -> str:
    """What keeps a file and a network apart, in words: at most `limit` names of each kind."""
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
    """Why, as far as the names tell, and the way on; starts with ". ", or is "" if they tell nothing."""
    left_over = (*fit.unexpected, *fit.aside)
    if told := causes.told(given, left_over):
        return f". {told}"
    if fit.further:
        listed = (
            ", ".join(f"{name} {_x(given[name])}" for name in fit.further if len(given[name]) > 1) or fit.further[0]
        )
        return (
            f". Beside the network stands {listed}: if that takes no part in the scores, "
            f"--weights-key {fit.prefix.removesuffix('.')} takes the network alone, with the head that it has; else "
            + causes.AS_CODE
        )
    if fit.unexpected and _are_folded(fit):
        return ". Its batch norms seem to be folded into the convolutions: " + causes.AS_CODE
    return _of_several_layers(fit, own, given)


def in_the_way(fit: Fit, tensors: Mapping[str, Tensor]) -> str:
    """Why a file whose names and shapes fit can't be taken all the same; "" if it can."""
    for name, theirs in fit.names.items():
        if _last(name) in ("weight", "bias") and not tensors[theirs].is_floating_point():
            return f"{theirs} is {str(tensors[theirs].dtype).removeprefix('torch.')}. {causes.INTEGERS}"
    if not fit.rivals:
        return ""
    found = [prefix.removesuffix(".") for prefix in (fit.prefix, *fit.rivals)]
    return f"it holds {len(found)} networks ({', '.join(found)}): say which, --weights-key {' or '.join(found)}"


def remarks(fit: Fit, file: str) -> list[str]:
    """What was done to make a file fit, where that is more than names and a head of another size."""
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


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Construct networks without drawing random weights that `fill` would throw away (seconds for VGG)."""
    with ExitStack() as stack:
        for name in dir(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _unchanged))
        yield


def _met(
    wanted: Mapping[str, Shape],
    given: Mapping[str, Shape],
    prefix: str,
    renamed: Mapping[str, str],
    rivals: tuple[str, ...] = (),
) -> Fit:
    """What fits and what does not, once the file's names are the network's."""
    names: dict[str, str] = {}
    unexpected = []
    for theirs, own in renamed.items():
        if own in wanted and own not in names:
            names[own] = theirs
        elif own and _last(theirs) not in _IGNORED:
            unexpected.append(theirs)
    missing = [name for name in wanted if name not in names and _last(name) != "num_batches_tracked"]
    mismatched = [own for own, theirs in names.items() if wanted[own] != given[theirs]]
    aside = [name for name in given if name not in renamed]
    elsewhere = [name for name in aside if _unwrapped(name, _WRAPPERS).startswith(rivals)]
    stem = _other_channels(wanted, given, names, mismatched)
    mismatched = [name for name in mismatched if name != stem]
    meeting = Meeting(wanted, given, renamed, missing, mismatched, (*aside, *unexpected))
    rebuilt = heads.found(meeting)
    for head in rebuilt:
        kept = {own: theirs for own, theirs in names.items() if not under(own, head.path)}
        missing = [name for name in missing if not under(name, head.path)]
        missing += [own for own, theirs in kept.items() if head.holds(theirs)]  # one tensor has one place
        names = {own: theirs for own, theirs in kept.items() if not head.holds(theirs)} | head.names
        mismatched = [name for name in mismatched if not under(name, head.path)]
        lost = [name for name in heads.displaced(head, meeting) if _last(name) not in _IGNORED]
        lost = [name for name in lost if name not in elsewhere]
        unexpected = [name for name in dict.fromkeys([*unexpected, *lost]) if not head.holds(name)]
        aside = [name for name in aside if not head.holds(name) and name not in lost]
    further = _further(wanted, given, names, [name for name in aside if name not in elsewhere], prefix)
    unexpected += further
    aside = [name for name in aside if name not in further]
    described = [f"{names[name]} {_x(given[names[name]])}, wanted {_x(wanted[name])}" for name in mismatched]
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


def _are_folded(fit: Fit) -> bool:
    """Whether all that is missing are batch norms, and all that is left over are biases."""
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

    The prefix is the one that makes most tensors meet, in name and then in shape; one may also have to be put on,
    where the network is the one that stands inside something. A rival is one under which another network lies that
    fits as well, its head aside.
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
    """Whether the network under another prefix is the same, number for number."""
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


def _of_several_layers(fit: Fit, own: Iterable[str], given: Mapping[str, Shape]) -> str:
    """The commonest reason of all: a new head of two or more layers, whose activations no file records."""
    root = list(own)[-1].split(".")[0]
    linear = [name for name, shape in given.items() if len(shape) == 2]
    layers = [name for name in linear if under(name.removeprefix(fit.prefix), root)]
    if fit.missing:
        layers = layers or [name for name in linear if name in fit.aside or name in fit.unexpected]
    if len(layers) < 2 or any(not under(name, root) for name in fit.missing):
        return ""
    listed = ", ".join(f"{name} {_x(given[name])}" for name in layers[:_MAX_LISTED])
    return (
        f". Its head has layers of its own ({listed}), and what lies between them is not in the file: "
        "give the network as code, --model FILE.py:factory"
    )


def _can_stand_in(module: nn.Module, head: Head) -> bool:
    """Whether a plain Linear, or 1x1 convolution, computes what the module there does but for its weights.

    A class of the user's own may compute anything with a weight of that shape.
    """
    if head.flattened:
        return type(module) is nn.Sequential
    ours = type(module).__module__.startswith(("torch.", "timm."))
    return ours and isinstance(module, nn.Conv2d if len(head.shape) == 4 else nn.Linear)


def _put(net: nn.Module, head: Head) -> None:
    """The module that the head's tensors belong in, empty."""
    classes, features = head.shape[:2]
    with no_initialisation():
        module: nn.Module = nn.Linear(features, classes, bias=head.bias is not None)
        if len(head.shape) == 4:
            module = nn.Conv2d(features, classes, 1, bias=head.bias is not None)
    net.set_submodule(head.path, nn.Sequential(nn.Flatten(1), module) if head.flattened else module)


def _widen(stem: nn.Module, weight: Tensor) -> None:
    assert isinstance(stem, nn.Conv2d)
    stem.in_channels = weight.shape[1] * stem.groups
    stem.weight = nn.Parameter(torch.empty_like(weight), requires_grad=False)


def _without_channels(shape: Shape) -> Shape:
    return shape[:1] + shape[2:]


def _versions(net: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, dict[str, int]]:
    """Modules that changed over the years read their file's version here; a file without it is of today's."""
    today: dict[str, dict[str, int]] = getattr(net.state_dict(), "_metadata", {})
    saved: dict[str, dict[str, int]] = getattr(tensors, "_metadata", {})
    below = prefix.removesuffix(".")
    return today | {
        name.removeprefix(below).removeprefix("."): value for name, value in saved.items() if name.startswith(below)
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"


def _unchanged(tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
    return tensor
