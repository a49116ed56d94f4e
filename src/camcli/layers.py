"""Which layer a map is drawn from, and why.

The rule, over one traced forward: the last module in execution order whose output is a spatial map larger than 1x1,
is crossed by every path to the score, and is neither a pool nor part of the head. Where tokens are mixed by
attention after the last such map (ViT), it is the input of the last attention: behind that only the class token
reaches the score and the patches' gradient is exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camcli.errors import SetupError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

# More class, distillation and register tokens in front of the patches than any published model has.
MAX_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """One module's output in one forward. Equal `tensor` numbers mean the same tensor; -1: not a tensor or no graph."""

    name: str
    kind: str
    shape: tuple[int, ...]
    tensor: int
    on_every_path: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward: module runs in the order they finished, and what the guided rule would find.

    `query` is the tensor that entered the last multi-head attention; `rectifiers` counts ReLU and ReLU6 calls,
    `others` the calls of other activations by name.
    """

    runs: tuple[Run, ...]
    classes: int
    query: int | None
    rectifiers: int
    others: dict[str, int]

    def last(self, name: str) -> Run | None:
        return next((run for run in reversed(self.runs) if run.name == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A target layer. `to_map` turns its output, or a gradient shaped like it, into (N, C, h, w) = `shape`."""

    name: str
    module: nn.Module
    shape: tuple[int, int, int]
    to_map: Callable[[Tensor], Tensor]
    why: str


def resolve(net: nn.Module, trace: Trace, names: Sequence[str], model: str) -> list[Layer]:
    """The named layers, or the automatic one where none is named.

    Raises:
        RequestError: no module has that name.
        SetupError: the module did not run, or gives no spatial map; or no automatic choice is right.
    """
    if not names:
        return [choose(net, trace, model)]
    return [_named(net, trace, name, model) for name in dict.fromkeys(names)]


def choose(net: nn.Module, trace: Trace, model: str) -> Layer:
    """The automatic choice, with its reason."""
    head = _head(trace)
    producers: dict[int, Run] = {}
    for run in trace.runs:
        producers.setdefault(run.tensor, run)
    spatial = [
        run
        for run in trace.runs
        if run.on_every_path
        and len(run.shape) == 4
        and _is_map(_map_shape(net, trace, run))
        and not _within(run.name, head)
        and not any(word in producers[run.tensor].kind for word in ("Pool", "Dropout"))
    ]
    query = [run for run in trace.runs if trace.query is not None and run.tensor == trace.query]
    if query and (not spatial or trace.runs.index(query[0]) > trace.runs.index(spatial[-1])):
        chosen = query[0]
        why = "what the last attention mixes; behind it only the class token reaches the score"
    elif spatial:
        chosen = spatial[-1]
        why = f"the last of {len({run.tensor for run in spatial})} spatial maps that every path to the score crosses"
    else:
        raise SetupError(
            f"no layer of {model} is a spatial map that every path to the score crosses: name one with --layer"
        )
    # Containers hand on the tensor of their last child: the outermost name says most.
    same = [run for run in trace.runs if run.tensor == chosen.tensor and run.shape == chosen.shape]
    outermost = min(same, key=lambda run: run.name.count("."))
    return _layer(net, trace, outermost, why)


def _named(net: nn.Module, trace: Trace, name: str, model: str) -> Layer:
    modules = dict(net.named_modules())
    if name not in modules or not name:
        raise unknown("layer", name, filter(None, modules), f"camcli layers {model}")
    run = trace.last(name)
    see = f"`camcli layers {model}` lists what can be explained"
    if run is None:
        raise SetupError(f"layer {name!r} does not run when {model} predicts: {see}")
    shape = _map_shape(net, trace, run)
    if not _is_map(shape):
        given = "x".join(map(str, run.shape[1:])) or "no tensor"
        raise SetupError(f"layer {name!r} gives {given}, not a spatial map: {see}")
    return _layer(net, trace, run, "named with --layer")


def _layer(net: nn.Module, trace: Trace, run: Run, why: str) -> Layer:
    shape = _map_shape(net, trace, run)
    assert shape is not None
    to_map: Callable[[Tensor], Tensor] = _identity
    if len(run.shape) == 3:
        to_map = _fold(*shape[1:])
    elif shape != run.shape[1:]:
        to_map = _channels_first
    return Layer(run.name, net.get_submodule(run.name), shape, to_map, why)


def map_shape(net: nn.Module, trace: Trace, name: str) -> tuple[int, int, int] | None:
    """(C, h, w) of the map that the layer gives, None where it gives none."""
    run = trace.last(name)
    shape = _map_shape(net, trace, run) if run is not None else None
    return shape if _is_map(shape) else None


def _map_shape(net: nn.Module, trace: Trace, run: Run) -> tuple[int, int, int] | None:
    if len(run.shape) == 4:
        _, first, second, third = run.shape
        if _is_channels_last(net.get_submodule(run.name), first, third):
            return third, first, second
        return first, second, third
    if len(run.shape) == 3 and (grid := _grid(trace, run)):
        return run.shape[2], *grid
    return None


def _is_map(shape: tuple[int, int, int] | None) -> bool:
    return shape is not None and shape[1] * shape[2] > 1


def _is_channels_last(module: nn.Module, first: int, last: int) -> bool:
    """Swin works on (N, h, w, C): its norms and linears act on the last axis, so their widths tell."""
    widths = set()
    for part in module.modules():
        normalized = getattr(part, "normalized_shape", None)
        widths.add(normalized[-1] if normalized else getattr(part, "out_features", None))
    return last in widths and first not in widths


def _grid(trace: Trace, run: Run) -> tuple[int, int] | None:
    """(h, w) of the patch embedding whose positions the tokens are, after at most a few prefix tokens."""
    for earlier in trace.runs:
        if len(earlier.shape) == 4 and earlier.shape[1] == run.shape[2]:
            height, width = earlier.shape[2:]
            if 0 <= run.shape[1] - height * width <= MAX_PREFIX_TOKENS:
                return height, width
    return None


def _head(trace: Trace) -> str:
    """The prefix of the last child to finish, looked for inside a wrapper that holds everything."""
    prefix = ""
    while True:
        inside = [run.name for run in trace.runs if run.name.startswith(prefix) and run.name != prefix[:-1]]
        children = list(dict.fromkeys(name[len(prefix) :].split(".")[0] for name in inside))
        if not children:
            return prefix.rstrip(".")
        last = inside[-1][len(prefix) :].split(".")[0]
        prefix += last + "."
        if len(children) > 1:
            return prefix.rstrip(".")


def _within(name: str, head: str) -> bool:
    return name == head or name.startswith(head + ".")


def _identity(output: Tensor) -> Tensor:
    return output


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


def _fold(height: int, width: int) -> Callable[[Tensor], Tensor]:
    def fold(tokens: Tensor) -> Tensor:
        """(N, prefix + h*w, C) -> (N, C, h, w), the prefix tokens dropped."""
        patches = tokens[:, tokens.shape[1] - height * width :]
        return patches.reshape(len(tokens), height, width, -1).permute(0, 3, 1, 2)

    return fold
