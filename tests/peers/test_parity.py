"""Against captum, grad-cam and torchcam where they are right, and a reference built by hand where not."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import nets
import pytest
import torch
from captum._utils.gradient import compute_layer_gradients_and_eval
from captum.attr import Deconvolution, GuidedBackprop, LayerGradCam
from pytorch_grad_cam import GradCAM as JacobGilGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional
from torchcam.methods import GradCAM as TorchCamGradCAM
from variants import thinned

from camcli import methods
from camcli.models import catalog
from camcli.network.evidence import Evidence
from camcli.network.layer import Layer

ALL = [*catalog.classifiers()][1:]
TODAY = random.Random(date.today().toordinal()).sample(ALL, 6)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny pictures gain nothing from threads, and lose much where the machine is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _layer(net: nn.Module, images: Tensor, *names: str) -> Layer:
    return nets.layers_of(net, images, *names)[0]


def _ours(
    method: str, net: nn.Module, images: Tensor, class_ids: Tensor, layer: Layer | None = None, to_pixels: bool = False
) -> Tensor:
    forward = nets.run(net, images, [layer] if layer else [], {"guided_grads"} if to_pixels else ())
    return methods.get(method).function(Evidence(forward, nets.of_class(class_ids), layer))


def _agree(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-6 of the largest value."""
    theirs = theirs.detach()
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0
    assert _difference(ours, theirs) <= 1e-6


def _difference(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


def _leaf(images: Tensor) -> Tensor:
    return images.clone().requires_grad_()


def _captum_map(net: nn.Module, layer: Layer, images: Tensor, class_ids: Tensor) -> Tensor:
    if not layer.name.endswith("ln_1"):
        attributed = LayerGradCam(net, layer.module).attribute(_leaf(images), class_ids, relu_attributions=True)
        map_: Tensor = attributed[:, 0]
        return map_
    # captum takes a ViT's tokens for channels: fold its activations and gradients by hand, class token dropped.
    gradients, tokens = compute_layer_gradients_and_eval(net, layer.module, _leaf(images), class_ids)
    weights = gradients[0][:, 1:].mean(1, keepdim=True)
    flat: Tensor = (weights * tokens[0][:, 1:]).sum(2).relu()
    return flat.reshape(len(images), 4, 4)


def _check_grad_cam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = nets.zoo(name)
    if catalog.classifiers()[name].family == "vision_transformer":
        # Where no graph is recorded torch fuses attention, and rounds otherwise; captum records one everywhere.
        monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    layer = _layer(net, images)
    forward = nets.run(net, images, [layer])
    grad_cam = methods.get("grad-cam").function
    ranking = forward.logits[0].argsort(descending=True)
    # The best class whose map is not all negative: a comparison of zeros shows nothing.
    class_ids = next(ids for ids in ranking[:, None] if grad_cam(Evidence(forward, nets.of_class(ids), layer)).any())
    _agree(grad_cam(Evidence(forward, nets.of_class(class_ids), layer)), _captum_map(net, layer, images, class_ids))


@pytest.mark.parametrize("name", TODAY)
def test_grad_cam_is_captums_on_todays_six(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_grad_cam(name, monkeypatch)


# The modules of regnet_y_32gf and vit_l_16 at ten times the cost.
HUGE = {"regnet_y_128gf", "vit_h_14"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in ALL if name not in {*TODAY, *HUGE}])
def test_grad_cam_is_captums_on_all_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_grad_cam(name, monkeypatch)


@pytest.mark.exhaustive
def test_fused_attention_differs_by_rounding_only() -> None:
    net, images = nets.zoo("vit_b_32")
    layer = _layer(net, images)
    for class_id in nets.run(net, images).logits.topk(3).indices[0, :, None]:
        theirs = _captum_map(net, layer, images, class_id)
        torch.testing.assert_close(_ours("grad-cam", net, images, class_id, layer), theirs, rtol=1e-4, atol=1e-6)


BENDING = [("guided-backprop", GuidedBackprop), ("deconvnet", Deconvolution)]
CLASS = torch.tensor([7])


def _captum_bent(attribution: Callable[[nn.Module], Any], net: nn.Module, images: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Setting backward hooks on ReLU activations"
        bent: Tensor = attribution(net).attribute(_leaf(images), CLASS)
    return bent


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18", "squeezenet1_1"])
@pytest.mark.parametrize(("method", "attribution"), BENDING)
def test_bent_gradients_are_captums_where_all_relus_are_modules(
    method: str, attribution: Callable[[nn.Module], Any], name: str
) -> None:
    net, images = nets.zoo(name)
    _agree(_ours(method, net, images, CLASS, to_pixels=True), _captum_bent(attribution, net, images))


class _ReferenceReLU(torch.autograd.Function):
    """arXiv:1412.6806 fig. 1, from the saved input; never in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float, method: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.high, ctx.method = high, method
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        positive = torch.where(gradients[0] > 0, gradients[0], 0.0)
        was_open = (x > 0) & (x < ctx.high)
        return torch.where(was_open, positive, 0.0) if ctx.method == "guided-backprop" else positive, None, None


@contextmanager
def _reference_relus(method: str) -> Iterator[None]:
    """Every ReLU and ReLU6, module or functional, ends in one of these two functions of torch.nn.functional."""

    def relu(x: Tensor, inplace: bool = False) -> Tensor:
        bent: Tensor = _ReferenceReLU.apply(x, float("inf"), method)
        return bent

    def hardtanh(x: Tensor, low: float, high: float, inplace: bool = False) -> Tensor:
        assert low == 0
        bent: Tensor = _ReferenceReLU.apply(x, high, method)
        return bent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "relu", relu)
        patch.setattr(functional, "hardtanh", hardtanh)
        yield


def _reference_gradient(net: nn.Module, images: Tensor) -> Tensor:
    leaf = _leaf(images)
    (gradient,) = torch.autograd.grad(net(leaf)[0, int(CLASS)], leaf)
    return gradient


@pytest.mark.parametrize("name", thinned(["googlenet", "inception_v3", "densenet121", "mobilenet_v2", "resnet18"], 2))
@pytest.mark.parametrize(("method", "attribution"), BENDING)
def test_bent_gradients_reach_functional_relu_and_relu6(
    method: str, attribution: Callable[[nn.Module], Any], name: str
) -> None:
    """captum bends nn.ReLU alone: on these nets (but for ResNet) it silently gives something else."""
    net, images = nets.zoo(name)
    with _reference_relus(method):
        reference = _reference_gradient(net, images)
    _agree(_ours(method, net, images, CLASS, to_pixels=True), reference)
    assert _difference(_reference_gradient(net, images), reference) > 0.1
    if name != "resnet18":
        assert _difference(_captum_bent(attribution, net, images), reference) > 0.1


@pytest.mark.parametrize("name", ["densenet121", "googlenet", "resnet18", "swin_t", "mobilenet_v2"])
def test_gradient_is_plain_autograd(name: str) -> None:
    net, images = nets.zoo(name)
    _agree(_ours("gradient", net, images, CLASS, to_pixels=True), _reference_gradient(net, images))


def test_guided_grad_cam_is_captums_map_upsampled_times_captums_guided() -> None:
    net, images = nets.zoo("resnet18")
    layer = _layer(net, images)
    class_ids = nets.run(net, images).logits.argmax(1)
    map_ = _captum_map(net, layer, images, class_ids)[:, None]
    upsampled = functional.interpolate(map_, images.shape[2:], mode="bilinear", align_corners=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guided = GuidedBackprop(net).attribute(_leaf(images), class_ids)
    _agree(_ours("guided-grad-cam", net, images, class_ids, layer, to_pixels=True), upsampled * guided)


def test_grad_cam_is_cam_on_global_average_pooling() -> None:
    """The paper's proof (sec. 3): with GAP and one linear layer, alpha * Z = w."""
    net, images = nets.zoo("resnet18")
    layer = _layer(net, images)
    class_ids = nets.run(net, images).logits.argmax(1)
    kept: list[Tensor] = []
    net.get_submodule("layer4").register_forward_hook(lambda module, args, output: kept.append(output))
    net(images)
    weight = net.get_parameter("fc.weight")[class_ids]
    cam = torch.einsum("nc,nchw->nhw", weight, kept[0]).relu()
    h, w = cam.shape[1:]
    _agree(_ours("grad-cam", net, images, class_ids, layer) * (h * w), cam)


class _Clone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def _torchcam(net: nn.Module, target: nn.Module, images: Tensor, class_id: int) -> Tensor:
    with TorchCamGradCAM(net, target_layer=target) as extractor:
        (map_,) = extractor(class_id, net(_leaf(images)), normalized=False)
    result: Tensor = map_.relu()
    return result


def _jacobgil(net: nn.Module, target: nn.Module, images: Tensor, *class_ids: int) -> Tensor:
    with JacobGilGradCAM(net, [target]) as extractor:
        return torch.from_numpy(extractor(_leaf(images), [ClassifierOutputTarget(i) for i in class_ids]))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "last"), [("densenet121", "features"), ("vgg11", "features.18")])
def test_layer_that_is_changed_in_place_right_after(name: str, last: str) -> None:
    """pytorch#61519: DenseNet's last ReLU and VGG's run in place; a hook that keeps the live tensor is wrong."""
    net, images = nets.zoo(name)
    layer = _layer(net, images, last)
    class_ids = nets.run(net, images).logits.argmax(1)
    best = int(class_ids)
    ours = _ours("grad-cam", net, images, class_ids, layer)
    live = [_torchcam(net, layer.module, images, best), _jacobgil(net, layer.module, images, best)]
    parent, _, child = last.rpartition(".")
    net.get_submodule(parent).register_module(child, nn.Sequential(layer.module, _Clone()))
    right = [_torchcam(net, layer.module, images, best), _jacobgil(net, layer.module, images, best)]
    _agree(ours, right[0])
    for wrong, mended in zip(live, right, strict=True):
        assert _difference(wrong, mended) > 0.05


def test_each_picture_of_a_batch_explains_its_own_class() -> None:
    """grad-cam zips targets with outputs: pictures without a target of their own come out blank, without a word."""
    net, _ = nets.zoo("resnet18")
    images = nets.noise(3, 3, 64, 96)
    layer = _layer(net, images[:1])
    class_ids = nets.run(net, images).logits.argmax(1)
    class_ids[1] = nets.run(net, images).logits[1].argsort()[-2]
    together = _ours("grad-cam", net, images, class_ids, layer)
    for i in range(3):
        _agree(together[i : i + 1], _captum_map(net, layer, images[i : i + 1], class_ids[i : i + 1]))
    theirs = _jacobgil(net, layer.module, images, int(class_ids[0]))
    assert theirs[0].any()
    assert not theirs[1:].any()
