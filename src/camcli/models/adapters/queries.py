"""Detectors of queries (DETR and its kin), as torchvision's detectors are: pictures in [0, 1] in, what was found out.

Their rows of logits, one a query, are what was found: no post-processing drops or joins any (arXiv:2005.12872).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Sizes:
    """The size that a processor gives a picture, asked of it with a blank one: each has rules of its own."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._known: dict[tuple[int, int], tuple[int, int]] = {}

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture of that size."""
        if (height, width) not in self._known:
            blank = np.zeros((height, width, 3), dtype=np.uint8)
            made = self._processor(images=blank, return_tensors="np")["pixel_values"]
            self._known[height, width] = (made.shape[-2], made.shape[-1])
        return self._known[height, width]


class Queries(nn.Module):
    """Gives a dict of boxes (D, 4) in pixels, scores and labels for each picture (3, H, W) of a list, the surest first.

    classes: the number of the network's classes. If it gives one logit more a query, that is of no object, and its
    classes exclude each other (softmax); if not, each is judged alone (sigmoid), and the `most` largest scores of all
    queries and classes are kept; None: as many as there are queries.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        sizes: Sizes,
        mean: Sequence[float],
        std: Sequence[float],
        most: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.classes, self.sizes, self.most = classes, sizes, most
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.found(image) for image in images]

    def found(self, image: Tensor) -> dict[str, Tensor]:
        """What is found in one picture (3, H, W)."""
        height, width = image.shape[1:]
        size = self.sizes.of(height, width)
        if size != (height, width):
            image = nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        output: Any = self.model(pixel_values=((image - self.get_buffer("mean")) / self.get_buffer("std"))[None])
        scores, labels, queries = self._scores(output.logits[0])
        x, y, wide, high = output.pred_boxes[0][queries].unbind(1)
        boxes = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], dim=1)
        return {"boxes": boxes * boxes.new_tensor([width, height, width, height]), "scores": scores, "labels": labels}

    def _scores(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(scores, labels, the query of each), falling; of logits (Q, classes), or with one more for no object."""
        if logits.shape[1] > self.classes:
            best, labels = logits.softmax(1)[:, :-1].max(1)
            scores, queries = best.sort(descending=True)
            return scores, labels[queries], queries
        scores, places = logits.sigmoid().flatten().topk(min(self.most or len(logits), logits.numel()))
        return scores, places % self.classes, places // self.classes
