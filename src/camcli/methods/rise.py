from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import ROUNDING, method
from camcli.tasks.targets import OfClass, map_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Generator, Tensor

    from camcli.network.evidence import Evidence

MASKS = 4000
CELLS = 7
# Of clips, so many cells in time.
SPANS = 4
OPEN = 0.5


@method(
    kind="map",
    needs={"images", "rescore"},
    paper="arXiv:1806.07421 eq. 6",
    caveat="4000 forwards, and still noise where the probability is small; objects below a cell vanish.",
    forwards=1 + MASKS,
    backwards=0,
)
def rise(evidence: Evidence) -> Tensor:
    """sum_i p(x * M_i) M_i / (4000 E[M]), M_i random smooth masks, p the probability, (N, H, W).

    arXiv:1806.07421 eq. 6. Masks: 7 x 7 cells (of clips 4 x 7 x 7), each open with chance 1/2, bilinearly upsampled
    and shifted at random, seeded. The picture's smallest value is taken off: it says how likely the class is under any
    mask.
    """
    size = evidence.images.shape[2:]
    likely = evidence.about(map_classes(evidence.target, lambda own: OfClass(own.ids, probability=True)))
    masks = _masks(evidence.generator(), size)
    device = evidence.images.device
    scores = likely.rescore(MASKS, lambda i: evidence.images * next(masks).to(device), tag="rise")
    total = evidence.images[:, 0] * 0
    own = [1] * len(size)
    for score, mask in zip(scores, _masks(evidence.generator(), size), strict=False):
        total += score.view(-1, *own) * mask.to(device)
    total *= (scores.amax(0) - scores.amin(0) > ROUNDING * scores.amax(0)).view(-1, *own)
    total /= MASKS * OPEN
    return total - total.flatten(1).amin(1).view(-1, *own)


def _masks(generator: Generator, size: Sequence[int]) -> Iterator[Tensor]:
    """Masks (H, W) or (T, H, W) in [0, 1], without end; the same ones from a generator of the same seed."""
    import torch
    from torch.nn.functional import interpolate

    cells = (*[SPANS] * (len(size) - 2), CELLS, CELLS)
    cell = [-(-side // own) for side, own in zip(size, cells, strict=True)]
    wide = [(own + 1) * one for own, one in zip(cells, cell, strict=True)]
    mode = "bilinear" if len(size) == 2 else "trilinear"
    while True:
        grid = (torch.rand(1, 1, *cells, generator=generator) < OPEN).float()
        starts = [int(torch.randint(one, (1,), generator=generator)) for one in cell]
        mask = interpolate(grid, wide, mode=mode, align_corners=False)
        yield mask[0, 0][tuple(slice(start, start + side) for start, side in zip(starts, size, strict=True))]
