"""A region that the user asks about: a pixel, a box, or a mask, in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camcli.entries import Box, Placement
from camcli.tasks.task import Refusal


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """One of: `at` (x, y), a pixel; `box`; `drawn`, a mask of bool (H, W) of the whole picture, called `name`."""

    at: tuple[float, float] | None = None
    box: Box | None = None
    drawn: NDArray[np.bool_] | None = None
    name: str = ""

    def mask(self, placement: Placement, grid: Sequence[int]) -> tuple[NDArray[np.bool_], Refusal | None]:
        """(the cells (h, w), over the view, whose centres lie in the region; why there is none of it in the view). A
        region that is smaller than a cell is the cell that holds its centre."""
        height, width = grid[0], grid[1]
        columns = _centres(placement.box[0], placement.box[2], width)
        rows = _centres(placement.box[1], placement.box[3], height)
        if self.drawn is not None:
            return self._under_mask(placement, rows, columns)
        x0, y0, x1, y1 = self.box if self.box is not None else (*self._pixel(), *(side + 1 for side in self._pixel()))
        mask = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
        if not mask.any():
            column, row = placement.in_view((x0 + x1) / 2, (y0 + y1) / 2)
            column, row = column / placement.view[0] * width, row / placement.view[1] * height
            if not (0 <= column < width and 0 <= row < height):
                sides = "x".join(map(str, placement.frame))
                said = f"{self._said()} lies outside of what the network sees of this picture of {sides}"
                return np.ones((height, width), dtype=bool), ("outside", said)
            mask[int(row), int(column)] = True
        return mask, None

    def _pixel(self) -> tuple[float, float]:
        assert self.at is not None
        return self.at

    def _said(self) -> str:
        if self.at is not None:
            return f"--at {','.join(f'{side:g}' for side in self.at)}"
        return f"--region {','.join(f'{side:g}' for side in self.box or ())}"

    def _under_mask(
        self, placement: Placement, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], Refusal | None]:
        assert self.drawn is not None
        height, width = self.drawn.shape
        own = "x".join(map(str, placement.frame))
        everywhere = np.ones((len(rows), len(columns)), dtype=bool)
        if (width, height) != placement.frame:
            return everywhere, ("region", f"--mask {self.name} is {width}x{height}, and the picture {own}")
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        y, x = (np.clip(places, 0, last - 1).astype(int) for places, last in ((rows, height), (columns, width)))
        mask = self.drawn[y[:, None], x] & inside
        if not mask.any():
            return everywhere, ("region", f"--mask {self.name} marks nothing that the network sees")
        return mask, None


def _centres(start: float, stop: float, count: int) -> NDArray[np.float64]:
    return np.asarray(start + (np.arange(count) + 0.5) * (stop - start) / count)
