"""A network that answers questions about scenes of coloured shapes, with its weights.

    python examples/vqa.py scenes/
    camcli explain scenes/0001.png -m examples/vqa.py:model -w examples/vqa.safetensors \\
        --question "what colour is the circle"
    camcli explain scenes/scenes.jsonl -m examples/vqa.py:model -w examples/vqa.safetensors

The question bends the picture's features twice (FiLM, arXiv:1709.07871), and their mean is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from shapes import COLOURS, PREPARED, SHAPES, Scene, Thing, pictures, save, scene
from torch import Tensor, nn
from torch.nn import functional
from training import command, fit

WORDS = ("what", "is", "the", "colour", "shape", "thing", *COLOURS, *SHAPES)
LONGEST = 6  # words


class Film(nn.Module):
    """A convolution whose channels the question scales and shifts: maps (N, C, h, w), question (N, Q)."""

    def __init__(self, channels: int, question: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.bend = nn.Linear(question, 2 * channels)

    def forward(self, maps: Tensor, question: Tensor) -> Tensor:
        scale, shift = self.bend(question)[:, :, None, None].chunk(2, 1)
        return functional.relu(self.norm(self.convolution(maps)) * (1 + scale) + shift)


class Vqa(nn.Module):
    """Scores of the answers, (N, answers), of pictures (N, 3, H, W) and questions (N, 6).

    A question is its words' numbers, from 1, filled up with 0.
    """

    task = "answer"
    takes: ClassVar[Mapping[str, Any]] = {"question": "what colour is the circle"}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = PREPARED

    def __init__(
        self, words: tuple[str, ...] = WORDS, answers: tuple[str, ...] = COLOURS + SHAPES, longest: int = LONGEST
    ) -> None:
        super().__init__()
        self.labels = answers
        self.words = words
        self.longest = longest
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 44, 3, stride=2, padding=1), nn.BatchNorm2d(44), nn.ReLU()),
        )
        self.embedding = nn.Embedding(len(words) + 1, 16, padding_idx=0)
        self.reader = nn.GRU(16, 48, batch_first=True)
        self.blocks = nn.ModuleList(Film(44, 48) for _ in range(2))
        self.answer = nn.Linear(44, len(answers))

    def encode(self, question: str) -> Tensor:
        """The numbers of a question's words.

        Raises:
            ValueError: a word that the network doesn't know, no word, or too many.
        """
        asked = question.lower().rstrip("? ").split()
        for word in asked:
            if word not in self.words:
                raise ValueError(f"no word {word!r}: the network knows {', '.join(self.words)}")
        if not 0 < len(asked) <= self.longest:
            raise ValueError(f"a question has 1 to {self.longest} words, not {len(asked)}: {question!r}")
        numbers = [1 + self.words.index(word) for word in asked]
        return torch.tensor(numbers + [0] * (self.longest - len(numbers)))

    def forward(self, images: Tensor, encoded: Tensor) -> Tensor:
        _, read = self.reader(self.embedding(encoded))
        maps = self.features(images)
        for block in self.blocks:
            maps = block(maps, read[0])
        scores: Tensor = self.answer(maps.mean((2, 3)))
        return scores


def model() -> nn.Module:
    return Vqa()


def questions(drawn: Scene) -> list[tuple[str, str, Thing]]:
    """The questions about a scene that have one answer: question, answer, and the thing that is asked about."""
    asked = []
    for thing in drawn.things:
        if sum(other.shape == thing.shape for other in drawn.things) == 1:
            asked.append((f"what colour is the {thing.shape}", thing.colour, thing))
        if sum(other.colour == thing.colour for other in drawn.things) == 1:
            asked.append((f"what shape is the {thing.colour} thing", thing.shape, thing))
    return asked


def asked_scenes(count: int, seed: int) -> list[tuple[Scene, str, str, Thing]]:
    """So many scenes, each with one question, its answer, and the thing that is asked about."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Scene, str, str, Thing]] = []
    while len(found) < count:
        drawn = scene(rng, 3)
        if known := questions(drawn):
            found.append((drawn, *known[rng.integers(len(known))]))
    return found


def tensors(net: Vqa, asked: list[tuple[Scene, str, str, Thing]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, questions and the numbers of the answers."""
    drawn, words, answers, _ = zip(*asked, strict=True)
    encoded = torch.stack([net.encode(question) for question in words])
    return pictures(drawn), encoded, torch.tensor([net.labels.index(answer) for answer in answers])


def train(net: Vqa) -> None:
    images, encoded, answers = tensors(net, asked_scenes(6000, seed=1))
    fit(net, lambda rows: functional.cross_entropy(net(images[rows], encoded[rows]), answers[rows]), 6000, epochs=7)


def write(folder: Path) -> None:
    """Pictures, and scenes.jsonl: a line for each, with a question and its answer."""
    asked = asked_scenes(12, seed=3)
    names = save([drawn.pixels for drawn, *_ in asked], folder)
    lines = [
        json.dumps({"image": name, "question": question, "answer": answer})
        for name, (_, question, answer, _) in zip(names, asked, strict=True)
    ]
    (folder / "scenes.jsonl").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Vqa, train)
    images, encoded, answers = tensors(net, asked_scenes(2000, seed=2))
    with torch.no_grad():
        right = (net(images, encoded).argmax(1) == answers).float().mean()
    print(f"{right:.1%} of 2000 held-out scenes answered right")
    if folder:
        write(folder)
