"""Networks of clips, as people write them, with right answers that can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Blink(nn.Module):
    """A classifier of clips, red or blue: means of red and of blue over cells of 2 frames and 4x4 pixels, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv3d(3, 2, (2, 4, 4), (2, 4, 4), bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            colours = torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None, None]
            self.cells.weight.copy_(colours.expand(2, 3, 2, 4, 4) / 32)
            self.head.weight.copy_(torch.eye(2))

    def forward(self, clips: Tensor) -> Tensor:
        scores: Tensor = self.head(self.cells(clips).mean((2, 3, 4)))
        return scores


class Backwards(Blink):
    """It looks at the last frame first."""

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips.flip(2))


class Mirrored(Blink):
    """It looks at each frame in a mirror."""

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips.flip(-1))


class Tokens(nn.Module):
    """A transformer of clips: tubes of 2 frames and 4x4 pixels as tokens beside a class token, joint attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv3d(3, 16, (2, 4, 4), (2, 4, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 16) / 4)
        self.position = nn.Parameter(torch.randn(1, 65, 16) / 4)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True) for _ in range(2))
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)

    def forward(self, clips: Tensor) -> Tensor:
        tokens = self.patch(clips).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(clips), -1, -1), tokens], dim=1) + self.position
        scores: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return scores


def flat() -> nn.Sequential:
    """A classifier of pictures with convolutions, batch norms and ReLUs, seeded."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 4, 2, 1),
        nn.ReLU(),
        _Mean(),
        nn.Linear(12, 4),
    ).eval()


def deep() -> nn.Sequential:
    """The same network on clips of any length: each frame's map is that of the picture."""
    own = flat()
    for place, module in enumerate(own):
        if isinstance(module, nn.Conv2d):
            one = nn.Conv3d(module.in_channels, module.out_channels, (1, 4, 4), (1, 2, 2), (0, 1, 1))
            one.load_state_dict({"weight": module.weight[:, :, None], "bias": module.bias})
            own[place] = one
        elif isinstance(module, nn.BatchNorm2d):
            norm = nn.BatchNorm3d(module.num_features)
            norm.load_state_dict(module.state_dict())
            own[place] = norm
    return own.eval()


class _Mean(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.flatten(2).mean(2)


class Halved(Blink):
    """It looks at the second half of the frames only."""

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips[:, :, clips.shape[2] // 2 :])


class Rolled(Blink):
    """It begins in the middle."""

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips.roll(clips.shape[2] // 2, 2))


class TimeFirst(Blink):
    """A module of it gives (N, T, C, h, w), which reads as (N, C, T, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        turned = self.turned(self.cells(clips).transpose(1, 2).clone())
        scores: Tensor = self.head(turned.mean((1, 3, 4)))
        return scores


class Moments(nn.Module):
    """Each frame is averaged by itself: what is left is a row of moments, and no places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.seen = nn.Conv2d(3, 8, 3, padding=1)
        self.over_time = nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.seen(clips.transpose(1, 2).flatten(0, 1)).relu().mean((2, 3))
        rows = self.over_time(frames.reshape(len(clips), -1, 8).transpose(1, 2))
        scores: Tensor = self.head(rows.relu().mean(2))
        return scores
