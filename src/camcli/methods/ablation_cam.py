from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import ROUNDING, method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"acts", "resume"},
    paper="doi:10.1109/WACV45572.2020.9093360 eq. 4-5",
    caveat="Redundant channels hide each other; zero is no absence where activations have both signs.",
    backwards=0,
    heads="C",
)
def ablation_cam(evidence: Evidence) -> Tensor:
    """relu(sum_k (y - y_k) / |y| * A_k), y_k the score with channel k set to zero, (N, h, w).

    doi:10.1109/WACV45572.2020.9093360 eq. 4-5; the absolute value keeps the sign of scores below zero. Only the part
    after the layer is run again.
    """

    def without(k: int) -> Tensor:
        acts = evidence.acts.clone()
        acts[:, k] = 0
        return acts

    ablated = evidence.resume(evidence.acts.shape[1], without, tag="ablation-cam")
    score = evidence.value
    drops = (score - ablated) / score.abs().where(score != 0, 1.0)
    drops = drops.where(drops.abs().amax(0) > ROUNDING, 0.0)
    return (evidence.everywhere(drops.T) * evidence.acts).sum(1).relu()
