"""Networks whose weights are drawn anew, part by part: they show how much of an explanation is due to learning.

Sanity Checks for Saliency Maps, arXiv:1810.03292: an explanation that stays the same does not explain the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from camcli.answers.batch import Plan
from camcli.layers.choosing import last_weighted
from camcli.layers.trace import Trace
from camcli.specs import Sanity


def randomised(plan: Plan, trace: Trace, how: Sanity) -> Iterator[tuple[str, Plan]]:
    """The name of each randomised part, and the same plan with such a network. "head": the last layer with weights.
    "cascade": one part after the other from the head to the picture, each with all before it.

    The networks share the weights that they have in common.
    """
    net = plan.network.net
    names = [last_weighted(net, trace)]
    if how == "cascade":
        names = _parts(net, trace)
    for name in names:
        net = _redrawn(net, name, plan.network.seed)
        yield (
            name,
            replace(
                plan,
                network=replace(plan.network, net=net),
                layers=[layer.in_net(net) for layer in plan.layers],
                stages={name: [layer.in_net(net) for layer in stage] for name, stage in plan.stages.items()},
            ),
        )


def _redrawn(net: nn.Module, name: str, seed: int) -> nn.Module:
    """A copy of the network whose parameters below `name` are normal noise of their own mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    kept: dict[int, Tensor] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    copy = deepcopy(net, kept)
    for module in copy.get_submodule(name).modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                spread = parameter.std() if parameter.numel() > 1 else parameter.abs().max()
                redrawn = nn.Parameter(noise * spread + parameter.mean(), requires_grad=False)
                module._parameters[key] = redrawn
    return copy


def _parts(net: nn.Module, trace: Trace) -> list[str]:
    """The network's parts with weights, the one that ran last first; a part that holds most of the layers is opened."""
    weighted = {name for name, part in net.named_modules() if next(part.parameters(recurse=False), None) is not None}
    ran = list(dict.fromkeys(run.name for run in reversed(trace.runs) if run.name in weighted))

    def opened(prefix: str, names: list[str]) -> list[str]:
        groups: dict[str, list[str]] = {}
        for name in names:
            below = name.removeprefix(prefix).removeprefix(".").split(".")[0]
            groups.setdefault(".".join(filter(None, (prefix, below))), []).append(name)
        return [
            part
            for group, inside in groups.items()
            for part in (opened(group, inside) if len(inside) > len(ran) / 2 and inside != [group] else [group])
        ]

    return opened("", ran)
