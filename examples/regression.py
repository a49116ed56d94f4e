"""A network that says how much of a scene is red, with its weights.

    python examples/regression.py scenes/
    camcli explain scenes/0001.png -m examples/regression.py:model -w examples/regression.safetensors

Its one number is the per cent of the picture's pixels that lie on red things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from shapes import PREPARED, SIDE, Scene, pictures, save, scenes
from torch import Tensor, nn
from torch.nn import functional
from training import command, fit


class Regression(nn.Module):
    """The red pixels, in per cent of the picture, (N, 1), of pictures (N, 3, H, W)."""

    task = "regress"
    labels = ("red pixels",)
    takes: ClassVar[Mapping[str, Any]] = {}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = PREPARED

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        )
        self.amount = nn.Linear(32, 1)

    def forward(self, images: Tensor) -> Tensor:
        amount: Tensor = self.amount(self.features(images).mean((2, 3)))
        return amount


def model() -> nn.Module:
    return Regression()


def red(drawn: list[Scene]) -> Tensor:
    """(N, 1) from 0 to 100."""
    areas = [sum(int(thing.mask.sum()) for thing in one.things if thing.colour == "red") for one in drawn]
    return torch.tensor([[area * 100 / SIDE**2] for area in areas])


def train(net: Regression) -> None:
    drawn = scenes(6000, seed=1)
    images, amounts = pictures(drawn), red(drawn)
    fit(net, lambda rows: functional.mse_loss(net(images[rows]), amounts[rows]), samples=6000, epochs=10)


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Regression, train)
    drawn = scenes(2000, seed=2)
    amounts = red(drawn)
    with torch.no_grad():
        wrong = net(pictures(drawn)) - amounts
    known = 1 - wrong.square().mean() / amounts.var()
    print(f"R^2 {known:.4f} on 2000 held-out scenes, {wrong.abs().mean():.2f} per cent off on average")
    if folder:
        save([one.pixels for one in scenes(12, seed=3)], folder)
