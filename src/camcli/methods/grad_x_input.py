from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="saliency",
    needs={"images", "input_grads"},
    paper="arXiv:1605.01713 sec. 3",
    caveat="x = 0 is the mean colour after normalisation, and gets nothing.",
)
def grad_x_input(evidence: Evidence) -> Tensor:
    """dy/dx * x, signed, (N, 3, H, W), x normalised: what each pixel adds, to first order. arXiv:1605.01713 sec. 3.

    On ReLU networks without biases it sums to y and equals epsilon-LRP (arXiv:1711.06104).
    """
    return evidence.input_grads * evidence.images
