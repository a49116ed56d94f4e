"""Detectors of queries out of a folder (DETR and its kin), against transformers' own post-processing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from shell import SAMPLES, refused, run

from camcli.models.adapters.queries import Sizes

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
_ATTENDS: Any = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 32}


def _config(name: str, **fields: Any) -> Any:
    return getattr(transformers, f"{name}Config")(**fields)


def _yolos() -> tuple[Any, Any]:
    given: Any = {"image_size": [64, 96], "patch_size": 16, "num_detection_tokens": 6, "num_labels": 4}
    net = transformers.YolosForObjectDetection(_config("Yolos", **_ATTENDS, **given))
    processor: Any = transformers.YolosImageProcessor
    return net, processor(size={"shortest_edge": 64, "longest_edge": 96})


_SMALL: Any = {f"{part}_{word}": 2 for part in ("encoder", "decoder") for word in ("layers", "attention_heads")}
_WIDE: Any = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 32}
_OURS: Any = {"use_timm_backbone": False, "backbone": None, "use_pretrained_backbone": False, "num_labels": 4}


def _of_resnet(family: str, processor: str, *stages: str, **given: Any) -> tuple[Any, Any]:
    """A detector over a small ResNet."""
    backbone = _config(
        "ResNet", embedding_size=8, hidden_sizes=[8, 16, 32, 48], depths=[1, 1, 1, 1], out_features=list(stages)
    )
    words: Any = transformers
    net = getattr(words, f"{family}ForObjectDetection")(
        _config(family, backbone_config=backbone, **_OURS, **_SMALL, **_WIDE, **given)
    )
    return net, getattr(words, f"{processor}ImageProcessor")(size={"shortest_edge": 200, "longest_edge": 250})


def _deformable(**given: Any) -> tuple[Any, Any]:
    stages = ("stage2", "stage3", "stage4")
    return _of_resnet("DeformableDetr", "DeformableDetr", *stages, num_queries=40, **given)


def _lw_detr() -> tuple[Any, Any]:
    backbone = _config(
        "LwDetrViT",
        **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 128, "patch_size": 16},
        **{"pretrain_image_size": 128, "out_indices": [1, 2], "window_block_indices": [0], "num_windows": 4},
    )
    heads: Any = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "group_detr": 2}
    given: Any = {"projector_scale_factors": [1.0], "hidden_expansion": 0.5, "num_labels": 4, "num_queries": 10}
    sides: Any = {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 32}
    net = transformers.LwDetrForObjectDetection(_config("LwDetr", backbone_config=backbone, **heads, **given, **sides))
    processor: Any = transformers.DeformableDetrImageProcessor
    return net, processor(size={"height": 128, "width": 128})


def _rt_detr(family: str = "RTDetr", **more: Any) -> tuple[Any, Any]:
    backbone = _config(
        "RTDetrResNet",
        embedding_size=16,
        hidden_sizes=[16, 16, 32, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    wide: Any = dict.fromkeys(("encoder_hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_model"), 32)
    heads: Any = {"decoder_attention_heads": 2, "encoder_attention_heads": 2, "decoder_layers": 2, "num_queries": 10}
    given: Any = {"encoder_in_channels": [16, 32, 32], "decoder_in_channels": [32] * 3, "hidden_expansion": 0.5}
    config = _config(family, backbone_config=backbone, num_labels=4, **wide, **heads, **given, **more)
    words: Any = transformers
    net = getattr(words, f"{family}ForObjectDetection")(config)
    return net, words.RTDetrImageProcessor(size={"height": 128, "width": 128})


_PROJECTED = [f"model.model.input_proj.{i}" for i in range(4)]
_DECODED = [f"model.model.decoder_input_proj.{i}" for i in range(3)]
MADE: dict[str, tuple[Callable[[], tuple[Any, Any]], list[str]]] = {
    "detr": (partial(_of_resnet, "Detr", "Detr", "stage4", num_queries=8), ["model.model.input_projection"]),
    "yolos": (_yolos, ["model.vit.encoder.layer.1.layernorm_before"]),
    "rt_detr": (_rt_detr, _DECODED),
    "rt_detr_v2": (partial(_rt_detr, "RTDetrV2"), _DECODED),
    "d_fine": (
        partial(_rt_detr, "DFine", feat_strides=[8, 16, 32], eval_idx=-1),
        [f"model.model.encoder.{name}" for name in ("fpn_blocks.1", "pan_blocks.0", "pan_blocks.1")],
    ),
    "deformable": (_deformable, _PROJECTED),
    "two_stage": (partial(_deformable, two_stage=True, with_box_refine=True), _PROJECTED),
    "conditional": (
        partial(_of_resnet, "ConditionalDetr", "ConditionalDetr", "stage4", num_queries=40),
        ["model.model.input_projection"],
    ),
    "table": (
        partial(_of_resnet, "TableTransformer", "Detr", "stage4", num_queries=8),
        ["model.model.input_projection"],
    ),
    "lw_detr": (_lw_detr, ["model.model.backbone.projector"]),
}


def saved(name: str) -> str:
    torch.manual_seed(0)
    words: Any = transformers.logging
    words.disable_progress_bar()
    net, processor = MADE[name][0]()
    net.config.id2label = {i: f"thing {i}" for i in range(4)}
    for key, weights in net.named_parameters():  # queries that differ, and classes that do
        if "class" in key or "score" in key or "query" in key:
            torch.nn.init.normal_(weights.data, std=0.5)
    net.save_pretrained(name)
    processor.save_pretrained(name)
    return f"hf:{name}"


# Building the others takes seconds.
QUICK = {"detr", "conditional"}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive) for name in MADE]


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_theirs(name: str) -> None:
    outcome = run(
        "explain", PHOTO, "-m", saved(name), "--threshold", 0, "-c", "#1", "--top", 200, "--save", "none", "--json"
    )
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    kind: Any = type(MADE[name][0]()[0])
    net = kind.from_pretrained(name).eval()
    processing: Any = transformers.AutoImageProcessor
    processor = processing.from_pretrained(name)
    with Image.open(PHOTO) as photo, torch.no_grad():
        size = (photo.height, photo.width)
        given = processor(photo.convert("RGB"), return_tensors="pt")
        output = net(pixel_values=given["pixel_values"])
    (theirs,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[size])
    order = theirs["scores"].argsort(descending=True)
    found = row["top"]
    assert len(found) == len(order)
    # Their resize rounds to levels of 255.
    np.testing.assert_allclose([one["probability"] for one in found], theirs["scores"][order], atol=2e-2)
    best, label = theirs["boxes"][order[0]].numpy(), int(theirs["labels"][order[0]])
    assert (found[0]["id"], found[0]["label"]) == (label, f"thing {label}")
    np.testing.assert_allclose(found[0]["where"]["box"], best, atol=2)
    # The logit is the query's own, before the activation.
    near = (output.logits[0, :, label] - found[0]["logit"]).abs().min()
    assert float(near) < 0.05
    assert row["layer"] in MADE[name][1]
    assert row["explanations"][0]["layer"] in MADE[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_are_listed(name: str) -> None:
    told = json.loads(run("layers", saved(name), "--json").out)
    assert [own["layer"] for own in told.get("levels", [told])] == MADE[name][1]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("detr", (300, 400), (188, 250)),
        ("detr", (400, 300), (250, 188)),
        # YOLOS takes whole patches.
        ("yolos", (300, 400), (64, 80)),
        ("rt_detr", (300, 400), (128, 128)),
    ],
)
def test_the_size_of_a_picture(name: str, given: tuple[int, int], expected: tuple[int, int]) -> None:
    sizes = Sizes(MADE[name][0]()[1])
    assert sizes.of(*given) == sizes.of(*given) == expected


def test_a_detector_without_its_processor_is_refused() -> None:
    given = saved("yolos")
    Path("yolos/preprocessor_config.json").unlink()
    assert "preprocessor" in refused(3, "explain", PHOTO, "-m", given)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("GroundingDinoForObjectDetection", "it detects what texts say"),
        ("OneFormerForUniversalSegmentation", "it is told in words what to segment"),
        ("DetrForSegmentation", "its masks are objects', and no map of classes"),
    ],
)
def test_what_is_not_explained_is_refused_with_the_reason(kind: str, why: str) -> None:
    given = saved("yolos")
    config = Path("yolos/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": [kind]}))
    assert f"is a {kind}, which is not explained: {why}" in refused(3, "explain", PHOTO, "-m", given)
