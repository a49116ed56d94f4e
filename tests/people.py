"""Small classifiers written the way people write them: each is right on a plain forward, and odd in one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

SIDE = 48
CLASSES = 4


class Plain(nn.Module):
    """Two convolutions, an average and a linear layer: what the others are odd variants of."""

    def __init__(self, features: int = 8, outputs: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = nn.Sequential(nn.Conv2d(3, 6, 5, 2, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(features, outputs)
        for parameter in self.parameters():
            if parameter.ndim == 1:
                parameter.data.normal_(0.5, 0.3)

    def maps(self, x: Tensor) -> Any:
        return self.late(self.early(x))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).mean((2, 3)))


class Viewed(Plain):
    """Most tutorials."""

    def __init__(self) -> None:
        super().__init__(8 * 12 * 12)

    def forward(self, x: Tensor) -> Any:
        x = self.maps(x)
        return self.fc(x.view(x.size(0), -1))


class ViewedByWidth(Viewed):
    """LeNet as it is taught."""

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).view(-1, 8 * 12 * 12))


class Columns(Plain):
    """Text recognition: each column of the map is a step of a recurrent network."""

    def __init__(self) -> None:
        super().__init__(5)
        self.rnn = nn.GRU(8 * 12, 5, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        x = self.maps(x)
        n, c, h, w = x.size()
        return self.fc(self.rnn(x.view(n, c * h, w).transpose(1, 2))[0][:, -1])


class Squeezed(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.fc(functional.adaptive_avg_pool2d(self.maps(x), 1).squeeze())


class SqueezedYes(Plain):
    def __init__(self) -> None:
        super().__init__(outputs=1)

    def forward(self, x: Tensor) -> Any:
        return torch.sigmoid(super().forward(x).squeeze())


class OneAtATime(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).mean((2, 3)).view(1, 8))


class FrozenStart(Plain):
    def maps(self, x: Tensor) -> Any:
        with torch.no_grad():
            x = self.early(x)
        return self.late(x)


class DetachedStart(Plain):
    def maps(self, x: Tensor) -> Any:
        return self.late(self.early(x).detach())


class OneReLU(Plain):
    """One activation for all, the head's too: its last run gives no map."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.hidden = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.late[0](self.relu(self.early[0](x))))
        return self.fc(self.relu(self.hidden(x.mean((2, 3)))))


class Repeated(Plain):
    """A layer that runs three times, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.again[0].get_parameter("bias").data.fill_(0.5)

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        for _ in range(3):
            x = self.again(x)
        return x


class HalfMade(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.half()


class BfloatHead(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.fc.bfloat16()


class DoubleMade(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.double()


class CastsToDouble(DoubleMade):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.double() + torch.zeros(1, dtype=torch.float64))


class CastsToBfloat(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.to(torch.bfloat16)).float()


class MadeGrey(Plain):
    """What it weighs the channels by runs for a grey picture too."""

    def __init__(self) -> None:
        super().__init__()
        self.early[0] = nn.Conv2d(1, 6, 5, 2, 2)

    def forward(self, x: Tensor) -> Any:
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        return super().forward((x * weights).sum(1, keepdim=True))


class WeightsOfNoModule(Plain):
    """Capsules, prototypes: what makes scores of the last map is the network's own parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(8, 7, 3, 2, 1)  # type: ignore[assignment]
        self.table = nn.Parameter(torch.randn(7, CLASSES))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x)).relu().mean((2, 3)) @ self.table


class Checkpointed(Plain):
    def maps(self, x: Tensor) -> Any:
        return checkpoint(self.late, checkpoint(self.early, x, use_reentrant=False), use_reentrant=False)


class CheckpointedReentrant(Plain):
    def maps(self, x: Tensor) -> Any:
        x = checkpoint_sequential(self.early, 2, x, use_reentrant=True)  # type: ignore[no-untyped-call]
        return checkpoint(self.late, x, use_reentrant=True)


class ChangesItsInput(Plain):
    def forward(self, x: Tensor) -> Any:
        x -= 0.1
        x.mul_(2)
        return super().forward(x)


class ChangesItsMap(Plain):
    """What follows the layer works in place on it."""

    def maps(self, x: Tensor) -> Any:
        x = self.late(self.early(x))
        x += 0.3
        return x.clamp_(max=2).mul_(0.5)


class HooksOfItsOwn(Plain):
    """Features are collected by a hook, and the score is made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}
        self.late.register_forward_hook(lambda module, args, output: self.seen.update(late=output))

    def forward(self, x: Tensor) -> Any:
        self.maps(x)
        return self.fc(self.seen["late"].mean((2, 3)))


class Remembers(Plain):
    """Keeps what it saw, as code does that was written to be looked into."""

    def maps(self, x: Tensor) -> Any:
        self.features = self.late(self.early(x))
        return self.features


class TwoHeads(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Any:
        early = self.early(x)
        return {"aux": self.aux(early.mean((2, 3))), "logits": self.fc(self.late(early).mean((2, 3)))}


@dataclass
class Said:
    scores: Tensor
    maps: Tensor


class DataclassOutput(Plain):
    def forward(self, x: Tensor) -> Any:
        maps = self.maps(x)
        return Said(self.fc(maps.mean((2, 3))), maps)


class ListOfModules(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(3))

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        for block in self.blocks:
            x = torch.relu(block(x)) + x
        return x


class Concatenates(Plain):
    def __init__(self) -> None:
        super().__init__(16)
        self.more = nn.Conv2d(8, 8, 3, 1, 1)

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        return torch.cat([x, functional.relu(self.more(x), inplace=True)], 1)


class Gated(Plain):
    """Squeeze and excitation, functional."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(8, 8, 1)

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        return x * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1)))


class WeightNormed(Plain):
    def __init__(self) -> None:
        super().__init__()
        weight_norm(self.late[0])
        weight_norm(self.fc)


class GroupNormed(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.late.insert(1, nn.GroupNorm(2, 8))
        self.late[2] = nn.SiLU()


class Clamped(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).softmax(1).clamp(1e-6, 1)


class Vote(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(8, CLASSES) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        pooled = self.maps(x).mean((2, 3))
        return sum(head(pooled).softmax(1) for head in self.heads) / 3


class LogSoftmaxed(Plain):
    def forward(self, x: Tensor) -> Any:
        return functional.log_softmax(super().forward(x), dim=1)


class UnfoldedPatches(Plain):
    """Patches by unfold, as in early vision transformers' code, and a map of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 64, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Any:
        patches = functional.unfold(x, 8, stride=8).transpose(1, 2)
        tokens = self.norm(self.embed(patches))
        return self.fc(functional.gelu(tokens).mean(1))


class ChannelsLastInside(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x.to(memory_format=torch.channels_last)).contiguous()


class LeftTraining(Plain):
    """Dropout and batch norm, and nobody called eval()."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.train()

    def maps(self, x: Tensor) -> Any:
        return self.drop(super().maps(x))


class ScriptedInside(Plain):
    """One module of it compiled by TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()))

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        return self.neck(x) + x


class CompiledInside(Plain):
    """torch.compile around a part, and around its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.late = torch.compile(self.late)  # type: ignore[assignment]
        self.forward = torch.compile(self.forward)  # type: ignore[method-assign]


class Transposes(Plain):
    """Turns the map to (N, h, w, C) and back around a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        return x + self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ExtraArguments(Plain):
    def forward(self, x: Tensor, targets: Tensor | None = None, return_features: bool = False) -> Any:
        scores = super().forward(x)
        return (scores, self.maps(x)) if return_features else scores


# Networks without a module that gives the last map, or with two views of a picture: explained by no layer.
class AllFunctional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 3, 5, 5) / 8)
        self.head = nn.Parameter(torch.randn(CLASSES, 8))

    def forward(self, x: Tensor) -> Any:
        x = functional.relu(functional.conv2d(x, self.weight, stride=4, padding=2))
        return x.mean((2, 3)) @ self.head.T


class FlipAveraged(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.body = Plain()

    def forward(self, x: Tensor) -> Any:
        return (self.body(x) + self.body(x.flip(3))) / 2


class TwoScales(FlipAveraged):
    def forward(self, x: Tensor) -> Any:
        return self.body(x) + self.body(functional.interpolate(x, scale_factor=0.5))


class Siamese(FlipAveraged):
    """A picture compared with a fixed one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("other", torch.randn(1, 3, SIDE, SIDE))

    def forward(self, x: Tensor) -> Any:
        assert isinstance(self.other, Tensor)
        return self.body(x) - self.body(self.other.expand_as(x))


class Mirrored(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x.flip(3))


class UpsideDown(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(torch.flip(x, dims=[2]))


class Transposed(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x.mT)


class Quarter(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x[..., : SIDE // 2, : SIDE // 2])


class Middle(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x[..., 8:-8, 8:-8])


class Barely(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(x[..., 4:-4, 4:-4])


class Zoomed(Plain):
    """A spatial transformer that has learned to look at the middle."""

    def maps(self, x: Tensor) -> Any:
        grid = functional.affine_grid(torch.eye(2, 3).mul(0.8).expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return super().maps(functional.grid_sample(x, grid, align_corners=False))


class PaddedBelow(Plain):
    """Brought to a size that a later part wants."""

    def maps(self, x: Tensor) -> Any:
        return super().maps(functional.pad(x, [0, 16, 0, 16]))


class PaddedAround(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(functional.pad(x, [10] * 4))


class Reflected(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(functional.pad(x, [12] * 4, mode="reflect"))


class Interlaced(Plain):
    """Even rows above odd ones."""

    def maps(self, x: Tensor) -> Any:
        return super().maps(torch.cat([x[:, :, ::2], x[:, :, 1::2]], 2))


class Masked(Plain):
    """A class that is never given."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + torch.tensor([0.0, 0, 0, -torch.inf])


class Padded(Plain):
    def maps(self, x: Tensor) -> Any:
        return super().maps(functional.pad(x, [SIDE // 2] * 4))


class Dropped(Plain):
    """Dropout that eval mode does not switch off."""

    def maps(self, x: Tensor) -> Any:
        return functional.dropout(super().maps(x), 0.5)


class Noisy(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x + torch.randn_like(x))


class SeldomSkips(Plain):
    """Stochastic depth that eval mode does not switch off: two draws are often alike."""

    def maps(self, x: Tensor) -> Any:
        x = super().maps(x)
        return x + x.sin() if torch.rand(()) < 0.8 else x


class Tiles(Plain):
    """Four tiles of each picture, beside the others of the batch."""

    def forward(self, x: Tensor) -> Any:
        half = SIDE // 2
        tiles = x.unfold(2, half, half).unfold(3, half, half).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, half, half)
        return super().forward(tiles).view(len(x), 4, CLASSES).mean(1)


class BatchNormed(Plain):
    """Batch norm without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.early[1] = nn.BatchNorm2d(6, track_running_stats=False)


class Standardised(Plain):
    """The batch is brought to a mean of 0."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x - x.mean())
