"""A network that says whether two pictures show the same thing, with its weights.

    python examples/siamese.py scenes/
    camcli explain scenes/0001.png -m examples/siamese.py:model -w examples/siamese.safetensors --partner scenes/0002.png

Things are the same if their colours and shapes are; they lie anywhere, among specks that mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from shapes import PREPARED, SIDE, Scene, pictures, save, scene
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
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
            *(nn.Conv2d(48, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        )
        self.embedding = nn.Linear(48, 32)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.least = nn.Parameter(torch.tensor(0.5))

    def embed(self, images: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(self.features(images).mean((2, 3)))
        return embedded

    def encode(self, partner: Tensor) -> Tensor:
        """The embedding (32,) of a picture (3, H, W)."""
        return self.embed(partner[None])[0]

    def forward(self, images: Tensor, encoded: Tensor) -> Tensor:
        return self.alike(self.embed(images), encoded)

    def alike(self, embedded: Tensor, encoded: Tensor) -> Tensor:
        """The embeddings' cosine above the least one of the same things, in a learned unit, (N, 1)."""
        alike: Tensor = self.scale * (functional.cosine_similarity(embedded, encoded) - self.least)
        return alike[:, None]


def model() -> nn.Module:
    return Siamese()


def speckled(rng: np.random.Generator) -> Scene:
    """A scene of one thing, with single pixels of any colour strewn over it."""
    drawn = scene(rng, things=1)
    pixels = drawn.pixels.copy()
    y, x = rng.integers(SIDE, size=(2, SPECKS))
    pixels[y, x] = rng.integers(256, size=(SPECKS, 3))
    return replace(drawn, pixels=pixels)


def pairs(count: int, seed: int) -> list[tuple[Scene, Scene, bool]]:
    """So many pairs of scenes, and if they show the same: every other one does."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Scene, Scene, bool]] = []
    while len(found) < count:
        first, second = speckled(rng), speckled(rng)
        (one,), (other,) = first.things, second.things
        same = (one.colour, one.shape) == (other.colour, other.shape)
        if same == (len(found) % 2 == 0):
            found.append((first, second, same))
    return found


def train(net: Siamese) -> None:
    firsts, seconds, same = zip(*pairs(3000, seed=1), strict=True)
    images, partners, truth = pictures(firsts), pictures(seconds), torch.tensor(same).float()[:, None]

    def loss(rows: Tensor) -> Tensor:
        embedded, encoded = net.embed(torch.cat([images[rows], partners[rows]])).chunk(2)
        return functional.binary_cross_entropy_with_logits(net.alike(embedded, encoded), truth[rows])

    fit(net, loss, samples=3000, epochs=10)


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Siamese, train)
    firsts, seconds, same = zip(*pairs(2000, seed=2), strict=True)
    with torch.no_grad():
        alike = net(pictures(firsts), net.embed(pictures(seconds)))[:, 0]
    right = ((alike > 0) == torch.tensor(same)).float().mean()
    print(f"{right:.1%} of 2000 held-out pairs told right")
    if folder:
        save([one.pixels for first, second, _ in pairs(6, seed=3) for one in (first, second)], folder)
