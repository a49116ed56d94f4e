from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.score_cam import Masks

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

STEPS = 10


@method(
    kind="map",
    needs={"images", "acts", "rescore"},
    paper="arXiv:2010.03023 sec. 3",
    caveat="Ten forwards a channel: minutes a picture; dimmed pictures are unlike what the network has seen.",
    forwards=f"1 + {STEPS} * C",
    backwards=0,
)
def is_cam(evidence: Evidence) -> Tensor:
    """Score-CAM with each channel's score averaged over masks of growing strength, (N, h, w). arXiv:2010.03023 sec. 3.

    mean over i = 1..10 of y(i/10 * H_k * x); softmax over channels.
    """
    masks = Masks(evidence)

    def dimmed(i: int) -> Tensor:
        return masks.of(i // STEPS) * evidence.images * ((i % STEPS + 1) / STEPS)

    scores = evidence.rescore(STEPS * len(masks.channels), dimmed, tag="is-cam")
    return masks.combine(scores.view(-1, STEPS, len(evidence.images)).mean(1))
