from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


class Masks:
    """Each channel's map as a mask on the images, in [0, 1]."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        acts, places = evidence.acts, evidence.places
        self._contrast = acts.amax(places) > acts.amin(places)  # (N, C)
        self.channels: list[int] = self._contrast.any(0).nonzero()[:, 0].tolist()

    def of(self, i: int) -> Tensor:
        """The mask (N, 1, H, W) of the i-th channel that has contrast in any picture."""
        evidence = self._evidence
        mask = evidence.at_size(evidence.acts[:, self.channels[i], None])
        low, high = mask.amin(evidence.places, keepdim=True), mask.amax(evidence.places, keepdim=True)
        return (mask - low) / (high - low).where(high > low, 1.0)

    def combine(self, scores: Tensor) -> Tensor:
        """The map (N, h, w) from scores (channels, N): softmax over each picture's own channels with contrast."""
        if not self.channels:
            return self._evidence.acts.sum(1) * 0
        contrast = self._contrast[:, self.channels].T
        weights = scores.masked_fill(~contrast, -float("inf")).softmax(0).nan_to_num(0.0)
        return (self._evidence.everywhere(weights.T) * self._evidence.acts[:, self.channels]).sum(1).relu()


@method(
    kind="map",
    needs={"images", "acts", "rescore"},
    paper="arXiv:1910.01279 alg. 1",
    caveat="A forward a channel; activations of both signs have no meaning as masks; the softmax often picks few.",
    forwards="1 + C",
    backwards=0,
)
def score_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k a_k * A_k), a = softmax over channels of y(x * H_k), (N, h, w). arXiv:1910.01279 alg. 1.

    H_k is A_k upsampled, then scaled to [0, 1]; x is normalised, so masked pixels have the mean colour. The baseline's
    score is the same for all channels and leaves the softmax as it is. A channel without contrast masks nothing in
    particular and weighs 0.
    """
    masks = Masks(evidence)
    scores = evidence.rescore(len(masks.channels), lambda i: masks.of(i) * evidence.images, tag="score-cam")
    return masks.combine(scores)
