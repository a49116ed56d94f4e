from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads"},
    paper="arXiv:2008.00299, of dy/dA * A",
    caveat="A heuristic without a paper of its own; unstable where two components are nearly as strong.",
)
def eigen_grad_cam(evidence: Evidence) -> Tensor:
    """The first principal component of dy/dA * A, centred, positive part, (N, h, w).

    Eigen-CAM made to depend on the class, as pytorch-grad-cam introduced it: arXiv:2008.00299, of dy/dA * A. The sign
    agrees with sum_k dy/dA_k * A_k.
    """
    return evidence.component(evidence.grads * evidence.acts, centred=True).relu()
