"""How far the faster default lies from `--exact`, by method and network, as a Markdown table.

    python benchmarks/agreement.py [--models NAME ...] [--methods NAME ...] [--skip NAME ...] [--side 96] [--pictures 4]
        [--device cuda]

Networks are torchvision's with random weights, but with batch norms whose statistics are measured on the pictures, and
with random biases and scales: of a fresh network's norms, which do nothing, folding shows nothing. Both modes read the
same file. A difference is the largest over places and pictures, each answer scaled to its own maximum; of the scores it
is a share of the largest. (-): the row says that activations are below zero, which the method does not go with. "no":
it does not apply. Methods that take thousands of forwards get one picture. With --device, that device is compared with
`--exact` on the CPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from camcli import Engine, Explained, Spec, expand, methods
from camcli.errors import SetupError
from camcli.inputs import decoding, preprocessing
from camcli.models import load_model
from camcli.models.sources import torchvision as torchvision_zoo
from camcli.records import Attribution, Ref

SAMPLES = Path(__file__).parents[1] / "sample_images"
MODELS = ("resnet18", "mobilenet_v2", "densenet121", "googlenet", "efficientnet_b0", "vit_b_32")
SLOW = ("rise", "ss-cam", "is-cam", "score-cam", "opti-cam")


def lively(name: str, pixels: torch.Tensor) -> nn.Module:
    """Random weights, biases and scales, batch norms with the pictures' statistics, as they are, dimmed and noisy: at
    pictures unlike any seen a random network's gradient is a million times as large, and noise in both modes."""
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
        dark = pixels.amin((0, 2, 3), keepdim=True)
        noise = 0.15 * (pixels.amax() - pixels.amin()) * torch.randn(pixels.shape)
        net(torch.cat([pixels, pixels + noise, *(dark + share * (pixels - dark) for share in (0.0, 0.1, 0.3, 0.6))]))
    return net.eval()


def explained(spec: Spec, photos: Sequence[Path]) -> list[Explained]:
    results = list(Engine(spec).explain(expand([str(path) for path in photos])))
    assert all(isinstance(result, Explained) for result in results), results
    return [result for result in results if isinstance(result, Explained)]


def of_answers(one: Attribution, other: Attribution) -> float:
    tops = [float(np.abs(answer.values).max()) for answer in (one, other)]
    if not all(tops):
        return float(any(tops))
    return float(np.abs(one.values / tops[0] - other.values / tops[1]).max())


def of_scores(one: Explained, other: Explained) -> float:
    logits = [{score.id: score.score or 0.0 for score in result.top} for result in (one, other)]
    largest = max(map(abs, logits[1].values()))
    return max(abs(logits[0][i] - logits[1][i]) for i in logits[0].keys() & logits[1].keys()) / largest


def cells(name: str, spec: Spec, photos: Sequence[Path], device: str) -> tuple[str, float]:
    """(the method's cell of the table, the largest difference of the scores)."""
    start = time.perf_counter()
    try:
        fast = explained(replace(spec, methods=(name,), device=device), photos)
        exact = explained(replace(spec, methods=(name,), device="cpu", exact=True), photos)
    except SetupError:  # it does not apply
        return "no", 0.0
    scores = max(of_scores(a, b) for a, b in zip(fast, exact, strict=True))
    pairs = [(a.attributions[0], b.attributions[0]) for a, b in zip(fast, exact, strict=True)]
    if not any(answer.values.any() for pair in pairs for answer in pair):
        return "blank", scores
    found = max(of_answers(a, b) for a, b in pairs)
    signed = " (-)" if any("below zero" in (a.note or "") for a, _ in pairs) else ""
    print(f"{spec.model} {name}: {found:.1e}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return f"{found:.0e}{signed}", scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--methods", nargs="*", default=methods.names())
    parser.add_argument("--skip", nargs="*", default=())
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--photos", type=Path, default=SAMPLES)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.methods = [name for name in options.methods if name not in options.skip]
    warnings.simplefilter("ignore")
    photos = sorted(options.photos.glob("*.jpg"))[: options.pictures]
    table: dict[str, list[str]] = {name: [] for name in ("scores", *options.methods)}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            arguments = (("image_size", str(options.side)),) if model.startswith("vit") else ()
            spec = Spec(model, "none", model_args=arguments, resize=options.side, crop=options.side, methods=())
            preset = load_model(spec).preset
            frames = [decoding.read_frame(Ref(0, str(path), path)) for path in photos]
            views = np.stack([preprocessing.view_of(frame, preset, "crop").pixels for frame in frames])
            file = Path(folder) / f"{model}.pt"
            torch.save(lively(model, torch.from_numpy(views)).state_dict(), file)
            spec = replace(spec, weights=str(file))
            scores = 0.0
            for name in options.methods:
                cell, own = cells(name, spec, photos[:1] if name in SLOW else photos, options.device)
                table[name].append(cell)
                scores = max(scores, own)
            table["scores"].append(f"{scores:.0e}")
    print(f"| | {' | '.join(options.models)} |\n|---|{'---|' * len(options.models)}")
    for name, row in table.items():
        print(f"| `{name}` | {' | '.join(row)} |" if name != "scores" else f"| scores | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
