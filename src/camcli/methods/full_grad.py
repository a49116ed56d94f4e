from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"images", "input_grads", "bias_grads"},
    paper="arXiv:1905.00780 eq. 5",
    caveat="Unsigned, so no evidence against; complete for ReLU networks only (GELU and SiLU have hidden biases).",
    backwards=2,
)
def full_grad(evidence: Evidence) -> Tensor:
    """psi(dy/dx * x) + sum over layers of psi(b * dy/dz), on the images (N, H, W). arXiv:1905.00780 eq. 5.

    b are the biases of convolutions and batch norms (what those add, running mean included), z their outputs. psi: the
    absolute value, scaled to [0, 1] over a layer, bilinearly upsampled and summed over its channels.
    """
    total = _scaled(evidence.input_grads * evidence.images).sum(1)
    for term in evidence.bias_grads:
        total += evidence.at_size(_scaled(term).sum(1))
    return total


def _scaled(term: Tensor) -> Tensor:
    size, own = term.abs(), tuple(range(1, term.ndim))
    low, high = size.amin(own, keepdim=True), size.amax(own, keepdim=True)
    return (size - low) / (high - low).where(high > low, 1.0)
