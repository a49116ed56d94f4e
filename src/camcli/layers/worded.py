"""A test that the tokens of a layer are places of the picture, and not the words that go in with it.

Words that have read the picture by attention can be as many as the cells of a grid, and every path crosses them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from camcli.errors import SetupError
from camcli.network.layer import TOKEN_AXES, Layer
from camcli.network.network import Network, on_run
from camcli.tasks.bound import given
from camcli.tasks.frozen import frozen


def check_places(network: Network, layer: Layer, image: Tensor, bound: Sequence[Tensor], model: str) -> None:
    """Look at a layer of tokens when fewer words go in with the picture (1, C, H, W). `bound`: tensors (1, …).

    Raises: SetupError: fewer tokens come out, and all of them would be taken for places; or the network takes no fewer
        words, and they are as many as the places.
    """
    layout = layer.layout
    if layout.arrangement not in TOKEN_AXES or layout.before or layout.after or layout.among:
        return
    words = [tensor.shape[1] for tensor in bound if tensor.ndim > 1 and tensor.shape[1] > 1]
    if not words:
        return
    tokens = _tokens(network, layer, image, bound)
    fewer = [tensor[:, :-1] if tensor.ndim > 1 and tensor.shape[1] == max(words) else tensor for tensor in bound]
    try:
        are_words = _tokens(network, layer, image, fewer) != tokens
    except SetupError:
        are_words = tokens in words
    if are_words:
        raise SetupError(
            f"the tokens of layer {layer.name!r} of {model} are words that go in with the picture, not places of it: "
            "name a layer before that with --layer"
        )


def _tokens(network: Network, layer: Layer, image: Tensor, bound: Sequence[Tensor]) -> int:
    """The number of the layer's tokens. Raises: SetupError: the network does not take what is bound."""
    counts: list[int] = []

    def count(output: Tensor) -> Tensor:
        counts.append(output.shape[layer.layout.token_axis])
        return output

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(frozen(network.net))
        stack.callback(given(network.net, bound).remove)
        stack.callback(on_run(layer, count).remove)
        network.outputs(image)
    return counts[-1]
