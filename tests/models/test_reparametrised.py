"""Files that keep the parts of a weight: computed exactly as the network itself does in eval mode, or refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

from camcli.errors import SetupError
from camcli.models.weights import filling, misfits, reparametrised


class Small(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 2)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.up(self.conv(x).relu()).relu().mean((2, 3)))
        return scores


def _pruned(net: Small) -> None:
    for module in (net.conv, net.up, net.fc):
        prune.l1_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    prune.random_unstructured(net.fc, "bias", amount=2)  # type: ignore[no-untyped-call]


def _pruned_twice(net: Small) -> None:
    prune.ln_structured(net.conv, "weight", amount=0.5, n=2, dim=0)  # type: ignore[no-untyped-call]
    prune.l1_unstructured(net.conv, "weight", amount=0.5)  # type: ignore[no-untyped-call]


def _trained(net: Small, change: Callable[[nn.Module], object]) -> None:
    """The stored vectors are of the last step, and so not those of the weight as it is after it."""
    for module in (net.conv, net.fc, net.up):
        change(module)
    net.train()
    net(nets.noise(2, 3, 8, 8))
    for parameter in net.parameters():
        parameter.data += 0.3 * nets.noise(*parameter.shape, seed=parameter.numel())


PARTS: dict[str, tuple[Callable[[Small], object], str]] = {
    "pruned": (_pruned, "4 weights computed from the parts that torch.nn.utils.prune keeps"),
    "pruned twice": (_pruned_twice, "1 weight computed from the parts that torch.nn.utils.prune keeps"),
    "weight_norm of old": (
        lambda net: [weight_norm(m) for m in (net.conv, net.up, net.fc)],
        "3 weights computed from the parts that weight_norm keeps",
    ),
    "weight_norm of old, over all": (lambda net: weight_norm(net.conv, dim=None), "1 weight computed"),  # type: ignore[arg-type]
    "weight_norm of old, by inputs": (lambda net: [weight_norm(m, dim=1) for m in (net.fc, net.up)], "2 weights"),
    "weight_norm": (
        lambda net: [parametrizations.weight_norm(m) for m in (net.conv, net.up, net.fc)],
        "3 weights computed from the parts that weight_norm keeps",
    ),
    "weight_norm of the bias": (lambda net: parametrizations.weight_norm(net.fc, "bias"), "1 weight computed"),
    "spectral_norm of old": (
        lambda net: _trained(net, spectral_norm),
        "3 weights computed from the parts that spectral_norm keeps",
    ),
    "spectral_norm": (
        lambda net: _trained(net, parametrizations.spectral_norm),
        "3 weights computed from the parts that spectral_norm keeps",
    ),
}


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
@pytest.mark.parametrize("classes", [5, 7])
@pytest.mark.parametrize("kind", PARTS)
def test_a_weight_is_computed_from_its_parts(kind: str, classes: int, prefix: str) -> None:
    change, said = PARTS[kind]
    made, empty = Small(classes), Small()
    nets.fill(made)
    made.fc.bias.data = nets.noise(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old ones are deprecated
        change(made)
    made.eval()
    state = {prefix + name: value.clone() for name, value in made.state_dict().items()}
    fit = filling.fill(empty, state, "it does not fit")
    images = nets.noise(2, 3, 9, 9)
    with torch.no_grad():
        assert torch.allclose(empty.eval()(images), made(images), rtol=1e-5, atol=1e-6)
        assert made(images).std() > 0
    assert misfits.remarks(fit, "x.pth")[0].startswith(f"x.pth: {said}")


def test_an_averaged_network_of_parts_is_read() -> None:
    made = Small()
    nets.fill(made)
    parametrizations.weight_norm(made.fc)
    averaged = AveragedModel(made).eval()
    empty = Small()
    filling.fill(empty, averaged.state_dict(), "it does not fit")
    images = nets.noise(2, 3, 9, 9)
    with torch.no_grad():
        assert torch.allclose(empty(images), averaged(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_network_that_has_the_parts_itself_gets_them_as_they_are(change: Callable[[nn.Module], object]) -> None:
    made = Small()
    nets.fill(made)
    change(made.fc)
    empty = copy.deepcopy(made)
    nets.fill(empty)
    fit = filling.fill(empty, made.state_dict(), "it does not fit")
    assert fit.computed == {}
    assert all(torch.equal(empty.state_dict()[name], value) for name, value in made.state_dict().items())


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def _with_more(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"fc.parametrizations.weight.1.factor": torch.ones(1)}


def _old_without_v() -> dict[str, Tensor]:
    net = Small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectral_norm(net.fc)
    return {name: value for name, value in net.state_dict().items() if name != "fc.weight_v"}


def _state_of(change: Callable[[Small], object]) -> dict[str, Tensor]:
    net = Small()
    change(net)
    return dict(net.state_dict())


# What can't be computed -> what the refusal says of the cause.
REFUSED: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "a parametrisation of one's own": (
        lambda: _state_of(lambda net: parametrize.register_parametrization(net.conv, "weight", Doubled())),
        "It is parametrised .torch.nn.utils.parametrize.*remove_parametrizations",
    ),
    "orthogonal": (lambda: _state_of(lambda net: parametrizations.orthogonal(net.fc)), "It is parametrised"),
    "two, one on the other": (
        lambda: _with_more(_state_of(lambda net: parametrizations.weight_norm(net.fc))),
        "It is parametrised",
    ),
    "spectral_norm of before torch 1.0": (_old_without_v, "remove_spectral_norm before saving"),
    "a mask of another shape": (
        lambda: _state_of(_pruned) | {"fc.weight_mask": torch.ones(1, 6)},
        "It is pruned .torch.nn.utils.prune.*prune.remove",
    ),
    "LoRA": (
        lambda: dict(Small().state_dict()) | {"fc.lora_A.default.weight": torch.ones(2, 6)},
        "It holds LoRA adapters.*merge_and_unload",
    ),
    "quantisation-aware": (
        lambda: dict(Small().state_dict()) | {"conv.weight_fake_quant.scale": torch.ones(1)},
        "network for integers .torch.ao.quantization.*float network",
    ),
    "quantised": (
        lambda: dict(Small().state_dict()) | {"fc.scale": torch.ones(1), "fc.zero_point": torch.ones(1)},
        "left over .fc.scale, fc.zero_point.. It is a network for integers",
    ),
    "integers by hand": (
        lambda: dict(Small().state_dict()) | {"fc.weight": torch.ones(5, 6, dtype=torch.int8)},
        "fc.weight is int8. It is a network for integers",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_computed_is_called_by_its_name(kind: str) -> None:
    make, said = REFUSED[kind]
    with pytest.raises(SetupError, match=said):
        filling.fill(Small(), make(), "tuned.pth does not fit Small")


def test_names_that_only_look_like_parts_stay_as_they_are() -> None:
    held = {
        "gate_g": torch.ones(3),
        "gate_v": torch.ones(4, 2),
        "a.weight_orig": torch.ones(2),
        "a.weight_v": torch.ones(2),
    }
    assert reparametrised.computed(held, ()) == (held, {})
