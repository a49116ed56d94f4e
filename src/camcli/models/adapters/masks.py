"""Networks whose queries each give a mask and a class (MaskFormer, Mask2Former), as a segmentation of classes.

A class's score at a place is the sum over the queries of the class's probability times the mask's (arXiv:2107.06278
sec. 3.4, semantic inference).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_APART = ("transformer_module", "class_predictor", "mask_embedder", "pixel_level_module.decoder.encoder")


class Masks(nn.Module):
    """Gives the logarithms (N, classes, h, w) of these sums for pictures (N, 3, H, W).

    A sum over several queries may be above 1. Far from all masks it is too small for float32; its logarithm is not.

    size: the masks are brought to it first, as their network's processor does; None: as they are. apart: the names of
    the modules that hold queries, or tokens of several grids: none of these is a map of the picture.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.apart = tuple(name for name, _ in self.named_modules() if name.endswith(_APART))

    def forward(self, images: Tensor) -> Tensor:
        output: Any = self.model(pixel_values=images)
        masks = output.masks_queries_logits
        if self.size is not None:
            masks = nn.functional.interpolate(masks, self.size, mode="bilinear", align_corners=False)
        # The last class is that of no object.
        classes = output.class_queries_logits.softmax(2)[:, :, :-1]
        logs = nn.functional.logsigmoid(masks)
        largest = logs.amax(1, keepdim=True).detach()
        sums = torch.einsum("nqk,nqhw->nkhw", classes, (logs - largest).exp())
        return sums.clamp_min(torch.finfo(sums.dtype).tiny).log() + largest
