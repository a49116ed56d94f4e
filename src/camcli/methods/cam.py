from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "class_weights"},
    paper="arXiv:1512.04150 eq. 1-2",
    caveat="Only networks that end in an average and one linear layer; there Grad-CAM is the same map.",
    heads=1,
)
def cam(evidence: Evidence) -> Tensor:
    """relu(sum_k w_k * A_k), w the class's weights in the linear layer after the average, (N, h, w).

    arXiv:1512.04150 eq. 1-2, which draws the negative part too: here that is --counterfactual. mean_ij of the sum plus
    the bias is the score.
    """
    return (evidence.everywhere(evidence.class_weights) * evidence.acts).sum(1).relu()
