"""The target layer: the golden table on every architecture, and `--layer` by name."""

from __future__ import annotations

from typing import Any

import nets
import pytest
import torch
import torchvision
from torch import Tensor, nn
from variants import thinned

from camcli import models
from camcli.errors import RequestError, SetupError
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.models import catalog
from camcli.network.layer import Layer
from camcli.specs import ModelSpec
from camcli.tasks.targets import OfClass

# By family: the layer's name, and the part inside it that makes the tensor; -1 is a module's last child.
GOLDEN = {
    "alexnet": ("features.11", "features.-2"),
    "convnext": ("features", "features.7.-1"),
    "densenet": ("features", "features.norm5"),
    "efficientnet": ("features", "features.-1.2"),
    "googlenet": ("inception5b", "inception5b"),
    "inception": ("Mixed_7c", "Mixed_7c"),
    "maxvit": ("blocks.3", "blocks.3.layers.-1.layers.grid_attention"),
    "mnasnet": ("layers", "layers.16"),
    "mobilenetv2": ("features", "features.18.2"),
    "mobilenetv3": ("features", "features.-1.2"),
    "regnet": ("trunk_output", "trunk_output.block4.-1.activation"),
    "resnet": ("layer4", "layer4.-1.relu"),
    "shufflenetv2": ("conv5", "conv5.2"),
    "squeezenet": ("features", "features.12"),
    "swin_transformer": ("permute", "permute"),
    "vision_transformer": ("encoder.layers.encoder_layer_{last}.ln_1", "encoder.layers.-1.ln_1"),
    "vgg": ("features.{relu}", "features.-2"),
}
VGG_LAST_RELU = {
    "vgg11": 19,
    "vgg11_bn": 27,
    "vgg13": 23,
    "vgg13_bn": 33,
    "vgg16": 29,  # the paper's relu5_3
    "vgg16_bn": 42,
    "vgg19": 35,
    "vgg19_bn": 51,
}
VIT_LAST_BLOCK = {"vit_b_16": 11, "vit_b_32": 11, "vit_l_16": 23, "vit_l_32": 23, "vit_h_14": 31}
REPRESENTATIVES = (
    "efficientnet_lite0 alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet1_0 "
    "mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x1_0 squeezenet1_1 swin_t swin_v2_t vgg16 "
    "vit_b_16"
).split()


def _inside(net: nn.Module, path: str) -> str:
    """`layer4.-1.relu` -> `layer4.2.relu`, by counting the children."""
    name = ""
    for step in path.split("."):
        child = list(dict(net.get_submodule(name).named_children()))[int(step)] if step.startswith("-") else step
        name = f"{name}.{child}".lstrip(".")
    return name


def _check_golden(name: str) -> None:
    model = models.blueprint(ModelSpec(name))
    outer, inner = GOLDEN[catalog.classifiers()[name].family]
    outer = outer.format(last=VIT_LAST_BLOCK.get(name), relu=VGG_LAST_RELU.get(name))
    outputs: dict[str, Tensor] = {}

    def keep(key: str) -> Any:
        return lambda module, args, output: outputs.__setitem__(key, output)

    model.net.get_submodule(_inside(model.net, inner)).register_forward_hook(keep("inner"))
    model.net.get_submodule(outer).register_forward_hook(keep("outer"))
    size = model.preset.view_size
    traced = trace(model.net, torch.zeros(1, 3, *size, device="meta"))
    chosen = choosing.choose(model.net, traced, name)
    assert chosen.name == outer
    assert outputs["outer"] is outputs["inner"]
    assert chosen.to_map(outputs["inner"], size).shape[1:] == chosen.shape
    assert chosen.shape[1] == chosen.shape[2] > 1


@pytest.mark.parametrize("name", thinned(REPRESENTATIVES, 2))
def test_golden_layer_of_each_family(name: str) -> None:
    _check_golden(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in catalog.classifiers() if name not in REPRESENTATIVES])
def test_golden_layer_of_all_others(name: str) -> None:
    _check_golden(name)


def _resolve(net: nn.Module, images: Tensor, *names: str) -> list[Layer]:
    return choosing.resolve(net, trace(net, images), names, "net")


def test_channels_last_layer_named_on_swin() -> None:
    net, images = nets.zoo("swin_t")
    seen: dict[str, Tensor] = {}
    stage = net.get_submodule("features.7")
    stage.register_forward_hook(lambda module, args, output: seen.update(stage=output.clone()))
    named, norm, permute = _resolve(net, images, "features.7", "norm", "permute")
    forward = nets.run(net, images, [named, norm, permute])
    assert named.shape == norm.shape == permute.shape == (768, 2, 3)
    for y, x in ((0, 0), (0, 2), (1, 1)):
        assert torch.equal(forward.activations(named)[0, :, y, x], seen["stage"][0, y, x])
    assert torch.equal(forward.activations(norm), forward.activations(permute))
    class_ids = torch.tensor([3])
    assert torch.equal(
        forward.gradient("gradient", nets.of_class(class_ids), norm),
        forward.gradient("gradient", nets.of_class(class_ids), permute),
    )
    assert forward.gradient("gradient", nets.of_class(class_ids), named).abs().max() > 0


def test_tokens_fold_row_by_row_without_the_class_token() -> None:
    net, images = nets.PatchTransformer().eval(), nets.noise(2, 3, 16, 40)
    (layer,) = _resolve(net, images)
    assert (layer.name, layer.shape) == ("before", (12, 2, 5))
    tokens = torch.stack([torch.full((12,), float(i)) for i in range(-1, 10)])[None]
    folded = layer.to_map(tokens, (16, 40))
    for i in range(10):
        assert folded[0, :, i // 5, i % 5].eq(i).all()
    # The same positions, seen through the network: a patch's own token moves with that patch alone.
    spoiled = images.clone()
    spoiled[:, :, 8:16, 24:32] += 1
    moved = nets.run(net, spoiled, [layer]).activations(layer) - nets.run(net, images, [layer]).activations(layer)
    assert moved.abs().amax((0, 1)).nonzero().tolist() == [[1, 3]]


def test_vit_patches_have_a_gradient_at_the_choice_and_none_behind_it() -> None:
    """Why it is `ln_1` of the last block: behind the last attention the score reads the class token alone."""
    net, images = nets.zoo("vit_b_32")
    block = "encoder.layers.encoder_layer_11"
    chosen, last, final = _resolve(net, images, f"{block}.ln_1", block, "encoder.ln")
    forward = nets.run(net, images, [chosen, last, final])
    class_ids = torch.tensor([3])
    assert forward.gradient("gradient", nets.of_class(class_ids), chosen).abs().amax(1).gt(0).all()
    for behind in (last, final):
        assert forward.activations(behind).abs().max() > 0
        assert not forward.gradient("gradient", nets.of_class(class_ids), behind).any()


TOKEN_NETS = [
    (nets.Tokens("class", prefix=1), "norms.1", 12),
    (nets.Tokens("class", prefix=5), "norms.1", 12),
    (nets.Tokens("mean", prefix=0), "norm", 12),
    (nets.Tokens("mean", prefix=4), "norm", 12),
    (nets.Tokens("attention", prefix=0), "norm", 12),
    (nets.ClassAttention(), "patches", 12),
    (nets.ChannelsLast(), "mix", 12),
    (nets.Hierarchy(), "norm", 24),
]


@pytest.mark.parametrize(("net", "name", "channels"), TOKEN_NETS)
@pytest.mark.parametrize("size", [(32, 56), (24, 24)])
def test_tokens_are_a_map_where_their_patches_reach_the_score(
    net: nn.Module, name: str, channels: int, size: tuple[int, int]
) -> None:
    """Chosen on one size, on the meta device, and read at another: the grid follows the picture."""
    net = net.eval()
    (layer,) = choosing.resolve(net, trace(net, nets.noise(1, 3, *size)), (), "net")
    assert (layer.name, layer.shape) == (name, (channels, size[0] // 8, size[1] // 8))
    for height, width in ((32, 56), (56, 32), (40, 40)):
        images = nets.noise(1, 3, height, width)
        forward = nets.run(net, images, [layer])
        before = forward.activations(layer)
        assert before.shape == (1, channels, height // 8, width // 8)
        assert forward.gradient("gradient", OfClass((3,)), layer).abs().amax(1).gt(0).all()
        for y, x in ((0, 0), (0, width - 8), (height - 8, 0), (height - 8, width - 8), (8, 16)):
            spoiled = images.clone()
            spoiled[:, :, y : y + 8, x : x + 8] += nets.noise(3, 8, 8, seed=1)
            moved = (nets.run(net, spoiled, [layer]).activations(layer) - before).norm(dim=1)[0]
            assert divmod(int(moved.argmax()), width // 8) == (y // 8, x // 8)


def test_tokens_on_no_grid_of_the_picture_are_refused() -> None:
    net = nets.Tokens("class", prefix=1).eval()
    (layer,) = _resolve(net, nets.noise(1, 3, 32, 56))
    with pytest.raises(SetupError, match=r"27 patches lie on no grid of a picture of 64x32 \(height x width\)"):
        layer.to_map(torch.zeros(1, 28, 12), (64, 32))


def test_queries_and_keys_are_never_chosen() -> None:
    """`qkv` is as long as the tokens, and every path crosses it; it can be named."""
    net = nets.Tokens("attention", prefix=0).eval()
    traced = trace(net, nets.noise(1, 3, 32, 56))
    assert next(run.name for run in traced.runs if run.on_every_path and run.in_attention) == "pool.qkv"
    assert _resolve(net, nets.noise(1, 3, 32, 56), "pool.qkv")[0].shape == (24, 4, 7)


@pytest.mark.parametrize("name", ["avgpool", "fc"])
def test_layers_without_a_spatial_map_are_refused(name: str) -> None:
    net = models.blueprint(ModelSpec("resnet18")).net
    with pytest.raises(SetupError, match=rf"layer '{name}' gives .*not a spatial map.*camcli layers net"):
        _resolve(net, torch.zeros(1, 3, 64, 96, device="meta"), name)


def test_layer_that_never_runs_is_refused() -> None:
    net = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False).to("meta").eval()
    images = torch.zeros(1, 3, 96, 128, device="meta")
    with pytest.raises(SetupError, match="'aux2' does not run"):
        _resolve(net, images, "aux2")
    assert _resolve(net, images)[0].name == "inception5b"


def test_unknown_layer_names_near_ones() -> None:
    net = models.blueprint(ModelSpec("resnet18")).net
    images = torch.zeros(1, 3, 64, 96, device="meta")
    with pytest.raises(RequestError, match=r"unknown layer 'layr4': did you mean layer4 .*`camcli layers net`"):
        _resolve(net, images, "layr4")
    with pytest.raises(RequestError, match="unknown layer ''"):
        _resolve(net, images, "")


def test_named_layers_keep_their_order_and_come_once() -> None:
    net = models.blueprint(ModelSpec("resnet18")).net
    found = _resolve(net, torch.zeros(1, 3, 64, 96, device="meta"), "layer4", "layer2", "layer4")
    assert [(layer.name, layer.shape) for layer in found] == [("layer4", (512, 2, 3)), ("layer2", (128, 8, 12))]


def test_layer_that_some_path_avoids_is_not_chosen() -> None:
    assert _resolve(nets.SkipsLast().eval(), nets.noise(1, 3, 8, 12))[0].name == "stem"


def test_no_layer_on_every_path_is_refused() -> None:
    with pytest.raises(SetupError, match="name one with --layer"):
        _resolve(nets.TwoTrunks().eval(), nets.noise(1, 3, 8, 12))
    assert _resolve(nets.TwoTrunks().eval(), nets.noise(1, 3, 8, 12), "right")[0].shape == (4, 4, 8)


def test_wrapper_around_the_whole_network_changes_nothing() -> None:
    images = torch.zeros(1, 3, 64, 96, device="meta")
    wrapped = nets.Wrapped(nets.Wrapped(models.blueprint(ModelSpec("resnet18")).net)).eval()
    (layer,) = _resolve(wrapped, images)
    assert (layer.name, layer.shape) == ("model.model.layer4", (512, 2, 3))


@pytest.mark.parametrize("ending", [nn.Softmax(1), nn.Sequential(nn.Sigmoid(), nn.Flatten(1))])
def test_an_activation_behind_the_network_is_not_its_head(ending: nn.Module) -> None:
    """SqueezeNet's classifier would be chosen if the softmax, which has no weights, were taken for the head."""
    net = nn.Sequential(torchvision.models.squeezenet1_1(num_classes=4), ending).eval()
    assert _resolve(net, nets.noise(1, 3, 64, 96))[0].name == "0.features"
