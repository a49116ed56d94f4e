"""What a forward leaves behind (nothing), what it computes (derivatives), and what it costs (counted calls)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from variants import thinned

from camcli import methods
from camcli.errors import SetupError
from camcli.layers.tracing import trace
from camcli.network.evidence import Evidence
from camcli.network.layer import Layer, Layout
from camcli.network.parts import ALWAYS, COMBINES

CLASS = torch.tensor([1])


class State:
    """Everything of a network that explaining it must not change."""

    def __init__(self, net: nn.Module) -> None:
        self.values = {name: value.clone() for name, value in net.state_dict().items()}
        self.flags = self._flags(net)

    @staticmethod
    def _flags(net: nn.Module) -> Any:
        return (
            [(name, module.training, dict(module.__dict__).keys()) for name, module in net.named_modules()],
            [(name, p.requires_grad, p.grad, id(p), p.data_ptr()) for name, p in net.named_parameters()],
            [
                (name, hooks, dict(value))
                for name, module in net.named_modules()
                for hooks, value in vars(module).items()
                if "hooks" in hooks
            ],
        )

    def check(self, net: nn.Module) -> None:
        after = net.state_dict()
        assert list(after) == list(self.values)
        assert all(torch.equal(after[name], value) for name, value in self.values.items())
        assert self._flags(net) == self.flags
        assert not any(hooks for _, _, hooks in self.flags[2])
        assert all(p.grad is None for p in net.parameters())


def _half_frozen() -> nn.Sequential:
    """Batch norm that would learn, dropout that would drop, and flags that differ from module to module."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    nets.fill(net)
    net[0].requires_grad_(False)
    net[3].eval()
    return net


@pytest.mark.parametrize("name", thinned(methods.names(), 3))
def test_model_is_bit_identical_after_each_method(name: str) -> None:
    net, images = _half_frozen(), nets.noise(2, 3, 9, 14)
    before = State(net)
    grad_mode = torch.is_grad_enabled()
    method = methods.get(name)
    kept = nets.layers_of(net, images[:1])
    before.check(net)
    stages = {kept[0].name: kept}

    def values() -> Tensor | None:
        forward = nets.run(net, images, kept, method.needs, stages=stages)
        try:
            return method.function(Evidence(forward, nets.of_class(torch.tensor([0, 2])), kept[0]))
        except SetupError:  # the method is for other networks
            return None

    first = values()
    before.check(net)
    assert torch.is_grad_enabled() == grad_mode
    # Had dropout or batch statistics been at work, the second run would differ.
    again = values()
    assert (first is None and again is None) or torch.equal(first, again)  # type: ignore[arg-type]


class Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("boom"), SetupError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_model_is_bit_identical_after_the_network_raises(error: BaseException, raised: type[BaseException]) -> None:
    net, images = nn.Sequential(*_half_frozen()[:5], Raises(error)).train(), nets.noise(1, 3, 9, 14)
    layer = Layer("3", net[3], Layout((4, 7, 12), "channels first", (9, 14)), "")
    before = State(net)
    with pytest.raises(raised):
        nets.run(net, images, [layer], parts={"guided_grads"})
    before.check(net)
    with pytest.raises(raised):
        trace(net, images)
    before.check(net)
    assert torch.is_grad_enabled()
    assert functional.relu(torch.ones(1, requires_grad=True)).grad_fn.__class__.__name__ == "ReluBackward0"


def test_model_is_bit_identical_after_a_method_raises() -> None:
    net, images = _half_frozen(), nets.noise(1, 3, 9, 14)
    before = State(net)
    forward = nets.run(net, images, nets.layers_of(net, images))
    with pytest.raises(RuntimeError, match="needs"):
        methods.get("grad-cam").function(Evidence(forward, nets.of_class(CLASS), None))
    with pytest.raises(RuntimeError, match="index 99 is out of bounds"):
        methods.get("grad-cam").function(
            Evidence(forward, nets.of_class(torch.tensor([99])), nets.layers_of(net, images)[0])
        )
    before.check(net)


def test_images_are_not_touched() -> None:
    class Scribbles(nets.Convolutional):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    images = nets.noise(1, 3, 8, 12)
    before = images.clone()
    forward = nets.run(Scribbles().eval(), images, parts={"guided_grads"})
    assert torch.equal(images, before)
    assert torch.equal(Evidence(forward, nets.of_class(CLASS)).images, before)
    assert not images.requires_grad


def _numeric(function: Callable[[Tensor], Tensor], at: Tensor, where: Sequence[tuple[int, ...]]) -> Tensor:
    """Central differences of a scalar function at some positions."""
    step, slopes = 1e-6, []
    for position in where:
        up, down = at.clone(), at.clone()
        up[position] += step
        down[position] -= step
        slopes.append((function(up) - function(down)) / (2 * step))
    return torch.stack(slopes)


def test_gradients_are_finite_differences() -> None:
    net = nets.Convolutional(functional=True, inplace=True).double().eval()
    images = nets.noise(1, 3, 8, 12).double()
    (layer,) = nets.layers_of(net, images, "conv2")
    forward = nets.run(net, images, [layer], parts={"guided_grads"})
    evidence = Evidence(forward, nets.of_class(CLASS), layer)
    grads, input_grads = evidence.grads, evidence.input_grads

    def from_layer(acts: Tensor) -> Tensor:
        return net.fc(acts.relu().mean((2, 3)))[0, 1]  # type: ignore[no-any-return]

    with torch.no_grad():
        where = [(0, k, y, x) for k in range(8) for y, x in ((0, 0), (3, 5), (1, 4))]
        expected = _numeric(from_layer, evidence.acts, where)
        torch.testing.assert_close(torch.stack([grads[i] for i in where]), expected, rtol=1e-6, atol=1e-9)
        assert expected.any()
        where = [(0, c, y, x) for c in range(3) for y, x in ((0, 0), (7, 11), (3, 6), (5, 2))]
        expected = _numeric(lambda x: net(x)[0, 1], images, where)
        found = torch.stack([input_grads[i] for i in where])
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        assert expected.any()


def test_callers_no_grad_does_not_matter() -> None:
    net, images = nets.Convolutional().eval(), nets.noise(1, 3, 8, 12)
    (layer,) = nets.layers_of(net, images, "conv2")
    expected = Evidence(nets.run(net, images, [layer]), nets.of_class(CLASS), layer).grads
    with torch.no_grad():
        assert torch.equal(Evidence(nets.run(net, images, [layer]), nets.of_class(CLASS), layer).grads, expected)


class Calls:
    """Counts the network's forwards and autograd's backwards."""

    def __init__(self, net: nn.Module, patch: pytest.MonkeyPatch) -> None:
        self.forwards = self.backwards = 0
        net.register_forward_pre_hook(self._forward)
        grad = torch.autograd.grad

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.backwards += 1
            return grad(*args, **kwargs)

        patch.setattr(torch.autograd, "grad", counted)

    def _forward(self, module: nn.Module, args: Any) -> None:
        self.forwards += 1


def test_one_forward_and_one_backward_per_rule_source_and_target(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = nets.Convolutional().eval(), nets.noise(3, 3, 8, 12)
    kept = nets.layers_of(net, images[:1], "conv1", "conv2")
    calls = Calls(net, monkeypatch)
    forward = nets.run(net, images, kept, parts={"guided_grads"})
    class_ids = [torch.tensor(ids) for ids in ([0, 1, 2], [3, 3, 3], [0, 1, 2])]
    for name in ("grad-cam", "guided-backprop", "guided-grad-cam", "gradient", "deconvnet", "grad-cam"):
        for ids in class_ids:
            for layer in kept:
                methods.get(name).function(Evidence(forward, nets.of_class(ids), layer))
    # Two different targets x (two layers under one rule, the pixels under three).
    assert (calls.forwards, calls.backwards) == (1, 2 * (2 + 3))


def test_any_number_of_gradient_cams_is_one_forward_and_one_partial_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = nets.Convolutional().eval(), nets.noise(3, 3, 8, 12)
    (layer,) = nets.layers_of(net, images[:1], "conv2")
    calls = Calls(net, monkeypatch)
    asked = [m for m in map(methods.get, methods.names()) if m.needs - ALWAYS - COMBINES == {"acts", "grads"}]
    asked = [m for m in asked if m.name != "finer-cam"]  # it is about the difference to other classes
    assert {m.name for m in asked} == {
        *("grad-cam", "eigen-grad-cam", "grad-cam-elementwise", "grad-cam-pp", "hires-cam", "layer-cam", "xgrad-cam")
    }
    trunk: list[bool] = []
    net.conv1.register_forward_hook(lambda module, args, output: trunk.append(output.requires_grad))
    forward = nets.run(net, images, [layer], parts=frozenset().union(*(m.needs for m in asked)))
    for m in asked:
        m.function(Evidence(forward, nets.of_class(torch.tensor([0, 1, 2])), layer))
    assert (calls.forwards, calls.backwards, trunk) == (1, 1, [False])


def test_trunk_records_no_graph_for_maps_and_nothing_for_predictions() -> None:
    net, images = nets.Convolutional().eval(), nets.noise(1, 3, 8, 12)
    seen: list[tuple[bool, bool]] = []
    (layer,) = nets.layers_of(net, images, "conv2")

    def note(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.append((args[0].requires_grad, output.requires_grad))

    net.conv2.register_forward_hook(note)
    net.fc.register_forward_hook(note)
    nets.run(net, images, [layer])
    # The output is seen as it is handed on: with a graph that begins there.
    assert seen == [(False, True), (True, True)]
    seen.clear()
    nets.run(net, images)
    assert seen == [(False, False), (False, False)]
    seen.clear()
    nets.run(net, images, [layer], parts={"guided_grads"})
    assert seen == [(True, True), (True, True)]


@pytest.mark.parametrize("to_pixels", [False, True])
def test_two_layers_in_sequence_have_the_gradients_of_each_alone(to_pixels: bool) -> None:
    net, images = nets.Convolutional(inplace=True).eval(), nets.noise(1, 3, 8, 12)
    early, late = nets.layers_of(net, images, "conv1", "conv2")
    both = nets.run(net, images, [early, late], {"input_grads"} if to_pixels else ())
    acts = net.conv1(images).detach().requires_grad_()
    (expected,) = torch.autograd.grad(net.fc(net.conv2(acts.relu()).relu().mean((2, 3)))[0, 1], acts)
    torch.testing.assert_close(Evidence(both, nets.of_class(CLASS), early).grads, expected, rtol=1e-6, atol=1e-9)
    assert torch.equal(Evidence(both, nets.of_class(CLASS), early).acts, acts)
    for layer in (early, late):
        alone = Evidence(nets.run(net, images, [layer]), nets.of_class(CLASS), layer)
        assert torch.equal(Evidence(both, nets.of_class(CLASS), layer).grads, alone.grads)
        assert alone.grads.any()


def test_last_call_of_a_shared_layer_counts() -> None:
    class Repeats(nets.Convolutional):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            for _ in range(3):
                x = self.shared(x).relu()
            return self.fc(self.conv2(x).mean((2, 3)))  # type: ignore[no-any-return]

    net, images = Repeats(), nets.noise(1, 3, 8, 12)
    nets.fill(net.eval())
    (layer,) = nets.layers_of(net, images, "shared")
    evidence = Evidence(nets.run(net, images, [layer]), nets.of_class(CLASS), layer)
    with torch.no_grad():
        acts = net.conv1(images)
        for _ in range(2):
            acts = net.shared(acts).relu()
        acts = net.shared(acts)
    acts.requires_grad_()
    (expected,) = torch.autograd.grad(net.fc(net.conv2(acts.relu()).mean((2, 3)))[0, 1], acts)
    assert torch.equal(evidence.acts, acts)
    torch.testing.assert_close(evidence.grads, expected, rtol=1e-6, atol=1e-9)


def test_map_is_where_the_class_is_and_moves_with_it() -> None:
    images = torch.zeros(2, 3, 24, 40)
    images[0, 0, 4:8, 28:36] = images[1, 0, 16:20, 0:4] = 1  # red
    images[0, 2, 12:20, 4:8] = images[1, 2, 8:12, 20:24] = 1  # blue
    net = nets.RedBlue().eval()
    (layer,) = nets.layers_of(net, images[:1])
    forward = nets.run(net, images, [layer])
    red, blue = (
        methods.get("grad-cam").function(Evidence(forward, nets.of_class(torch.tensor([i, i])), layer)) for i in (0, 1)
    )
    assert layer.shape == (2, 6, 10)
    assert red[0].nonzero().tolist() == [[1, 7], [1, 8]]
    assert blue[0].nonzero().tolist() == [[3, 1], [4, 1]]
    assert red[1].nonzero().tolist() == [[4, 0]]
    assert blue[1].nonzero().tolist() == [[2, 5]]
    # By hand: the detector answers 1, the pool's mean is over 60 places.
    torch.testing.assert_close(red[0, 1, 7].item(), 1 / 60 / 1, rtol=1e-6, atol=0)


def test_outputs_that_are_no_tensor_or_no_classes_are_refused() -> None:
    net, images = nets.Convolutional().eval(), nets.noise(1, 3, 8, 12)
    pair = Layer("pair", nn.LSTM(12, 4), Layout((1, 1, 1), "channels first", (8, 12)), "")
    pair.module.eval()
    recurrent = nn.Sequential(pair.module)
    with pytest.raises(SetupError, match="'pair' gives no tensor"):
        nets.run(recurrent, images[0], [pair])
    with pytest.raises(SetupError, match="no classifier"):
        trace(net.conv1, images)
