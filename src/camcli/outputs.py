"""What a network returned -> scores (N, K) before any activation, and the probabilities that belong to them.

A classifier may return a tensor, a tuple, a dict or an object with `.logits`; its head may end in a softmax or a
sigmoid; one logit alone is the score of "yes" in a question of yes or no. Grad-CAM's score is the one *before* the
activation (arXiv:1610.02391 sec. 3), so where the head has one, what enters it is read instead of what leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import RequestError, SetupError
from camcli.records import spelled

Activation = Literal["softmax", "sigmoid"]
Reading = Literal["softmax", "sigmoid", "none"]

_SOFTMAX = frozenset(
    getattr(owner, name) for owner in (torch, Tensor, functional) for name in ("softmax", "log_softmax")
)
_SIGMOID = frozenset({torch.sigmoid, Tensor.sigmoid, torch.special.expit})
_IN_PLACE = frozenset({torch.sigmoid_, Tensor.sigmoid_})


@dataclass(frozen=True, slots=True)
class Readout:
    """How one network's output is read.

    key: which of several outputs. activation: what turns scores into probabilities ("none": they are no classes'
    scores). activated: the head ends in its
    own softmax or sigmoid. binary: one logit, read as the scores (-z, z) of two classes, so that the second one's
    probability is sigmoid(z).
    """

    key: str | None = None
    activation: Reading = "softmax"
    activated: bool = False
    binary: bool = False

    def outputs(self, net: nn.Module, images: Tensor) -> Outputs:
        """One forward.

        Raises: SetupError: the network fails on pictures of this size, or gives no scores.
        """
        seen = _Activations()
        with seen if self.activated else nullcontext():
            raw = _forward(net, images)
            output = _tensor_of(raw, self.key)
        scores = _as_table(seen.before(output) if self.activated else output, len(images))
        return Outputs(raw, torch.cat([-scores, scores], dim=1) if self.binary else scores, self)

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, K) in [0, 1]; rows sum to 1 unless several labels can be true at once."""
        assert self.activation != "none"
        return scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()


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
        softmax = self.readout.activation == "softmax"
        return self.scores.log_softmax(1) if softmax else functional.logsigmoid(self.scores)


# What networks raise on pictures of a size that they can't take.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)

# How nearly every classifier is read: one tensor of logits.
PLAIN = Readout()


def probe(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Readout, int]:
    """(how the output is read, number of classes), found by one forward.

    Raises:
        RequestError: `key` names none of the outputs.
        SetupError: several outputs could be the scores, or none.
    """
    seen = _Activations()
    with torch.no_grad(), seen:
        output = _tensor_of(_forward(net, images), key)
    kind = seen.kind_of(output)
    return readout(_as_table(output, len(images)).shape[1], multi_label, kind, key)


def readout(
    outputs: int, multi_label: bool, ended_in: Activation | None = None, key: str | None = None
) -> tuple[Readout, int]:
    """(how a head with so many outputs is read, number of classes).

    Raises:
        RequestError: several labels are asked of a head that makes its classes compete.
    """
    if multi_label and ended_in == "softmax" and outputs > 1:
        raise RequestError("--multi-label: the model ends in a softmax, so its classes exclude each other")
    binary = outputs == 1
    sigmoid = multi_label or binary or ended_in == "sigmoid"
    return Readout(key, "sigmoid" if sigmoid else "softmax", ended_in is not None, binary), 2 if binary else outputs


def _forward(net: nn.Module, images: Tensor) -> Any:
    try:
        return net(images)
    except _FAILURES as error:
        if lacks_memory(error) or device_failed(error):
            raise
        size = spelled((images.shape[2], images.shape[3]))
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        raise SetupError(f"the model fails on a view of {size}: {reason}; see --resize, --crop, --fit") from error


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that memory did not suffice; on a CPU and on MPS torch has no class for that."""
    said = str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in said for words in ("can't allocate memory", "out of memory")
    )


def device_failed(error: BaseException) -> bool:
    """Whether it says that a GPU has failed: after most such errors it is of no use to this process."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or str(error).startswith("CUDA error")


class _Activations(TorchFunctionMode):
    """Remembers what entered and left each softmax, log-softmax or sigmoid that could be a head's."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor, Activation]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kind = _kind(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        before = args[0] if args else (kwargs or {})["input"]
        kept = before.clone() if func in _IN_PLACE else before
        after = func(*args, **(kwargs or {}))
        # Attention's are large and never the head's: what is kept has one axis beside the batch.
        if after.ndim and max(after.shape[1:], default=1) * len(after) == after.numel():
            self._seen.append((kept, after, kind))
        return after

    def kind_of(self, output: Tensor) -> Activation | None:
        """The activation that gave this output, None where it was none."""
        found = self._behind(output)
        return found[1] if found else None

    def before(self, output: Tensor) -> Tensor:
        """What entered the activation that gave this output, in the output's shape."""
        found = self._behind(output)
        if found is None:
            raise SetupError("the model ends in a softmax or sigmoid on some pictures and not on others")
        return found[0].reshape(output.shape)

    def _behind(self, output: Tensor) -> tuple[Tensor, Activation] | None:
        for before, after, kind in reversed(self._seen):
            # A squeeze or view of the activation's result is still that result.
            if after.data_ptr() == output.data_ptr() and after.numel() == output.numel():
                return before, kind
        return None


def _kind(func: Any) -> Activation | None:
    if func in _SOFTMAX:
        return "softmax"
    return "sigmoid" if func in _SIGMOID or func in _IN_PLACE else None


def _tensor_of(output: Any, key: str | None) -> Tensor:
    """The scores among what the network returned."""
    if isinstance(output, Tensor):
        if key is not None:
            raise RequestError(f"--output-key {key}: the model gives one tensor, not several outputs")
        return output
    outputs = _named(output)
    if key is not None:
        if key not in outputs:
            raise RequestError(f"--output-key {key}: the model's outputs are {_listed(outputs)}")
        return outputs[key]
    if "logits" in outputs:
        return outputs["logits"]
    tables = {name: value for name, value in outputs.items() if _is_table(value)}
    if len(tables) == 1:
        return next(iter(tables.values()))
    raise SetupError(
        f"the model's output has no single (N, classes) tensor: choose one with --output-key, of {_listed(outputs)}"
    )


def _named(output: Any) -> dict[str, Tensor]:
    """The tensors in a dict, tuple, named tuple or output object, by key, index or attribute."""
    if isinstance(output, Mapping):
        pairs = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, (tuple, list)):
        pairs = list(zip(getattr(output, "_fields", map(str, range(len(output)))), output, strict=True))
    else:
        pairs = list(vars(output).items()) if hasattr(output, "__dict__") else []
    return {key: value for key, value in pairs if isinstance(value, Tensor)}


def _is_table(value: Tensor) -> bool:
    return value.is_floating_point() and (value.ndim == 2 or (value.ndim == 4 and value.shape[2:] == (1, 1)))


def _as_table(output: Tensor, pictures: int) -> Tensor:
    """(N, K) from (N, K), (N,) for one logit, or (N, K, 1, 1) for a convolutional head."""
    if output.ndim == 1 and len(output) == pictures:
        return output[:, None]
    if output.ndim == 4 and output.shape[2:] == (1, 1):
        return output.flatten(1)
    if output.ndim != 2 or len(output) != pictures:
        given = "x".join(map(str, output.shape)) or "one number"
        raise SetupError(f"the model gives {given} for {pictures} picture(s), not (N, classes): it is no classifier")
    return output


def _listed(outputs: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({'x'.join(map(str, value.shape))})" for name, value in outputs.items()) or "no tensors"
