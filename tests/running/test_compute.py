"""Faster must not be different: the rearranged network against the plain one, and what each flag changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch
from shell import SAMPLES, refused, run
from torch import Tensor, nn

from camcli import Engine, Explained, Failed, Spec, expand
from camcli.answers.batch import batch_of
from camcli.layers.tracing import trace
from camcli.machine.faults import power_of_two
from camcli.models import load_model
from camcli.network.network import Network
from camcli.running.tuning import tuned
from camcli.specs import ModelSpec

Picture = Callable[..., Path]
PHOTOS = sorted(SAMPLES.glob("*.jpg"))[:4]
# Of maps at the last layer.
SAME = 2e-3
# Behind many ReLUs: rounding moves some across their kink, and each then gives or takes a part of the gradient.
SAME_BEHIND_KINKS = 2e-2


def explained(spec: Spec, photos: Sequence[Path] = PHOTOS) -> list[Explained]:
    results = list(Engine(spec).explain(expand([str(path) for path in photos])))
    assert all(isinstance(result, Explained) for result in results)
    return [result for result in results if isinstance(result, Explained)]


def deviation(one: Explained, other: Explained) -> float:
    """The largest difference of two results' values, each scaled to its own maximum."""
    assert [a.target.name for a in one.attributions] == [a.target.name for a in other.attributions]
    return max(
        float(np.abs(a.values / np.abs(a.values).max() - b.values / np.abs(b.values).max()).max())
        for a, b in zip(one.attributions, other.attributions, strict=True)
    )


class Normed(nn.Module):
    """Norms behind convolutions: conv1 and conv2 are read by one alone; conv3 is read twice, conv4 runs twice, conv5's
    norm keeps no statistics, conv6 is of another class, conv7's weight is made by a hook."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1)
        self.conv3, self.conv4, self.conv5 = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))
        self.conv6 = Halved(6, 6, 3, padding=1)
        self.conv7 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv7.register_forward_pre_hook(_fill)
        self.bn1, self.bn2, self.bn3, self.bn4, self.bn6, self.bn7 = (nn.BatchNorm2d(6) for _ in range(6))
        self.bn5 = nn.BatchNorm2d(6, track_running_stats=False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 2)
                module.bias.data.normal_()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        once = self.conv3(x)
        x = self.bn3(once) + once
        x = self.bn4(self.conv4(self.conv4(x)))
        x = self.bn5(self.conv5(x)).relu()
        x = self.bn7(self.conv7(self.bn6(self.conv6(x)).relu())).relu()
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def _fill(module: nn.Module, args: object) -> None:
    module.get_parameter("weight").data.fill_(0.01)


class Halved(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) / 2


def test_only_norms_that_alone_read_a_plain_convolution_are_folded() -> None:
    net = Normed().eval().requires_grad_(False)
    images = torch.randn(2, 3, 16, 16)
    net(images)  # the hook has made its weight
    before = deepcopy(net.state_dict())
    copy = tuned(net, trace(net, images[:1]).normalised)
    folded = {name for name, module in copy.named_modules() if isinstance(module, nn.Identity)}
    assert folded == {"bn1", "bn2"}
    assert [name for name, _ in copy.named_modules()] == [name for name, _ in net.named_modules()]
    assert copy.get_parameter("conv1.weight").is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(copy(images), net(images), rtol=1e-5, atol=1e-5)
    # The network given is what it was, and the copy shares what was not changed.
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(net.get_submodule("bn1"), nn.BatchNorm2d)
    assert copy.get_parameter("fc.weight") is net.get_parameter("fc.weight")


def test_a_convolution_whose_output_is_read_keeps_it() -> None:
    net = Normed().eval().requires_grad_(False)
    images = torch.randn(1, 3, 16, 16)
    normalised = trace(net, images).normalised
    kept = tuned(net, normalised, kept=["conv1"])
    assert isinstance(kept.get_submodule("bn1"), nn.BatchNorm2d)
    assert torch.allclose(kept.get_submodule("conv1")(images), net.get_submodule("conv1")(images), atol=1e-6)
    # A norm's output is what it was though it is folded: the convolution gives it now, and the name still stands.
    folded = tuned(net, normalised, kept=["bn1"])
    first = folded.get_submodule("bn1")(folded.get_submodule("conv1")(images))
    assert torch.allclose(first, net.get_submodule("bn1")(net.get_submodule("conv1")(images)), atol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("methods", [("grad-cam", "grad-cam-pp", "layer-cam"), ("guided-backprop", "guided-grad-cam")])
def test_on_photos_the_answers_are_those_of_the_plain_network(methods: tuple[str, ...]) -> None:
    plain, fast = (explained(Spec(methods=methods, exact=exact)) for exact in (True, False))
    for one, other in zip(plain, fast, strict=True):
        assert [score.id for score in one.top] == [score.id for score in other.top]
        assert deviation(one, other) < (SAME if "grad-cam" in methods else SAME_BEHIND_KINKS)


def test_on_real_checkpoints_too(shared: Path) -> None:
    photos = sorted((shared / "images" / "imagenet200").iterdir())[:16]
    for name, file in (
        ("mobilenet_v2", "mobilenet_v2_imagenet_tf2ptq_tvnorm.pth"),
        ("squeezenet1_1", "squeezenet1_1_imagenet1k_v1_from_fp16.pth"),
    ):
        weights = str(shared / "weights" / file)
        plain, fast = (explained(Spec(name, weights, exact=exact), photos) for exact in (True, False))
        assert [one.top[0].id for one in plain] == [one.top[0].id for one in fast]
        assert max(deviation(one, other) for one, other in zip(plain, fast, strict=True)) < SAME


@pytest.mark.exhaustive
@pytest.mark.parametrize("layer", ["features.2.0.block.0.0", "features.2.0.block.0.1", "features.2.0.block.0"])
def test_layers_that_a_fold_would_change_mean_what_they_did(layer: str) -> None:
    """A convolution, its norm, and the block of both."""
    plain, fast = (explained(Spec(layers=(layer,), methods=("layer-cam",), exact=exact)) for exact in (True, False))
    assert max(deviation(one, other) for one, other in zip(plain, fast, strict=True)) < SAME_BEHIND_KINKS


def test_implicit_biases_and_random_weights_are_not_folded_away() -> None:
    for spec in (Spec(methods=("full-grad",)), Spec(sanity="head")):
        net = Engine(spec).model.net
        assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 49


@pytest.mark.exhaustive
def test_exact_is_a_plain_forward_bit_for_bit() -> None:
    model = load_model(ModelSpec())
    engine = Engine(Spec(exact=True, batch_size=4))
    seen: list[Tensor] = []
    engine.model.net.register_forward_hook(lambda net, args, output: seen.extend((args[0], output)))
    list(engine.explain(expand([str(path) for path in PHOTOS])))
    images, scores = seen[-2:]
    assert images.is_contiguous()
    with torch.inference_mode():
        assert torch.equal(model.net(images.detach()), scores.detach())


COARSE = """
import torch
from torch import nn

torch.set_float32_matmul_precision("medium")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))
"""


ALLOWED = """
import sys, torch
from camcli import Engine, Spec, expand

def allowed():
    if "newer" in sys.argv:
        return torch.backends.cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

if "newer" in sys.argv:  # the older names can't be read then
    torch.backends.cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = "ieee", "bf16"
print(allowed())
engine = Engine(Spec("nets.py:Net", "none", exact="exact" in sys.argv))
engine.model.net.register_forward_pre_hook(lambda *_: print(allowed()))
list(engine.explain(expand([sys.argv[1]])))
print(allowed())
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("exact", ["exact", ""])
@pytest.mark.parametrize("names", ["older", "newer"])
def test_float32_is_computed_as_float32_whatever_is_allowed(exact: str, names: str) -> None:
    """In a process of its own: what has once been said of a process's precision can't be taken back."""
    if names == "newer" and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("torch before 2.9 has no other names")
    Path("nets.py").write_text(COARSE if names == "older" else COARSE.replace("torch.set_float32", "# "))
    done = subprocess.run(
        [sys.executable, "-c", ALLOWED, str(PHOTOS[0]), exact, names], capture_output=True, text=True, check=True
    )
    expected = {
        "older": ["(True, 'highest')", "(False, 'highest')", "(True, 'medium')"],
        "newer": ["('ieee', 'bf16')", "('ieee', 'ieee')", "('ieee', 'bf16')"],
    }
    assert done.stdout.splitlines() == expected[names]


def test_the_batch_lies_channels_last() -> None:
    views = [np.ones((3, 4, 5), dtype=np.float32) * number for number in range(2)]
    net = nets.RedBlue()
    assert batch_of(views, Network(net, channels_last=True), "cpu").is_contiguous(memory_format=torch.channels_last)
    assert batch_of(views, Network(net), "cpu").is_contiguous()
    assert batch_of(views, Network(net), "cpu")[1].eq(1).all()


CAPTIVE = """
import threading, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))

def captive():
    net = Net()
    original = net.forward
    net.forward = lambda x: original(x)
    return net

def locked():
    net = Net()
    net.lock = threading.Lock()
    return net
"""


@pytest.mark.parametrize("factory", ["Net", "captive", "locked"])
def test_networks_that_no_copy_stands_for_are_left_as_they_are(factory: str, picture: Picture) -> None:
    """A forward that holds on to the network it was made for, and one that can't be copied at all."""
    Path("net.py").write_text(CAPTIVE)
    picture()
    flags = ("-m", f"net.py:{factory}", "--resize", "32", "--crop", "32", "--json", "--save", "none")
    outcome = run("explain", "a.png", *flags)
    assert outcome.code == 0, outcome.err
    (exact,) = run("explain", "a.png", *flags, "--exact").rows
    (row,) = outcome.rows
    assert row["explanations"][0]["max"] == pytest.approx(exact["explanations"][0]["max"], rel=1e-4)
    if factory != "Net":
        assert (
            "can't be copied"
            in refused(3, "explain", "a.png", *flags[:2], *flags[2:6], "--precision", "bf16").split("camcli: error: ")[
                1
            ]
        )


def test_lower_precision_ends_at_the_layer() -> None:
    engine = Engine(Spec(precision="bf16"))
    net = engine.model.net
    types: dict[str, torch.dtype] = {}
    for name in ("features.0.0", "features.4", "features", "classifier.1"):
        net.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: types.__setitem__(name, output.dtype)
        )
    results = list(engine.explain(expand([str(path) for path in PHOTOS])))
    assert types["features.0.0"] == types["features.4"] == torch.bfloat16
    assert types["features"] == types["classifier.1"] == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    for one, other in zip(results, explained(Spec()), strict=True):
        assert isinstance(one, Explained)
        assert one.attributions[0].values.dtype == np.float32
        assert one.top[0].id == other.top[0].id
        assert 0 < deviation(one, other) < 0.2
    assert not torch.is_autocast_enabled("cpu")


def test_what_lower_precision_is_refused_for() -> None:
    photo = str(PHOTOS[0])
    guided = refused(2, "explain", photo, "-M", "guided-backprop", "--precision", "bf16")
    assert "differentiates through the whole network" in guided
    branch = "inception5b.branch1.conv"
    aside = refused(3, "explain", photo, "-m", "googlenet", "-w", "none", "-l", branch, "--precision", "bf16")
    assert f"paths that don't cross {branch}" in aside
    assert "plain fp32" in refused(2, "explain", photo, "--exact", "--precision", "bf16")
    assert "plain fp32" in refused(2, "explain", photo, "--exact", "--compile")
    assert "is none of fp32, bf16, fp16" in refused(2, "explain", photo, "--precision", "fp8")
    assert "at compiled parts it can't" in refused(2, "explain", photo, "--compile", "-M", "guided-grad-cam")
    assert "draws the network's weights" in refused(2, "explain", photo, "--compile", "--sanity", "head")
    assert "views of one size" in refused(2, "explain", photo, "--compile", "--fit", "full")


@pytest.mark.exhaustive
def test_half_precision_on_a_cpu_is_slow_and_says_so() -> None:
    outcome = run("classify", PHOTOS[0], "--precision", "fp16", "--json")
    assert outcome.code == 0
    assert "fp16 is slower than fp32 on most CPUs" in outcome.err
    (plain,) = run("classify", PHOTOS[0], "--json").rows
    assert outcome.rows[0]["top"][0]["id"] == plain["top"][0]["id"]


@pytest.mark.exhaustive
def test_compiled_is_the_same_and_built_once(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pictures in batches of two: the last batch is filled up, so that nothing is built for its size."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "cache")
    Path("net.py").write_text(CAPTIVE)
    for number in range(5):
        picture(f"{number}.png", (64 + 8 * number, 48))
    spec = Spec("net.py:Net", "none", resize=32, crop=32, batch_size=2, layers=("bn",))
    photos = sorted(Path().glob("*.png"))
    plain = explained(spec, photos)
    torch._dynamo.utils.counters.clear()
    from dataclasses import replace

    compiled = explained(replace(spec, compile=True), photos)
    built: Any = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert built == 1  # the convolution, with its norm in it
    assert max(deviation(one, other) for one, other in zip(plain, compiled, strict=True)) < SAME


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    engine = Engine(Spec(methods=(), batch_size=8))
    sizes: list[int] = []

    def small(net: nn.Module, args: tuple[Tensor]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("no memory")

    engine.model.net.register_forward_pre_hook(small)
    results = list(engine.explain(expand([str(PHOTOS[0])] * 10)))
    assert [type(result) for result in results] == [Explained] * 10
    assert sizes == [8, 4, 2, 2, 2, 2, 2]  # and what was learned is remembered


def test_a_picture_that_does_not_fit_alone_is_one_refusal() -> None:
    engine = Engine(Spec(methods=(), batch_size=4))

    def never(net: nn.Module, args: tuple[Tensor]) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    engine.model.net.register_forward_pre_hook(never)
    results = list(engine.explain(expand([str(path) for path in PHOTOS])))
    assert [(result.stage, result.kind) for result in results if isinstance(result, Failed)] == [
        ("predict", "memory")
    ] * len(PHOTOS)


def test_batch_sizes_that_are_found_are_powers_of_two() -> None:
    assert [power_of_two(n) for n in (0.3, 7, 8, 15.9, 16, 100, 255, 256, 1e9)] == [8, 8, 8, 8, 16, 64, 128, 256, 256]


def test_a_network_that_has_been_explained_is_what_it_was() -> None:
    net = nets.Convolutional().eval()
    state = deepcopy(net.state_dict())
    copy = tuned(net, trace(net, torch.zeros(1, 3, 16, 16)).normalised)
    copy(torch.randn(1, 3, 16, 16))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
