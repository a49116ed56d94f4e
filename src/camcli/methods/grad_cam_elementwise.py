from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    paper="doi:10.1609/aaai.v35i3.16344",
    caveat="Evidence against the class never cancels evidence for it. With activations >= 0 it is layer-cam.",
)
def grad_cam_elementwise(evidence: Evidence) -> Tensor:
    """sum_k relu(dy/dA_k * A_k), shape (N, h, w): products are cut off below zero before they are summed.

    HiResCAM without the evidence that speaks against the class. As in doi:10.1609/aaai.v35i3.16344.
    """
    return evidence.combine((evidence.grads * evidence.acts).relu())
