"""Which tensor of a file belongs where in a network, and the network's head made to fit the file.

A fine-tuned checkpoint differs from its architecture in two honest ways: what a training loop put around the names
(`module.`, `model.`, `_orig_mod.`), and the head, which has other classes. Both are undone here; anything more is
another network, and a half-loaded network is never explained.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor, nn

from camcli.errors import SetupError

Shape = tuple[int, ...]
Rename = Callable[[str], str | None]

# Parts of a name that wrappers leave: DataParallel and DDP, torch.compile, FSDP, activation checkpointing.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Not weights: counters of profilers, and constants that older versions of a library saved.
_IGNORED = frozenset(
    {"total_ops", "total_params", "num_batches_tracked", "relative_position_index", "attn_mask", "position_ids"}
)
_MAX_PREFIX_PARTS = 4
_MAX_LISTED = 6


@dataclass(frozen=True, slots=True)
class Head:
    """A Linear or 1x1 convolution of the file's own, put in place of the module at `path`.

    weight, bias: the file's names. shape: of the weight, (classes, features, ...). flattened: it replaces a head of
    several layers, and so stands behind a Flatten.
    """

    path: str
    weight: str
    bias: str | None
    shape: Shape
    flattened: bool = False

    @property
    def names(self) -> dict[str, str]:
        """The network's names for it once it is in place -> the file's."""
        path = f"{self.path}.1" if self.flattened else self.path
        return {f"{path}.weight": self.weight} | ({f"{path}.bias": self.bias} if self.bias else {})


@dataclass(frozen=True, slots=True)
class Fit:
    """How the names in a file meet those of a network.

    names: the network's -> the file's. prefix: what stood before the file's. heads: rebuilt ones. stem: the first
    convolution's name where the file's has other input channels. missing, unexpected, mismatched: what keeps the
    two apart (the network's names, the file's, "name AxB, wanted CxD"). aside: what else the file holds.
    """

    names: Mapping[str, str]
    prefix: str
    heads: tuple[Head, ...]
    stem: str | None
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    aside: tuple[str, ...]

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def match(wanted: Mapping[str, Shape], given: Mapping[str, Shape], rename: Rename = str) -> Fit:
    """Find each of a network's tensors in a file.

    wanted, given: shapes by name, the network's in the order of its modules. rename: the file's older or foreign
    names -> the network's; None drops one.
    """
    prefix, renamed = _renamed(wanted, given, rename)
    names = {own: theirs for theirs, own in renamed.items() if own in wanted}
    missing = [name for name in wanted if name not in names and _last(name) != "num_batches_tracked"]
    mismatched = [own for own, theirs in names.items() if wanted[own] != given[theirs]]
    unexpected = [t for t, own in renamed.items() if own and own not in wanted and _last(t) not in _IGNORED]
    aside = [name for name in given if name not in renamed]

    stem = next((name for name, shape in wanted.items() if len(shape) == 4), None)
    if (
        stem is not None
        and stem in mismatched
        and _without_channels(wanted[stem]) == _without_channels(given[names[stem]])
    ):
        mismatched.remove(stem)
    else:
        stem = None
    heads = _heads(wanted, given, renamed, missing, mismatched, aside)
    for head in heads:
        replaced = head.path
        names = {own: theirs for own, theirs in names.items() if not _under(own, replaced)} | head.names
        missing = [name for name in missing if not _under(name, replaced)]
        mismatched = [name for name in mismatched if not _under(name, replaced)]
        unexpected = [name for name in unexpected if name not in (head.weight, head.bias)]
        aside = [name for name in aside if name not in (head.weight, head.bias)]
    described = [f"{names[name]} {_x(given[names[name]])}, wanted {_x(wanted[name])}" for name in mismatched]
    return Fit(names, prefix, tuple(heads), stem, tuple(missing), tuple(unexpected), tuple(described), tuple(aside))


def fill(net: nn.Module, tensors: Mapping[str, Tensor], what: str, rename: Rename = str) -> Fit:
    """Hand each tensor of a file to the network, all of them, the head rebuilt where the file's is another.

    `what` starts the error: "weights.pth does not fit resnet18".

    Raises:
        SetupError: a tensor is missing, left over or of another shape, beyond a rebuilt head.
    """
    own = net.state_dict()
    fit = match(shapes_of(own), shapes_of(tensors), rename)
    if fit.problems:
        found = differences(fit, limit=_MAX_LISTED) + _of_several_layers(fit, own, tensors)
        raise SetupError(f"{what}: {found}; see `camcli inspect`")
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


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Construct networks without drawing random weights that `fill` would throw away (seconds for VGG)."""
    with ExitStack() as stack:
        for name in dir(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _unchanged))
        yield


def _renamed(wanted: Mapping[str, Shape], given: Mapping[str, Shape], rename: Rename) -> tuple[str, dict[str, str]]:
    """(the prefix to take off, the file's names below it -> the network's, "" for one to drop).

    The prefix is the one that makes most tensors meet, in name and then in shape; one may also have to be put on,
    where the network is the one that stands inside something.
    """
    legitimate = {part for name in wanted for part in name.split(".")}
    wrappers = _WRAPPERS - legitimate
    cleaned = {name: ".".join(part for part in name.split(".") if part not in wrappers) for name in given}
    best: tuple[tuple[int, int], str, dict[str, str]] = ((-1, -1), "", {})
    for off, on in product(_prefixes(cleaned.values()), _prefixes(wanted)):
        below = {theirs: name.removeprefix(off) for theirs, name in cleaned.items() if name.startswith(off)}
        renamed = {theirs: on + own if (own := rename(name)) else "" for theirs, name in below.items()}
        met = [(own, theirs) for theirs, own in renamed.items() if own in wanted]
        score = len(met), sum(wanted[own] == given[theirs] for own, theirs in met)
        if score > best[0]:
            best = score, off, renamed
    return best[1], best[2]


def _prefixes(names: Iterable[str]) -> list[str]:
    """ "" and each leading part that many of the names share."""
    names = list(names)
    counts = Counter(
        ".".join(name.split(".")[:parts]) + "."
        for name in names
        for parts in range(1, min(_MAX_PREFIX_PARTS, name.count(".")) + 1)
    )
    return ["", *(prefix for prefix, count in counts.items() if count > len(names) / 4)]


def _heads(
    wanted: Mapping[str, Shape],
    given: Mapping[str, Shape],
    renamed: Mapping[str, str],
    missing: Sequence[str],
    mismatched: Sequence[str],
    aside: Sequence[str],
) -> list[Head]:
    """The heads to rebuild: of another size in their own place, moved, or one in place of several layers."""
    last = next((name for name in reversed(list(wanted)) if len(wanted[name]) > 1), None)
    if last is None:
        return []
    path, root = last.rpartition(".")[0], last.split(".")[0]
    theirs = {own: name for name, own in renamed.items() if own}

    def fits(own: str) -> bool:
        if own not in theirs or own not in wanted or not _is_head(wanted[own], given[theirs[own]]):
            return False
        bias = theirs.get(f"{own.removesuffix('weight')}bias")
        return bias is None or given[bias] == given[theirs[own]][:1]

    resized = {f"{name.rpartition('.')[0]}.weight" for name in mismatched}
    if (
        resized
        and last not in missing
        and all(map(fits, resized))
        and len({given[theirs[own]][0] for own in resized}) == 1
    ):
        return [_head(own.rpartition(".")[0], theirs[own], given) for own in sorted(resized)]
    if fits(last) and (f"{path}.bias" in wanted) != (f"{path}.bias" in theirs):
        return [_head(path, theirs[last], given)]
    if last not in missing or not all(_under(name, root) for name in missing):
        return []
    linear = [name for name, own in renamed.items() if own and _under(own, root) and len(given[name]) > 1]
    below = [name for name in linear if _under(renamed[name], path)]
    if len(below) == 1 and _is_head(wanted[last], given[below[0]]) and all(_under(name, path) for name in missing):
        return [_head(path, below[0], given)]
    linear = linear or [name for name in aside if len(given[name]) == 2]
    moved = [name for name in linear if _is_head(wanted[last], given[name])]
    if len(linear) == len(moved) == 1 and all(_under(name, path) for name in missing):
        return [_head(path, moved[0], given)]
    first = next(wanted[name] for name in wanted if _under(name, root))
    entering = first[-1] if len(first) < 3 else 0
    if len(linear) == 1 and given[linear[0]][1:] == (entering,):
        return [_head(root, linear[0], given, flattened=True)]
    return []


def _of_several_layers(fit: Fit, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """The commonest reason of all: a new head of two or more layers, whose activations no file records."""
    root = list(own)[-1].split(".")[0]
    layers = [
        f"{name} {_x(tuple(value.shape))}"
        for name, value in tensors.items()
        if value.ndim == 2 and _under(name.removeprefix(fit.prefix), root)
    ]
    if len(layers) < 2 or any(not _under(name, root) for name in fit.missing):
        return ""
    return (
        f". Its head has layers of its own ({', '.join(layers)}), and what lies between them is not in the file: "
        "give the network as code, --model FILE.py:factory"
    )


def _head(path: str, weight: str, given: Mapping[str, Shape], *, flattened: bool = False) -> Head:
    bias = weight.removesuffix("weight") + "bias"
    return Head(path, weight, bias if bias in given else None, given[weight], flattened)


def _is_head(wanted: Shape, given: Shape) -> bool:
    """The same features into any number of classes, by a Linear or a 1x1 convolution."""
    return len(wanted) > 1 and wanted[1:] == given[1:] and wanted[2:] in ((), (1, 1))


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


def _under(name: str, path: str) -> bool:
    return name.startswith(path + ".")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"


def _unchanged(tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
    return tensor
