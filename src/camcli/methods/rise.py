from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import ROUNDING, method
from camcli.tasks.targets import OfClass, map_classes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

    from camcli.network.evidence import Evidence

MASKS = 4000
CELLS = 7
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

    arXiv:1806.07421 eq. 6. Masks: 7 x 7 cells, each open with chance 1/2, bilinearly upsampled and shifted at random,
    seeded. The picture's smallest value is taken off: it says how likely the class is under any mask.
    """
    height, width = evidence.images.shape[2:]
    likely = evidence.about(map_classes(evidence.target, lambda own: OfClass(own.ids, probability=True)))
    masks = _masks(evidence.generator(), height, width)
    device = evidence.images.device
    scores = likely.rescore(MASKS, lambda i: evidence.images * next(masks).to(device), tag="rise")
    total = evidence.images[:, 0] * 0
    for score, mask in zip(scores, _masks(evidence.generator(), height, width), strict=False):
        total += score[:, None, None] * mask.to(device)
    total *= (scores.amax(0) - scores.amin(0) > ROUNDING * scores.amax(0))[:, None, None]
    total /= MASKS * OPEN
    return total - total.amin((1, 2), keepdim=True)


def _masks(generator: Generator, height: int, width: int) -> Iterator[Tensor]:
    """Masks (H, W) in [0, 1], without end; the same ones from a generator of the same seed."""
    import torch
    from torch.nn.functional import interpolate

    cell = -(-height // CELLS), -(-width // CELLS)
    size = (CELLS + 1) * cell[0], (CELLS + 1) * cell[1]
    while True:
        grid = (torch.rand(1, 1, CELLS, CELLS, generator=generator) < OPEN).float()
        y, x = (int(torch.randint(side, (1,), generator=generator)) for side in cell)
        mask = interpolate(grid, size, mode="bilinear", align_corners=False)
        yield mask[0, 0, y : y + height, x : x + width]
