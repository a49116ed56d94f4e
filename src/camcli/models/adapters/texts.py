"""Texts, bound into an image-text network: each is a class, whose score is how well it goes with the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Texts(nn.Module):
    """The scores of K texts (N, K) for pictures (N, 3, H, W): `scale` times their cosine, plus `bias`.

    model: the image-text network, whose `get_image_features` gives the picture's embedding. texts: theirs, (K, D).
    exclude: the texts compete for the picture (softmax); if not, each is judged alone (sigmoid).
    """

    def __init__(self, model: nn.Module, texts: Tensor, scale: float, bias: float, *, exclude: bool) -> None:
        super().__init__()
        self.model = model
        self.scale, self.bias, self.exclude = scale, bias, exclude
        self.register_buffer("texts", nn.functional.normalize(texts, dim=1))

    def forward(self, images: Tensor) -> Tensor:
        features: Callable[..., Any] = self.model.get_image_features  # type: ignore[assignment]
        pictures = nn.functional.normalize(embedding_of(features(pixel_values=images)), dim=1)
        texts = self.get_buffer("texts")
        return self.scale * (pictures @ texts.T) + self.bias


def bound(model: Any, encoded: Any) -> Texts:
    """The network with these texts, as its tokenizer has encoded them. Its part for texts is let go."""
    with torch.no_grad():
        texts = embedding_of(model.get_text_features(**encoded))
        scale = float(model.logit_scale.exp())
        # SigLIP has a bias, as each of its texts is judged alone.
        exclude = not hasattr(model, "logit_bias")
        bias = 0.0 if exclude else float(model.logit_bias)
    model.text_model = nn.Identity()
    return Texts(model, texts, scale, bias, exclude=exclude)


def embedding_of(features: Any) -> Tensor:
    """The embedding in what `get_image_features` gives: transformers 5 wraps it."""
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found
