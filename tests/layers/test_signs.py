"""Which maps can't be negative, and which of them a stage ends at."""

from __future__ import annotations

from collections.abc import Callable

import nets
import pytest
import torch
from shell import SAMPLES, run
from torch import Tensor, nn
from torch.nn import functional

from camcli import methods, models
from camcli.answers import batch as answers
from camcli.answers import diagnosis
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.network.network import Network
from camcli.specs import ModelSpec
from camcli.tasks.targets import OfClass


class Ends(nn.Module):
    """What `make` does to a signed map is the module `end`'s output."""

    def __init__(self, make: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        parts = nets.Convolutional()
        self.conv1, self.conv2, self.fc = parts.conv1, parts.conv2, parts.fc
        self.end = End(make)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        scores: Tensor = self.fc(self.conv2(self.end(x, x.roll(1, 1))).mean((2, 3)))
        return scores


class End(nn.Module):
    def __init__(self, make: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.make(x, y)


NEVER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda x, y: x.relu(),
    "relu6": lambda x, y: functional.relu6(x),
    "clamp": lambda x, y: x.clamp(min=0.5),
    "sigmoid": lambda x, y: x.sigmoid(),
    "gated, as by squeeze and excitation": lambda x, y: x.relu() * y.mean((2, 3), keepdim=True).sigmoid(),
    "added": lambda x, y: x.relu() + functional.softplus(y),
    "joined, as by Inception": lambda x, y: torch.cat([x.relu()[:, :3], y.relu()[:, 3:]], 1),
    "pooled": lambda x, y: functional.max_pool2d(x.relu(), 3, 1, 1),
}
SOMETIMES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, y: 2 * x,
    "silu": lambda x, y: functional.silu(x),
    "leaky": lambda x, y: functional.leaky_relu(x),
    "hardtanh": lambda x, y: functional.hardtanh(x),
    "a residual": lambda x, y: x + y.relu(),
    "a difference": lambda x, y: x.relu() - y.relu(),
    "joined with a signed one": lambda x, y: torch.cat([x.relu()[:, :3], y[:, 3:]], 1),
    "scaled by a constant": lambda x, y: x.relu() * -torch.ones_like(y[0]).detach(),
    "normed after": lambda x, y: functional.layer_norm(x.relu(), x.shape[1:]),
}


@pytest.mark.parametrize("how", [*NEVER, *SOMETIMES])
def test_what_cannot_be_negative_is_told_from_the_graph(how: str) -> None:
    net, images = Ends((NEVER | SOMETIMES)[how]).eval(), nets.noise(1, 3, 12, 16)
    run = trace(net, images).last("end")
    assert run is not None
    assert run.on_every_path
    assert run.never_negative == (how in NEVER)
    (layer,) = nets.layers_of(net, images, "end")
    lowest = nets.run(net, images, [layer]).activations(layer).min()
    assert (lowest >= 0) == (how in NEVER)
    # Without arithmetic too.
    on_meta = trace(net.to("meta"), images.to("meta")).last("end")
    assert on_meta is not None
    assert on_meta.never_negative == (how in NEVER)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("googlenet", ["conv3", "inception3b", "inception4e", "inception5b"]),
        # Linear bottlenecks end these resolutions; the last ReLU6 stands in the next block, in front of its stride.
        ("mobilenet_v2", ["features.4.conv.0", "features.7.conv.0", "features.14.conv.0", "features"]),
        # The last one is norm5's output: its ReLU is functional, and no module gives it.
        (
            "densenet121",
            ["features.transition1.relu", "features.transition2.relu", "features.transition3.relu", "features"],
        ),
        # SiLU: no map of such a network is free of negative values.
        ("efficientnet_b0", ["features.3.0.block.0", "features.4.0.block.0", "features.6.0.block.0", "features"]),
    ],
)
def test_stages_end_at_their_last_map_that_cannot_be_negative(name: str, expected: list[str]) -> None:
    net = models.blueprint(ModelSpec(name)).net
    traced = trace(net, torch.zeros(1, 3, 224, 224, device="meta"))
    stages = choosing.stages(net, traced, choosing.choose(net, traced, name))
    assert [stage.name for stage in stages] == expected


def test_a_signed_layer_that_is_named_gives_way_to_the_map_before_it() -> None:
    net = models.blueprint(ModelSpec("mobilenet_v2")).net
    traced = trace(net, torch.zeros(1, 3, 224, 224, device="meta"))
    (layer,) = choosing.resolve(net, traced, ["features.6"], "mobilenet_v2")
    assert [stage.name for stage in choosing.stages(net, traced, layer)] == [
        *("features.2.conv.0", "features.4.conv.0", "features.4.conv.1"),
    ]


def test_a_module_that_runs_more_than_once_ends_no_stage() -> None:
    """nets.Convolutional has one ReLU for both of its resolutions: its name would mean either."""
    net, images = nets.Convolutional().eval(), nets.noise(1, 3, 12, 16)
    (layer,) = nets.layers_of(net, images, "conv2")
    assert [stage.name for stage in choosing.stages(net, trace(net, images), layer)] == ["conv1", "conv2"]


def _answer(name: str, net: nn.Module, images: Tensor, layer_name: str) -> tuple[answers.Batch, answers.Answer]:
    found = nets.layers_of(net, images, layer_name)
    stages = {layer_name: choosing.stages(net, trace(net, images), found[0])}
    batch = answers.Batch(answers.Plan(Network(net), [methods.get(name)], found, stages), images)
    (answer,) = batch.answers(OfClass((1,)))
    return batch, answer


def test_the_row_names_all_stages_and_what_is_negative_there() -> None:
    net, images = nets.Convolutional().eval(), nets.noise(1, 3, 12, 16)
    batch, answer = _answer("refine-cam", net, images, "conv2")
    assert answer.layer_name == "conv1+conv2"
    assert answer.layer is not None
    assert answer.layer.name == "conv2"
    said = diagnosis.of_signs("why", batch.forward, answer.read_at, 0)
    assert said == "activations below zero at conv1 and conv2: why"
    _, answer = _answer("grad-cam", net, images, "conv2")
    assert answer.layer_name == "conv2"


def test_methods_that_divide_by_activations_say_so_in_the_row_where_some_are_negative() -> None:
    """features.5 ends in a linear bottleneck, features in a ReLU6."""
    divide = ("grad-cam-pp", "xgrad-cam")
    asked = [flag for name in ("grad-cam", *divide) for flag in ("-M", name)]
    flags = ("-l", "features.5", "-l", "features", "--save", "none", "--json")
    (row,) = run("explain", SAMPLES / "cat_and_espresso.jpg", *asked, *flags).rows
    notes = {(own["method"], own["layer"]): own.get("note", "") for own in row["explanations"]}
    assert {key for key, note in notes.items() if "activations below zero" in note} == {
        (name, "features.5") for name in divide
    }
    assert "activations below zero at features.5: its weights are divided by" in notes["xgrad-cam", "features.5"]
    assert all(methods.get(name).signed for name in (*divide, "refine-cam", "smooth-grad-cam-pp"))
