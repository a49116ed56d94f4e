from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.grad_cam import grad_cam
from camcli.tasks.targets import Mixture, OfClass, map_classes

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence
    from camcli.tasks.targets import Target

RIVALS = 3
STRENGTH = 0.6


@method(
    kind="map",
    needs={"acts", "grads", "logits", "combine"},
    paper="arXiv:2501.11309 eq. 3-5",
    caveat="Explains the class against similar ones, not the class; wants labels with similar classes.",
)
def finer_cam(evidence: Evidence) -> Tensor:
    """Grad-CAM of y_c - 0.6 * mean of the three scores nearest to y_c, (N, h, w). arXiv:2501.11309 eq. 3-5."""
    return grad_cam(evidence.about(map_classes(evidence.target, lambda own: _against_similar(own, evidence.logits))))


def _against_similar(own: OfClass, logits: Tensor) -> Target:
    ids = logits.new_tensor(own.ids).long()[:, None]
    distances = (logits - logits.gather(1, ids)).abs().scatter(1, ids, float("inf"))
    rivals = distances.argsort(dim=1, stable=True)[:, : min(RIVALS, logits.shape[1] - 1)]
    others = [OfClass(tuple(column.tolist()), own.probability) for column in rivals.T]
    return Mixture(((1.0, own), *((-STRENGTH / len(others), other) for other in others)))
