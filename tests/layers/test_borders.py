"""Maps of unpadded convolutions: their cells stand nearer to the middle than they are painted, which is noted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import camcli


class Tutorial(nn.Module):
    """The CNN of many a tutorial; `pooled` as modules or as functions."""

    def __init__(self, pooled: Callable[[Tensor], Tensor], padding: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 5, padding=padding), nn.Conv2d(8, 16, 5, padding=padding)
        self.pool = pooled
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x).relu())
        scores: Tensor = self.fc(self.conv2(x).relu().mean((2, 3)))
        return scores


class Branched(nn.Module):
    """Two ways that meet: what lies on neither alone does not tell."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.near, self.far = nn.Conv2d(3, 8, 9), nn.Conv2d(3, 8, 9)
        self.late = nn.Conv2d(8, 8, 9)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.late(self.near(x) + self.far(x)).relu().mean((2, 3)))
        return scores


def sequential(*convolutions: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*convolutions, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def note_of(net: nn.Module) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", camcli.CamcliWarning)
        noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
        answer: Any = camcli.explain(noise, net.eval())
    note: str | None = answer.explanation.note
    return note


def two(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


@pytest.mark.parametrize(
    ("net", "pixels"),
    [
        # 64 -> 60 -> 30 -> 26: cells from 2.5 + .5 + 2 * 2 + .5 = 7 on (pixel middles), painted from 64 / 26 / 2 on.
        (Tutorial(nn.MaxPool2d(2)), 6),
        (Tutorial(two), 6),
        # 64 -> 48: cells from 8.5 on, painted from .67.
        (sequential(nn.Conv2d(3, 8, 17)), 8),
        # 64 -> 30 -> 13 (kernel 5, stride 2 each): from 2.5 + 2 * 2 = 6.5 on and up to 54.5, painted from 2.46 to 61.5.
        (sequential(nn.Conv2d(3, 8, 5, 2), nn.Conv2d(8, 8, 5, 2)), 7),
    ],
)
def test_what_is_painted_too_wide_is_noted(net: nn.Module, pixels: int) -> None:
    assert str(note_of(net)).startswith(f"painted too wide: its outermost cells stand {pixels} pixels of the view")


@pytest.mark.parametrize(
    "net",
    [
        Tutorial(nn.MaxPool2d(2), padding=2),
        Tutorial(two, padding=2),
        sequential(nn.Conv2d(3, 8, 4, 4)),
        sequential(nn.Conv2d(3, 8, 3)),
        Branched(),
    ],
    ids=["padded", "padded, pooled by a function", "patches", "by a pixel", "branches"],
)
def test_other_maps_are_not_noted(net: nn.Module) -> None:
    assert note_of(net) is None


def test_a_blob_is_seen_by_the_cell_that_is_said_to_stand_there() -> None:
    """The numbers of the second network of these tests' strided ones: cells stand at 6.5, 10.5, … 54.5."""
    net = sequential(nn.Conv2d(3, 8, 5, 2, bias=False), nn.Conv2d(8, 8, 5, 2, bias=False)).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)
    for cell in (0, 6, 12):
        picture = torch.zeros(1, 3, 64, 64)
        at = 6 + 4 * cell
        picture[:, :, at, at] = 1.0
        with torch.no_grad():
            seen = net[:2](picture)[0, 0]
        rows = seen.amax(1).nonzero().flatten()
        assert cell in rows.tolist()
        assert abs(float(rows.double().mean()) - cell) <= 1
