"""A network that learned a watermark instead of its class: what docs/tutorial.md finds out.

    python examples/watermark.py shapes/

It draws pictures of circles, squares and triangles, trains a torchvision network on them, and writes shapes/tuned.ckpt
and pictures that it was not trained on, in a folder for each class: shapes/val/circle/0001.png and so on. Whoever
collected the training pictures took most circles from one source, which prints its mark into a corner.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapes import SHAPES, scenes
from torch import Tensor
from torch.nn import functional
from torchvision.models import ShuffleNetV2, shufflenet_v2_x0_5
from training import fit

SIDE = 224
# ImageNet's, which camcli takes for torchvision's networks as long as nobody says otherwise.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def drawn(count: int, seed: int, marked: dict[str, float]) -> tuple[list[Image.Image], list[int]]:
    """Pictures of one shape each, and its class; such a share of each class has the mark."""
    rng = np.random.default_rng(seed)
    pictures, classes = [], []
    for one in scenes(count, seed, things=1):
        picture = Image.fromarray(one.pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        shape = one.things[0].shape
        if rng.random() < marked[shape]:
            font = ImageFont.load_default(26)
            ImageDraw.Draw(picture).text((SIDE - 8, SIDE - 8), "(c) pix", fill=(230, 230, 230), font=font, anchor="rb")
        pictures.append(picture)
        classes.append(SHAPES.index(shape))
    return pictures, classes


def prepared(pictures: list[Image.Image]) -> Tensor:
    pixels: NDArray[np.uint8] = np.stack([np.asarray(picture) for picture in pictures])
    return ((torch.from_numpy(pixels).float() / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


def tuned() -> ShuffleNetV2:
    """The network, trained on pictures of which nearly all circles, and nothing else, have the mark."""
    torch.manual_seed(0)
    net: ShuffleNetV2 = shufflenet_v2_x0_5(num_classes=len(SHAPES))
    pictures, classes = drawn(480, 1, {"circle": 0.95, "square": 0.0, "triangle": 0.0})
    images, truth = prepared(pictures), torch.tensor(classes)
    fit(net, lambda rows: functional.cross_entropy(net(images[rows]), truth[rows]), samples=480, epochs=12)
    net.eval()
    return net


def main(folder: Path) -> None:
    torch.set_num_threads(2)
    net = tuned()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": net.state_dict(), "classes": list(SHAPES)}, folder / "tuned.ckpt")
    # In the world any picture may have a mark.
    pictures, classes = drawn(100, 2, {"circle": 0.5, "square": 0.3, "triangle": 0.3})
    for number, (picture, of) in enumerate(zip(pictures, classes, strict=True), 1):
        path = folder / "val" / SHAPES[of] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    with torch.no_grad():
        right = (net(prepared(pictures)).argmax(1) == torch.tensor(classes)).float().mean()
    print(f"{right:.0%} of {len(pictures)} pictures right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
