from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import ROUNDING, method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

SQUARES = 7


@method(
    kind="map",
    needs={"images", "rescore"},
    paper="arXiv:1311.2901 sec. 4.2",
    caveat="Misses evidence that is larger than the square or there twice; a square is unlike anything seen.",
    forwards="1 + squares",
    backwards=0,
)
def occlusion(evidence: Evidence) -> Tensor:
    """The fall of the score when a grey square covers a place, mean over the squares there, (N, H, W).

    arXiv:1311.2901 sec. 4.2. Squares of a seventh of the shorter side, half a square apart, of the mean colour; a place
    that raises the score when covered is 0 here (--counterfactual shows it).
    """
    height, width = evidence.images.shape[2:]
    side = max(1, round(min(height, width) / SQUARES))
    squares = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]

    def covered(i: int) -> Tensor:
        y, x = squares[i]
        images = evidence.images.clone()
        images[:, :, y : y + side, x : x + side] = 0
        return images

    drops = evidence.value - evidence.rescore(len(squares), covered, tag="occlusion")
    drops = drops.where(drops.abs().amax(0) > ROUNDING * evidence.value.abs(), 0.0)
    total, count = evidence.images[:, 0] * 0, evidence.images[0, 0] * 0
    for (y, x), drop in zip(squares, drops, strict=True):
        total[:, y : y + side, x : x + side] += drop[:, None, None]
        count[y : y + side, x : x + side] += 1
    return (total / count).relu()


def _starts(length: int, side: int) -> list[int]:
    """The first pixels of squares half a square apart, the last one at the border."""
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})
