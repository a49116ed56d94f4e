"""Texts, bound into an image-text network: each is a class, whose score is how well it goes with the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from camcli.tasks.classify import Reading
from camcli.tasks.match import Match
from camcli.tasks.task import Task


class Texts(nn.Module):
    """The scores of K texts (N, K) for pictures (N, 3, H, W): `scale` times their cosine, plus `bias`.

    name, tower: the part of the image-text network that sees, and the name that it has here. embed: gives the pictures'
    embeddings (N, D) by it, in what `embedding_of` reads. texts: theirs, (K, D). exclude: the texts compete for the
    picture (softmax); if not, each is judged alone (sigmoid).
    """

    def __init__(
        self,
        name: str,
        tower: nn.Module,
        embed: Callable[[nn.Module, Tensor], Any],
        texts: Tensor,
        scale: float,
        bias: float,
        *,
        exclude: bool,
    ) -> None:
        super().__init__()
        self.add_module(name, tower)
        self.tower, self.embed = name, embed
        self.scale, self.bias, self.exclude = scale, bias, exclude
        self.register_buffer("texts", nn.functional.normalize(texts, dim=1))

    def forward(self, images: Tensor) -> Tensor:
        found = embedding_of(self.embed(self.get_submodule(self.tower), images))
        pictures = nn.functional.normalize(found, dim=1)
        return self.scale * (pictures @ self.get_buffer("texts").T) + self.bias


def asked(model: Any, texts: Tensor, tower: tuple[str, nn.Module], embed: Callable[[nn.Module, Tensor], Any]) -> Texts:
    """The image-text network asked about texts of these embeddings (K, D). `tower`: (name, the part that sees)."""
    bias = getattr(model, "logit_bias", None)
    with torch.no_grad():
        scale = float(model.logit_scale.exp())
        # SigLIP has a bias, as each of its texts is judged alone.
        return Texts(*tower, embed, texts, scale, 0.0 if bias is None else float(bias), exclude=bias is None)


def embedding_of(features: Any) -> Tensor:
    """The embedding in what a network gives of pictures or texts.

    transformers 5 wraps it; open_clip's CoCa gives it before its tokens.
    """
    if isinstance(features, tuple):
        features = features[0]
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found


def read(net: nn.Module, multi_label: bool) -> tuple[Task, int]:
    """(the reading of the scores of its texts, their number)."""
    assert isinstance(net, Texts)
    count = len(net.get_buffer("texts"))
    activation: Reading = "softmax" if count > 1 else "none"
    if multi_label or not net.exclude:
        activation = "sigmoid"
    return Match(activation=activation, scale=net.scale, bias=net.bias), count
