"""A network that describes scenes of two coloured shapes, with its weights.

    python examples/caption.py scenes/
    camcli explain scenes/0001.png -m examples/caption.py:model -w examples/caption.safetensors
    camcli explain scenes/0001.png -m examples/caption.py:model -w examples/caption.safetensors \\
        --caption "a red circle and a blue square"

The picture is where a recurrent network starts from (arXiv:1411.4555): it names the left thing, then the right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from shapes import COLOURS, PREPARED, SHAPES, Scene, pictures, save, scenes
from torch import Tensor, nn
from torch.nn import functional
from training import command, fit

VOCABULARY = ("a", "and", *COLOURS, *SHAPES, "<end>")
LONGEST = 8  # words, with the end


class Caption(nn.Module):
    """Scores of the words, (N, 8, words): of each word of the captions (N, 8), given the picture and the words before.

    Pictures are (N, 3, 32, 32). A caption is words' numbers; after its last word comes `end`, to the eighth.
    """

    task = "caption"
    labels = VOCABULARY
    end = VOCABULARY.index("<end>")
    takes: ClassVar[Mapping[str, Any]] = {"caption": "a red circle and a blue square"}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = PREPARED

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32), nn.ReLU()),
        )
        # Not pooled: where a thing is decides when it is named.
        self.start = nn.Linear(32 * 8 * 8, 64)
        self.embedding = nn.Embedding(len(VOCABULARY), 16)
        self.writer = nn.GRU(16, 64, batch_first=True)
        self.word = nn.Linear(64, len(VOCABULARY))

    def encode(self, caption: str) -> Tensor:
        """The numbers of a caption's words, then `end`.

        Raises:
            ValueError: a word that the network doesn't know, no word, or too many.
        """
        words = caption.lower().rstrip(". ").split()
        for word in words:
            if word not in VOCABULARY[: self.end]:
                raise ValueError(f"no word {word!r}: the network knows {', '.join(VOCABULARY[: self.end])}")
        if not 0 < len(words) < LONGEST:
            raise ValueError(f"a caption has 1 to {LONGEST - 1} words, not {len(words)}: {caption!r}")
        numbers = [VOCABULARY.index(word) for word in words]
        return torch.tensor(numbers + [self.end] * (LONGEST - len(numbers)))

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        return self.describe(self.features(images), tokens)

    def describe(self, maps: Tensor, tokens: Tensor) -> Tensor:
        # A caption begins as it stops.
        before = functional.pad(tokens[:, :-1], (1, 0), value=self.end)
        written, _ = self.writer(self.embedding(before), self.start(maps.flatten(1))[None])
        scores: Tensor = self.word(written)
        return scores

    @torch.no_grad()
    def generate(self, images: Tensor) -> Tensor:
        """The captions (N, 8) whose every word is the likeliest after those before; after the first `end` only that."""
        tokens = torch.full((len(images), LONGEST), self.end, device=images.device)
        for place in range(LONGEST - 1):
            word = self(images, tokens)[:, place].argmax(1)
            over = (tokens[:, place - 1] == self.end) & (place > 0)
            tokens[:, place] = word.masked_fill(over, self.end)
        return tokens


def model() -> nn.Module:
    return Caption()


def drawn(count: int, seed: int) -> list[Scene]:
    """Scenes of a thing in the left half and one in the right half."""
    found: list[Scene] = scenes(count, seed, things=2, columns=2)
    return found


def caption(scene: Scene) -> str:
    left, right = scene.things
    return f"a {left.colour} {left.shape} and a {right.colour} {right.shape}"


def tensors(net: Caption, described: list[Scene]) -> tuple[Tensor, Tensor]:
    """Pictures and captions."""
    return pictures(described), torch.stack([net.encode(caption(scene)) for scene in described])


def train(net: Caption) -> None:
    images, tokens = tensors(net, drawn(8000, seed=1))

    def loss(rows: Tensor) -> Tensor:
        maps: Tensor = net.features(images[rows])
        scores = net.describe(maps, tokens[rows])
        # Features cost something, so those of the background stay 0.
        wrong = functional.cross_entropy(scores.flatten(0, 1), tokens[rows].flatten())
        return wrong + 0.3 * maps.mean()

    fit(net, loss, samples=8000, epochs=10, rate=4e-3)


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Caption, train)
    images, tokens = tensors(net, drawn(2000, seed=2))
    right = (net.generate(images) == tokens).all(1).float().mean()
    print(f"{right:.1%} of 2000 held-out scenes described without a wrong word")
    if folder:
        save([scene.pixels for scene in drawn(12, seed=3)], folder)
