"""From what `camcli bench` measured here to what a large run needs elsewhere: the arithmetic of docs/scaling.md.

    camcli bench PHOTOS -m resnet50 --json > bench.jsonl
    python benchmarks/scaling.py bench.jsonl --measured-cores 2 [--pictures 1e7 1e9] [--node-cores 64]

Cores: core-milliseconds of each stage times pictures, at `--efficiency` of perfect scaling. GPUs: the forward's
operations at `--utilisation` of a GPU's dense peak; what stays on the CPU must be done by that node's cores meanwhile.
The GPUs' figures are their makers', not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Dense peaks in TFLOP/s, fp32 on CUDA cores and bf16 on tensor cores.
GPUS = {"T4 (fp16)": 65.0, "L4": 121.0, "A100": 312.0, "H100": 989.0}
ON_GPU = ("forward", "backward")
HOURS = 3600.0


def operations(model: str) -> float:
    """Floating-point operations of one picture's forward at the preset's size."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from camcli.models import load_model
    from camcli.specs import ModelSpec

    loaded = load_model(ModelSpec(model, "DEFAULT" if model == "efficientnet_lite0" else "none", "cpu"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        loaded.net(torch.zeros(1, 3, *loaded.preset.view_size))
    return float(counter.get_total_flops())


def core_milliseconds(row: dict[str, Any], cores: int) -> dict[str, float]:
    return {stage["stage"]: stage["ms"] * cores for stage in row["stages"]}


def per_picture(rows: list[dict[str, Any]], cores: int) -> Iterator[str]:
    stages = list(dict.fromkeys(stage["stage"] for row in rows for stage in row["stages"]))
    yield "| core-ms a picture | " + " | ".join(f"{row['model']}, {row['megapixels']:.2g} MP" for row in rows) + " |"
    yield "|---|" + "---|" * len(rows)
    found = [core_milliseconds(row, cores) for row in rows]
    for stage in stages:
        yield f"| {stage} | " + " | ".join(f"{own.get(stage, 0):.2f}" for own in found) + " |"
    yield "| all | " + " | ".join(f"{sum(own.values()):.1f}" for own in found) + " |"
    yield "| GFLOP of the forward | " + " | ".join(f"{operations(row['model']) / 1e9:.2f}" for row in rows) + " |"


def on_cpus(rows: list[dict[str, Any]], options: argparse.Namespace) -> Iterator[str]:
    yield (
        f"| on nodes of {options.node_cores} cores | pictures/s a node | "
        + " | ".join(f"node-hours for {count:.0e}" for count in options.pictures)
        + " |"
    )
    yield "|---|---|" + "---|" * len(options.pictures)
    for row in rows:
        cost = sum(core_milliseconds(row, options.measured_cores).values()) / 1e3
        rate = options.node_cores * options.efficiency / cost
        hours = " | ".join(f"{count / rate / HOURS:,.0f}" for count in options.pictures)
        yield f"| {row['model']}, {row['megapixels']:.2g} MP | {rate:,.0f} | {hours} |"


def on_gpus(rows: list[dict[str, Any]], options: argparse.Namespace) -> Iterator[str]:
    yield (
        "| model | GPU | GPU alone, pictures/s | cores that keep it busy | GPU-hours for "
        + " | ".join(f"{count:.0e}" for count in options.pictures)
        + " |"
    )
    yield "|---|---|---|---|" + "---|" * len(options.pictures)
    for row in rows:
        stages = core_milliseconds(row, options.measured_cores)
        left = sum(ms for stage, ms in stages.items() if stage not in ON_GPU) / 1e3
        each = operations(row["model"])
        for gpu, peak in GPUS.items():
            rate = peak * 1e12 * options.utilisation / each
            hours = " | ".join(f"{count / rate / HOURS:,.1f}" for count in options.pictures)
            yield f"| {row['model']}, {row['megapixels']:.2g} MP | {gpu} | {rate:,.0f} | {rate * left:,.0f} | {hours} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bench", type=Path, help="lines of `camcli bench --json`")
    parser.add_argument("--measured-cores", type=int, required=True, help="of the machine that measured")
    parser.add_argument("--pictures", type=float, nargs="+", default=[1e7, 1e9])
    parser.add_argument("--node-cores", type=int, default=64)
    parser.add_argument("--efficiency", type=float, default=0.8)
    parser.add_argument("--utilisation", type=float, default=0.15)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.bench.read_text().splitlines()]
    for table in (per_picture(rows, options.measured_cores), on_cpus(rows, options), on_gpus(rows, options)):
        print("\n".join(table), end="\n\n")


if __name__ == "__main__":
    main()
