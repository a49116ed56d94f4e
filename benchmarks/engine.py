"""What explaining a batch costs, in forwards: ratios to a plain eager forward in a process of its own.

    python benchmarks/engine.py [--models resnet50 ...] [--batch 16] [--rounds 7] [--peers] [--device cuda]

The forward is what a script gets: contiguous images, inference_mode, the allocator as it is. camcli's arms are what
its engine does with pictures that are decoded: the batch, predictions, targets, maps and what is said of them.
Weights are random: cost does not depend on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import arms
import numpy as np

if TYPE_CHECKING:
    import torch

MODELS = ("resnet50", "mobilenet_v3_large", "efficientnet_b0", "vgg16", "vit_b_16", "efficientnet_lite0")
PAPER = ("grad-cam", "guided-backprop", "guided-grad-cam")
# All of the paper's three need ReLU.
NO_RELU = ("efficientnet_b0", "vit_b_16")
SIDE = 224


def own_arms(name: str) -> dict[str, dict[str, object]]:
    """Label -> what is asked of camcli's engine."""
    found: dict[str, dict[str, object]] = {
        "camcli, grad-cam": {},
        "camcli, grad-cam, 5 classes": {"classes": ("top5",)},
        "camcli, grad-cam, --exact": {"exact": True},
        "camcli, grad-cam, --precision bf16": {"precision": "bf16"},
    }
    if name not in NO_RELU:
        found["camcli, the paper's three"] = {"methods": PAPER}
    return found


def camcli(name: str, batch: int, asked: dict[str, object], device: str) -> Callable[[], object]:
    from camcli.inputs.reading import Item
    from camcli.machine import process
    from camcli.records import Frame, Ref, View
    from camcli.running.engine import Engine
    from camcli.specs import Spec

    process.tune()
    engine = Engine(Spec(**{"model": name, "weights": "none", "device": device, "batch_size": batch} | asked))  # type: ignore[arg-type]
    ref = Ref(0, "noise")
    frame = Frame(ref, np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    noise = np.random.default_rng(0).standard_normal((batch, SIDE, SIDE, 3), dtype=np.float32)
    views = [View(pixels.transpose(2, 0, 1), (0, 0, SIDE, SIDE)) for pixels in noise]
    return lambda: engine.answer([Item(ref, frame=frame, view=view) for view in views])


def stock(name: str, batch: int, how: str, device: str) -> Callable[[], object]:
    """The plain forward, or one Grad-CAM of a known class as a library's README asks for it."""
    import torch

    from camcli.models import load_model
    from camcli.specs import ModelSpec

    net = load_model(ModelSpec(name, "none", device)).net
    images = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    if how == "forward":

        def forward() -> None:
            with torch.inference_mode():
                net(images)

        return forward
    net.requires_grad_(True)  # as torchvision hands it out; nobody's README freezes it
    layer = last_layer(name, net, images)
    ids = list(range(batch))
    if how == "captum":
        from captum.attr import LayerGradCam

        captum = LayerGradCam(net, layer)
        return lambda: captum.attribute(images, torch.tensor(ids, device=device), relu_attributions=True)
    if how == "torchcam":
        from torchcam.methods import GradCAM as TorchCam

        def torchcam() -> None:
            with TorchCam(net, layer) as cam:
                cam(ids, net(images))

        return torchcam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def jacobgil() -> None:
        with GradCAM(net, [layer]) as cam:
            cam(images, [ClassifierOutputTarget(number) for number in ids])

    return jacobgil


def last_layer(name: str, net: torch.nn.Module, images: torch.Tensor) -> torch.nn.Module:
    from camcli.layers import choosing
    from camcli.layers.tracing import trace

    return choosing.choose(net, trace(net, images[:1]), name).module


def to_its_end(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call, over once the device has done what it asked for."""
    if device == "cpu":
        return call
    import torch

    def whole() -> None:
        call()
        torch.cuda.synchronize(device)

    return whole


def table(models: list[str], batch: int, rounds: int, peers: bool, device: str) -> Iterator[str]:
    """Markdown: a line a model and arm."""
    yield "| model | arm | forwards, median (lowest-highest) |"
    yield "|---|---|---|"
    for name in models:
        labels = ["forward", *own_arms(name)]
        if peers and name != "vit_b_16":  # the peers want a reshape function for tokens
            labels += ["captum", "torchcam", "pytorch-grad-cam"]
        common = ["--models", name, "--batch", str(batch), "--device", device]
        commands = {label: [__file__, "--arm", label, *common] for label in labels}
        found = arms.turns(commands, rounds)
        for label in labels[1:]:
            yield f"| {name} | {label} | {arms.ratio(found[label], found['forward'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", action="store_true", help="captum, pytorch-grad-cam and torchcam beside it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm is None:
        for line in table(options.models, options.batch, options.rounds, options.peers, options.device):
            print(line, flush=True)
        return
    (name,) = options.models
    own = own_arms(name).get(options.arm)
    if own is None:
        call = stock(name, options.batch, options.arm, options.device)
    else:
        call = camcli(name, options.batch, own, options.device)
    arms.serve(to_its_end(call, options.device))


if __name__ == "__main__":
    main()
