"""A network that plays catch, with its weights: a red ball falls, and a green paddle must be under it.

    python examples/policy.py frames/
    camcli explain frames/0001.png -m examples/policy.py:model -w examples/policy.safetensors

A blue bird flies about and means nothing. It is trained by REINFORCE with a critic (Williams 1992), from its own games.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from shapes import save
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional
from training import command

CELLS = 12  # a side of the world; the ball falls one a step
CELL = 4  # pixels
ACTIONS = ("left", "stay", "right")


class Policy(nn.Module):
    """Scores of the actions, (N, 3), and the value, (N,), of frames (N, 3, 48, 48)."""

    task = "act"
    labels = ACTIONS
    takes: ClassVar[Mapping[str, Any]] = {}
    pretrained_cfg: ClassVar[Mapping[str, Any]] = {
        "input_size": (3, CELLS * CELL, CELLS * CELL),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }

    def __init__(self) -> None:
        super().__init__()
        # Without biases, so that black stays 0: nothing can be read from where nothing is.
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 16, CELL, stride=CELL, bias=False), nn.ReLU()),
            *(nn.Conv2d(16, 8, 1, bias=False), nn.ReLU()),
        )
        # Not pooled: where ball and paddle are is all that counts.
        self.hidden = nn.Linear(8 * CELLS**2, 72)
        self.actor = nn.Linear(72, len(ACTIONS))
        self.critic = nn.Linear(72, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.judge(self.features(images))

    def judge(self, maps: Tensor) -> dict[str, Tensor]:
        hidden = functional.relu(self.hidden(maps.flatten(1)))
        return {"logits": self.actor(hidden), "value": self.critic(hidden)[:, 0]}


def model() -> nn.Module:
    return Policy()


@dataclass(slots=True)
class Games:
    """Games at the same step: columns (N,) of the balls and of the paddles' middles, cells (N, 2) of the birds."""

    ball: NDArray[np.int_]
    paddle: NDArray[np.int_]
    bird: NDArray[np.int_]
    row: int = 0

    @classmethod
    def new(cls, count: int, rng: np.random.Generator) -> Games:
        ball, bird = rng.integers(CELLS, size=count), rng.integers(CELLS - 1, size=(count, 2))
        return cls(ball, rng.integers(1, CELLS - 1, count), bird)

    @property
    def over(self) -> bool:
        return self.row == CELLS - 1

    @property
    def caught(self) -> NDArray[np.bool_]:
        return abs(self.ball - self.paddle) <= 1

    def step(self, actions: NDArray[np.int_], rng: np.random.Generator) -> None:
        """The paddles move, the balls fall, and the birds fly anywhere near, never as low as the paddles."""
        self.paddle = (self.paddle + actions - 1).clip(1, CELLS - 2)
        self.bird = (self.bird + rng.integers(-1, 2, self.bird.shape)).clip(0, CELLS - 2)
        self.row += 1

    def frames(self) -> NDArray[np.uint8]:
        """(N, 48, 48, 3). A ball hides a bird."""
        every = np.arange(len(self.ball))
        cells = np.zeros((len(every), CELLS, CELLS, 3), np.uint8)
        cells[every, self.bird[:, 0], self.bird[:, 1]] = 40, 70, 220
        for part in (-1, 0, 1):
            cells[every, -1, self.paddle + part] = 110, 255, 130
        cells[every, self.row, self.ball] = 210, 40, 30
        return cells.repeat(CELL, 1).repeat(CELL, 2)


def train(net: Policy) -> None:
    """200 updates, each from 64 games. A ball is worth 1 if caught, else -1, at each step before."""
    rng = np.random.default_rng(1)
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(200):
        games, steps = Games.new(64, rng), []
        while not games.over:
            maps = net.features(prepared(games.frames()))
            answer = net.judge(maps)
            choice = Categorical(logits=answer["logits"])
            actions = choice.sample()  # type: ignore[no-untyped-call]
            chance, doubt = choice.log_prob(actions), choice.entropy()  # type: ignore[no-untyped-call]
            steps.append((chance, doubt, answer["value"], maps.mean()))
            games.step(actions.numpy(), rng)
        chosen, doubt, value, features = (torch.stack(parts) for parts in zip(*steps, strict=True))
        reward = torch.from_numpy(games.caught).float() * 2 - 1
        gain = reward - value
        loss = -(gain.detach() * chosen).mean() + 0.5 * gain.square().mean() - 0.01 * doubt.mean()
        # Features cost something, so those that mean nothing go.
        loss = loss + 0.2 * features.mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def prepared(frames: NDArray[np.uint8]) -> Tensor:
    """What the network takes of frames: (N, 3, 48, 48) from 0 to 1."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def played(net: nn.Module, count: int, seed: int) -> tuple[Games, list[NDArray[np.uint8]]]:
    """So many games, played to their end with the likeliest actions, and the frames that were acted on."""
    rng = np.random.default_rng(seed)
    games, frames = Games.new(count, rng), []
    while not games.over:
        frames.append(games.frames())
        games.step(net(prepared(frames[-1]))["logits"].argmax(1).numpy(), rng)
    return games, frames


def write(net: nn.Module, folder: Path) -> None:
    """The frames of one game."""
    _, frames = played(net, 1, seed=3)
    save([frame for (frame,) in frames], folder)


if __name__ == "__main__":
    net, folder = command(__doc__, __file__, Policy, train, seed=1)
    games, _ = played(net, 2000, seed=2)
    print(f"{games.caught.mean():.1%} of 2000 balls caught")
    if folder:
        write(net, folder)
