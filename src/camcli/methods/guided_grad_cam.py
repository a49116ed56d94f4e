from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.grad_cam import grad_cam
from camcli.methods.guided_backprop import guided_backprop

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="saliency",
    needs={"acts", "grads", "combine", "guided_grads"},
    pooled=True,
    paper="arXiv:1610.02391 sec. 3.2",
    backwards=2,
    caveat="Its detail is Guided Backprop's, which barely depends on the class and the weights (arXiv:1810.03292).",
)
def guided_grad_cam(evidence: Evidence) -> Tensor:
    """upsample(grad_cam) * guided_backprop, bilinear, (N, 3, H, W), unnormalised. arXiv:1610.02391 sec. 3.2.

    The map selects the region of the class; the detail inside it is Guided Backprop's, with its caveat.
    """
    return evidence.at_size(grad_cam(evidence)[:, None]) * guided_backprop(evidence)
