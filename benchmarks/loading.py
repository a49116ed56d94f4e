"""What loading weights costs, as ratios: a VGG-16 of random weights (528 MB) in a file, by camcli and by hand.

    python benchmarks/loading.py [--model vgg16] [--rounds 5]

`by hand` is the least that can be done: construct without initialising, torch.load(mmap=True), load_state_dict with
assign=True. `read` is reading the file's bytes once, `torchvision` what its own constructor and loader do. Each is then
asked for the sum of all weights, so that mapped memory is really read ("used").
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

from camcli.models import load_model
from camcli.models.weights import filling
from camcli.specs import ModelSpec


def by_hand(name: str, path: Path) -> nn.Module:
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name, weights=None)
    net.load_state_dict(torch.load(path, mmap=True, weights_only=True), assign=True)
    return net.eval().requires_grad_(False)


def through_torchvision(name: str, path: Path) -> nn.Module:
    net: nn.Module = torchvision.models.get_model(name, weights=None)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval().requires_grad_(False)


def read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def timed(load: Callable[[], nn.Module | None]) -> tuple[float, float]:
    """(seconds to load, seconds until every weight has been used)."""
    start = time.perf_counter()
    net = load()
    loaded = time.perf_counter() - start
    if net is not None:
        for parameter in net.parameters():
            parameter.sum()
    return loaded, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(torchvision.models.get_model(args.model, weights=None).state_dict(), path)
        arms: dict[str, Callable[[], nn.Module | None]] = {
            "by hand": lambda: by_hand(args.model, path),
            "camcli": lambda: load_model(ModelSpec(args.model, str(path), "cpu")).net,
            "torchvision": lambda: through_torchvision(args.model, path),
            "read": lambda: read(path),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        for _ in range(args.rounds + 1):  # the first warms up and is dropped
            for name, load in arms.items():
                seconds[name].append(timed(load))
    print(f"{args.model}, {args.rounds} rounds, medians\n")
    print("| | load, ms | used, ms | used, ratio to by hand |\n|---|---|---|---|")
    base = statistics.median(used for _, used in seconds["by hand"][1:])
    for name, rounds in seconds.items():
        loaded, used = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
        print(f"| {name} | {loaded * 1e3:.1f} | {used * 1e3:.1f} | {used / base:.2f} |")


if __name__ == "__main__":
    main()
