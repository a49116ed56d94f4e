"""What Python's own face costs over the engine under it: 100 tensors through a DataLoader, side by side.

    python benchmarks/python.py [--models resnet18 mobilenet_v2] [--tensors 100] [--rounds 5]

The engine gets the same tensors as refs, and the network by its name; `explain_many` gets a network in memory. Each
arm makes all that a run needs anew; arms take turns within a round, and each ratio is within its round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.data import DataLoader, TensorDataset

import camcli
from camcli.inputs.memory import Normalised
from camcli.records import Ref


def seconds(run: Callable[[], int], expected: int) -> float:
    """How long one run takes."""
    started = time.perf_counter()
    assert run() == expected
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--tensors", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    given = torch.randn(options.tensors, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    refs = [Ref(i, f"picture {i}", held=Normalised(one.numpy())) for i, one in enumerate(given)]
    loader = DataLoader(TensorDataset(given, torch.zeros(len(given))), batch_size=16)
    for name in options.models:
        net = camcli.load_model(camcli.Spec(name, "none")).net

        def engine(name: str = name) -> int:
            return sum(1 for _ in camcli.Engine(camcli.Spec(name, "none")).explain(refs))

        def face(net: torch.nn.Module = net) -> int:
            return sum(1 for _ in camcli.explain_many(loader, net))

        ratios, own = [], []
        for arm in (engine, face):
            arm()  # imports, and kernels that are chosen at first use
        for _ in range(options.rounds):
            below = seconds(engine, len(refs))
            above = seconds(face, len(refs))
            ratios.append(above / below)
            own.append(below)
        low, high = min(ratios), max(ratios)
        print(f"{name}: {statistics.median(ratios):.2f} ({low:.2f}-{high:.2f}) of the engine's {min(own):.2f} s")


if __name__ == "__main__":
    main()
