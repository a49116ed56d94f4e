from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    paper="arXiv:1710.11063 eq. 5, 19",
    caveat="Only positive gradients count, so maps of different classes look alike; needs activations >= 0.",
    signed="its weights are divided by a sum of them that may come to nothing, and then rounding decides",
)
def grad_cam_pp(evidence: Evidence) -> Tensor:
    """relu(sum_k w_k * A_k), w_k = sum_ij alpha_ij relu(dy/dA_ij), (N, h, w), unnormalised. arXiv:1710.11063 eq. 5, 19.

    alpha = g^2 / (2 g^2 + sum_ab(A_ab) g^3), g = dy/dA; 0 where g is 0. The paper's Y = exp(y) multiplies all weights
    of a picture by exp(y): left out, since no normalised map shows it. In float64 and without an epsilon, since g^3
    leaves float32's range.
    """
    grads = evidence.grads.double()
    total = evidence.acts.double().sum(evidence.places, keepdim=True)
    denominator = 2 + total * grads  # alpha with g^2 cancelled
    alpha = ((grads != 0) & (denominator != 0)) / denominator.where(denominator != 0, 1.0)
    weights = (alpha * grads.relu()).sum(evidence.places, keepdim=True)
    return evidence.combine((weights * evidence.acts).float())
