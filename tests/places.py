"""Networks that say something of places, as people write them, with right answers that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Boxes(nn.Module):
    """A detector on cells of 4x4 pixels. Class 1 has the logit 8 red - 4 green - 2, class 2 4 green - 5, the background
    0; each box is the cell's centre and 6 pixels around it. `sharp` multiplies all logits."""

    def __init__(self, sharp: float = 1.0, threshold: float = 0.3) -> None:
        super().__init__()
        self.threshold = threshold
        self.cells = nn.Conv2d(3, 2, 4, 4, bias=False)
        self.classes = nn.Conv2d(2, 3, 1)
        self.sides = nn.Conv2d(2, 4, 1)
        with torch.no_grad():
            self.cells.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None].expand(2, 3, 4, 4) / 16)
            self.classes.weight.copy_(sharp * torch.tensor([[0.0, 0], [8, -4], [0, 4]])[:, :, None, None])
            self.classes.bias = nn.Parameter(sharp * torch.tensor([0.0, -2, -5]))
            self.sides.weight.zero_()
            self.sides.bias = nn.Parameter(torch.tensor([-6.0, -6, 6, 6]))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.found(image) for image in images]

    def found(self, image: Tensor) -> dict[str, Tensor]:
        from torchvision.ops import nms

        cells = self.cells(image[None])
        scores = self.classes(cells)[0].flatten(1).T.softmax(1)
        height, width = cells.shape[2:]
        y, x = torch.meshgrid(4 * torch.arange(height) + 2.0, 4 * torch.arange(width) + 2.0, indexing="ij")
        boxes = self.sides(cells)[0].flatten(1).T + torch.stack([x, y, x, y]).flatten(1).T
        best, labels = scores[:, 1:].max(1)
        kept = (best > self.threshold).nonzero()[:, 0]
        kept = kept[nms(boxes[kept], best[kept], 0.5)]
        return {"boxes": boxes[kept], "scores": best[kept], "labels": labels[kept] + 1}


class Letterboxed(Boxes):
    """A detector that lays its pictures into squares, and tells nobody."""

    def found(self, image: Tensor) -> dict[str, Tensor]:
        height, width = image.shape[1:]
        side = max(height, width)
        return super().found(functional.pad(image, (0, side - width, 0, side - height)))


class Detached(Boxes):
    """A detector whose scores no gradient leaves."""

    def found(self, image: Tensor) -> dict[str, Tensor]:
        return {key: value.detach() for key, value in super().found(image).items()}


class Pixels(nn.Module):
    """A segmenter: background 0.2, "red" and "blue" the means of their channel over 4x4 pixels, at the full size."""

    def __init__(self, returned: str = "tensor") -> None:
        super().__init__()
        self.returned = returned
        self.cells = nn.Conv2d(3, 2, 4, 4, bias=False)
        self.classes = nn.Conv2d(2, 3, 1)
        with torch.no_grad():
            self.cells.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]])[:, :, None, None].expand(2, 3, 4, 4) / 16)
            self.classes.weight.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1]])[:, :, None, None])
            self.classes.bias = nn.Parameter(torch.tensor([0.2, 0, 0]))

    def forward(self, x: Tensor) -> Any:
        scores = functional.interpolate(self.classes(self.cells(x)), x.shape[2:], mode="nearest")
        if self.returned == "dict":
            return {"out": scores, "aux": scores[:, :1]}
        if self.returned == "softmax":
            return scores.softmax(1)
        return scores[:, 1:2] - 0.5 if self.returned == "binary" else scores


class Wrapped(nn.Module):
    """The segmenter inside another module, which hands on the head's own output."""

    def __init__(self) -> None:
        super().__init__()
        inner = Pixels()
        self.inner = nn.Sequential(inner.cells, nn.ReLU(), inner.classes)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.inner(x), x.shape[2:], mode="nearest")


class UNet(nn.Module):
    """Two steps down, two up, with the early maps joined on the way: its coarsest map is `middle`'s."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.middle = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.joined = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1), nn.ReLU())
        self.up2 = nn.ConvTranspose2d(16, 8, 2, 2)
        self.joined2 = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        up = self.joined(torch.cat([self.up(self.middle(second)), second], 1))
        scores: Tensor = self.last(self.joined2(torch.cat([self.up2(up), first], 1)))
        return scores


class Pyramid(nn.Module):
    """PSPNet's way: maps pooled to few cells are joined to the last map, which is the coarsest on the way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
        )
        self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(n), nn.Conv2d(32, 8, 1)) for n in (1, 2, 3))
        self.fuse = nn.Sequential(nn.Conv2d(56, 32, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(32, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)
        pooled = [functional.interpolate(pool(body), body.shape[2:], mode="bilinear") for pool in self.pools]
        return functional.interpolate(self.last(self.fuse(torch.cat([body, *pooled], 1))), x.shape[2:], mode="bilinear")
