"""A target layer: a module, and the reading of its output as a map (the channels' axis, the grid of the tokens)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias

from camcli.errors import SetupError
from camcli.records import spelled

if TYPE_CHECKING:
    from torch import Tensor, nn

# (N, C, *grid), (N, *grid, C), (N, tokens, C), (tokens, N, C) and (N, C, tokens).
Arrangement = Literal["channels first", "channels last", "tokens", "tokens first", "tokens last"]
TOKEN_AXES: dict[Arrangement, int] = {"tokens first": 0, "tokens": 1, "tokens last": 2}


# (h, w) of a picture's map or (t, h, w) of a clip's; and (height, width), (frames, height, width) of those.
Grid: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The reading of an output as a map (N, C, *grid), (C, *grid) = `shape`, of pictures of `images` (height, width) or
    clips of (frames, height, width).

    Class tokens and registers stand `before` and `after` the patches and at the places `among` them. `assumed`: nobody
    saw them put before the patches, or the tokens' count is that of no earlier grid, so their grid is only assumed.
    """

    shape: tuple[int, ...]
    arrangement: Arrangement
    images: Grid
    before: int = 0
    after: int = 0
    among: tuple[int, ...] = ()
    assumed: bool = False

    @property
    def own_grid(self) -> Grid:
        """(h, w) or (t, h, w) at pictures or clips of the traced size."""
        return self.shape[1:]

    def read(self, output: Tensor, images: Grid) -> Tensor:
        """(N, C, *grid) from the output, or a gradient shaped like it, at pictures or clips of that size."""
        if self.arrangement == "channels first":
            return output
        if self.arrangement == "channels last":
            return output.movedim(-1, 1)
        return self.of_tokens(output.transpose(self.token_axis, 1), images)

    def of_tokens(self, tokens: Tensor, images: Grid) -> Tensor:
        """(N, C, *grid) from values of each token (N, tokens, C)."""
        patches = tokens[:, self._patches(tokens.shape[1], images)]
        grid = self.grid(patches.shape[1], images)
        return patches.reshape(len(patches), *grid, -1).movedim(-1, 1)

    def write(self, values: Tensor, output: Tensor) -> Tensor:
        """An output like the given one that holds the map `values` (N, C, *grid): the reverse of `read`."""
        if self.arrangement == "channels first":
            return values
        if self.arrangement == "channels last":
            return values.movedim(1, -1)
        changed = output.clone()
        tokens = changed.transpose(self.token_axis, 1)
        count = values.shape[2:].numel() + self.before + self.after + len(self.among)
        tokens[:, self._patches(count, self.images)] = values.flatten(2).transpose(1, 2)
        return changed

    @property
    def token_axis(self) -> int:
        """The axis of the tokens, in a layout that has any."""
        return TOKEN_AXES[self.arrangement]

    def _patches(self, tokens: int, images: Grid) -> slice | list[int]:
        """The places of the patches among so many tokens.

        Raises: SetupError: others lie among them, at pictures of another size than the traced.
        """
        if not self.among:
            return slice(self.before, tokens - self.after)
        if tokens != prod(self.own_grid) + self.before + self.after + len(self.among):
            raise SetupError(f"tokens that are no patches lie among those of {_named(images)}")
        return [i for i in range(self.before, tokens - self.after) if i not in self.among]

    def grid(self, patches: int, images: Grid) -> Grid:
        """The grid of so many patches; at pictures of another size than traced by the same stride, rounded either way.

        Raises:
            SetupError: they lie on no such grid.
        """
        own = self.own_grid
        if images == self.images and patches == prod(own):
            return own
        sides = [side * now / traced for side, now, traced in zip(own, images, self.images, strict=True)]
        for known in product(*({math.floor(side), math.ceil(side)} - {0} for side in sides[:-1])):
            last, rest = divmod(patches, prod(known))
            if rest == 0 and abs(last - sides[-1]) < 1:
                return (*known, last)
        if patches == prod(own):  # brought to one size on the way
            return own
        raise SetupError(f"the layer's {patches} patches lie on no grid of {_named(images)}")


def _named(images: Grid) -> str:
    """Words for a picture or a clip of that size."""
    picture = f"a picture of {spelled((images[-2], images[-1]))}"
    return picture if len(images) == 2 else f"{images[0]} frames, each {picture}"


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A target layer: a module, the `layout` of its output as a map, and `why` it is the target.

    `call`: the number of the module's run in one forward, from 0. `class_token`: the place, among its tokens, of the
    one that the score is read from; None if there is none. `others`: other layouts that its output's shape allows.
    """

    name: str
    module: nn.Module
    layout: Layout
    why: str
    call: int = 0
    class_token: int | None = None
    others: tuple[Layout, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *grid) at pictures or clips of the traced size."""
        return self.layout.shape

    def to_map(self, output: Tensor, images: Grid) -> Tensor:
        """(N, C, *grid) from its output, or a gradient shaped like it, at pictures or clips of that size."""
        return self.layout.read(output, images)

    def from_map(self, values: Tensor, output: Tensor) -> Tensor:
        """An output like the given one that holds the map; tokens beside the map stay."""
        return self.layout.write(values, output)

    def read_otherwise(self) -> list[Layer]:
        """The same layer in each other layout that its output's shape allows."""
        return [
            replace(
                self,
                layout=other,
                why=f"{self.why}; read as {other.arrangement}, as the changes of a picture show",
                others=(),
            )
            for other in self.others
        ]

    def in_net(self, net: nn.Module) -> Layer:
        """The same layer of a network with the same names."""
        return replace(self, module=net.get_submodule(self.name))
