"""Classifiers on tokens as people write them: where the class token stands, in which order tokens lie, and more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SIDE, PATCH, WIDTH, CLASSES = 48, 8, 12, 4
GRID = SIDE // PATCH
PATCHES = GRID * GRID


class Attention(nn.Module):
    """Self-attention of two heads, with a norm at its door if that is not its block's."""

    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH) if normed else nn.Identity()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        q, k, v = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        weights = (q @ k.transpose(2, 3) / (WIDTH / 2) ** 0.5).softmax(-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    def __init__(self, *, normed: bool = False, gives_weights: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if normed else nn.LayerNorm(WIDTH)
        self.attn = Attention(normed=normed)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 24), nn.GELU(), nn.Linear(24, WIDTH))
        self.gives_weights = gives_weights

    def forward(self, x: Tensor) -> Any:
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return (x, None) if self.gives_weights else x


class Vit(nn.Module):
    """Patches, `front` tokens before them, `back` tokens after, `among` in their middle; read at token `read`, or by
    the mean of the patches."""

    def __init__(self, front: int = 0, back: int = 0, among: int = 0, read: int | None = None, **block: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.place = nn.Parameter(torch.randn(1, PATCHES, WIDTH))
        self.front, self.back, self.among = (nn.Parameter(torch.randn(1, n, WIDTH)) for n in (front, back, among))
        self.blocks = nn.ModuleList(Block(**block) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.read = read

    def tokens(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2) + self.place
        front, back, among = (own.expand(len(x), -1, -1) for own in (self.front, self.back, self.among))
        if self.among.numel():
            half = PATCHES // 2
            return torch.cat([patches[:, :half], among, patches[:, half:]], dim=1)
        patches = torch.cat([front, patches], dim=1) if self.front.numel() else patches
        return torch.cat([patches, back], dim=1) if self.back.numel() else patches

    def forward(self, x: Tensor) -> Any:
        x = self.tokens(x)
        for block in self.blocks:
            given: Any = block(x)
            x = given[0] if isinstance(given, tuple) else given
        x = self.norm(x)
        start = self.front.shape[1]
        return self.head(x[:, start : start + PATCHES].mean(1) if self.read is None else x[:, self.read])


def class_first() -> nn.Module:
    return Vit(front=1, read=0)


def norm_in_attention() -> nn.Module:
    """As vit-pytorch has it."""
    return Vit(front=1, read=0, normed=True)


def class_last() -> nn.Module:
    return Vit(back=1, read=-1)


def class_among() -> nn.Module:
    """As Vision Mamba has it."""
    return Vit(among=1, read=PATCHES // 2)


def registers_last() -> nn.Module:
    return Vit(back=4)


def class_first_registers_last() -> nn.Module:
    return Vit(front=1, back=3, read=0)


def class_and_registers_last() -> nn.Module:
    return Vit(back=3, read=PATCHES + 1)


def blocks_give_weights() -> nn.Module:
    return Vit(front=1, read=0, gives_weights=True)


def last_block() -> nn.Module:
    """Whose last block's output is averaged as it is."""
    net = Vit()
    net.norm = nn.Identity()  # type: ignore[assignment]
    return net


def last_block_gives_weights() -> nn.Module:
    net = Vit(gives_weights=True)
    net.norm = nn.Identity()  # type: ignore[assignment]
    return net


# Where the patches stand, of all tokens: at the layer that is chosen, by the factory's name.
STANDING: dict[str, tuple[str, list[int]]] = {
    "class_first": ("blocks.2.norm1", [*range(1, PATCHES + 1)]),
    "norm_in_attention": ("blocks.2.attn.norm", [*range(1, PATCHES + 1)]),
    "class_last": ("blocks.2.norm1", [*range(PATCHES)]),
    "class_among": ("blocks.2.norm1", [*range(PATCHES // 2), *range(PATCHES // 2 + 1, PATCHES + 1)]),
    "registers_last": ("norm", [*range(PATCHES)]),
    "class_first_registers_last": ("blocks.2.norm1", [*range(1, PATCHES + 1)]),
    "class_and_registers_last": ("blocks.2.norm1", [*range(PATCHES)]),
    "blocks_give_weights": ("blocks.2.norm1", [*range(1, PATCHES + 1)]),
    "last_block": ("blocks.2", [*range(PATCHES)]),
    "last_block_gives_weights": ("blocks.2", [*range(PATCHES)]),
}


class Clip(nn.Module):
    """CLIP's: blocks on (tokens, N, C), or the same on (N, tokens, C)."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.token = nn.Parameter(torch.randn(WIDTH))
        self.place = nn.Parameter(torch.randn(PATCHES + 1, WIDTH))
        self.before = nn.LayerNorm(WIDTH)
        layers = [
            nn.TransformerEncoderLayer(WIDTH, 2, 24, activation="gelu", batch_first=batch_first, norm_first=True)
            for _ in range(2)
        ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.token + torch.zeros(len(x), 1, WIDTH), x], dim=1) + self.place
        x = self.before(x)
        if self.batch_first:
            return self.head(self.layers(x)[:, 0])
        return self.head(self.layers(x.permute(1, 0, 2))[0])


def tokens_first() -> nn.Module:
    return Clip(batch_first=False)


def batch_first() -> nn.Module:
    return Clip(batch_first=True)


class Ordered(Vit):
    """Tokens are brought to another order than the picture's rows."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.order = order

    def tokens(self, x: Tensor) -> Tensor:
        return super().tokens(x)[:, self.order]


def by_windows() -> nn.Module:
    """As Hiera has it: all first tokens of windows of 3x3 come first."""
    rows = torch.arange(PATCHES).view(2, 3, 2, 3)
    return Ordered(rows.permute(1, 3, 0, 2).flatten().tolist())


class Windowed(nn.Module):
    """Tokens of 8x8 patches, window by window of 4x4, with a class token read or without."""

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.side = side
        self.embed = nn.Conv2d(3, WIDTH, 6, 6)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        maps = self.embed(x)
        count = maps.shape[2] // self.side
        windows = maps.unflatten(2, (count, self.side)).unflatten(4, (count, self.side)).permute(0, 2, 4, 3, 5, 1)
        x = windows.flatten(1, 4)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def windows_of_two() -> nn.Module:
    return Windowed(2)


def by_turns() -> nn.Module:
    rows = torch.arange(PATCHES).view(GRID, GRID)
    rows[1::2] = rows[1::2].flip(1)
    return Ordered(rows.flatten().tolist())


class Assigned(Vit):
    """The class token gets its place by an assignment, which is not seen; the patches stand before or after it."""

    def __init__(self, place: int) -> None:
        super().__init__(front=1, read=place)
        self.at = place

    def tokens(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2) + self.place
        tokens: Tensor = patches.new_zeros(len(x), PATCHES + 1, WIDTH)
        tokens[:, self.at] = self.front[:, 0]
        tokens[:, [i for i in range(PATCHES + 1) if i != self.at % (PATCHES + 1)]] = patches
        return tokens


def assigned_first() -> nn.Module:
    return Assigned(0)


def assigned_last() -> nn.Module:
    return Assigned(-1)


def rolled() -> nn.Module:
    """Shifted windows whose shift is never taken back."""
    rows = torch.arange(PATCHES).view(GRID, GRID)
    return Ordered(rows.roll((2, 2), (0, 1)).flatten().tolist())


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU()),
        )
        self.fc = nn.Linear(32, CLASSES)

    def seen(self, x: Tensor) -> Any:
        return x

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.body(self.seen(x)).mean((2, 3)))


class Amplitudes(Convolved):
    """The amplitudes of a picture's frequencies, which lie nowhere on it."""

    def seen(self, x: Tensor) -> Any:
        return torch.fft.fft2(x).abs().log1p()


class Rolled(Convolved):
    def seen(self, x: Tensor) -> Any:
        return x.roll((12, 12), (2, 3))


class Misread(Convolved):
    """A picture whose channels come last is viewed as one whose channels come first."""

    def seen(self, x: Tensor) -> Any:
        return x.permute(0, 2, 3, 1).reshape(x.shape)


class Pruned(Vit):
    """DynamicViT: nine tokens stay, which lie anywhere."""

    def forward(self, x: Tensor) -> Any:
        x = self.blocks[0](self.tokens(x))
        kept = x.square().sum(2).topk(9, dim=1).indices.sort(1).values
        x = x.gather(1, kept[..., None].expand(-1, -1, WIDTH))
        for block in self.blocks[1:]:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Merged(Vit):
    """Patch merger: nine queries read all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(9, WIDTH))

    def forward(self, x: Tensor) -> Any:
        x = self.blocks[0](self.tokens(x))
        x = (self.queries @ x.transpose(1, 2)).softmax(-1) @ x
        for block in self.blocks[1:]:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Strided(Vit):
    """LeViT: every other token of both sides stays."""

    def forward(self, x: Tensor) -> Any:
        x = self.blocks[0](self.tokens(x))
        x = x.view(len(x), GRID, GRID, WIDTH)[:, ::2, ::2].reshape(len(x), -1, WIDTH)
        for block in self.blocks[1:]:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Spectral(nn.Module):
    """The last convolution's map goes through a module that gives complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.late = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
        self.spectrum = Spectrum()
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.spectrum(self.late(x)).abs().mean((2, 3)))


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return torch.fft.rfft2(x)


class Windows(Vit):
    """All blocks see windows, which lie beside the pictures of the batch: no layer after the first gives a map."""

    def forward(self, x: Tensor) -> Any:
        pictures = len(x)
        x = self.tokens(x).view(pictures, 2, 3, 2, 3, WIDTH).transpose(2, 3).reshape(4 * pictures, 9, WIDTH)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).view(pictures, PATCHES, WIDTH).mean(1))


class Compact(nn.Module):
    """CCT: a convolutional stem, and all else in a module called classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, PATCH, PATCH), nn.ReLU())
        self.classifier = Transformed()

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.stem(x).flatten(2).transpose(1, 2))


class Transformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))
        self.norm = nn.LayerNorm(WIDTH)
        self.pool = nn.Linear(WIDTH, 1)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.blocks(x))
        return self.fc((self.pool(x).softmax(1) * x).sum(1))


class Stages(nn.Module):
    """Two stages of attention, of 6x6 and 3x3 tokens: LeGrad is for networks of one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.first, self.last = Block(), Block()
        self.down = nn.Conv2d(WIDTH, WIDTH, 2, 2)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.first(self.embed(x).flatten(2).transpose(1, 2))
        x = self.down(x.transpose(1, 2).reshape(len(x), WIDTH, GRID, GRID)).flatten(2).transpose(1, 2)
        return self.head(self.last(x).mean(1))


# Whose layout the shape does not tell.


class CubeLast(nn.Module):
    """(N, h, w, C) with as many channels as rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(3 * 16, 12)
        self.norm = nn.LayerNorm(12)
        self.mix = nn.Conv2d(12, 12, 5, padding=2, groups=12)
        self.late = nn.Linear(12, 12)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = nn.functional.pixel_unshuffle(x, 4).permute(0, 2, 3, 1)
        x = self.norm(self.embed(x))
        x = x + self.mix(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.head(self.late(x).relu().mean((1, 2)))


class TokensLast(nn.Module):
    """(N, C, tokens), with channels that could be a grid too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv1d(3 * PATCH * PATCH, 16, 1)
        self.mix = nn.Linear(PATCHES, PATCHES)
        self.late = nn.Sequential(nn.Conv1d(16, 16, 1), nn.ReLU())
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(nn.functional.unfold(x, PATCH, stride=PATCH)).relu()
        x = x + self.mix(x).relu() * 0.3
        return self.head(self.late(x).amax(-1))


# Whose first convolution does not tell how many channels a picture has.


class SpaceToDepth(nn.Module):
    """TResNet, Focus: the picture is cut into cells before any convolution."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = nn.Sequential(nn.Conv2d(channels * 16, 8, 3, 1, 1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.late(self.early(nn.functional.pixel_unshuffle(x, 4))).mean((2, 3)))


class GreyCells(SpaceToDepth):
    def __init__(self) -> None:
        super().__init__(channels=1)


class OfEachChannel(nn.Module):
    """One filter, defined first, for each channel alike."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blur = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.blur(x.flatten(0, 1)[:, None]).view_as(x)
        return self.fc(self.conv(x).relu().mean((2, 3)))


class LongAside(nn.Module):
    """A deep decoder beside the classes: most of its layers don't lead to them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8, CLASSES)
        self.decoder = nn.Sequential(*(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(20)))

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        return {"logits": self.fc(x.mean((2, 3))), "picture": self.decoder(x)}
