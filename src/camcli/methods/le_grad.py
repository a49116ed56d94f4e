from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"formation_grads", "to_grid"},
    paper="arXiv:2404.03214 sec. 3",
    caveat="Plain ViTs only; early blocks are read by a head that never saw their tokens.",
    backwards="blocks",
)
def le_grad(evidence: Evidence) -> Tensor:
    """mean over blocks, heads and queries of relu(d s_l / d A_l), on the patches (N, h, w). arXiv:2404.03214 sec. 3.

    A_l is a block's attention, s_l the score that the network's end gives the mean of that block's tokens.
    """
    by_key = [gradient.relu().mean((1, 2)) for gradient in evidence.formation_grads]
    return evidence.to_grid(sum(by_key[1:], start=by_key[0]) / len(by_key))
