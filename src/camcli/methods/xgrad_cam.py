from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    paper="arXiv:2008.02312 eq. 8",
    caveat="Its axioms are proven for ReLU networks; where activations have both signs their sum can be near zero.",
    signed="its weights are divided by their sum, which may come to nothing, and then rounding decides",
)
def xgrad_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k w_k * A_k), w_k = sum_ij dy/dA_k A_k / sum_ij A_k, (N, h, w), unnormalised. arXiv:2008.02312 eq. 8."""
    total = evidence.acts.sum(evidence.places, keepdim=True)
    weighted = (evidence.grads * evidence.acts).sum(evidence.places, keepdim=True)
    weights = weighted.where(total != 0, 0.0) / total.where(total != 0, 1.0)
    return evidence.combine(weights * evidence.acts)
