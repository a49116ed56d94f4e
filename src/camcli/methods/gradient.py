from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(kind="saliency", needs={"input_grads"}, paper="arXiv:1312.6034 sec. 3", caveat="Noisy.")
def gradient(evidence: Evidence) -> Tensor:
    """dy/dx, the plain ("vanilla") gradient, signed, (N, 3, H, W). arXiv:1312.6034 sec. 3."""
    return evidence.input_grads
