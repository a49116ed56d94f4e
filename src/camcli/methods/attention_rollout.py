from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.network.evidence import Evidence


@method(
    kind="map",
    needs={"attention", "class_token", "to_grid"},
    paper="arXiv:2005.00928 sec. 3",
    caveat="Never looks at the class, nor at values and MLPs: it shows where information could flow. Plain ViTs only.",
    backwards=0,
)
def attention_rollout(evidence: Evidence) -> Tensor:
    """prod_l (A_l + 1) / 2, heads averaged: how much of each patch reaches the class token, (N, h, w).

    arXiv:2005.00928 sec. 3. If a network has no class token: how much reaches the patches on average.
    """
    rollout = None
    for attention in evidence.attention:
        mixed = attention.mean(1)
        mixed = (mixed + mixed.new_ones(mixed.shape[-1]).diag()) / 2
        rollout = mixed if rollout is None else mixed @ rollout
    assert rollout is not None
    read = evidence.class_token
    return evidence.to_grid(rollout.mean(1) if read is None else rollout[:, read])
