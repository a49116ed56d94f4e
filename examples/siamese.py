"""A network that says whether two pictures show the same thing, with its weights.

    python examples/siamese.py scenes/
    camcli explain scenes/0001.png -m examples/siamese.py:model -w examples/siamese.safetensors \\
        --partner scenes/0002.png

Things are the same if their colours and shapes are; they lie anywhere, among specks that mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from shapes import COLOURS, PREPARED, SHAPES, SIDE, Scene, pictures, save, scene
from torch import Tensor, nn
from torch.nn import functional
from training import command, fit

SPECKS = 12


class Siamese(nn.Module):
    """How alike (N, 1) pictures (N, 3, H, W) are to the encoded partners (N, 32): above 0 if rather the same."""

    task = "liken"
    takes: ClassVar[Mapping[str, Any]] = {"partner": None}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = PREPARED

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.BatchNorm2d(24), nn.ReLU()),
            *(nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
            *(nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        )
        self.embedding = nn.Linear(48, 32)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.least = nn.Parameter(torch.tensor(1.0))

    def embed(self, maps: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(maps.mean((2, 3)))
        return embedded

    def encode(self, partner: Tensor) -> Tensor:
        """The embedding (32,) of a picture (3, H, W)."""
        return self.embed(self.features(partner[None]))[0]

    def forward(self, images: Tensor, encoded: Tensor) -> Tensor:
        return self.alike(self.embed(self.features(images)), encoded)[:, None]

    def alike(self, embedded: Tensor, encoded: Tensor) -> Tensor:
        """How far the embeddings (..., 32) reach in their partners' direction, above the least of the same things.

        Not the angle between them, which has no slope where they are the same, and so no map.
        """
        reach = (embedded * functional.normalize(encoded, dim=-1)).sum(-1)
        return self.scale * reach - self.least


def model() -> nn.Module:
    return Siamese()


def speckled(rng: np.random.Generator) -> Scene:
    """A scene of one thing, with single pixels of any colour strewn over it."""
    drawn = scene(rng, things=1)
    pixels = drawn.pixels.copy()
    y, x = rng.integers(SIDE, size=(2, SPECKS))
    pixels[y, x] = rng.integers(256, size=(SPECKS, 3))
    return replace(drawn, pixels=pixels)


def kind(drawn: Scene) -> int:
    """A number for the thing's colour and shape."""
    (thing,) = drawn.things
    number: int = COLOURS.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)
    return number


def pairs(count: int, seed: int) -> list[tuple[Scene, Scene, bool]]:
    """So many pairs of scenes, and if they show the same: every other one does."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Scene, Scene, bool]] = []
    while len(found) < count:
        first, second = speckled(rng), speckled(rng)
        same = kind(first) == kind(second)
        if same == (len(found) % 2 == 0):
            found.append((first, second, same))
    return found


def train(net: Siamese) -> None:
    rng = np.random.default_rng(1)
    drawn = [speckled(rng) for _ in range(8000)]
    images, kinds = pictures(drawn), torch.tensor([kind(one) for one in drawn])

    def loss(rows: Tensor) -> Tensor:
        """Of all pairs in a batch. One in nine is the same, and weighs as much as the other eight."""
        maps: Tensor = net.features(images[rows])
        embedded = net.embed(maps)
        alike = net.alike(embedded[:, None], embedded[None])
        same = (kinds[rows][:, None] == kinds[rows]).float()
        wrong = functional.binary_cross_entropy_with_logits(alike, same, pos_weight=torch.tensor(8.0))
        # Features cost something, so those of the background stay 0.
        return wrong + 0.1 * maps.mean()

    fit(net, loss, samples=8000, epochs=8, rate=5e-3)


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Siamese, train)
    firsts, seconds, same = zip(*pairs(2000, seed=2), strict=True)
    with torch.no_grad():
        alike = net(pictures(firsts), net.embed(net.features(pictures(seconds))))[:, 0]
    right = ((alike > 0) == torch.tensor(same)).float().mean()
    print(f"{right:.1%} of 2000 held-out pairs told right")
    if folder:
        save([one.pixels for first, second, _ in pairs(6, seed=3) for one in (first, second)], folder)
