from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence

STEPS = 50


@method(
    kind="saliency",
    needs={"images", "input_grads", "again"},
    paper="arXiv:1703.01365 eq. 1",
    caveat="Depends on the baseline: what is black in the picture gets nothing.",
    forwards=1 + STEPS,
    backwards=STEPS,
)
def integrated_gradients(evidence: Evidence) -> Tensor:
    """(x - x') * integral of dy/dx from x' to x, x' a black picture, signed, (N, 3, H, W). arXiv:1703.01365 eq. 1.

    Gauss-Legendre quadrature with 50 points. Sums to y(x) - y(x').
    """
    from numpy.polynomial.legendre import leggauss

    points, weights = leggauss(STEPS)
    way = evidence.images - evidence.black
    total = way * 0
    done = 0
    for other in evidence.again(STEPS, lambda i: evidence.black + way * ((points[i] + 1) / 2)):
        grads = other.input_grads
        share = grads.new_tensor(weights[done : done + len(grads) // len(way)] / 2)
        total += evidence.sum_of(grads * share.repeat_interleave(len(way)).view(-1, *[1] * (way.ndim - 1)))
        done += len(share)
    return way * total
