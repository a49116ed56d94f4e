"""The bundled classifier asked at each cell of its last map, as a segmenter and as a detector: nothing is trained.

    camcli explain sample_images/cat_and_espresso.jpg -m examples/dense.py:segmenter -c espresso
    camcli explain sample_images/cat_and_espresso.jpg -m examples/dense.py:detector -c each

What they say is rough. They show what camcli asks of your own code: a segmenter returns scores (N, K, height, width), a
detector takes a list of pictures in [0, 1] and returns a list of dicts with boxes, scores and labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

import camcli


class Cells(nn.Module):
    """Scores of ImageNet's classes at each cell, (N, 1000, h, w), of pictures with mean 0.5 and deviation 0.5."""

    def __init__(self) -> None:
        super().__init__()
        net = camcli.load_model(camcli.Spec()).net
        self.features = net.get_submodule("features")
        last = net.get_submodule("classifier.1")
        self.scores = nn.Conv2d(1280, 1000, 1)
        self.scores.weight.data = last.get_parameter("weight").data[:, :, None, None]
        self.scores.bias = nn.Parameter(last.get_parameter("bias").data)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.features(images))
        return scores


class Segmenter(nn.Module):
    """The cells' scores at the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells()

    def forward(self, images: Tensor) -> Tensor:
        return functional.interpolate(self.cells(images), images.shape[2:], mode="bilinear")


class Detector(nn.Module):
    """A box of five cells' sides around each cell that is sure of a class, as far as no surer one of it overlaps."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells()

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.found(image) for image in images]

    def found(self, image: Tensor) -> dict[str, Tensor]:
        height, width = image.shape[1:]
        share = 288 / min(height, width)
        resized = functional.interpolate(image[None] * 2 - 1, scale_factor=share, mode="bilinear", antialias=True)
        scores = functional.avg_pool2d(self.cells(resized), 3, 1, 1)[0]
        rows, columns = scores.shape[1:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cell = torch.tensor([width / columns, height / rows] * 2)
        boxes = (torch.stack([x, y, x, y], -1).flatten(0, 1) + torch.tensor([-2, -2, 3, 3])) * cell
        boxes = torch.minimum(boxes.clamp_min(0), torch.tensor([width, height] * 2))
        best, labels = scores.flatten(1).T.softmax(1).max(1)
        kept = batched_nms(boxes, best.detach(), labels, 0.2)
        return {"boxes": boxes[kept], "scores": best[kept], "labels": labels[kept]}


def segmenter() -> nn.Module:
    return Segmenter()


def detector() -> nn.Module:
    return Detector()
