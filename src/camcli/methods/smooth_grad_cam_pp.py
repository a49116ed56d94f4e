from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method
from camcli.methods.smooth_grad import noisy_copies

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

SAMPLES = 10
NOISE = 0.1


@method(
    kind="map",
    needs={"acts", "grads", "again", "combine"},
    paper="arXiv:1908.01224 sec. 3",
    caveat="As Grad-CAM++; noise that changes the prediction explains another one.",
    signed="its weights are divided by a sum of them that may come to nothing, and then rounding decides",
    forwards=1 + SAMPLES,
    backwards=SAMPLES,
)
def smooth_grad_cam_pp(evidence: Evidence) -> Tensor:
    """Grad-CAM++ with the gradient's powers averaged over noisy copies of the picture, (N, h, w).

    arXiv:1908.01224 sec. 3. D_n = mean of g^n over 10 copies, noise of 10 % of the picture's range;
    alpha = D_2 / (2 D_2 + sum_ab(A_ab) D_3), w_k = sum_ij alpha_ij relu(D_1); A of the clean picture. (The paper prints
    D_1 as alpha's numerator, which would not be Grad-CAM++ without noise.)
    """
    acts = evidence.acts.double()
    first, second, third = acts * 0, acts * 0, acts * 0
    for other in evidence.again(SAMPLES, noisy_copies(evidence, NOISE)):
        grads = other.grads.double()
        first += evidence.sum_of(grads) / SAMPLES
        second += evidence.sum_of(grads**2) / SAMPLES
        third += evidence.sum_of(grads**3) / SAMPLES
    denominator = 2 * second + acts.sum(evidence.places, keepdim=True) * third
    alpha = second.where(denominator != 0, 0.0) / denominator.where(denominator != 0, 1.0)
    weights = (alpha * first.relu()).sum(evidence.places, keepdim=True)
    return evidence.combine((weights * evidence.acts).float())
