from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.smooth_grad import NOISE, SAMPLES, noisy_copies

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"images", "input_grads", "again"},
    paper="arXiv:1810.03292 sec. 2",
    caveat="Shows where the gradient is unstable, no evidence for a class.",
    forwards=1 + SAMPLES,
    backwards=SAMPLES,
)
def var_grad(evidence: Evidence) -> Tensor:
    """The variance of dy/dx over SmoothGrad's copies, averaged over channels, (N, H, W). arXiv:1810.03292 sec. 2."""
    total, squares = evidence.images.double() * 0, evidence.images.double() * 0
    for other in evidence.again(SAMPLES, noisy_copies(evidence, NOISE)):
        grads = other.input_grads.double()
        total += evidence.sum_of(grads)
        squares += evidence.sum_of(grads**2)
    variance = squares / SAMPLES - (total / SAMPLES) ** 2
    return variance.relu().mean(1).float()
