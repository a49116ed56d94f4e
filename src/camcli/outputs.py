"""What a network returned -> scores (N, K) before any activation, and the probabilities that belong to them.

A classifier may return a tensor, a tuple, a dict or an object with `.logits`; its head may end in a softmax or a
sigmoid; one logit alone is the score of "yes" in a question of yes or no. Grad-CAM's score is the one *before* the
activation (arXiv:1610.02391 sec. 3), so where the head has one, what enters it is read instead of what leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import RequestError, SetupError
from camcli.faults import device_failed, lacks_memory
from camcli.frozen import frozen

Activation = Literal["softmax", "sigmoid"]
Reading = Literal["softmax", "sigmoid", "none"]

_SOFTMAX = frozenset(
    getattr(owner, name) for owner in (torch, Tensor, functional) for name in ("softmax", "log_softmax")
)
_SIGMOID = frozenset({torch.sigmoid, Tensor.sigmoid, torch.special.expit, functional.logsigmoid})
_IN_PLACE = frozenset({torch.sigmoid_, Tensor.sigmoid_})
# What gives scores in the order of their size, and beside them whose they are.
_RANKING = frozenset(getattr(owner, name) for owner in (torch, Tensor) for name in ("topk", "sort", "max"))


@dataclass(frozen=True, slots=True)
class Readout:
    """How one network's output is read.

    key: which of several outputs. activation: what turns scores into probabilities ("none": they are no classes'
    scores). activated: the head ends in its own softmax or sigmoid. given: the network gives probabilities that no
    activation of its own ends in, as an average of softmaxes does: their logarithms (of sigmoids: log-odds) are the
    scores; 1, or 100 where they are per cent. binary: one logit, read as the scores (-z, z) of two classes, so that the
    second one's probability is sigmoid(z). table: the network gives scores (N, K); without, a target function alone
    says what is explained. scaled: what the activation gave, or its logarithm, times a number, plus one. unsigned:
    scores of several classes that are all of one sign, so that they may be no logits.
    """

    key: str | None = None
    activation: Reading = "softmax"
    activated: bool = False
    scaled: bool = False
    given: int = 0
    binary: bool = False
    table: bool = True
    unsigned: bool = False

    def outputs(self, net: nn.Module, images: Tensor) -> Outputs:
        """One forward.

        Raises: SetupError: the network fails on pictures of this size, or gives no scores.
        """
        seen = _Activations()
        with seen if self.activated else nullcontext():
            raw = _forward(net, images)
            if not self.table:
                return Outputs(raw, images.new_zeros(len(images), 0), self)
            _, output = _scores_in(raw, self.key)
        scores = _as_table(seen.before(output, scaled=self.scaled) if self.activated else output, len(images))
        if self.given:
            scores = _unactivated(scores / self.given, self.activation)
        return Outputs(raw, torch.cat([-scores, scores], dim=1) if self.binary else scores, self)

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, K) in [0, 1]; rows sum to 1 unless several labels can be true at once."""
        assert self.activation != "none"
        if self.activation == "sigmoid":
            return scores.sigmoid()
        return scores.exp() if self.given else scores.softmax(1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
        if self.activation == "sigmoid":
            return functional.logsigmoid(scores)
        return scores if self.given else scores.log_softmax(1)


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What one forward gave: `raw` as the network returned it, `scores` (N, K) before any activation."""

    raw: Any
    scores: Tensor
    readout: Readout
    embedding: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """(N, K) in [0, 1]."""
        return self.readout.probabilities(self.scores)

    @property
    def log_probabilities(self) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
        return self.readout.log_probabilities(self.scores)


# What networks raise on pictures that they can't take.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)

# How nearly every classifier is read: one tensor of logits.
PLAIN = Readout()
# How anything else is read that a target function is told about.
UNREAD = Readout(activation="none", table=False)


class NoTableError(SetupError):
    """What a network returned holds no scores of classes."""


def takes(net: nn.Module, images: Tensor) -> bool:
    """Whether the network runs on pictures (N, C, H, W) of so many channels and that size."""
    try:
        with torch.no_grad(), frozen(net):
            UNREAD.outputs(net, images)
    except SetupError:
        return False
    return True


def probe(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Readout, int]:
    """(how the output is read, number of classes), found by a forward of these pictures (N, C, H, W).

    Raises:
        RequestError: `key` names none of the outputs.
        NoTableError: several outputs could be the scores, or none.
        SetupError: the network fails on such pictures.
    """
    seen = _Activations()
    with torch.no_grad(), frozen(net), seen:
        raw = _forward(net, images.clone())  # some networks change what they are given
    key, output = _scores_in(raw, key)
    table, others = _as_table(output, len(images)), tensors_in(raw)
    if seen.ranks(output, others) or _are_ranks(table, others):
        raise NoTableError(
            "the model gives scores in the order of their size, so that no column is a class: what it gives must come "
            "before its topk, sort or max"
        )
    ended_in = seen.kind_of(output)
    if ended_in == "softmax" and table.shape[1] > 1 and not _is_over_classes(seen.before(output), output, len(images)):
        raise NoTableError("the model ends in a softmax that is not over its classes: dim=1 is")
    if ended_in is None and (scaled := seen.scaled(table)) is not None:
        made_of, slope = scaled
        if slope > 0:
            found, classes = readout(table.shape[1], multi_label, made_of, key)
            return replace(found, scaled=True), classes
        if made_of == "softmax":
            raise NoTableError(
                "the model gives numbers that fall where its softmax rises, so that the largest is the least likely "
                "class: what it gives must come before that"
            )
    if ended_in is None:
        for whole in (1, _PER_CENT):
            if (kind := _probabilities_of(table, seen, whole)) is not None:
                return readout(table.shape[1], multi_label, kind, key, given=whole)
    found, classes = readout(table.shape[1], multi_label, ended_in, key)
    return replace(found, unsigned=ended_in is None and classes >= _SEVERAL and _is_unsigned(table)), classes


def probe_twice(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Readout, int, bool]:
    """`probe`, of several pictures and of the first alone, and whether the network takes only one at a time.

    A network may squeeze the batch's axis away, or mix what pictures of a batch get.

    Raises: as `probe`; NoTableError: the number of classes depends on that of pictures.
    """
    together: tuple[Readout, int] | None = None
    try:
        together = probe(net, images, key, multi_label)
    except NoTableError:
        raise
    except SetupError:  # it may have been written for one picture: said below where it fails on that one too
        pass
    alone = probe(net, images[:1], key, multi_label)
    columns = [1 if found[0].binary else found[1] for found in (together, alone) if found is not None]
    if columns[0] != columns[-1]:
        counts = f"{columns[-1]} numbers of one picture and {columns[0]} each of {len(images)}"
        raise NoTableError(f"the model gives {counts}: it is no classifier")
    return *(together or alone), together is None


def readout(
    outputs: int, multi_label: bool, kind: Activation | None = None, key: str | None = None, given: int = 0
) -> tuple[Readout, int]:
    """(how a head with so many outputs is read, number of classes); it ends in an activation of that kind, or where
    `given` it gives probabilities that one has made.

    Raises:
        RequestError: several labels are asked of a head that makes its classes compete.
    """
    if multi_label and kind == "softmax" and outputs > 1:
        raise RequestError("--multi-label: the model ends in a softmax, so its classes exclude each other")
    binary = outputs == 1
    sigmoid = multi_label or binary or kind == "sigmoid"
    found = Readout(
        key,
        activation="sigmoid" if sigmoid else "softmax",
        activated=kind is not None and not given,
        given=given,
        binary=binary,
    )
    return found, 2 if binary else outputs


def _probabilities_of(table: Tensor, seen: _Activations, whole: int) -> Activation | None:
    """What has made the probabilities, as shares of a `whole`, that a table (N, K) holds; None where it holds scores.

    Numbers in [0, 1] that sum to 1, or, if they are no per cent, that come where a softmax or a sigmoid of as many
    numbers ran before.
    """
    shares = table / whole
    if float(shares.min()) < 0 or float(shares.max()) > 1 + _SUM_WITHIN:
        return None
    if table.shape[1] > 1 and float((shares.sum(1) - 1).abs().max()) < _SUM_WITHIN:
        return "softmax"
    return seen.kind_like(table) if whole == 1 else None


def _is_unsigned(table: Tensor) -> bool:
    """Whether scores are of one sign; logarithms of probabilities are scores like any: their softmax is those."""
    if not (bool((table >= 0).all()) or bool((table <= 0).all())):
        return False
    return not bool(((table.double().exp().sum(1) - 1).abs() < _SUM_WITHIN).all())


def _slope(numbers: Tensor, table: Tensor) -> float | None:
    """k of the line, table = k * numbers + c, on which all lie; None if there is none, or too few lie anywhere."""
    x, y = numbers.double().flatten(), table.double().flatten()
    if len(x) < _ON_A_LINE or not (x.isfinite().all() and y.isfinite().all()):
        return None
    x, y = x - x.mean(), y - y.mean()
    rounding = 4 * torch.finfo(torch.float32).eps * float(table.abs().max())
    if float(x.abs().max()) == 0 or float(y.abs().max()) < 16 * rounding:
        return None
    slope = float(x @ y / (x @ x))
    return slope if float((y - slope * x).abs().max()) <= 1e-3 * float(y.abs().max()) + rounding else None


def _is_over_classes(before: Tensor, output: Tensor, pictures: int) -> bool:
    """Whether a softmax or log-softmax of what entered, over the classes of each picture, is what came out."""
    scores, found = _as_table(before, pictures).double(), _as_table(output, pictures).double()
    return any(
        torch.allclose(over.nan_to_num(neginf=-1e30), found.nan_to_num(neginf=-1e30), rtol=1e-2, atol=1e-3)
        for over in (scores.softmax(1), scores.log_softmax(1))
    )


def _are_ranks(table: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether beside rows that fall stand as many numbers that tell whose scores they are: none is said twice."""
    if table.shape[1] < 2 or not bool((table.diff(dim=1) <= 0).all()):
        return False
    ids = [other for other in others if not (other.is_floating_point() or other.is_complex())]
    return any(
        one.shape == table.shape and one.dtype != torch.bool and bool((one.sort(1).values.diff(dim=1) > 0).all())
        for one in ids
    )


# Any two points lie on a line, and two classes' probabilities mirror each other.
_ON_A_LINE = 4
# Rounding, and the least probability that some code clamps to.
_SUM_WITHIN = 1e-3
_PER_CENT = 100
# By chance fewer logits than these are often all above zero.
_SEVERAL = 4
# Logarithms stay finite; below that a probability in float32 says nothing.
_LEAST = 1e-12


def _unactivated(probabilities: Tensor, activation: Reading) -> Tensor:
    if activation == "sigmoid":
        return torch.logit(probabilities, eps=1e-7)
    return probabilities.clamp_min(_LEAST).log()


def _forward(net: nn.Module, images: Tensor) -> Any:
    try:
        return net(images)
    except _FAILURES as error:
        if lacks_memory(error) or device_failed(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        size = f"{images.shape[2]} pixels high and {images.shape[3]} wide"
        raise SetupError(f"the model fails on a view {size}: {reason}{_advice(str(error))}") from error


# What an error about the size of the pictures says. One that says nothing may be about it.
_OF_SIZE = re.compile(
    r"\b(sizes?|shapes?|dimensions?|elements|kernel|heights?|widths?|resolution|divisible|small|large|\d+x\d+)\b", re.I
)
_OF_CAUSES = (
    ("Inference tensor", "forward runs under torch.inference_mode: take that out of the code"),
    ("view size is not compatible", "its .view can't be taken of this tensor: .reshape in its place can"),
    ("should be the same", "it mixes precisions: give all of it float32"),
    ("same dtype", "it mixes precisions: give all of it float32"),
    ("expected scalar type", "it mixes precisions: give all of it float32"),
    ("on the same device", "it makes tensors on another device: make them on the picture's"),
)


def _advice(said: str) -> str:
    for words, cause in _OF_CAUSES:
        if words in said:
            return f"; {cause}"
    return "; see --resize, --crop, --fit" if not said.strip() or _OF_SIZE.search(said) else ""


class _Activations(TorchFunctionMode):
    """Remembers what entered and left each softmax, log-softmax or sigmoid that could be a head's, and all rankings."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor, Activation]] = []
        self._ranked: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kind = _kind(func)
        if kind is None:
            after = func(*args, **(kwargs or {}))
            if func in _RANKING and isinstance(after, tuple) and args and args[0].ndim == 2:
                self._ranked.append((after[0], after[1]))
            return after
        before = args[0] if args else (kwargs or {})["input"]
        kept = before.clone() if func in _IN_PLACE else before
        after = func(*args, **(kwargs or {}))
        # Attention's are large and never the head's: what is kept has one axis beside the batch, or none at all.
        if not after.ndim or max(after.shape[1:], default=1) * len(after) == after.numel():
            self._seen.append((kept, after, kind))
        return after

    def kind_of(self, output: Tensor) -> Activation | None:
        """The activation that gave this output, None where it was none."""
        found = self._behind(output)
        return found[2] if found else None

    def kind_like(self, table: Tensor) -> Activation | None:
        """The last activation that gave as many numbers as the table (N, K) holds, one row a picture."""
        return next((kind for _, _, kind in self._like(table)), None)

    def scaled(self, table: Tensor) -> tuple[Activation, float] | None:
        """(the last activation that gave as many numbers, k), if the table (N, K) is k times those, or k times their
        logarithms, plus a constant: 2 p - 1, log2 p, decibels."""
        for before, after, kind in self._like(table)[:1]:
            if before.data_ptr() == table.data_ptr():  # of one picture, logits are their log-softmax plus a constant
                return None
            given = after.reshape(table.shape)
            for numbers in (given, given.log()):
                if (slope := _slope(numbers, table)) is not None:
                    return kind, slope
        return None

    def _like(self, table: Tensor) -> list[tuple[Tensor, Tensor, Activation]]:
        """The activations, the last one first, that gave as many numbers as the table (N, K) holds, a row a picture."""
        return [
            seen
            for seen in reversed(self._seen)
            if seen[1].numel() == table.numel() and (not seen[1].ndim or len(seen[1]) == len(table))
        ]

    def ranks(self, output: Tensor, others: Sequence[Tensor]) -> bool:
        """Whether scores of a table came out ranked as this output, or as what its activation read: several, or one
        beside whose it is. One alone may be the best of a bag's."""
        found = self._behind(output)
        given = (output,) if found is None else (output, found[0])
        told = {other.data_ptr() for other in others}
        return any(
            one.data_ptr() == values.data_ptr() and one.numel() == values.numel()
            for values, ids in self._ranked
            for one in given
            if values.shape[1:].numel() > 1 or ids.data_ptr() in told
        )

    def before(self, output: Tensor, *, scaled: bool = False) -> Tensor:
        """What entered the activation that gave this output, or the numbers that it is `scaled` from, in the output's
        shape."""
        found = next(iter(self._like(output)), None) if scaled else self._behind(output)
        if found is None:
            raise SetupError("the model ends in a softmax or sigmoid on some pictures and not on others")
        before, after, _ = found
        # A table that was transposed for its activation is the same numbers in another order.
        if after.ndim == 2 and (after.mT.shape, after.mT.stride()) == (output.shape, output.stride()):
            return before.mT
        return before.reshape(output.shape)

    def _behind(self, output: Tensor) -> tuple[Tensor, Tensor, Activation] | None:
        for before, after, kind in reversed(self._seen):
            # A squeeze or view of the activation's result is still that result.
            if after.data_ptr() == output.data_ptr() and after.numel() == output.numel():
                return before, after, kind
        return None


def _kind(func: Any) -> Activation | None:
    if func in _SOFTMAX:
        return "softmax"
    return "sigmoid" if func in _SIGMOID or func in _IN_PLACE else None


def _scores_in(output: Any, key: str | None) -> tuple[str | None, Tensor]:
    """(the key, the scores) of what the network returned; the key is None where that is the tensor itself."""
    if isinstance(output, Tensor):
        if key is not None:
            raise RequestError(f"--output-key {key}: the model gives one tensor, not several outputs")
        return None, output
    outputs = _named(output)
    if key is not None:
        if key not in outputs:
            raise RequestError(f"--output-key {key}: the model's outputs are {_listed(outputs)}")
        return key, outputs[key]
    if "logits" in outputs:
        return "logits", outputs["logits"]
    tables = [(name, value) for name, value in outputs.items() if _is_table(value)]
    if len(tables) == 1:
        return tables[0]
    if not outputs:
        kind = type(output).__qualname__
        raise NoTableError(
            f"the model returns no tensor ({kind}): it is no classifier. Let it return its scores as one"
        )
    raise NoTableError(
        f"the model's output has no single (N, classes) tensor: choose one with --output-key, of {_listed(outputs)}"
    )


def _named(output: Any) -> dict[str, Tensor]:
    """The tensors in a dict, tuple, named tuple or output object, by key, index or attribute; if it holds none, those
    of what it holds, by "outer.inner"."""
    parts = _parts(output)
    found = {key: value for key, value in parts.items() if isinstance(value, Tensor)}
    if found:
        return found
    inner = {key: _named(value) for key, value in parts.items() if isinstance(value, (Mapping, tuple, list))}
    return {f"{outer}.{key}": value for outer, values in inner.items() for key, value in values.items()}


def _parts(output: Any) -> dict[str, Any]:
    if isinstance(output, Mapping):
        pairs = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, (tuple, list)):
        # Named tuples have the one, torch's own the other.
        names = getattr(output, "_fields", getattr(output, "__match_args__", ()))
        pairs = list(zip(names or map(str, range(len(output))), output, strict=True))
    else:
        pairs = list(vars(output).items()) if hasattr(output, "__dict__") else []
    return dict(pairs)


def carried(module: nn.Module, output: Any) -> Tensor | None:
    """The tensor that a module hands on: its output, or the first of several, as of blocks that tell their attention
    too. Of torch's own modules those that give several are recurrent, or an attention: None."""
    if isinstance(output, Tensor):
        return output
    several = isinstance(output, (tuple, list)) and output and not type(module).__module__.startswith("torch.")
    return output[0] if several and isinstance(output[0], Tensor) else None


def with_carried(output: Any, tensor: Tensor) -> Any:
    """A module's output with another tensor to hand on."""
    if isinstance(output, Tensor):
        return tensor
    others = output[1:]
    return type(output)(tensor, *others) if hasattr(output, "_fields") else type(output)([tensor, *others])


def tensors_in(output: Any) -> list[Tensor]:
    """All tensors of what the network returned."""
    return [output] if isinstance(output, Tensor) else list(_named(output).values())


def _is_table(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2 and value.shape[2:].numel() == 1


def _as_table(output: Tensor, pictures: int) -> Tensor:
    """(N, K) from (N, K), (N,) for one logit, (N, K, 1, 1) for a convolutional head, or (N, 1, K) for one token.

    A network that squeezes its output gives (K,) for one picture, or one number.
    """
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise NoTableError(f"the model gives {kind} numbers, not scores: what it gives must come before an argmax")
    table = output
    if output.ndim < 2 and (pictures == 1 or output.shape == (pictures,)):
        table = output.reshape(pictures, -1)
    elif output.ndim > 2 and max(output.shape[1:]) == output.shape[1:].numel():
        table = output.flatten(1)
    if table.ndim != 2 or len(table) != pictures:
        given = "x".join(map(str, output.shape)) or "one number"
        raise NoTableError(f"the model gives {given} for {pictures} picture(s), not (N, classes): it is no classifier")
    if table.shape[1] == 0:
        raise NoTableError("the model gives no scores: its table has no classes")
    return table


def _listed(outputs: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({'x'.join(map(str, value.shape))})" for name, value in outputs.items()) or "no tensors"
