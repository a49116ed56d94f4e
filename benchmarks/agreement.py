"""How far the faster default lies from `--exact`, by method and network, as a Markdown table.

    python benchmarks/agreement.py [--models NAME ...] [--methods NAME ...] [--side 96] [--photos DIR] [--pictures 4]

Networks are torchvision's with random weights, but with batch norms whose statistics were measured on the pictures, and
with random biases and scales: of a fresh network's norms, which do nothing, folding shows nothing. Both modes get the
same weights from one file. Differences are the largest over places and pictures, each answer scaled to its own maximum;
of scores, of the largest score. A method with a row of its own for activations of both signs is marked (-) where its
answers say so.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from camcli import Engine, Explained, Spec, expand, images, methods
from camcli.models import torchvision_zoo
from camcli.records import Attribution, Ref

SAMPLES = Path(__file__).parents[1] / "sample_images"
MODELS = ("resnet18", "mobilenet_v2", "densenet121", "googlenet", "efficientnet_b0", "vit_b_32")
# Thousands of forwards for one answer.
SLOW = ("rise", "ss-cam", "is-cam", "score-cam")


def lively(name: str, pixels: torch.Tensor) -> nn.Module:
    """Random weights, biases and scales, batch norms with the pictures' statistics."""
    torch.manual_seed(0)
    side = pixels.shape[-1]
    if name.startswith("vit"):
        net: nn.Module = torchvision.models.get_model(name, weights=None, image_size=side)
    else:
        net = torchvision_zoo.architecture(name, "none", {}, None).build(False)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=(2 * len(parameter) / parameter.numel()) ** 0.5)
            else:
                parameter.normal_(0.0 if key.endswith("bias") else 1.0, 0.2)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # the mean over all that is seen
        net.train()
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        net(pixels)
    return net.eval()


def explained(spec: Spec, photos: Sequence[Path]) -> list[Explained]:
    results = list(Engine(spec, skip_inapplicable=True).explain(expand([str(path) for path in photos])))
    assert all(isinstance(result, Explained) for result in results), results
    return [result for result in results if isinstance(result, Explained)]


def difference(one: Attribution, other: Attribution) -> float:
    tops = [float(np.abs(answer.values).max()) for answer in (one, other)]
    if not all(tops):
        return float(max(tops) > 0)
    return float(np.abs(one.values / tops[0] - other.values / tops[1]).max())


def row(name: str, model: Path, options: argparse.Namespace, photos: Sequence[Path]) -> str:
    """The largest and the median difference of one method, "" where the network has no such answer."""
    asked = {"model": options.model, "weights": str(model), "methods": (name,), "resize": options.side}
    if options.model.startswith("vit"):
        asked["model_args"] = (("image_size", str(options.side)),)
    start = time.perf_counter()
    fast, exact = (explained(Spec(**asked, crop=options.side, exact=exact), photos) for exact in (False, True))
    if not fast[0].attributions:
        return ""
    pairs = [(a.attributions[0], b.attributions[0]) for a, b in zip(fast, exact, strict=True)]
    found = [difference(a, b) for a, b in pairs]
    signed = " (-)" if any("below zero" in (a.note or "") for a, _ in pairs) else ""
    print(f"    {options.model} {name}: {max(found):.1e}, {time.perf_counter() - start:.0f} s", flush=True)
    return f"{max(found):.0e}{signed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--methods", nargs="*", default=[name for name in methods.names() if name not in SLOW])
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--photos", type=Path, default=SAMPLES)
    parser.add_argument("--pictures", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    photos = sorted(options.photos.glob("*.jpg"))[: options.pictures]
    table: dict[str, list[str]] = {name: [] for name in ("scores", *options.methods)}
    with tempfile.TemporaryDirectory() as folder:
        for options.model in options.models:
            engine = Engine(
                Spec(
                    model=options.model,
                    weights="none",
                    methods=(),
                    resize=options.side,
                    crop=options.side,
                    model_args=(("image_size", str(options.side)),) if options.model.startswith("vit") else (),
                )
            )
            views = [
                images.view_of(images.read_frame(Ref(0, str(path), path)), engine.model.preset, "crop").pixels
                for path in photos
            ]
            file = Path(folder) / f"{options.model}.pt"
            torch.save(lively(options.model, torch.from_numpy(np.stack(views))).state_dict(), file)
            for name in options.methods:
                table[name].append(row(name, file, options, photos))
    print(f"| | {' | '.join(options.models)} |\n|---|{'---|' * len(options.models)}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
