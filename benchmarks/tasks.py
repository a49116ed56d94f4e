"""What explaining a region or a detection costs, in plain forwards of the same picture.

    python benchmarks/tasks.py [--models fcos_resnet50_fpn …] [--rounds 5] [--picture FILE]

The forward is what a script gets: eval mode, no_grad, the picture as it is, for segmentation resized and normalised as
the weights want. camcli's arms are what its engine does with the decoded picture. Weights are random, with heads that
find something: cost does not depend on them. Arms take turns; ratios are medians, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from camcli import models
from camcli.inputs.reading import Item
from camcli.inputs.refs import expand
from camcli.machine import process
from camcli.records import Explained
from camcli.running.engine import Engine
from camcli.specs import Spec

MODELS = (
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
)
PICTURE = Path(__file__).parent.parent / "sample_images" / "cat_chelsea.jpg"


def arms(name: str, picture: Path) -> dict[str, Callable[[], object]]:
    least = "score_thresh" if name.startswith(("ssd", "retina", "fcos")) else "box_score_thresh"
    detects = models.catalog.task_of(name) == "detect"
    spec = Spec(model=name, weights="none", threshold=0.0 if detects else None, classes=("top1",))
    if detects:
        spec = replace(spec, model_args=((least, "-1.0"),), classes=("#1",))
    model = models.load_model(spec)
    torch.manual_seed(0)
    for key, weights in model.net.named_parameters():
        if detects and any(word in key for word in ("cls", "classification", "box_predictor")):
            nn.init.normal_(weights.data, std=0.02)
    engine = Engine(spec, model=model)
    ten = Engine(replace(spec, classes=("top10",)), model=model)
    (ref,) = expand([str(picture)])
    item = engine.reader.read(ref)
    assert item.view is not None
    pixels = torch.from_numpy(item.view.pixels).contiguous()

    def forward() -> object:
        with torch.no_grad():
            return model.net([pixels] if detects else pixels[None])

    def asked(own: Engine) -> object:
        (result,) = own.answer([Item(ref, frame=item.frame, view=item.view)])
        assert isinstance(result, Explained), result
        return result

    found: dict[str, Callable[[], object]] = {"forward": forward, "camcli, one": lambda: asked(engine)}
    return found | ({"camcli, ten": lambda: asked(ten)} if detects else {})


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    process.tune()
    print("| model | arm | forwards, median (lowest-highest) |\n|---|---|---|")
    for name in options.models:
        own = arms(name, options.picture)
        rounds = [{arm: seconds(run) for arm, run in own.items()} for _ in range(options.rounds + 1)][1:]
        for arm in list(own)[1:]:
            ratios = sorted(taken[arm] / taken["forward"] for taken in rounds)
            print(f"| {name} | {arm} | {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
