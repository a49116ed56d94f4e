from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

STEPS = 100
RATE = 0.1


@method(
    kind="map",
    needs={"images", "acts", "alone", "ascend"},
    paper="arXiv:2301.07002 sec. 3",
    caveat="Optimises what faithfulness metrics measure, on pictures unlike any seen; spreads over the context; its "
    "steps amplify rounding.",
    rounding="a hundred steps amplify rounding: another machine, or --exact, may give another map",
    forwards=3 + STEPS,
    backwards=STEPS,
)
def opti_cam(evidence: Evidence) -> Tensor:
    """The mask that keeps the score highest: sum_k softmax(u)_k A_k, upsampled, scaled to [0, 1], (N, H, W).

    arXiv:2301.07002 sec. 3: u maximises y(mask * picture), masked parts black, by Adam (100 steps, rate 0.1) from equal
    weights; the best u is kept. Picture by picture, since the steps amplify how a batch is rounded.
    """
    import torch

    return torch.cat([_mask_of(picture) for picture in evidence.alone()])


def _mask_of(evidence: Evidence) -> Tensor:
    """The mask (1, H, W) of the one picture."""
    acts = evidence.acts.relu()

    def mask(u: Tensor) -> Tensor:
        fine = evidence.at_size((evidence.everywhere(u.softmax(1)) * acts).sum(1, keepdim=True))
        low, high = fine.amin(evidence.places, keepdim=True), fine.amax(evidence.places, keepdim=True)
        return (fine - low) / (high - low).where(high > low, 1.0)

    def masked(u: Tensor) -> Tensor:
        return evidence.black + mask(u) * (evidence.images - evidence.black)

    start = acts.new_full(acts.shape[:2], 0.5)
    return mask(evidence.ascend(start, masked, steps=STEPS, rate=RATE))[:, 0]
