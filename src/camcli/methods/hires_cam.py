from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    paper="arXiv:2011.08891 sec. 3",
    caveat="Faithful where one linear layer follows the map; with more of them it is a heuristic like the others.",
)
def hires_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k dy/dA_k * A_k), shape (N, h, w), unnormalised. arXiv:2011.08891 sec. 3.

    Equals Grad-CAM if the network ends in an average and one linear layer.
    """
    return evidence.combine(evidence.grads * evidence.acts)
