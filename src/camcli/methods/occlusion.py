from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from camcli.methods import ROUNDING, method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

SQUARES = 7
# Of clips, a covered part lasts so large a share of the frames.
SPANS = 4


@method(
    kind="map",
    needs={"images", "rescore"},
    paper="arXiv:1311.2901 sec. 4.2",
    caveat="Misses evidence that is larger than the patch or there twice; a grey patch is unlike anything seen.",
    forwards="1 + patches",
    backwards=0,
)
def occlusion(evidence: Evidence) -> Tensor:
    """The fall of the score when a grey patch covers a place, mean over the patches there, (N, H, W).

    arXiv:1311.2901 sec. 4.2. Squares of a seventh of the shorter side, half a side apart, of the mean colour; a place
    that raises the score when covered is 0 here (--counterfactual shows it). In clips a patch lasts a quarter of the
    frames.
    """
    *frames, height, width = evidence.images.shape[2:]
    side = max(1, round(min(height, width) / SQUARES))
    sides = (*(max(1, round(count / SPANS)) for count in frames), side, side)
    starts = [_starts(length, own) for length, own in zip(evidence.images.shape[2:], sides, strict=True)]
    squares = [tuple(map(_span, at, sides)) for at in product(*starts)]

    def covered(i: int) -> Tensor:
        images = evidence.images.clone()
        images[:, :, *squares[i]] = 0
        return images

    drops = evidence.value - evidence.rescore(len(squares), covered, tag="occlusion")
    drops = drops.where(drops.abs().amax(0) > ROUNDING * evidence.value.abs(), 0.0)
    total, count = evidence.images[:, 0] * 0, evidence.images[0, 0] * 0
    for square, drop in zip(squares, drops, strict=True):
        total[:, *square] += drop.view(-1, *[1] * len(square))
        count[square] += 1
    return (total / count).relu()


def _span(start: int, side: int) -> slice:
    return slice(start, start + side)


def _starts(length: int, side: int) -> list[int]:
    """The first pixels of squares half a square apart, the last one at the border."""
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})
