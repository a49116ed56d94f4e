from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.score_cam import Masks

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

SAMPLES = 10
DEVIATION = 2.0


@method(
    kind="map",
    needs={"images", "acts", "rescore"},
    paper="arXiv:2006.14255 sec. 3",
    caveat="Ten forwards a channel: minutes a picture. Its noise is twice as strong as its masks.",
    forwards=f"1 + {SAMPLES} * C",
    backwards=0,
)
def ss_cam(evidence: Evidence) -> Tensor:
    """Score-CAM with each channel's score averaged over masks with noise N(0, 2^2) added, (N, h, w).

    arXiv:2006.14255 sec. 3, its first variant (noise on the map, 10 samples); softmax over channels, clean A.
    """
    masks = Masks(evidence)
    # The same fields for every channel: one that is skipped must not change what the others draw.
    fields = evidence.images.new_empty(SAMPLES, 1, 1, *evidence.images.shape[2:], device="cpu")
    fields.normal_(generator=evidence.generator())

    def noisy(i: int) -> Tensor:
        noise = fields[i % SAMPLES].to(evidence.images.device)
        return (masks.of(i // SAMPLES) + DEVIATION * noise) * evidence.images

    scores = evidence.rescore(SAMPLES * len(masks.channels), noisy, tag="ss-cam")
    return masks.combine(scores.view(-1, SAMPLES, len(evidence.images)).mean(1))
