"""Ultralytics' detectors (YOLO), as torchvision's detectors are: pictures in [0, 1] in, what was found out.

Their head joins boxes and probabilities in one tensor, where autograd's graph tells them apart no more: so they are
taken as they enter that. Suppression is indexing: each kept score is one entry of the head's table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import batched_nms, box_convert

from camcli.errors import SetupError

# What predicting there takes unless it is told otherwise: the IoU above which the surer of two boxes of a class stays,
# the most detections of a picture, and the grey of the padding.
IOU = 0.7
MOST = 300
GREY = 114 / 255


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Pictures laid on canvases: `tensors` (N, 3, h, w), the `image_sizes` (height, width) and `corners` (top, left) of
    the pictures there, and their `scale`."""

    tensors: Tensor
    image_sizes: list[tuple[int, int]]
    corners: list[tuple[int, int]]
    scale: float


class Letterbox(nn.Module):
    """Lays a picture (3, H, W) on the middle of a grey canvas of whole strides, its longer side `size` pixels long."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, image: Tensor) -> Laid:
        height, width = image.shape[1:]
        scale = min(self.size / height, self.size / width)
        high, wide = max(round(height * scale), 1), max(round(width * scale), 1)
        if (high, wide) != (height, width):
            image = nn.functional.interpolate(image[None], (high, wide), mode="bilinear")[0]
        down, right = (self.size - high) % self.stride, (self.size - wide) % self.stride
        top, left = round(down / 2 - 0.1), round(right / 2 - 0.1)
        padded = nn.functional.pad(image[None], (left, right - left, top, down - top), value=GREY)
        return Laid(padded, [(high, wide)], [(top, left)], scale)


class Yolo(nn.Module):
    """Gives a dict of boxes (D, 4) in pixels, scores and labels for each picture (3, H, W) of a list, the surest first.

    model: the network, whose last module is the head; that is changed, to give its boxes and probabilities apart.
    size: the longer side of what it sees.
    """

    def __init__(self, model: nn.Module, head: nn.Module, size: int, stride: int) -> None:
        super().__init__()
        self.letterbox = Letterbox(size, stride)
        self.model = model
        # Its grid is of the last picture's size otherwise, and kept from forward to forward.
        head.dynamic = True  # type: ignore[assignment]
        self.chooses_itself = bool(getattr(head, "end2end", False))
        self.corners = self.chooses_itself or bool(getattr(head, "xyxy", False))
        head.forward = Apart(head.forward)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.found(image) for image in images]

    def found(self, image: Tensor) -> dict[str, Tensor]:
        """What is found in one picture (3, H, W)."""
        laid = self.letterbox(image)
        boxes, probabilities, given = self.model(laid.tensors)
        boxes, probabilities = boxes[0].T, probabilities[0].T
        if not self.corners:
            boxes = box_convert(boxes, "cxcywh", "xyxy")
        places, labels = self._chosen(boxes, probabilities, given)
        height, width = image.shape[1:]
        top, left = laid.corners[0]
        boxes = (boxes[places] - boxes.new_tensor([left, top, left, top])) / laid.scale
        boxes = torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height, width, height]))
        return {"boxes": boxes, "scores": probabilities[places, labels], "labels": labels}

    def _chosen(self, boxes: Tensor, probabilities: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """(the row, the label) of each detection, of boxes (A, 4) and probabilities (A, K).

        Raises: SetupError: the head chooses them itself, in a way that is not known here.
        """
        best, labels = probabilities.detach().max(1)
        if not self.chooses_itself:
            kept = batched_nms(boxes.detach(), best, labels, IOU)[:MOST]
            return kept, labels[kept]
        count = given.shape[1]
        rows = best.topk(count).indices
        scores, order = probabilities.detach()[rows].flatten().topk(count)
        if not torch.equal(scores, given[0, :, 4].detach()):
            raise SetupError("its head chooses what is found in a way of its own, which is not known here")
        classes = probabilities.shape[1]
        return rows[order // classes], order % classes


@dataclass(frozen=True, slots=True)
class Apart:
    """A head's forward that gives (boxes (N, 4, A), probabilities (N, K, A), what the head itself gives)."""

    forward: Callable[..., Any]

    def __call__(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        with _Joined(levels) as joined:
            given = self.forward(levels)
        while isinstance(given, (tuple, list)):
            given = given[0]
        if joined.last is None:
            raise SetupError("its head joins no boxes and probabilities: it is of a kind that is not known here")
        return *joined.last, given


class _Joined(TorchFunctionMode):
    """Remembers the boxes and the probabilities that are joined last, and keeps the levels attached.

    Heads that are trained with two branches detach one of them from the levels, some of them in eval mode too. That
    changes no value, and leaves no gradient.
    """

    def __init__(self, levels: Sequence[Tensor]) -> None:
        super().__init__()
        self._levels = levels
        self.last: tuple[Tensor, Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is Tensor.detach and any(args[0] is level for level in self._levels):
            return args[0]
        if func is torch.cat and _are_joined(args[0]):
            self.last = tuple(args[0])
        return func(*args, **(kwargs or {}))


def _are_joined(parts: Any) -> bool:
    """True for boxes (N, 4, A) and a table (N, K, A)."""
    if not isinstance(parts, (tuple, list)) or len(parts) != 2 or any(part.ndim != 3 for part in parts):
        return False
    boxes, table = parts
    return bool(boxes.shape[1] == 4 and boxes.shape[2] == table.shape[2])
