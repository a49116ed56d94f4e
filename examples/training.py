"""What the example networks' commands share: training on one thread, and weights beside the code.

python examples/vqa.py              prints how well the shipped weights do on scenes that weren't trained on
python examples/vqa.py scenes/      also writes scenes to ask about into a folder
python examples/vqa.py --train      trains the weights anew
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def command(
    about: str | None, file: str, make: Callable[[], Net], train: Callable[[Net], None], seed: int = 0
) -> tuple[Net, Path | None]:
    """The network with its weights, in eval mode, and the folder that the command names.

    The weights lie beside `file`, the network's code. Without them, or with --train, it is trained, from the seed.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to write scenes to ask about")
    parser.add_argument("--train", action="store_true", help="train the weights anew")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = make()
    weights = Path(file).with_suffix(".safetensors")
    if asked.train or not weights.exists():
        train(net)
        save_file(net.state_dict(), weights)
    net.load_state_dict(load_file(weights))
    return net.eval(), asked.folder


def fit(net: nn.Module, loss: Callable[[Tensor], Tensor], samples: int, epochs: int, rate: float = 3e-3) -> None:
    """Trains with AdamW in batches of 64 of the samples: `loss` is asked about their numbers."""
    optimiser = torch.optim.AdamW(net.parameters())
    steps = epochs * -(-samples // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    for _ in range(epochs):
        for rows in torch.randperm(samples).split(64):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            loss(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
