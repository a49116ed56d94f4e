"""The readings of modules' outputs as maps, by their shapes and what ran before: channels first or last, or tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING

from camcli.network.layer import TOKEN_AXES, Grid, Layout

if TYPE_CHECKING:
    from torch import nn

# More class, distillation and register tokens in front of the patches than any published model has.
MAX_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Joined:
    """Tokens that were put together after `at` modules had run: so many, of which `patches` are the picture's."""

    at: int
    tokens: int
    patches: tuple[int, ...]


class Layouts:
    """Reads the layouts of one forward's outputs, which it is told in the order in which they are made.

    `images` is the shape of the input; `joined` holds tokens that were put together.
    """

    def __init__(self, images: tuple[int, ...], joined: Sequence[Joined]) -> None:
        self._pictures, self._size = images[0], images[2:]
        self._joined = joined
        self._told = 0
        # The grids that were seen; True if one is only assumed. If tokens of another count come after a grid, they may
        # be a choice of its places.
        self._grids: dict[Grid, bool] = {}

    def of(self, module: nn.Module, shape: tuple[int, ...]) -> tuple[Layout, ...]:
        """The next output's readings as a map larger than 1x1, the likeliest first: shapes alone can leave two."""
        last = len(shape) == 3 and _works_on_tokens_last(module, shape[1])
        found: list[Layout] = []
        if len(shape) == len(self._size) + 2 and shape[0] == self._pictures:
            found = self._of_maps(module, shape)
        elif len(shape) == 3 and shape[1 - token_axis(shape, self._pictures)] == self._pictures:
            found = self._of_tokens(shape, last)
        layouts = tuple(one for one in found if prod(one.shape[-2:]) > 1)
        self._remember(shape, layouts, 2 if last else 1)
        return layouts

    def _of_maps(self, module: nn.Module, shape: tuple[int, ...]) -> list[Layout]:
        found = [
            Layout(shape[1:], "channels first", self._size),
            Layout((shape[-1], *shape[1:-1]), "channels last", self._size),
        ]
        if _is_channels_last(module, shape[1:], self._size):
            found.reverse()
        return [found[0], *(other for other in found[1:] if fits(other.own_grid, self._size))]

    def _of_tokens(self, shape: tuple[int, ...], works_on_last: bool) -> list[Layout]:
        """The grids of tokens along either axis that can be theirs; the last axis comes first if the module works on
        it."""
        axis = token_axis(shape, self._pictures)
        usual = self._along(shape, axis)
        if axis == 0:
            return [usual] if usual else []
        last = self._along(shape, 2)
        if last is not None and works_on_last:
            return [last, usual] if usual else [last]
        if usual is None or last is None:
            return [usual] if usual else []
        if last.own_grid in self._grids and usual.own_grid not in self._grids and self._join_of(shape[1]) is None:
            return []  # on the way through a mixer
        return [usual, last]

    def _along(self, shape: tuple[int, ...], axis: int) -> Layout | None:
        """The grid of tokens along that axis: the first seen one that they fill, with a few others; else one of their
        own.

        Grids only shrink on the way, so the first is the largest. If nobody has seen the others join the patches, they
        are taken to stand in front of a seen grid, and of no other: every count is a square and a rest.
        """
        tokens, channels = shape[axis], shape[1 if axis == 2 else 2]
        arrangement = next(name for name, its in TOKEN_AXES.items() if its == axis)
        join = self._join_of(tokens) if axis < 2 else None
        if join is not None:
            count = len(join.patches)
            grid = next((grid for grid in self._grids if prod(grid) == count), None) or self._exact_grid(count)
            if grid is not None:
                first, last = join.patches[0], join.patches[-1]
                among = tuple(sorted(set(range(first, last)) - set(join.patches)))
                return Layout((channels, *grid), arrangement, self._size, first, tokens - 1 - last, among)
        for seen, assumed in self._grids.items():
            if 0 <= (others := tokens - prod(seen)) <= (MAX_PREFIX_TOKENS if axis < 2 else 0):
                return Layout((channels, *seen), arrangement, self._size, others, assumed=assumed or others > 0)
        grid = self._exact_grid(tokens)
        return Layout((channels, *grid), arrangement, self._size, assumed=bool(self._grids)) if grid else None

    def _join_of(self, tokens: int) -> Joined | None:
        """The last time that so many tokens were put together, patches and others; None if there was none."""
        join = next((join for join in reversed(self._joined) if join.at <= self._told and join.tokens == tokens), None)
        return join if join is not None and len(join.patches) < tokens else None

    def _remember(self, shape: tuple[int, ...], layouts: Sequence[Layout], token_axis: int) -> None:
        self._told += 1
        if shape[:1] != (self._pictures,):
            return
        if len(shape) == len(self._size) + 2 and layouts:
            if fits(layouts[0].own_grid, self._size):  # an attention's weights are no grid
                self._grids[layouts[0].own_grid] = False
        elif len(shape) == 3 and (grid := self._exact_grid(shape[token_axis])) is not None:
            self._grids.setdefault(grid, bool(self._grids))

    def _exact_grid(self, tokens: int) -> Grid | None:
        """The grid of the picture's own proportions with so many places; None if there is none.

        Of a clip, the one of as many steps in time as the last grid that was seen: a count alone may be of moments.
        """
        if len(self._size) == 2:
            return _exact_grid(tokens, self._size)
        for steps, *_ in list(self._grids)[-1:]:
            planar = _exact_grid(tokens // steps, self._size[1:]) if tokens % steps == 0 else None
            if planar is not None:
                return (steps, *planar)
        return None


def _works_on_tokens_last(module: nn.Module, channels: int) -> bool:
    """True if a one-dimensional convolution or batch norm of so many channels gives the module's output."""
    last = [part for part in module.modules() if next(part.parameters(recurse=False), None) is not None][-1:]
    return any(
        type(part).__name__.endswith("1d")
        and channels in (getattr(part, "out_channels", None), getattr(part, "num_features", None))
        for part in last
    )


def _is_channels_last(module: nn.Module, shape: tuple[int, ...], size: Grid) -> bool:
    """True if the channels come last, as in Swin (N, h, w, C). The picture's shape tells, if it fits one reading only;
    else the widths of norms and linears tell, which act on the last axis."""
    first, third = shape[0], shape[-1]
    last = fits(shape[:-1], size)
    if last != fits(shape[1:], size):
        return last
    widths = set()
    for part in module.modules():
        normalized = getattr(part, "normalized_shape", None)
        widths.add(normalized[-1] if normalized else getattr(part, "out_features", None))
    return third in widths and first not in widths


@cache
def fits(grid: Grid, size: Grid) -> bool:
    """True if one whole stride, rounded either way, leaves such a grid of a picture. A square leaves a square. Time has
    a stride of its own."""
    if len(size) == 3:
        frames, steps = size[0], grid[0]
        in_time = any(steps in (frames // s, -(-frames // s)) for s in range(1, frames + 1))
        return in_time and fits(grid[1:], size[1:])
    height, width = grid
    if size[0] == size[1]:
        return height == width <= size[0]
    if height * size[1] == width * size[0] and height <= size[0]:
        return True
    strides = range(1, min(size) + 1)
    return any(
        height in (size[0] // s, -(-size[0] // s)) and width in (size[1] // s, -(-size[1] // s)) for s in strides
    )


def token_axis(shape: tuple[int, ...], pictures: int) -> int:
    """The axis of the tokens in (N, tokens, C), or (tokens, N, C)."""
    return 0 if shape[0] != pictures == shape[1] else 1


@cache
def _exact_grid(tokens: int, size: Grid) -> Grid | None:
    """(h, w) of the picture's own proportions with h * w = tokens; None if there is none."""
    for height in range(2, tokens + 1):
        if tokens % height == 0 and fits((height, tokens // height), size):
            return height, tokens // height
    return None
