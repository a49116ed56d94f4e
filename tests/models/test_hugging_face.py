"""Hugging Face's image classifiers out of a folder: their layer, their labels, their preprocessing, their refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from shell import SAMPLES, refused, run
from tiny_configs import STAGES, VIT, WINDOWS

from camcli.inputs.decoding import read_frame
from camcli.inputs.preprocessing import view_of
from camcli.inputs.refs import ref_named
from camcli.models import load_model
from camcli.specs import Spec

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
CLASSES = 5
_DINO = {"image_size": 70, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_HEADS = {**STAGES, "num_attention_heads": [1, 2, 4, 4]}

# name: (classifier, its config, the expected layer, its map)
FAMILIES: dict[str, tuple[str, dict[str, Any], str, tuple[int, int, int]]] = {
    "ViT": ("ViT", VIT, "vit.layers.1.layernorm_before", (32, 8, 8)),
    "DeiT": ("DeiT", VIT, "deit.layers.1.layernorm_before", (32, 8, 8)),
    "Beit": ("Beit", VIT, "beit.layers.1", (32, 8, 8)),
    "IJepa": ("IJepa", VIT, "ijepa.layernorm", (32, 8, 8)),
    "ViTMSN": ("ViTMSN", VIT, "vit.layers.1.layernorm_before", (32, 8, 8)),
    "Dinov2": ("Dinov2", _DINO, "dinov2.layernorm", (32, 5, 5)),
    "Dinov2WithRegisters": ("Dinov2WithRegisters", _DINO, "dinov2_with_registers.layernorm", (32, 5, 5)),
    "Swin": ("Swin", WINDOWS | {"patch_size": 4}, "swin.layernorm", (64, 4, 4)),
    "Swinv2": ("Swinv2", WINDOWS | {"patch_size": 2}, "swinv2.layernorm", (64, 8, 8)),
    "ResNet": (
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 1]},
        "resnet.encoder.stages.2",
        (32, 4, 4),
    ),
    "RegNet": ("RegNet", STAGES | {"embedding_size": 8, "groups_width": 8}, "regnet.encoder.stages.3", (48, 2, 2)),
    "ConvNext": ("ConvNext", STAGES | {"num_stages": 4}, "convnext.encoder.stages.3", (48, 2, 2)),
    "ConvNextV2": ("ConvNextV2", STAGES | {"num_stages": 4}, "convnextv2.encoder.stages.3", (48, 2, 2)),
    "MobileNetV1": (
        "MobileNetV1",
        {"image_size": 64, "depth_multiplier": 0.25},
        "mobilenet_v1.layer.25",
        (256, 2, 2),
    ),
    "MobileNetV2": ("MobileNetV2", {"image_size": 64, "depth_multiplier": 0.25}, "mobilenet_v2.conv_1x1", (1280, 2, 2)),
    "MobileViT": (
        "MobileViT",
        {
            "image_size": 64,
            "hidden_sizes": [16, 20, 24],
            "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 64],
            "num_attention_heads": 2,
        },
        "mobilevit.conv_1x1_exp",
        (64, 2, 2),
    ),
    "PoolFormer": ("PoolFormer", STAGES, "norm", (48, 2, 2)),
    "Segformer": ("Segformer", _HEADS, "segformer.stages.3", (48, 2, 2)),
    "FocalNet": (
        "FocalNet",
        {
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1, 1],
            "hidden_sizes": [16, 32, 64],
            "focal_levels": [1, 1, 1],
            "focal_windows": [3, 3, 3],
        },
        "focalnet.layernorm",
        (64, 4, 4),
    ),
    "Bit": (
        "Bit",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1], "num_groups": 4},
        "bit.norm",
        (64, 2, 2),
    ),
    "SwiftFormer": ("SwiftFormer", {"embed_dims": [16, 16, 32, 48], "depths": [1, 1, 1, 1]}, "norm", (48, 2, 2)),
    "EfficientNet": (
        "EfficientNet",
        {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        "efficientnet.encoder.top_activation",
        (320, 2, 2),
    ),
    "Hiera": (
        "Hiera",
        {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4]},
        "hiera.encoder.stages.3",
        (128, 2, 2),
    ),
}
# They take one size of picture.
FIXED = {"ViT", "DeiT", "IJepa", "ViTMSN", "Hiera"}


def saved(name: str, *, side: int = 64, kind: str = "ForImageClassification", **processor: Any) -> str:
    """A folder with a small random network of that family, as `save_pretrained` writes it."""
    family, given, _, _ = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**given)
    config.id2label = {i: f"thing {i}" for i in range(CLASSES)}
    config.label2id = {label: i for i, label in config.id2label.items()}
    words_of_theirs: Any = transformers.logging
    words_of_theirs.disable_progress_bar()
    getattr(transformers, f"{family}{kind}")(config).save_pretrained(name)
    words = {
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.25, 0.5],
        "image_processor_type": "ViTImageProcessor",
    }
    Path(name, "preprocessor_config.json").write_text(json.dumps(words | processor))
    return f"hf:{name}"


def _size(name: str) -> int:
    return 70 if name.startswith("Dino") else 64


# The others are tried with all that is exhaustive.
QUICK = {"ViT", "Swinv2", "PoolFormer", "Dinov2WithRegisters", "ResNet"}


def _families(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive) for name in names]


@pytest.mark.parametrize("name", _families(FAMILIES))
def test_a_folder_is_explained_at_the_layer_that_it_should(name: str) -> None:
    outcome = run("explain", PHOTO, "-m", saved(name, side=_size(name)), "--save", "none", "--json", "-c", "thing 3")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert row["layer"] == FAMILIES[name][2]
    assert row["explanations"][0]["target"]["label"] == "thing 3"
    assert row["weights"] == name
    assert len(row["provenance"]["weights_sha256"]) == 64
    assert "transformers" in row["provenance"]["versions"]
    listed = run("layers", f"hf:{name}", "--json")
    assert json.loads(listed.out)["shape"] == list(FAMILIES[name][3])


@pytest.mark.parametrize("name", _families(sorted(FAMILIES.keys() - FIXED)))
def test_pictures_that_are_no_squares_lie_on_their_grid(name: str) -> None:
    size = ("70x98",) * 2 if name.startswith("Dino") else ("64x96",) * 2
    given = saved(name, side=_size(name))
    outcome = run(
        "explain", PHOTO, "-m", given, "--resize", size[0], "--crop", size[1], "--save", "raw", "--json", "-o", "out"
    )
    assert outcome.code == 0, outcome.err
    values = np.load(outcome.rows[0]["explanations"][0]["files"]["raw"])["values"]
    _, height, width = FAMILIES[name][3]
    assert values.shape == (height, width * 7 // 5 if name.startswith("Dino") else width * 3 // 2)


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"resample": 3}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}, "resample": 3},
        ),
        ("BitImageProcessor", {"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}, "resample": 3}),
    ],
)
def test_pictures_are_made_ready_as_the_processor_does(processor: str, words: dict[str, Any]) -> None:
    folder = saved("ResNet", **words, image_processor_type=processor)
    theirs: Any = transformers.AutoImageProcessor
    processed = theirs.from_pretrained(folder.removeprefix("hf:"))
    with Image.open(PHOTO) as photo:
        expected = processed(photo.convert("RGB"), return_tensors="np")["pixel_values"][0]
    preset = load_model(Spec(model=folder)).preset
    ours = view_of(read_frame(ref_named(0, str(PHOTO))), preset, "crop").pixels
    assert ours.shape == expected.shape
    # One level of 255 where their resize is not Pillow's.
    assert float(abs(ours - expected).max()) <= 1.01 / 255 / 0.25
    assert float((abs(ours - expected) > 1e-5).mean()) < 0.01


def _without_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {key: own for key, own in tensors.items() if "classifier" not in key},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _changed(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_without_head, "lacks classifier.1.bias, classifier.1.weight: it has no such head, or another"),
        (_pickled, "model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (partial(_changed, architectures=["ResNetThing"]), "is a ResNetThing: transformers' image classifiers"),
        (
            partial(_changed, model_type="mine", auto_map={"AutoConfig": "mine.Config"}),
            "code of its own, which is not run",
        ),
        (partial(_changed, num_labels=7, id2label={str(i): str(i) for i in range(7)}), "lacks classifier.1"),
    ],
)
def test_what_is_no_classifier_of_its_own_is_refused(harm: Callable[[Path], object], said: str) -> None:
    given = saved("ResNet")
    harm(Path("ResNet"))
    assert said in refused(3, "explain", PHOTO, "-m", given)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("-m", "hf:./nowhere"), 3, "no such folder"),
        (("-m", "hf:ResNet", "-w", "IMAGENET1K_V1"), 2, "has its own; --weights FILE names others"),
        (("-m", "hf:ResNet", "--model-arg", "num_labels=3"), 2, "is built as its config.json says"),
    ],
)
def test_wrong_requests(flags: tuple[str, ...], code: int, said: str) -> None:
    saved("ResNet")
    assert said in refused(code, "explain", PHOTO, *flags)


def test_a_hub_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    said = refused(3, "explain", PHOTO, "-m", "hf:nobody/nothing")
    assert "can't get hf:nobody/nothing from the hub" in said
    assert "name its folder, hf:./FOLDER" in said


def test_random_weights_and_a_file_of_ones_own() -> None:
    given = saved("ResNet")
    assert run("explain", PHOTO, "-m", given, "-w", "none", "--save", "none").code == 0
    rows = [
        run("explain", PHOTO, "-m", given, *weights, "--save", "none", "--json").rows[0]
        for weights in ((), ("-w", "ResNet/model.safetensors"))
    ]
    assert rows[0]["top"] == rows[1]["top"]
    assert rows[0]["explanations"][0]["fingerprint"] == rows[1]["explanations"][0]["fingerprint"]


def test_without_transformers_it_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: None)
    assert "pip install camcli[hf]" in refused(3, "explain", PHOTO, "-m", "hf:x/y")


def _segmenter(name: str) -> str:
    """A folder with a small random SegFormer, or an UPerNet over a ResNet, as `save_pretrained` writes it."""
    torch.manual_seed(0)
    stages = {"hidden_sizes": [8, 16, 32, 48], "depths": [1, 1, 1, 1]}
    words: Any = transformers
    if name == "Segformer":
        config = words.SegformerConfig(**stages, num_attention_heads=[1, 2, 4, 4], decoder_hidden_size=16)
    else:
        named = [f"stage{i}" for i in range(1, 5)]
        backbone = words.ResNetConfig(embedding_size=8, **stages, out_features=named)
        sides = {"auxiliary_in_channels": 32, "auxiliary_channels": 8, "hidden_size": 16}
        config = words.UperNetConfig(backbone_config=backbone, **sides)
    config.id2label = {i: f"thing {i}" for i in range(4)}
    words.logging.disable_progress_bar()
    getattr(words, f"{name}ForSemanticSegmentation")(config).save_pretrained(name)
    words.SegformerImageProcessor(size={"height": 128, "width": 128}).save_pretrained(name)
    return f"hf:{name}"


@pytest.mark.parametrize(
    ("name", "layer"), [("Segformer", "segformer.stages.3"), ("UperNet", "backbone.encoder.stages.3")]
)
def test_segmentation_out_of_a_folder(name: str, layer: str) -> None:
    outcome = run("explain", PHOTO, "-m", _segmenter(name), "-c", "top1", "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert row["layer"] == layer
    assert row["top"][0]["label"].startswith("thing ")
    assert sum(entry["where"]["share"] for entry in row["top"]) == pytest.approx(1, abs=1e-4)
