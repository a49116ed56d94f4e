"""The bundled classifier asked about clips: its scores of each frame, averaged. And a clip to ask it about.

    python examples/clips.py sample_images/cat_and_espresso.jpg pan.gif
    camcli explain pan.gif -m examples/clips.py:classifier --task watch -c espresso --save strip,gif
    camcli explain pan.gif --every 1

It shows what camcli asks of your own code: a network of clips takes (N, C, frames, height, width).
"""

from __future__ import annotations

import sys

from PIL import Image
from torch import Tensor, nn

import camcli


class Frames(nn.Module):
    """Scores of ImageNet's classes, (N, 1000), of clips (N, 3, T, H, W) with mean 0.5 and deviation 0.5."""

    def __init__(self) -> None:
        super().__init__()
        net = camcli.load_model(camcli.Spec()).net
        self.features = net.get_submodule("features")
        self.in_time = nn.Identity()
        self.classifier = net.get_submodule("classifier.1")

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.transpose(1, 2).flatten(0, 1)
        maps = self.features(frames)
        in_time = self.in_time(maps.reshape(len(clips), -1, *maps.shape[1:]).transpose(1, 2))
        scores: Tensor = self.classifier(in_time.mean((2, 3, 4)))
        return scores


def classifier() -> nn.Module:
    return Frames()


def pan(picture: Image.Image, side: int = 320, frames: int = 32) -> list[Image.Image]:
    """Squares of a picture, half as high as it, from its top to its bottom."""
    part = picture.height // 2
    left = (picture.width - part) // 2
    tops = [round(place * (picture.height - part) / (frames - 1)) for place in range(frames)]
    return [picture.convert("RGB").crop((left, top, left + part, top + part)).resize((side, side)) for top in tops]


if __name__ == "__main__":
    given, made = sys.argv[1:]
    first, *others = pan(Image.open(given))
    first.save(made, save_all=True, append_images=others, duration=100, loop=0)
