"""A target layer: a module, and the reading of its output as a map (the channels' axis, the grid of the tokens)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from camcli.errors import SetupError
from camcli.records import spelled

if TYPE_CHECKING:
    from torch import Tensor, nn

# (N, C, h, w), (N, h, w, C), (N, tokens, C), (tokens, N, C) and (N, C, tokens).
Arrangement = Literal["channels first", "channels last", "tokens", "tokens first", "tokens last"]
TOKEN_AXES: dict[Arrangement, int] = {"tokens first": 0, "tokens": 1, "tokens last": 2}


@dataclass(frozen=True, slots=True)
class Layout:
    """The reading of an output as a map (N, C, h, w), (C, h, w) = `shape`.

    Class tokens and registers stand `before` and `after` the patches and at the places `among` them. `assumed`: nobody
    saw them put before the patches, or the tokens' count is that of no earlier grid, so their grid is only assumed.
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
        """(N, C, h, w) from values of each token (N, tokens, C)."""
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
        """The axis of the tokens, in a layout that has any."""
        return TOKEN_AXES[self.arrangement]

    def _patches(self, tokens: int, images: tuple[int, int]) -> slice | list[int]:
        """The places of the patches among so many tokens.

        Raises: SetupError: others lie among them, at pictures of another size than the traced.
        """
        if not self.among:
            return slice(self.before, tokens - self.after)
        if tokens != self.shape[1] * self.shape[2] + self.before + self.after + len(self.among):
            raise SetupError(f"tokens that are no patches lie among those of a picture of {spelled(images)}")
        return [i for i in range(self.before, tokens - self.after) if i not in self.among]

    def grid(self, patches: int, images: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of so many patches; at pictures of another size than traced by the same stride, rounded either way.

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
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) at pictures of the traced size."""
        return self.layout.shape

    def to_map(self, output: Tensor, images: tuple[int, int]) -> Tensor:
        """(N, C, h, w) from its output, or a gradient shaped like it, at pictures of that (height, width)."""
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
