from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="saliency",
    needs={"guided_grads"},
    paper="arXiv:1412.6806 sec. 3.4",
    caveat="Barely depends on the class and the weights (arXiv:1810.03292): read it beside a CAM, not instead.",
)
def guided_backprop(evidence: Evidence) -> Tensor:
    """dy/dx with ReLUs that pass only positive gradients at positive inputs, (N, 3, H, W). arXiv:1412.6806 sec. 3.4.

    Sharp, but barely dependent on the class and the weights (arXiv:1810.03292): it shows what the network can see,
    not what it decided by.
    """
    return evidence.guided_grads
