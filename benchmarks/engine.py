"""What an explanation costs, in forwards: ratios to a plain `inference_mode` forward, all arms in one run.

    python benchmarks/engine.py [--models resnet50 ...] [--batch 16] [--rounds 7] [--peers] [--stock-malloc]

Arms take turns within a round, so that a machine whose speed drifts slows all of them; each figure is the median
over rounds of the ratio within the round, with the lowest and the highest. Weights are random: cost does not depend
on them. All arms share the process, and so the allocator's settings, which are those of the command line.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from camcli import allocator, layers, methods
from camcli.evidence import Forward, Network
from camcli.models import load_model
from camcli.records import ModelSpec
from camcli.targets import OfClass
from camcli.tracing import trace

MODELS = ("resnet50", "mobilenet_v3_large", "efficientnet_b0", "vgg16", "densenet121", "efficientnet_lite0")
PAPER = ("grad-cam", "guided-backprop", "guided-grad-cam")
# All of the paper's three need ReLU.
NO_RELU = ("efficientnet_b0",)


def arms(name: str, batch: int, peers: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """(label, one timed call) for each way of asking."""
    model = load_model(ModelSpec(name, "none", "cpu"))
    net, side = model.net, model.preset.crop
    images = torch.rand(batch, 3, side, side)
    (layer,) = layers.resolve(net, trace(net, images[:1]), (), name)
    with torch.inference_mode():
        ranking = net(images).argsort(1, descending=True)
    ranking = ranking.clone()  # inference tensors can take no part in autograd

    def plain() -> Tensor:
        with torch.inference_mode():
            scores: Tensor = net(images)
            return scores

    def ask(names: tuple[str, ...], classes: int) -> None:
        asked = [methods.get(n) for n in names]
        forward = Forward(Network(net), images, [layer], frozenset().union(*(m.needs for m in asked)))
        for nth in range(classes):
            for m in asked:
                m.function(forward.at(OfClass(tuple(ranking[:, nth].tolist())), layer if m.at_layer else None))

    yield "forward", plain
    yield "grad-cam", lambda: ask(("grad-cam",), 1)
    yield "grad-cam, 5 classes", lambda: ask(("grad-cam",), 5)
    if name not in NO_RELU:
        yield "the paper's three", lambda: ask(PAPER, 1)
    if peers:
        yield from peer_arms(net, images, layer, ranking[:, 0])


def peer_arms(
    net: torch.nn.Module, images: Tensor, layer: layers.Layer, ids: Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """One Grad-CAM of a class that is already known, as each library's README asks for it."""
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCam

    def unfrozen(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            net.requires_grad_(True)  # as torchvision hands it out; nobody's README freezes it
            try:
                return call()
            finally:
                net.requires_grad_(False)

        return run

    captum = LayerGradCam(net, layer.module)
    yield "captum", unfrozen(lambda: captum.attribute(images, ids, relu_attributions=True))

    def jacobgil() -> object:
        with GradCAM(net, [layer.module]) as cam:
            return cam(images, [ClassifierOutputTarget(int(i)) for i in ids])

    def torchcam() -> object:
        with TorchCam(net, layer.name) as cam:
            return cam(ids.tolist(), net(images))

    yield "pytorch-grad-cam", unfrozen(jacobgil)
    yield "torchcam", unfrozen(torchcam)


def ratios(calls: list[tuple[str, Callable[[], object]]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm over the first arm's seconds in the same round."""
    for _, call in calls:
        call()
    found: dict[str, list[float]] = {label: [] for label, _ in calls}
    for _ in range(rounds):
        seconds = {}
        for label, call in calls:
            start = time.perf_counter()
            call()
            seconds[label] = time.perf_counter() - start
        base = seconds[calls[0][0]]
        for label, value in seconds.items():
            found[label].append(value / base)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="captum, pytorch-grad-cam and torchcam beside it")
    parser.add_argument("--stock-malloc", action="store_true", help="without what the command line sets")
    options = parser.parse_args()
    malloc = "tuned" if not options.stock_malloc and allocator.tune() else "stock"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.batch}, {malloc} malloc")
    print("plain forward = 1.00\n")
    print("| model | arm | median | lowest-highest |\n|---|---|---|---|")
    for name in options.models:
        for label, values in ratios(list(arms(name, options.batch, options.peers)), options.rounds).items():
            if label != "forward":
                print(f"| {name} | {label} | {statistics.median(values):.2f} | {min(values):.2f}-{max(values):.2f} |")


if __name__ == "__main__":
    main()
