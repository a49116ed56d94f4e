from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.tasks.targets import LogProbability, Mixture, OfClass, map_classes

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence
    from camcli.tasks.targets import Target


@method(
    kind="map",
    needs={"acts", "grads", "curvature", "combine"},
    paper="arXiv:2501.06261 sec. 4",
    caveat="A second-order approximation around one point, not Shapley values.",
    backwards=2,
)
def shapley_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k mean_ij(g - H A / 2)_k * A_k), (N, h, w), unnormalised. arXiv:2501.06261 sec. 4.

    g and H are the first and second derivative in A of the residual softmax target that the paper recommends,
    y + log softmax(y). With the logit alone, H vanishes if all layers after A are piecewise linear, and Grad-CAM
    remains.
    """
    residual = evidence.about(map_classes(evidence.target, _residual))
    curvature = residual.curvature  # first: it finds the gradient on its way
    weights = (residual.grads - curvature / 2).mean(evidence.places, keepdim=True)
    return evidence.combine(weights * evidence.acts)


def _residual(own: OfClass) -> Target:
    return Mixture(((1.0, OfClass(own.ids)), (1.0, LogProbability(own.ids))))
