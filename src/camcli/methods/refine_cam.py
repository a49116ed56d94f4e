from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.grad_cam_pp import grad_cam_pp

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine", "stages"},
    paper="arXiv:2605.14641 sec. 4",
    caveat="A product keeps only what all stages agree on: parts of objects vanish, and maps are often blank.",
    signed="Grad-CAM++'s weights are divided by a sum of them that may come to nothing, and then rounding decides",
)
def refine_cam(evidence: Evidence) -> Tensor:
    """The product of Grad-CAM++ at the ends of the last four stages, each scaled to [0, 1], on the images (N, H, W).

    arXiv:2605.14641 sec. 4: each map is scaled, bilinearly upsampled and scaled again before they are multiplied. A
    stage ends at its last map that can't be negative, as Grad-CAM++ asks.
    """
    product = None
    for stage in evidence.stages:
        fine = _scaled(evidence.at_size(_scaled(grad_cam_pp(stage))))
        product = fine if product is None else product * fine
    assert product is not None
    return product


def _scaled(values: Tensor) -> Tensor:
    own = tuple(range(1, values.ndim))
    low, high = values.amin(own, keepdim=True), values.amax(own, keepdim=True)
    return (values - low) / (high - low).where(high > low, 1.0)
