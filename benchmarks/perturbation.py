"""Methods that ask the network again for each channel: camcli beside the peers' own, in seconds and in maps.

    python benchmarks/perturbation.py [--model resnet50] [--weights none] [--image FILE] [--batch 16] [--rounds 3]

Each arm is a process of its own, because camcli's command line tunes malloc for its process; each gets the same
network, picture and best class, and as many pictures at a time. Arms take turns within a round; each ratio is
within its round. Random weights have their batch norms fitted to the picture, so that activations and scores are as
large as real ones. Maps are compared as the cosine between them, at the layer, before any scaling.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camcli import methods
from camcli.inputs import decoding, preprocessing
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.machine import process
from camcli.models import Model, load_model
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.records import Ref
from camcli.specs import ModelSpec
from camcli.tasks.targets import OfClass

SAMPLE = Path(__file__).parents[1] / "sample_images" / "cat_and_espresso.jpg"
ARMS = {
    "ablation-cam": ("camcli", "pytorch-grad-cam"),
    "score-cam": ("camcli", "pytorch-grad-cam", "torchcam"),
}


def prepared(options: argparse.Namespace) -> tuple[Model, Layer, Tensor, int]:
    """The network, its layer, a batch of one picture and the picture's best class."""
    torch.manual_seed(0)
    model = load_model(ModelSpec(options.model, options.weights, "cpu"))
    frame = decoding.read_frame(Ref(0, str(options.image), options.image))
    picture = torch.from_numpy(preprocessing.view_of(frame, model.preset, "crop").pixels)[None]
    if options.weights == "none":
        norms = [module for module in model.net.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        with torch.no_grad():
            model.net(torch.cat([picture, picture.flip(3)]))
        model.net.eval()
    with torch.no_grad():
        best = int(model.net(picture).argmax())
    (layer,) = choosing.resolve(model.net, trace(model.net, picture), (), options.model)
    return model, layer, picture, best


def camcli(name: str, options: argparse.Namespace) -> tuple[float, Tensor]:
    """As `camcli explain -M NAME` does it, the prediction's own forward included."""
    process.tune()
    model, layer, picture, best = prepared(options)
    method = methods.get(name)
    network = Network(model.net, model.task, options.batch)
    start = time.perf_counter()
    forward = Forward(network, picture, [layer], method.needs)
    map_ = method.function(Evidence(forward, OfClass((best,)), layer))[0]
    return time.perf_counter() - start, map_


def pytorch_grad_cam(name: str, options: argparse.Namespace) -> tuple[float, Tensor]:
    from pytorch_grad_cam import AblationCAM, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, layer, picture, best = prepared(options)
    cam = (AblationCAM if name == "ablation-cam" else ScoreCAM)(model.net, [layer.module])
    cam.batch_size = options.batch
    shown: list[NDArray[np.float32]] = []
    combine = cam.get_cam_image

    def kept(*args: object, **kwargs: object) -> NDArray[np.float32]:
        shown.append(combine(*args, **kwargs))
        return shown[-1]

    cam.get_cam_image = kept
    start = time.perf_counter()
    cam(picture, [ClassifierOutputTarget(best)])
    return time.perf_counter() - start, torch.from_numpy(shown[0])[0].relu()


def torchcam(name: str, options: argparse.Namespace) -> tuple[float, Tensor]:
    from torchcam.methods import ScoreCAM

    model, layer, picture, best = prepared(options)
    with ScoreCAM(model.net, layer.name, batch_size=options.batch) as cam:
        start = time.perf_counter()
        with torch.inference_mode():
            model.net(picture)
        (map_,) = cam(best, normalized=False)
        return time.perf_counter() - start, map_[0].relu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        library, name = options.arm
        run = {"camcli": camcli, "pytorch-grad-cam": pytorch_grad_cam, "torchcam": torchcam}[library]
        taken, map_ = run(name, options)
        print(json.dumps({"seconds": taken, "map": map_.tolist()}))
        return
    print(f"{options.model}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.batch}\n")
    print("| method | library | seconds | of camcli's, lowest-highest | cosine of the maps |\n|---|---|---|---|---|")
    for name, libraries in ARMS.items():
        found: dict[str, list[float]] = {library: [] for library in libraries}
        maps: dict[str, NDArray[np.float64]] = {}
        for _ in range(options.rounds):
            for library in libraries:
                arm = [sys.executable, __file__, *sys.argv[1:], "--arm", library, name]
                told = json.loads(subprocess.run(arm, check=True, stdout=subprocess.PIPE, text=True).stdout)
                found[library].append(told["seconds"])
                maps[library] = np.array(told["map"]).ravel()
        own = maps["camcli"]
        for library, seconds in found.items():
            ratios = [theirs / ours for theirs, ours in zip(seconds, found["camcli"], strict=True)]
            cosine = maps[library] @ own / (np.linalg.norm(maps[library]) * np.linalg.norm(own))
            spread = f"{statistics.median(ratios):.2f}, {min(ratios):.2f}-{max(ratios):.2f}"
            print(f"| {name} | {library} | {statistics.median(seconds):.1f} | {spread} | {cosine:.6f} |")


if __name__ == "__main__":
    main()
