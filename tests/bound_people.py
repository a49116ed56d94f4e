"""Networks that take more than pictures, as strangers write them; what they see can be told by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

COLOURS = ("red", "green", "blue")
AS_IT_IS = {"input_size": (3, 16, 16), "mean": (0.0,) * 3, "std": (1.0,) * 3, "crop_pct": 1.0}


class Colours(nn.Module):
    """How much of the colour that is asked about a picture holds, and how little: the map is that colour's places.

    `maps` halves the picture, so a cell is 2x2 pixels.
    """

    task = "answer"
    labels = ("much", "little")
    takes: ClassVar[Mapping[str, Any]] = {"question": "how much red"}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS
    asked: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.last = nn.Identity()

    def encode(self, question: str) -> Tensor:
        self.asked.append(question)
        colour = question.rpartition(" ")[2]
        if colour not in COLOURS:
            raise ValueError(f"no colour {colour!r}: ask about {', '.join(COLOURS)}")
        return torch.eye(3)[COLOURS.index(colour)]

    def forward(self, images: Tensor, question: Tensor) -> Tensor:
        share = (self.last(self.maps(images) * 1.0).mean((2, 3)) * question).sum(1)
        return torch.stack([8 * share, -8 * share], 1)


def as_they_are() -> nn.Conv2d:
    """A convolution that gives each colour as it is."""
    maps = nn.Conv2d(3, 3, 1, bias=False)
    maps.weight.data = torch.eye(3)[:, :, None, None]
    return maps


class Words(nn.Module):
    """A captioner of two words: the colour that the top half holds most of, then that of the bottom half."""

    task = "caption"
    labels = (*COLOURS, "<end>")
    end = 3
    takes: ClassVar[Mapping[str, Any]] = {"caption": "red green"}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS

    def __init__(self) -> None:
        super().__init__()
        self.maps = as_they_are()

    def encode(self, caption: str) -> Tensor:
        words = [self.labels.index(word) for word in caption.split()]
        return torch.tensor((words + [self.end] * 3)[:3])

    def generate(self, images: Tensor) -> Tensor:
        halves = images.reshape(len(images), 3, 2, -1).mean(3).argmax(1)
        return torch.cat([halves, torch.full((len(images), 1), self.end)], 1)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        halves = self.maps(images).reshape(len(images), 3, 2, -1).mean(3).transpose(1, 2)
        scores = torch.cat([halves, torch.full((len(images), 2, 1), -2.0)], 2)
        after = torch.tensor([-9.0, -9.0, -9.0, 9.0]).expand(len(images), 1, 4)
        return 20 * torch.cat([scores, after], 1)


class WordsInPlace(Words):
    """The same, which turns the pictures to black where it has read them."""

    def generate(self, images: Tensor) -> Tensor:
        found = super().generate(images)
        images.zero_()
        return found


class WordsInAList(Words):
    def generate(self, images: Tensor) -> Any:
        return super().generate(images).tolist()


class Reads(nn.Module):
    """Words that read the picture: as many as the picture has cells of 4x4 pixels, and no place of it."""

    task = "answer"
    labels = ("yes", "no")
    takes: ClassVar[Mapping[str, Any]] = {"question": "is it red"}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.words = nn.Embedding(20, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def encode(self, question: str) -> Tensor:
        return torch.tensor([len(word) for word in question.split()] + [0] * 16)[:16]

    def forward(self, images: Tensor, question: Tensor) -> Tensor:
        patches = self.norm(self.patch(images).flatten(2).transpose(1, 2))
        attention = (self.words(question) @ patches.transpose(1, 2)).softmax(-1)
        scores: Tensor = self.head(self.out(attention @ patches)[:, -1])
        return scores


class Plays(nn.Module):
    """A policy: to the side that is redder; its value is the green that it sees."""

    task = "act"
    labels = ("left", "right")
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS

    def __init__(self) -> None:
        super().__init__()
        self.maps = as_they_are()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.maps(images)
        sides = maps[:, 0].reshape(len(maps), 16, 2, 8).mean((1, 3))
        return {"logits": 10 * sides + 3, "value": maps[:, 1].mean((1, 2))}


class PlaysInPairs(Plays):
    """The same as a tuple, the value as a column."""

    def forward(self, images: Tensor) -> Any:
        found = super().forward(images)
        return found["logits"], found["value"][:, None]


class PlaysAndTells(Plays):
    """The same, with its features, which are wider than its actions, and a number of all of the batch."""

    def forward(self, images: Tensor) -> Any:
        found = super().forward(images)
        return found | {"features": images.flatten(1)[:, :12], "loss": images.mean()}


class MaskedPlays(Plays):
    def forward(self, images: Tensor) -> Any:
        found = super().forward(images)
        return found | {"logits": found["logits"].masked_fill(torch.tensor([False, True]), float("-inf"))}


class OnlyPlays(Plays):
    """A policy without a critic, which knows how far it has come: `state` is added to its scores."""

    takes: ClassVar[Mapping[str, Any]] = {"state": [0.0, 0.0]}

    def forward(self, images: Tensor, state: Tensor | None = None) -> Any:
        assert state is not None
        return Plays.forward(self, images)["logits"] + state


class Amounts(nn.Module):
    """How much red and green there is: two numbers."""

    task = "regress"
    labels = ("red", "green")
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.AvgPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        amounts: Tensor = (self.maps(images) * 1.0).mean((2, 3))
        return amounts[:, :2]


class Alike(nn.Module):
    """How alike the colours of two pictures are: the product of their means."""

    task = "liken"
    takes: ClassVar[Mapping[str, Any]] = {"partner": None}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = AS_IT_IS

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.norm = nn.BatchNorm2d(3, affine=False)

    def encode(self, partner: Tensor) -> Tensor:
        own: Tensor = (self.norm(self.maps(partner[None])) * 1.0).mean((2, 3))
        return own[0]

    def forward(self, images: Tensor, partner: Tensor) -> Tensor:
        own = (self.norm(self.maps(images)) * 1.0).mean((2, 3))
        alike: Tensor = (own * partner).sum(1, keepdim=True)
        return alike
