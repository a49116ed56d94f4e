from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "grads", "combine"},
    paper="doi:10.1109/TIP.2021.3089943 eq. 3-5",
    caveat="Ignores what speaks against the class; early layers alone show edges of anything.",
)
def layer_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k relu(dy/dA_k) * A_k), shape (N, h, w), unnormalised. doi:10.1109/TIP.2021.3089943 eq. 3-5.

    Each place has its own weight, which makes it usable at early layers too.
    """
    return evidence.combine(evidence.grads.relu() * evidence.acts)
