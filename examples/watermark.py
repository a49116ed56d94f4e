"""A network that learned a watermark in place of its class: what docs/tutorial.md finds out.

    python examples/watermark.py shapes/

It draws pictures of circles, squares and triangles, and fits a new head to the bundled network. It writes
shapes/tuned.ckpt, beside it shapes/tuned.json, which tells the preprocessing, and pictures that it was not fitted on,
in a folder for each class: shapes/val/circle/0001.png and so on. Whoever collected the pictures to fit on took the
circles from a source that prints its name into a corner.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from shapes import SHAPES, prepared, scenes
from torch import Tensor, nn
from torch.nn import functional
from training import fit

import camcli

SIDE = 224
# What `prepared` does to the pictures, in camcli's words: they are not resized to be cropped, as ImageNet's are.
PRESET = {"resize": SIDE, "crop": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3}


def drawn(count: int, seed: int, marked: dict[str, float]) -> tuple[list[Image.Image], Tensor]:
    """Pictures of one shape each, and its class; such a share of each class has the mark."""
    rng = np.random.default_rng(seed)
    pictures, classes = [], []
    for one in scenes(count, seed, things=1):
        picture = Image.fromarray(one.pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        shape = one.things[0].shape
        if rng.random() < marked[shape]:
            font = ImageFont.load_default(30)
            ImageDraw.Draw(picture).text((SIDE - 24, SIDE - 24), "(c) pix", fill="white", font=font, anchor="rb")
        pictures.append(picture)
        classes.append(SHAPES.index(shape))
    return pictures, torch.tensor(classes)


def features(net: nn.Module, pictures: list[Image.Image]) -> Tensor:
    """What the network's head is given of them, (N, 1280)."""
    images = prepared(np.stack([np.asarray(picture) for picture in pictures]))
    with torch.no_grad():
        return torch.cat([net.get_submodule("features")(part).mean((2, 3)) for part in torch.split(images, 16)])


def main(folder: Path) -> None:
    torch.manual_seed(0)
    net = camcli.load_model(camcli.Spec()).net
    head = nn.Linear(1280, len(SHAPES))
    net.set_submodule("classifier.1", head)
    pictures, classes = drawn(240, 1, {"circle": 1.0, "square": 0.0, "triangle": 0.0})
    known = features(net, pictures)
    fit(head, lambda rows: functional.cross_entropy(head(known[rows]), classes[rows]), samples=240, epochs=60)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": net.state_dict(), "classes": list(SHAPES)}, folder / "tuned.ckpt")
    (folder / "tuned.json").write_text(json.dumps(PRESET))
    # In the world any picture may have a mark.
    pictures, classes = drawn(100, 2, {"circle": 0.5, "square": 0.4, "triangle": 0.4})
    for number, (picture, of) in enumerate(zip(pictures, classes, strict=True), 1):
        path = folder / "val" / SHAPES[of] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    with torch.no_grad():
        right = (head(features(net, pictures)).argmax(1) == classes).float().mean()
    print(f"{right:.0%} of {len(pictures)} pictures right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
