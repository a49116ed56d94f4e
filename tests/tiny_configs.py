"""Configs of small networks of transformers', by kind."""

from __future__ import annotations

from typing import Any

VIT: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 32, 48], "depths": [1, 1, 1, 1]}
WINDOWS: dict[str, Any] = {
    "image_size": 64,
    "embed_dim": 16,
    "depths": [1, 1, 1],
    "num_heads": [2, 2, 2],
    "window_size": 4,
}
