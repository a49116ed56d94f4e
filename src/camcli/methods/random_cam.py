from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "combine"},
    paper="doi:10.1007/s11263-019-01228-7, with random weights",
    caveat="The baseline that any method must beat, no explanation.",
    backwards=0,
)
def random_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k w_k * A_k), w_k uniform in [-1, 1], seeded, the same for every picture and class, (N, h, w).

    As in the benchmarks of the field: Grad-CAM, doi:10.1007/s11263-019-01228-7, with random weights.
    """
    weights = evidence.acts.new_empty(1, evidence.acts.shape[1], device="cpu")
    weights = weights.uniform_(-1, 1, generator=evidence.generator()).to(evidence.acts.device)
    return evidence.combine(evidence.everywhere(weights) * evidence.acts)
