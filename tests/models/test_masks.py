"""MaskFormer and Mask2Former out of a folder: the segmentation is their processors' own, its layer the bottleneck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from shell import SAMPLES, run
from torch import nn

from camcli.inputs.decoding import read_frame
from camcli.inputs.preprocessing import view_of
from camcli.inputs.refs import ref_named
from camcli.models import load_model
from camcli.specs import Spec

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
CLASSES = 5
_STAGES = [f"stage{i}" for i in range(1, 5)]
_DECODER = "model.model.pixel_level_module.decoder"
LAYERS = {"MaskFormer": f"{_DECODER}.fpn.stem", "Mask2Former": f"{_DECODER}.input_projections.0"}


def _backbone(kind: str) -> Any:
    words: Any = transformers
    if kind == "Swin":
        sides: Any = {"image_size": 64, "embed_dim": 16, "window_size": 4}
        return words.SwinConfig(**sides, depths=[1] * 4, num_heads=[2] * 4, out_features=_STAGES)
    return words.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32, 48], depths=[1] * 4, out_features=_STAGES)


def _net(name: str, backbone: str) -> Any:
    words: Any = transformers
    torch.manual_seed(1)
    given: Any = {"backbone_config": _backbone(backbone), "num_labels": CLASSES, "mask_feature_size": 32}
    if name == "MaskFormer":
        heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
        decoder = words.DetrConfig(d_model=32, num_queries=12, encoder_layers=0, decoder_layers=2, **heads)
        config = words.MaskFormerConfig(**given, fpn_feature_size=32, decoder_config=decoder)
        net = words.MaskFormerForInstanceSegmentation(config)
    else:
        sides: Any = {"feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 32, "dim_feedforward": 32}
        layers: Any = {"encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 12}
        net = words.Mask2FormerForUniversalSegmentation(words.Mask2FormerConfig(**given, **sides, **layers))
    net.config.id2label = {i: f"thing {i}" for i in range(CLASSES)}
    for key, weights in net.named_parameters():  # queries that differ
        if "class_predictor" in key or "queries" in key:
            torch.nn.init.normal_(weights.data, std=2)
        if "mask_embedder" in key:
            torch.nn.init.normal_(weights.data, std=0.5)
    last = [part for key, part in net.named_modules() if "mask_embedder" in key and isinstance(part, nn.Linear)][-1]
    with torch.no_grad():  # masks of some of the picture, and no more than sigmoid can tell
        noise = torch.randn(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
        logits = net.eval()(pixel_values=noise).masks_queries_logits
        for weights in last.parameters():
            weights.mul_(3 / logits.std())
    return net


def saved(name: str, backbone: str = "ResNet", size: dict[str, int] | None = None) -> str:
    words: Any = transformers
    words.logging.disable_progress_bar()
    _net(name, backbone).save_pretrained(name)
    processor = getattr(words, f"{name}ImageProcessor")
    processor(size=size or {"height": 128, "width": 160}).save_pretrained(name)
    return f"hf:{name}"


def _theirs(name: str, view: torch.Tensor) -> tuple[Any, Any]:
    """(their segmentation of a view, their output)."""
    words: Any = transformers
    kind = type(_net(name, "ResNet"))
    with torch.no_grad():
        output = kind.from_pretrained(name).eval()(pixel_values=view)
    processor = words.AutoImageProcessor.from_pretrained(name)
    return processor.post_process_semantic_segmentation(output, return_segmentation_scores=True)[0], output


# Building Mask2Former over Swin takes seconds.
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("MaskFormer", "ResNet"),
        ("Mask2Former", "ResNet"),
        pytest.param("MaskFormer", "Swin", marks=pytest.mark.exhaustive),
        pytest.param("Mask2Former", "Swin", marks=pytest.mark.exhaustive),
    ],
)
def test_the_segmentation_is_their_processors(name: str, backbone: str) -> None:
    flags = ("--fit", "squash", "--top", 9, "-c", "top1", "--save", "none", "--json")
    outcome = run("explain", PHOTO, "-m", saved(name, backbone), *flags)
    assert outcome.code == 0, outcome.err
    assert "which may be above 1: the logarithm is explained" in outcome.err
    (row,) = outcome.rows
    assert row["layer"] == LAYERS[name]
    model = load_model(Spec(model=f"hf:{name}"))
    view = torch.from_numpy(view_of(read_frame(ref_named(0, str(PHOTO))), model.preset, "squash").pixels)[None]
    assert view.shape == (1, 3, 128, 160)
    theirs, _ = _theirs(name, view)
    predicted, numbers = theirs["segmentation"], theirs["segmentation_scores"]
    shares = torch.bincount(predicted.flatten(), minlength=CLASSES) / predicted.numel()
    if name == "Mask2Former":
        assert int((shares > 0).sum()) > 1, "a test of one class alone tells little"
    with torch.no_grad():
        torch.testing.assert_close(model.net(view)[0].exp(), numbers)
    found = {entry["id"]: entry for entry in row["top"]}
    assert sorted(found) == shares.nonzero()[:, 0].tolist()
    for key, entry in found.items():
        of_class = numbers[:, predicted == key]
        assert entry["where"]["share"] == pytest.approx(float(shares[key]), abs=1e-5)
        assert entry["logit"] == pytest.approx(float(of_class[key].log().mean()), abs=1e-3)
        assert entry["probability"] == pytest.approx(float((of_class[key] / of_class.sum(0)).mean()), abs=1e-4)
    answer = row["explanations"][0]
    assert (answer["target"]["id"], answer["max"] > 0) == (row["top"][0]["id"], True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_the_whole_picture_is_seen_at_its_own_aspect(name: str) -> None:
    given = saved(name, size={"shortest_edge": 96, "longest_edge": 160})
    outcome = run("explain", PHOTO, "-m", given, "--at", "100,50", "--save", "raw", "--json", "-o", "out")
    assert outcome.code == 0, outcome.err
    assert "more than 1.67 times as long as high are seen larger than its processor makes them" in outcome.err
    (row,) = outcome.rows
    assert row["layer"] == LAYERS[name]
    (answer,) = row["explanations"]
    assert answer["method"] == "hires-cam"
    assert np.load(answer["files"]["raw"])["values"].shape == (3, 4)


@pytest.mark.exhaustive
def test_without_a_processor_of_its_own_it_is_told() -> None:
    given = saved("MaskFormer")
    Path("MaskFormer/preprocessor_config.json").unlink()
    assert "no preset is known" in run("explain", PHOTO, "-m", given, "--save", "none").err


def test_what_the_network_is_shown_is_what_they_make_of_a_picture() -> None:
    preset = load_model(Spec(model=saved("Mask2Former"))).preset
    theirs: Any = transformers.AutoImageProcessor
    with Image.open(PHOTO) as photo:
        expected = theirs.from_pretrained("Mask2Former")(photo.convert("RGB"), return_tensors="np")["pixel_values"][0]
    ours = view_of(read_frame(ref_named(0, str(PHOTO))), preset, "squash").pixels
    assert ours.shape == expected.shape
    assert float(abs(ours - expected).max()) <= 1.01 / 255 / 0.224
