"""A target layer: a module, and how its output is a map (the axis of the channels, the grid that tokens lie on)."""

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
        return TOKEN_AXES[self.arrangement]

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


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A target layer: a module, `layout`: how its output is a map, and why it is the target.

    `call`: which of the module's runs in one forward, from 0. `class_token`: where, among its tokens, that is which the
    score is read from; None: there is none. `others`: how its output could be read as well, by its shape.
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
        """An output like the given one, whose tokens beside the map stay."""
        return self.layout.write(values, output)

    def read_otherwise(self) -> list[Layer]:
        """The same in each other layout that its output's shape leaves."""
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
