"""A film through a network that takes pictures, beside a folder of its frames as JPEGs; and memory as films get longer.

    python benchmarks/films.py [--model resnet18] [--seconds 10] [--long 600] [--rounds 3]

Whole processes of `camcli explain`, which take turns; times are less that of one picture, so that what starting costs
does not count. Films are drawn here (needs `camcli[video]`): 640x480, 30 frames a second, a walk over the samples.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from camcli.drawing.colours import Pixels
from camcli.sinks.films import film

SAMPLES = Path(__file__).parent.parent / "sample_images"
SIZE, RATE = (640, 480), 30


def frame(pictures: list[Image.Image], number: int, frames: int) -> Pixels:
    """A view of 640x480 on its way over the pictures."""
    place = number * len(pictures) / frames
    picture, share = pictures[int(place)], place % 1
    left, top = (round(share * (side - own)) for side, own in zip(picture.size, SIZE, strict=True))
    return np.asarray(picture.crop((left, top, left + SIZE[0], top + SIZE[1])))


def drawn(path: Path, seconds: int) -> Path:
    """A film of so many seconds."""
    names = ("cat_chelsea.jpg", "honey_bee.jpg", "espresso.jpg")
    pictures = [Image.open(SAMPLES / name).convert("RGB").resize((900, 680)) for name in names]
    frames = seconds * RATE
    with film(path, SIZE, Fraction(RATE)) as writer:
        for number in range(frames):
            writer.add(frame(pictures, number, frames), number / RATE)
    return path


def run(*arguments: object) -> tuple[float, float]:
    """(wall seconds, peak memory in MB) of one command."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "camcli", "explain", *map(str, arguments), "-o", out, "-q"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--long", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    net = ("-m", asked.model, *(() if asked.model == "efficientnet_lite0" else ("-w", "none")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = drawn(folder / "short.mp4", asked.seconds)
        (folder / "frames").mkdir()
        pictures = [Image.open(SAMPLES / "honey_bee.jpg").convert("RGB").resize((900, 680))]
        frames = asked.seconds * RATE
        for number in range(frames):
            Image.fromarray(frame(pictures, number, frames)).save(folder / "frames" / f"{number:05}.jpg", quality=92)
        one = folder / "frames" / "00000.jpg"
        times: dict[str, list[float]] = {"one": [], "film": [], "frames": []}
        for _ in range(asked.rounds):
            for arm, given in (("one", one), ("film", short), ("frames", folder / "frames")):
                times[arm].append(run(given, *net)[0])
        start = median(times["one"])
        film_ms, jpeg_ms = ((median(times[arm]) - start) / frames * 1e3 for arm in ("film", "frames"))
        print(
            f"{asked.model}: {film_ms:.1f} ms a frame of the film, {jpeg_ms:.1f} of its JPEGs: {film_ms / jpeg_ms:.2f}"
        )
        for seconds in (asked.seconds, asked.long // 5, asked.long):
            _, memory = run(drawn(folder / "a.mp4", seconds), "--every", 10, *net)
            print(f"{seconds} s, each 10th frame: {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
