"""A backward that is computed where the gradient is not zero gives what the dense one gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camcli.network.sparse import SparseBackward

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (1, 5), "padding": (0, 2), "dilation": (1, 2)},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    {"kernel_size": 4, "stride": 3},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
]


@pytest.mark.parametrize("how", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 3), (2, -1, -1), None])
def test_a_convolution(how: dict[str, Any], place: tuple[int, int, int] | None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 6, **how), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1)).requires_grad_(False)
    images = torch.randn(3, 4, 11, 13)

    def asked(given: Tensor) -> Tensor:
        out: Tensor = net(given)
        return out.sum() * 0 if place is None else out[place[0], :, place[1], place[2]].sum()

    assert torch.allclose(gradient(asked, images, sparse=True), gradient(asked, images, sparse=False), atol=1e-6)


def test_a_linear_layer_of_many_proposals() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).requires_grad_(False)
    proposals = torch.randn(50, 3, 2, 2)

    def asked(given: Tensor) -> Tensor:
        scores: Tensor = net(given)[17, 1]
        return scores

    found = gradient(asked, proposals, sparse=True)
    assert torch.allclose(found, gradient(asked, proposals, sparse=False), atol=1e-6)
    assert found[17].any()
    assert not found[:17].any()


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, padding=1), nn.Linear(13, 6)], ids=["convolution", "linear"])
def test_what_they_give_may_be_written_into(layer: nn.Module) -> None:
    """Deformable DETR adds its points of reference to a part of what a linear layer gives."""

    def asked(given: Tensor) -> Tensor:
        offsets: Tensor = layer.requires_grad_(False)(given)
        offsets[..., :2] += 3
        return offsets[1, 2, 3, 1]

    images = torch.randn(2, 4, 11, 13)
    torch.testing.assert_close(gradient(asked, images, sparse=True), gradient(asked, images, sparse=False))


def gradient(asked: Any, given: Tensor, *, sparse: bool) -> Tensor:
    leaf = given.clone().requires_grad_()
    if sparse:
        with SparseBackward():
            value = asked(leaf)
    else:
        value = asked(leaf)
    (found,) = torch.autograd.grad(value, leaf)
    return found
