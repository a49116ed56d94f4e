from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

# Float64's own, since the kernel's entries are at most 1.
ROUNDING = 1e-12


@method(
    kind="map",
    needs={"acts"},
    paper="arXiv:2410.00267 sec. 3",
    caveat="Never looks at the class. Costs the square of the map's places: not for early layers.",
    backwards=0,
)
def kpca_cam(evidence: Evidence) -> Tensor:
    """The first kernel principal component of the places, positive part, (N, h, w). arXiv:2410.00267 sec. 3.

    Sigmoid kernel tanh(x y / C + 1) between the places' centred activations, double-centred; the sign agrees with
    sum_k A_k.
    """
    flat = evidence.acts.double().flatten(2).transpose(1, 2)  # (N, places, C)
    centred = flat - flat.mean(1, keepdim=True)
    kernel = (centred @ centred.transpose(1, 2) / flat.shape[2] + 1).tanh()
    kernel = kernel - kernel.mean(1, keepdim=True) - kernel.mean(2, keepdim=True) + kernel.mean((1, 2), keepdim=True)
    kernel = kernel.masked_fill(kernel.abs() < ROUNDING, 0.0)  # places that are all alike have no component
    return evidence.projection(kernel, like=evidence.acts).relu()
