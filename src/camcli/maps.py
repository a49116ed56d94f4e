"""What ran, and which of its outputs are maps: the axis of the channels, and the grid that tokens lie on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from camcli.errors import SetupError
from camcli.records import spelled

if TYPE_CHECKING:
    from torch import Tensor, nn

# More class, distillation and register tokens in front of the patches than any published model has.
MAX_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """One module's output in one forward. Equal `tensor` numbers mean the same tensor; -1: not a tensor or no graph.

    `call`: which of the module's runs in this forward it was, from 0. `reaches`: a path leads from it to the score.
    `on_every_path`: every path from the picture's positions to the score crosses it. `in_attention`: the module is
    part of an attention, so its output may be queries or keys. `never_negative`: such a tensor on every path holds no
    number below zero, whatever the picture. `tokens_last`: the module works on (N, C, tokens).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    tensor: int
    call: int
    reaches: bool
    on_every_path: bool
    in_attention: bool
    never_negative: bool = False
    tokens_last: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """Tokens that were put together after `at` modules had run: which of so many are `patches` of the picture."""

    at: int
    tokens: int
    patches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward: module runs in the order they finished, and what the guided rule would find.

    `images` is the shape of what went in: several pictures where that can be, so that a table of (1, h, w, C) is no
    picture's map. `narrowed` says that the score is read from a class token, behind which the patches don't count;
    `rectifiers` counts ReLU and ReLU6 calls, `others` the calls of other activations by name.
    `normalised` names each convolution that only a batch norm reads, and that batch norm, where both run once.
    `frozen` names modules that ran without a graph because forward switches it off (torch.no_grad); `cut` says why no
    gradient reaches the picture, "" where one does. `scripted` names modules that TorchScript has compiled. `joined`:
    where class tokens and registers were put beside the patches, in order. `read`: of so many tokens, the class token
    that the score is read from. `scores`: how many classes have one; 0: another number is explained.
    """

    images: tuple[int, ...]
    runs: tuple[Run, ...]
    narrowed: bool
    rectifiers: int
    others: dict[str, int]
    normalised: tuple[tuple[str, str], ...] = ()
    frozen: tuple[str, ...] = ()
    scripted: tuple[str, ...] = ()
    cut: str = ""
    joined: tuple[Joined, ...] = ()
    read: Mapping[int, int] = field(default_factory=dict)
    scores: int = 0

    def runs_of(self, name: str) -> list[Run]:
        """All runs of one module, in order."""
        return [run for run in self.runs if run.name == name]

    def last(self, name: str) -> Run | None:
        return next((run for run in reversed(self.runs) if run.name == name), None)


# (N, C, h, w), (N, h, w, C), (N, tokens, C), (tokens, N, C) and (N, C, tokens).
Arrangement = Literal["channels first", "channels last", "tokens", "tokens first", "tokens last"]
_TOKEN_AXES: dict[Arrangement, int] = {"tokens first": 0, "tokens": 1, "tokens last": 2}


@dataclass(frozen=True, slots=True)
class Map:
    """How to read (N, C, h, w) = `shape` out of an output.

    Of tokens, `before` and `after` the patches and at the places `among` them stand class tokens and registers. It is
    `assumed` that they stand before where nobody saw them put there, and that tokens of another count than all grids
    before lie on a grid.
    """

    shape: tuple[int, int, int]
    arrangement: Arrangement
    images: tuple[int, int]
    before: int = 0
    after: int = 0
    among: tuple[int, ...] = ()
    assumed: bool = False

    def read(self, output: Tensor, images: tuple[int, int]) -> Tensor:
        """(N, C, h, w) from the output, or a gradient shaped like it, at pictures of that height and width."""
        if self.arrangement == "channels first":
            return output
        if self.arrangement == "channels last":
            return output.permute(0, 3, 1, 2)
        return self.of_tokens(output.transpose(self.token_axis, 1), images)

    def of_tokens(self, tokens: Tensor, images: tuple[int, int]) -> Tensor:
        """(N, C, h, w) from what there is of each token (N, tokens, C)."""
        patches = tokens[:, self._patches(tokens.shape[1], images)]
        height, width = self.grid(patches.shape[1], images)
        return patches.reshape(len(patches), height, width, -1).permute(0, 3, 1, 2)

    def write(self, values: Tensor, output: Tensor) -> Tensor:
        """An output like the given one that holds the map `values` (N, C, h, w): the reverse of `read`."""
        if self.arrangement == "channels first":
            return values
        if self.arrangement == "channels last":
            return values.permute(0, 2, 3, 1)
        changed = output.clone()
        tokens = changed.transpose(self.token_axis, 1)
        count = values.shape[2] * values.shape[3] + self.before + self.after + len(self.among)
        tokens[:, self._patches(count, self.images)] = values.flatten(2).transpose(1, 2)
        return changed

    @property
    def token_axis(self) -> int:
        """Where the tokens lie, of a layout that has any."""
        return _TOKEN_AXES[self.arrangement]

    def _patches(self, tokens: int, images: tuple[int, int]) -> slice | list[int]:
        """Which of so many tokens are patches.

        Raises: SetupError: others lie among them, at pictures of another size than the traced.
        """
        if not self.among:
            return slice(self.before, tokens - self.after)
        if tokens != self.shape[1] * self.shape[2] + self.before + self.after + len(self.among):
            raise SetupError(f"tokens that are no patches lie among those of a picture of {spelled(images)}")
        return [i for i in range(self.before, tokens - self.after) if i not in self.among]

    def grid(self, patches: int, images: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of as many patches at pictures of another size than the traced: the same stride, rounded either way.

        Raises:
            SetupError: they lie on no such grid.
        """
        _, height, width = self.shape
        if images == self.images and patches == height * width:
            return height, width
        rows, columns = height * images[0] / self.images[0], width * images[1] / self.images[1]
        for h in {math.floor(rows), math.ceil(rows)} - {0}:
            if patches % h == 0 and abs(patches // h - columns) < 1:
                return h, patches // h
        if patches == height * width:  # brought to one size on the way
            return height, width
        raise SetupError(f"the layer's {patches} patches lie on no grid of a picture of {spelled(images)}")


def read_map(net: nn.Module, trace: Trace, run: Run) -> Map | None:
    """How the run's output is most likely a map larger than 1x1, None where it is none."""
    return next(iter(readings(net, trace, run)), None)


def readings(net: nn.Module, trace: Trace, run: Run) -> list[Map]:
    """How the run's output may be a map larger than 1x1, the likeliest first: shapes alone can leave two layouts."""
    found: list[Map] = []
    size = trace.images[2], trace.images[3]
    if len(run.shape) == 4 and run.shape[0] == trace.images[0]:
        _, first, second, third = run.shape
        found = [
            Map((first, second, third), "channels first", size),
            Map((third, first, second), "channels last", size),
        ]
        if _is_channels_last(net.get_submodule(run.name), run.shape[1:], size):
            found.reverse()
        found = [found[0], *(other for other in found[1:] if fits(*other.shape[1:], size))]
    elif len(run.shape) == 3 and run.shape[1 - token_axis(run.shape, trace.images[0])] == trace.images[0]:
        found = _tokens(net, trace, run)
    return [one for one in found if one.shape[1] * one.shape[2] > 1]


def _is_channels_last(module: nn.Module, shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Swin works on (N, h, w, C): the picture's shape tells where that fits one reading only, else widths do: norms
    and linears act on the last axis."""
    first, second, third = shape
    last = fits(first, second, size)
    if last != fits(second, third, size):
        return last
    widths = set()
    for part in module.modules():
        normalized = getattr(part, "normalized_shape", None)
        widths.add(normalized[-1] if normalized else getattr(part, "out_features", None))
    return third in widths and first not in widths


@cache
def fits(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether one whole stride, rounded either way, leaves such a grid of a picture. A square leaves a square."""
    if size[0] == size[1]:
        return height == width <= size[0]
    if height * size[1] == width * size[0] and height <= size[0]:
        return True
    strides = range(1, min(size) + 1)
    return any(
        height in (size[0] // s, -(-size[0] // s)) and width in (size[1] // s, -(-size[1] // s)) for s in strides
    )


def token_axis(shape: tuple[int, ...], pictures: int) -> int:
    """Where the tokens of (N, tokens, C), or (tokens, N, C), lie."""
    return 0 if shape[0] != pictures == shape[1] else 1


def _tokens(net: nn.Module, trace: Trace, run: Run) -> list[Map]:
    """The grids that the run's tokens may lie on, along either axis that can be theirs; the last where a module works
    that way."""
    place = trace.runs.index(run)
    seen = _seen_grids(net, trace, place)
    axis = token_axis(run.shape, trace.images[0])
    usual = _along(trace, run, axis, seen, place)
    if axis == 0:
        return [usual] if usual else []
    last = _along(trace, run, 2, seen, place)
    if last is not None and run.tokens_last:
        return [last, usual] if usual else [last]
    if usual is None or last is None:
        return [usual] if usual else []
    if last.shape[1:] in seen and usual.shape[1:] not in seen and _joined_at(trace, place, run.shape[1]) is None:
        return []  # on the way through a mixer
    return [usual, last]


def _along(trace: Trace, run: Run, axis: int, seen: Mapping[tuple[int, int], bool], place: int) -> Map | None:
    """The grid that tokens along that axis lie on: the first seen that they fill, with a few others; else theirs.

    Grids only shrink on the way, so the first is the largest. Where nobody has seen the others join the patches, they
    are taken to stand in front of a seen grid: every count is a square and a rest.
    """
    size = trace.images[2], trace.images[3]
    tokens, channels = run.shape[axis], run.shape[1 if axis == 2 else 2]
    arrangement = next(name for name, its in _TOKEN_AXES.items() if its == axis)
    join = _joined_at(trace, place, tokens) if axis < 2 else None
    if join is not None:
        count = len(join.patches)
        grid = next(((h, w) for h, w in seen if h * w == count), None) or _exact_grid(count, size)
        if grid is not None:
            first, last = join.patches[0], join.patches[-1]
            among = tuple(sorted(set(range(first, last)) - set(join.patches)))
            return Map((channels, *grid), arrangement, size, first, tokens - 1 - last, among)
    for (height, width), assumed in seen.items():
        if 0 <= (others := tokens - height * width) <= (MAX_PREFIX_TOKENS if axis < 2 else 0):
            return Map((channels, height, width), arrangement, size, others, assumed=assumed or others > 0)
    grid = _exact_grid(tokens, size)
    return Map((channels, *grid), arrangement, size, assumed=bool(seen)) if grid else None


def _joined_at(trace: Trace, place: int, tokens: int) -> Joined | None:
    """How so many tokens were last put together before that place, patches and others."""
    join = next((join for join in reversed(trace.joined) if join.at <= place and join.tokens == tokens), None)
    return join if join is not None and len(join.patches) < tokens else None


def _seen_grids(net: nn.Module, trace: Trace, place: int) -> dict[tuple[int, int], bool]:
    """The grids before that place in the trace, and whether it is assumed that they are any: where tokens of another
    count come after a grid, they may be a choice of its places."""
    size = trace.images[2], trace.images[3]
    grids: dict[tuple[int, int], bool] = {}
    for earlier in trace.runs[:place]:
        if earlier.shape[:1] != trace.images[:1]:
            continue
        if len(earlier.shape) == 4 and (found := read_map(net, trace, earlier)) is not None:
            if fits(*found.shape[1:], size):  # an attention's weights are no grid
                grids[found.shape[1:]] = False
        elif len(earlier.shape) == 3:
            grid = _exact_grid(earlier.shape[2 if earlier.tokens_last else 1], size)
            if grid is not None:
                grids.setdefault(grid, bool(grids))
    return grids


@cache
def _exact_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) of the picture's own proportions with h * w = tokens."""
    for height in range(2, tokens + 1):
        if tokens % height == 0 and fits(height, tokens // height, size):
            return height, tokens // height
    return None
