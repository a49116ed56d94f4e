from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts"},
    paper="arXiv:2008.00299 sec. 3",
    caveat="Never looks at the class: it shows what dominates the layer, background too.",
    backwards=0,
)
def eigen_cam(evidence: Evidence) -> Tensor:
    """The first principal component of the activations, A v_1, positive part, (N, h, w). arXiv:2008.00299 sec. 3.

    Not centred; the sign, which the paper leaves open, makes the projections' sum positive.
    """
    return evidence.component(evidence.acts, centred=False).relu()
