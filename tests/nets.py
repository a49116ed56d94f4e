"""Small networks whose right answer is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
import torchvision
from torch import Tensor, nn

from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.models import catalog
from camcli.models.sources import torchvision as torchvision_zoo
from camcli.models.weights import filling
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.tasks.classify import PLAIN
from camcli.tasks.targets import OfClass
from camcli.tasks.task import Task


class RedBlue(nn.Module):
    """Class 0 "red", class 1 "blue": fixed colour detectors, averaged over the picture.

    Expects pixels in [0, 1]; the detectors answer one colour channel minus half of each other one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.detect = nn.Conv2d(3, 2, kernel_size=4, stride=4, bias=False)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            colours = torch.tensor([[1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]])
            self.detect.weight.copy_(colours[:, :, None, None].expand(2, 3, 4, 4) / 16)
            self.fc.weight.copy_(torch.eye(2))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.relu(self.detect(x))).flatten(1))
        return scores


class Convolutional(nn.Module):
    """conv - relu - conv - relu - pool - fc, seeded weights; `functional` and `inplace` choose how ReLU is called."""

    def __init__(self, classes: int = 5, *, functional: bool = False, inplace: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
            self.conv2 = nn.Conv2d(6, 8, 3, padding=1, stride=2)
            self.fc = nn.Linear(8, classes)
        self.relu = None if functional else nn.ReLU(inplace=inplace)
        self.inplace = inplace

    def activate(self, x: Tensor) -> Tensor:
        if self.relu is None:
            return nn.functional.relu(x, inplace=self.inplace)
        activated: Tensor = self.relu(x)
        return activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.conv1(x))
        x = self.activate(self.conv2(x))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


class Averaged(Convolutional):
    """conv - relu - conv - pool - fc: behind `conv2` an average and one linear layer, as the original CAM asks."""

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv2(self.activate(self.conv1(x))).mean((2, 3)))
        return scores


class PatchTransformer(nn.Module):
    """A vision transformer of one block whose grid need not be square: patches of 8x8, a class token in front."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, 12, kernel_size=8, stride=8)
            self.token = nn.Parameter(torch.randn(1, 1, 12))
            self.before = nn.LayerNorm(12)
            self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
            self.after = nn.LayerNorm(12)
            self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)
        mixed = self.before(tokens)
        tokens = self.after(tokens + self.attention(mixed, mixed, mixed)[0])
        scores: Tensor = self.head(tokens[:, 0])
        return scores


class Attention(nn.Module):
    """Self-attention as timm writes it, or a pool by one learned query: `qkv` or `kv` is as long as the tokens."""

    def __init__(self, width: int, *, pools: bool = False) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width)) if pools else None
        self.qkv = nn.Linear(width, (2 if pools else 3) * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.query is None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            mixed: Tensor = self.proj(nn.functional.scaled_dot_product_attention(q, k, v))
            return mixed
        k, v = self.qkv(x).chunk(2, dim=-1)
        weights = (self.query.expand(len(x), -1, -1) @ k.transpose(1, 2)).softmax(dim=-1)
        pooled: Tensor = self.proj((weights @ v)[:, 0])
        return pooled


class Tokens(nn.Module):
    """Patches of 8x8 behind `prefix` tokens, two blocks; read from the `class` token, the `mean`, or by `attention`."""

    def __init__(self, read: str, prefix: int, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, 12, kernel_size=8, stride=8)
            self.prefix = nn.Parameter(torch.randn(1, prefix, 12))
            self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(2))
            self.mixes = nn.ModuleList(Attention(12) for _ in range(2))
            self.norm = nn.LayerNorm(12)
            self.pool = Attention(12, pools=True)
            self.head = nn.Linear(12, classes)
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.prefix.expand(len(x), -1, -1), tokens], dim=1)
        for norm, mix in zip(self.norms, self.mixes, strict=True):
            tokens = tokens + mix(norm(tokens))
        tokens = self.norm(tokens)
        if self.read == "class":
            pooled = tokens[:, 0]
        elif self.read == "mean":
            pooled = tokens[:, self.prefix.shape[1] :].mean(1)
        else:
            pooled = self.pool(tokens)
        scores: Tensor = self.head(pooled)
        return scores


class ClassAttention(nn.Module):
    """CaiT: patches on their own, then a class token that attends to them and is put in front of them once more."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, 12, kernel_size=8, stride=8)
            self.patches = nn.LayerNorm(12)
            self.attends = nn.ModuleList(Attention(12, pools=True) for _ in range(2))
            self.norm = nn.LayerNorm(12)
            self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(self.embed(x).flatten(2).transpose(1, 2))
        token = torch.zeros_like(patches[:, :1])
        for attend in self.attends:
            token = token + attend(torch.cat([token, patches], dim=1))[:, None]
        scores: Tensor = self.head(self.norm(torch.cat([token, patches], dim=1))[:, 0])
        return scores


class ChannelsLast(nn.Module):
    """(N, h, w, C) all the way behind the patch embedding."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, 12, kernel_size=8, stride=8)
            self.mix = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 12), nn.GELU())
            self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.mix(self.embed(x).permute(0, 2, 3, 1)).mean((1, 2)))
        return scores


class Hierarchy(nn.Module):
    """Tokens whose grid is halved by a reshape: no module ever gives a map of the last grid."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, 12, kernel_size=4, stride=4)
            self.merge = nn.Linear(48, 24)
            self.norm = nn.LayerNorm(24)
            self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.embed(x)
        n, c, h, w = fine.shape
        fine = fine.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
        tokens = self.norm(self.merge(fine.reshape(n, h * w // 4, 4 * c)))
        scores: Tensor = self.head(tokens.mean(1))
        return scores


class SkipsLast(nn.Module):
    """The score sees the stem both directly and through `last`: only `stem` is crossed by every path."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        scores: Tensor = self.fc(stem.mean((2, 3)) + self.last(stem).mean((2, 3)))
        return scores


class TwoTrunks(nn.Module):
    """Two trunks side by side: no layer is crossed by every path."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3)
        self.right = nn.Conv2d(3, 4, 5)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.left(x).mean((2, 3)), self.right(x).mean((2, 3))], dim=1)
        scores: Tensor = self.fc(both)
        return scores


class Wrapped(nn.Module):
    """The whole network inside one module, as DataParallel and training frameworks leave it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.model(x)
        return scores


def zoo(name: str) -> tuple[nn.Module, Tensor]:
    """A torchvision architecture with small seeded weights (drawing real ones costs seconds), and a picture for it.

    The picture is the smallest that suits: not square, but for those that take one size only. ViTs are built for a
    4x4 grid instead of their own (vit_h_14 at 518 pixels costs 20 times as much).
    """
    family = catalog.entries()[name].family
    height, width = 64, 96
    if family == "vision_transformer":
        height = width = 4 * int(name.rsplit("_", 1)[1])
        with filling.no_initialisation():
            net: nn.Module = torchvision.models.get_model(name, weights=None, image_size=height)
    else:
        net = torchvision_zoo.architecture(name, "none", {}, None).build(False)
        if family == "maxvit":
            height = width = 224
        if family == "inception":
            height, width = 96, 128
    fill(net)
    return net.eval().requires_grad_(False), noise(1, 3, height, width)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fill(net: nn.Module) -> None:
    """Seeded weights scaled by fan-in from one pool of noise, unit norms, zero biases: activations stay finite."""
    pool = noise(1_000_003)
    start = 0
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0 if name.endswith("weight") or "scale" in name else 0.0)
                continue
            flat = parameter.view(-1)
            scale = (2 * len(parameter) / flat.numel()) ** 0.5
            start = (start + 7919) % 500_000
            drawn = pool[start:]
            for at in range(0, len(flat), len(drawn)):
                chunk = flat[at : at + len(drawn)]
                torch.mul(drawn[: len(chunk)], scale, out=chunk)
        for name, buffer in net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float(name.endswith("var")))


def layers_of(net: nn.Module, images: Tensor, *names: str) -> list[Layer]:
    """The named layers of a net that no catalog knows, or the automatic one."""
    return choosing.resolve(net, trace(net, images), names, "net")


def run(
    net: nn.Module,
    images: Tensor,
    layers: Sequence[Layer] = (),
    parts: Collection[str] = (),
    task: Task = PLAIN,
    stages: Mapping[str, Sequence[Layer]] | None = None,
) -> Forward:
    """One forward, as the engine would make it."""
    return Forward(Network(net, task), images, layers, parts, stages)


def of_class(class_ids: Tensor) -> OfClass:
    """Each picture's own class's logit, class ids int64 (N,)."""
    return OfClass(tuple(class_ids.tolist()))
