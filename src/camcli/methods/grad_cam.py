from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    pooled=True,
    paper="arXiv:1610.02391 eq. 1-2",
    caveat="Averages the gradient over places, so several fully connected layers after the map can mislead it.",
)
def grad_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k mean_ij(dy/dA_k) * A_k), shape (N, h, w), unnormalised. arXiv:1610.02391 eq. 1-2."""
    weights = evidence.grads.mean(evidence.places, keepdim=True)
    return evidence.combine(weights * evidence.acts)
