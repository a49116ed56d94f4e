"""ReLU bent in every spelling, its side effects kept, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

import nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from camcli import methods, models
from camcli.layers.tracing import trace
from camcli.network.evidence import Evidence
from camcli.specs import ModelSpec

CLASS = torch.tensor([1])


class DropsResult(nets.Convolutional):
    """`self.relu(x)` with its result dropped: the network lives by the side effect."""

    def activate(self, x: Tensor) -> Tensor:
        if self.relu is None:
            functional.relu_(x)
        else:
            self.relu(x)
        return x


@pytest.mark.parametrize("functional_", [True, False])
def test_in_place_side_effects_are_kept(functional_: bool) -> None:
    plain, images = nets.Convolutional().eval(), nets.noise(2, 3, 8, 12)
    relying = DropsResult(functional=functional_, inplace=True).eval()
    class_ids = torch.tensor([0, 3])
    for name in ("gradient", "guided-backprop", "deconvnet", "guided-grad-cam"):
        (layer,) = nets.layers_of(plain, images[:1], "conv2")
        expected = nets.run(plain, images, [layer], parts={"guided_grads"})
        (layer_,) = nets.layers_of(relying, images[:1], "conv2")
        found = nets.run(relying, images, [layer_], parts={"guided_grads"})
        assert torch.equal(found.logits, expected.logits)
        function = methods.get(name).function
        assert torch.equal(
            function(Evidence(found, nets.of_class(class_ids), layer_)),
            function(Evidence(expected, nets.of_class(class_ids), layer)),
        )


class Activates(nn.Module):
    """One activation between two convolutions."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        parts = nets.Convolutional()
        self.conv1, self.conv2, self.fc, self.activation = parts.conv1, parts.conv2, parts.fc, activation

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv2(self.activation(3 * self.conv1(x))).mean((2, 3)))
        return scores


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": Tensor.relu,
    "Tensor.relu_": Tensor.relu_,
    "x.relu()": lambda x: x.relu(),
    "F.relu": functional.relu,
    "F.relu in place": lambda x: functional.relu(x, inplace=True),
    "F.relu input=": lambda x: functional.relu(input=x),
    "F.relu_": functional.relu_,
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
}
RELU6S: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu6": functional.relu6,
    "F.relu6 in place": lambda x: functional.relu6(x, inplace=True),
    "F.hardtanh(0, 6)": lambda x: functional.hardtanh(x, 0.0, 6.0),
    "F.hardtanh(0, 6) in place": lambda x: functional.hardtanh(x, min_val=0.0, max_val=6.0, inplace=True),
    "F.hardtanh_(0, 6)": lambda x: functional.hardtanh_(x, 0.0, 6.0),
    "nn.Hardtanh(0, 6)": nn.Hardtanh(0.0, 6.0),
}


@pytest.mark.parametrize(("spelling", "high"), [*((s, float("inf")) for s in RELUS), *((s, 6.0) for s in RELU6S)])
def test_every_spelling_of_relu_is_bent(spelling: str, high: float) -> None:
    net = Activates((RELUS | RELU6S)[spelling]).eval()
    images = 4 * nets.noise(1, 3, 8, 12)
    assert trace(net, images).rectifiers == 1
    with torch.no_grad():
        before = 3 * net.conv1(images)
    assert (before > 6).any()
    assert (before < 0).any()
    # The only activation, by hand: back from the score, through the bent rule, back to the pixels.
    into = torch.zeros(1, 8, 4, 6) + net.fc.weight.detach()[1, None, :, None, None] / 24
    arriving = functional.conv_transpose2d(into, net.conv2.weight.detach(), stride=2, padding=1, output_padding=1)
    opened = (before > 0) & (before < high)
    rules = {"gradient": arriving * opened, "guided-backprop": arriving.clamp(min=0) * opened}
    rules["deconvnet"] = arriving.clamp(min=0)
    forward = nets.run(net, images, parts={"guided_grads"})
    for name, leaving in rules.items():
        expected = functional.conv_transpose2d(3 * leaving, net.conv1.weight.detach(), padding=1)
        torch.testing.assert_close(
            methods.get(name).function(Evidence(forward, nets.of_class(CLASS))), expected, rtol=1e-5, atol=1e-6
        )


def test_other_activations_are_left_alone_and_counted() -> None:
    for activation, name in ((nn.Hardtanh(), "hardtanh"), (nn.SiLU(inplace=True), "silu"), (nn.GELU(), "gelu")):
        net, images = Activates(activation).eval(), nets.noise(1, 3, 8, 12)
        traced = trace(net, images)
        assert (traced.rectifiers, traced.others) == (0, {name: 1})
        evidence = Evidence(nets.run(net, images, parts={"guided_grads"}), nets.of_class(CLASS))
        assert torch.equal(evidence.guided_grads, evidence.input_grads)
        assert evidence.input_grads.any()


def test_relus_that_shape_a_weight_are_not_counted() -> None:
    """Swin v2 runs ReLUs on a constant table of positions: bending them guides nothing."""
    traced = trace(models.blueprint(ModelSpec("swin_v2_t")).net, torch.zeros(1, 3, 256, 256, device="meta"))
    assert (traced.rectifiers, set(traced.others)) == (0, {"gelu"})
