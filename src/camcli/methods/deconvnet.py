from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="saliency",
    needs={"deconv_grads"},
    paper="arXiv:1311.2901 sec. 2.1",
    caveat="Barely depends on the class and the weights (arXiv:1810.03292): read it beside a CAM, not instead.",
)
def deconvnet(evidence: Evidence) -> Tensor:
    """dy/dx with ReLUs that pass positive gradients whatever their input was, (N, 3, H, W). arXiv:1311.2901 sec. 2.1.

    In the form of arXiv:1412.6806 fig. 1; like Guided Backprop it barely depends on the class (arXiv:1810.03292).
    """
    return evidence.deconv_grads
