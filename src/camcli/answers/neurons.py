"""The channels of a layer that weigh most for and against a target: arXiv:1610.02391 sec. 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.records import Neuron

if TYPE_CHECKING:
    from camcli.network.forward import Forward
    from camcli.network.layer import Layer
    from camcli.tasks.targets import Target

# The paper's five a side.
EACH = 5


def neurons_of(forward: Forward, target: Target, layer: Layer) -> list[tuple[Neuron, ...]]:
    """Each picture's five channels with the largest alpha_k, largest first, then the five with the smallest, smallest
    first. alpha_k is Grad-CAM's weight, mean_ij(dy/dA_k); of few channels none is named twice."""
    weights = forward.gradient("gradient", target, layer).flatten(2).mean(2).cpu()
    acts = forward.activations(layer).float().cpu().numpy()
    order = weights.argsort(dim=1, descending=True, stable=True).tolist()
    each = min(EACH, weights.shape[1] // 2)
    return [
        tuple(Neuron(k, float(weights[i, k]), acts[i, k]) for k in (*own[:each], *own[: -each - 1 : -1]))
        for i, own in enumerate(order)
    ]
