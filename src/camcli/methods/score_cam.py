from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


class Masks:
    """Each channel's map as a mask on the images, in [0, 1]."""

    def __init__(self, acts: Tensor, images: Tensor) -> None:
        self._acts = acts
        self._size = images.shape[2:]
        self._contrast = acts.amax((2, 3)) > acts.amin((2, 3))  # (N, C)
        self.channels: list[int] = self._contrast.any(0).nonzero()[:, 0].tolist()

    def of(self, i: int) -> Tensor:
        """The mask (N, 1, H, W) of the i-th channel that has contrast in any picture."""
        from torch.nn.functional import interpolate

        channel = self.channels[i]
        mask = interpolate(self._acts[:, channel, None], self._size, mode="bilinear", align_corners=False)
        low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
        return (mask - low) / (high - low).where(high > low, 1.0)

    def combine(self, scores: Tensor) -> Tensor:
        """The map (N, h, w) from scores (channels, N): softmax over each picture's own channels with contrast."""
        if not self.channels:
            return self._acts.sum(1) * 0
        contrast = self._contrast[:, self.channels].T
        weights = scores.masked_fill(~contrast, -float("inf")).softmax(0).nan_to_num(0.0)
        return (weights.T[:, :, None, None] * self._acts[:, self.channels]).sum(1).relu()


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
    masks = Masks(evidence.acts, evidence.images)
    scores = evidence.rescore(len(masks.channels), lambda i: masks.of(i) * evidence.images, tag="score-cam")
    return masks.combine(scores)
