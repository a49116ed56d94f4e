"""A backbone of transformers, which has no head, as a module that gives each picture's embedding."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

# What of a backbone's output the embedding is.
Part = Literal["pooler_output", "class token", "mean"]

SAID = {
    "pooler_output": "its pooler_output",
    "class token": "its class token, after the last layer",
    "mean": "the mean of its last map or tokens, over all places",
}


class Backbone(nn.Module):
    """Gives the embedding (N, D) of pictures (N, 3, H, W): that `part` of what the backbone gives."""

    def __init__(self, model: nn.Module, part: Part) -> None:
        super().__init__()
        self.model, self.part = model, part

    def forward(self, images: Tensor) -> Tensor:
        output: Any = self.model(pixel_values=images)
        if self.part == "pooler_output":
            return torch.flatten(output.pooler_output, 1)
        last: Tensor = output.last_hidden_state
        if self.part == "class token":
            return last[:, 0]
        return last.flatten(2).mean(2) if last.ndim == 4 else last.mean(1)


def part_of(model: nn.Module, images: Tensor, *, pools: bool) -> Part:
    """The part of the output for such pictures that is the embedding: what the backbone pools, if it `pools` by weights
    that were trained; else the class token; of one without, the mean."""
    with torch.no_grad():
        output = model(pixel_values=images)
    if pools and getattr(output, "pooler_output", None) is not None:
        return "pooler_output"
    named = any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters())
    return "class token" if named and output.last_hidden_state.ndim == 3 else "mean"
