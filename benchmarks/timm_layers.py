"""Which layer the rule chooses on timm's architectures, as a Markdown table.

    python benchmarks/timm_layers.py [--all | --per-family 3 | --models NAME ...] [--live]

Choices are made on the meta device, at each model's own picture size. With --live the cheapest model of each family is
then run on noise with small random weights: the share of the map's positions with a gradient, and how many of the
picture's four corners move the map most in that same corner. `timm` is its `feature_info[-1]`, where another module.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import timm
import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.models.weights import filling
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.tasks.targets import OfClass


@dataclass(frozen=True)
class Choice:
    """One architecture's layer, or why there is none; `cost` is in parameters times picture area."""

    family: str
    name: str
    layer: Layer | None
    refusal: str
    feature: str
    size: tuple[int, int, int]
    cost: float


def choose(name: str) -> Choice:
    with torch.device("meta"):
        net = timm.create_model(name).eval()
    family = PurePath(type(net).__module__.replace(".", "/")).name
    config: Any = net.pretrained_cfg
    size: tuple[int, int, int] = config.get("input_size", (3, 224, 224))
    features = getattr(net, "feature_info", None)
    feature = features[-1]["module"] if isinstance(features, list) and features else ""
    cost = sum(parameter.numel() for parameter in net.parameters()) * size[1] * size[2]
    if not net.num_classes:
        return Choice(family, name, None, "features without a classifier", feature, size, cost)
    try:
        layer = choosing.choose(net, trace(net, torch.zeros(1, *size, device="meta")), name)
    except SetupError as error:
        return Choice(family, name, None, str(error), feature, size, cost)
    return Choice(family, name, layer, "", feature, size, cost)


def liveness(choice: Choice) -> str:
    """On noise and small random weights: the share of positions with a gradient, and the corners in their place."""
    with filling.no_initialisation():
        net = timm.create_model(choice.name).eval()
    scatter(net)
    images = torch.randn(1, *choice.size, generator=torch.Generator().manual_seed(0))
    layer = choosing.choose(net, trace(net, images), choice.name)
    forward = Forward(Network(net), images, [layer])
    alive = forward.gradient("gradient", OfClass((3,)), layer).abs().amax(1).gt(0).float().mean()
    right = sum(_moves_most(net, layer, images, corner) for corner in range(4))
    return f"{alive:.0%}, {right}/4"


def scatter(net: nn.Module) -> None:
    """Seeded weights scaled by fan-in; heads and residual scales that start at zero are filled too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                parameter.normal_(std=(2 * max(len(parameter), 1) / parameter.numel()) ** 0.5)
        for name, buffer in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float(name.endswith("var")))


def _moves_most(net: nn.Module, layer: Layer, images: Tensor, corner: int) -> bool:
    height, width = images.shape[2] // 3, images.shape[3] // 3
    spoiled = images.clone()
    part = _corners(spoiled, height, width)[corner]
    part += torch.randn(part.shape, generator=torch.Generator().manual_seed(1))
    before, after = (Forward(Network(net), x, [layer]).activations(layer) for x in (images, spoiled))
    moved = (after - before).norm(dim=1)
    quarters = _corners(moved, -(-moved.shape[1] // 2), -(-moved.shape[2] // 2))
    return int(torch.stack([quarter.mean() for quarter in quarters]).argmax()) == corner


def _corners(x: Tensor, height: int, width: int) -> list[Tensor]:
    return [
        x[..., ys, xs] for ys in (slice(height), slice(-height, None)) for xs in (slice(width), slice(-width, None))
    ]


def spread(names: Sequence[str], count: int) -> list[str]:
    """That many of a family's models, evenly from the sorted list."""
    count = min(count, len(names))
    return [names[i * (len(names) - 1) // max(count - 1, 1)] for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--per-family", type=int, default=3)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--live", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    families = [timm.list_models(module=module) for module in timm.list_modules()]
    names = args.models or [
        name for family in families for name in (family if args.all else spread(family, args.per_family))
    ]
    choices = []
    print("| family | model | layer | CxHxW | timm |\n|---|---|---|---|---|")
    for name in names:
        choice = choose(name)
        choices.append(choice)
        layer = choice.layer
        found = f"`{layer.name}` | {'x'.join(map(str, layer.shape))}" if layer else f"refused: {choice.refusal} |"
        other = "" if layer and layer.name == choice.feature else choice.feature
        print(f"| {choice.family} | {name} | {found} | {other} |", flush=True)
    chosen = [choice for choice in choices if choice.layer]
    print(f"\n{len(chosen)} resolved, {len(choices) - len(chosen)} refused")
    if args.live:
        print("\n| family | model | layer | positions with a gradient, corners in place |\n|---|---|---|---|")
        cheapest = {choice.family: choice for choice in sorted(chosen, key=lambda choice: -choice.cost)}
        for family, choice in sorted(cheapest.items()):
            assert choice.layer is not None
            print(f"| {family} | {choice.name} | `{choice.layer.name}` | {liveness(choice)} |", flush=True)


if __name__ == "__main__":
    main()
