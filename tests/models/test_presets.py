from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camcli.errors import RequestError
from camcli.models import preset_values, presets
from camcli.records import Preset, both

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Preset(256, 224, MEAN, STD, "bilinear")
GREY = Preset(32, 28, (0.1307,), (0.3081,), "bilinear")
HALF = (0.5, 0.5, 0.5)


def saved(data: object, name: str = "preset.json") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def fields_in(data: object) -> dict[str, Any]:
    return presets.read(saved(data))


def refusal(data: object) -> str:
    with pytest.raises(RequestError) as caught:
        fields_in(data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.startswith("preset.json: ")
    return message.removeprefix("preset.json: ")


def change_refused(preset: Preset, **fields: object) -> str:
    with pytest.raises(RequestError) as caught:
        presets.changed(preset, fields)
    return str(caught.value)


OURS: dict[str, Any] = {
    **{"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    **{"interpolation": "bicubic", "squash": True},
}


def test_our_own_form_gives_what_it_says() -> None:
    expected = {"resize": 256, "crop": 224, "mean": MEAN, "std": STD, "interpolation": "bicubic", "squash": True}
    assert fields_in(OURS) == expected
    for key, value in OURS.items():
        assert fields_in({key: value, "author": "me"}) == {key: expected[key]}
    assert fields_in({"mean": [0], "std": [1], "crop": None}) == {"mean": (0.0,), "std": (1.0,)}
    assert fields_in({"mean": 0.5, "std": 1}) == {"mean": (0.5,), "std": (1.0,)}
    assert fields_in({"interpolation": "Bicubic"}) == {"interpolation": "bicubic"}


# timm/resnet50.a1_in1k's own config.json, shortened.
TIMM: dict[str, Any] = {
    **{"tag": "a1_in1k", "input_size": [3, 224, 224], "fixed_input_size": False, "crop_pct": 0.95},
    **{"test_input_size": [3, 288, 288], "test_crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "center"},
    **{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 1000},
}


@pytest.mark.parametrize("key", [None, "pretrained_cfg", "default_cfg"])
def test_timms_config_is_its_evaluation_transform(key: str | None) -> None:
    data = TIMM if key is None else {"architecture": "resnet50", "num_classes": 1000, key: TIMM}
    sides = {"resize": 235, "crop": 224, "squash": False}  # 224 / 0.95 = 235.8
    assert fields_in(data) == {**sides, "mean": MEAN, "std": STD, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"crop_pct": 0.875}, {"resize": 256, "crop": 224, "squash": False}),
        ({"crop_pct": 0.9}, {"resize": 248, "crop": 224, "squash": False}),
        ({"crop_pct": 1}, {"resize": 224, "crop": 224, "squash": False}),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, {"resize": 224, "crop": 224, "squash": True}),
        ({"crop_mode": "squash", "crop_pct": 0.95}, {"resize": 235, "crop": 224, "squash": True}),
        ({}, {"resize": 256, "crop": 224, "squash": False}),  # timm's own default is 0.875
        ({"input_size": [1, 28, 28]}, {"resize": 32, "crop": 28, "squash": False}),
    ],
)
def test_timms_resize_is_floored(said: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields_in({"input_size": [3, 224, 224], **said}) == expected


def test_timms_crop_mode_alone_is_a_field() -> None:
    assert fields_in({"crop_mode": "squash"}) == {"squash": True}
    assert fields_in({"crop_mode": "center"}) == {"squash": False}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"crop_mode": "border"}, "crop_mode 'border' is not supported: only 'center' and 'squash' are"),
        ({"input_size": [224, 192]}, "input_size must be [channels, height, width], not [224, 192]"),
        ({"input_size": 224}, "input_size must be [channels, height, width], not 224"),
        ({"input_size": [3, "a", "a"]}, "input_size must be a whole number from 1 to 4096, not 'a'"),
        ({"crop_pct": 0}, "crop_pct must be a number above 0 and up to 1, not 0"),
        ({"crop_pct": "0.9"}, "crop_pct must be a number above 0 and up to 1, not '0.9'"),
        ({"input_size": None}, "crop_pct says nothing without input_size or size: give one of them"),
        ({"interpolation": "random"}, "interpolation must be one of nearest, lanczos, bilinear, bicubic, box, hamming"),
    ],
)
def test_what_timm_says_and_we_can_not_do_is_refused(said: dict[str, Any], message: str) -> None:
    assert refusal({"pretrained_cfg": TIMM | said}).startswith(message)


# Hugging Face's preprocessor_config.json as published with well-known classifiers, old and new.
VIT = {
    **{"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    **{"image_processor_type": "ViTImageProcessor", "resample": 2, "rescale_factor": 0.00392156862745098},
    "size": {"height": 224, "width": 224},
}
OLD_VIT = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224}
CLIP = {
    **{"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224},
    "feature_extractor_type": "CLIPFeatureExtractor",
}
DEIT = {
    **{"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 256},
    "feature_extractor_type": "DeiTFeatureExtractor",
}
RESNET = {
    **{
        "crop_pct": 0.875,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "ConvNextFeatureExtractor",
    },
    **{"image_mean": list(MEAN), "image_std": list(STD), "resample": 3, "size": 224},
}
DINOV2 = {
    **{"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True, "do_resize": True},
    **{"image_processor_type": "BitImageProcessor", "resample": 3, "size": {"shortest_edge": 256}},
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (VIT, {"resize": 224, "crop": 224, "squash": True, "mean": HALF, "std": HALF, "interpolation": "bilinear"}),
        (OLD_VIT, {"resize": 224, "crop": 224, "squash": True, "mean": HALF, "std": HALF}),
        (CLIP, {"resize": 224, "crop": 224, "squash": False, "interpolation": "bicubic"}),
        (DEIT, {"resize": 256, "crop": 224, "squash": True, "interpolation": "bicubic"}),
        (RESNET, {"resize": 256, "crop": 224, "squash": False, "mean": MEAN, "std": STD, "interpolation": "bicubic"}),
        (DINOV2, {"resize": 256, "crop": 224, "squash": False, "interpolation": "bicubic"}),
    ],
    ids=["vit", "old vit", "clip", "deit", "resnet", "dinov2"],
)
def test_hugging_faces_published_configs(said: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields_in(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": {"shortest_edge": 256}}, {"resize": 256, "crop": 256, "squash": False}),
        ({"size": {"height": 96, "width": 96}}, {"resize": 96, "crop": 96, "squash": True}),
        # Bare: both sides, but the short one where the picture is cropped or the processor is known to mean it.
        ({"size": 256}, {"resize": 256, "crop": 256, "squash": True}),
        ({"size": 256, "do_center_crop": True, "crop_size": 224}, {"resize": 256, "crop": 224, "squash": False}),
        (
            {"size": 256, "image_processor_type": "MobileNetV2ImageProcessor"},
            {"resize": 256, "crop": 256, "squash": False},
        ),
        # Without do_center_crop the crop is the resize.
        ({"size": {"shortest_edge": 256}, "crop_size": 224}, {"resize": 256, "crop": 256, "squash": False}),
        (
            {"size": {"height": 346, "width": 346}, "do_center_crop": False, "crop_size": 289},
            {"resize": 346, "crop": 346, "squash": True},
        ),
        ({"do_center_crop": True, "crop_size": {"height": 192, "width": 192}}, {"crop": 192}),
        # ConvNext's rule: below 384 resize and crop, from there on the whole picture.
        ({"size": {"shortest_edge": 383}, "crop_pct": 0.95}, {"resize": 403, "crop": 383, "squash": False}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.95}, {"resize": 384, "crop": 384, "squash": True}),
        ({"size": 224, "crop_pct": 0.9}, {"resize": 248, "crop": 224, "squash": False}),
        (
            {"size": 224, "crop_pct": None, "image_processor_type": "ConvNextImageProcessor"},
            {"resize": 256, "crop": 224, "squash": False},
        ),
        # PoolFormer has a crop besides, LeViT the same share without saying so.
        (
            {"size": 224, "crop_pct": 0.95, "do_center_crop": True, "crop_size": 192},
            {"resize": 235, "crop": 192, "squash": False},
        ),
        (
            {"size": 224, "feature_extractor_type": "LevitFeatureExtractor"},
            {"resize": 256, "crop": 224, "squash": False},
        ),
    ],
)
def test_hugging_faces_sizes(said: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields_in(said) == expected


def test_hugging_faces_mean_of_unscaled_pixels() -> None:
    unscaled = {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3}
    assert presets.in_unit_range(fields_in(unscaled))[0] == {"mean": HALF, "std": HALF}
    assert refusal(unscaled | {"image_mean": [0.5] * 3}).startswith("do_rescale false is not supported")


def test_hugging_faces_values() -> None:
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    assert fields_in({"do_normalize": False}) == plain
    assert fields_in({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}) == plain
    assert fields_in({"image_mean": [0.5] * 3, "rescale_factor": 1 / 255 + 9e-7}) == {"mean": HALF}


@pytest.mark.parametrize("number", range(6))
def test_resample_is_pillows_number(number: int) -> None:
    name = fields_in({"resample": number})["interpolation"]
    assert Image.Resampling[name.upper()] == Image.Resampling(number)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"size": {"height": 224}}, "size must be a shortest_edge or a height and width, not {"),
        ({"size": {"height": 224, "width": "all"}}, "size must be a whole number from 1 to 4096, not 'all'"),
        ({"size": {"shortest_edge": 224, "longest_edge": 300}}, "size must be a shortest_edge or a height and width"),
        ({"size": "large"}, "size must be a whole number from 1 to 4096, not 'large'"),
        ({"size": {"shortest_edge": 0.5}}, "size must be a whole number from 1 to 4096, not 0.5"),
        (
            {"size": {"height": 224, "width": 224}, "crop_pct": 0.9},
            "crop_pct says nothing for a height and width: give size as a shortest_edge",
        ),
        ({"do_center_crop": True, "size": 256}, "do_center_crop says nothing without crop_size: give it"),
        (
            {"do_center_crop": True, "crop_size": {"width": 192}},
            "crop_size must be a shortest_edge or a height and width",
        ),
        ({"do_center_crop": "yes"}, "do_center_crop must be true or false, not 'yes'"),
        ({"do_normalize": 1}, "do_normalize must be true or false, not 1"),
        ({"do_resize": False}, "do_resize false is not supported"),
        ({"do_rescale": False}, "do_rescale false is not supported"),
        ({"do_rescale": True, "rescale_factor": 1 / 127.5}, "rescale_factor must be 1/255, not 0.00784"),
        ({"rescale_factor": "1/255"}, "rescale_factor must be 1/255, not '1/255'"),
        ({"resample": 6}, "resample must be Pillow's number of a filter, 0 to 5, not 6"),
        ({"resample": "bicubic"}, "resample must be Pillow's number of a filter, 0 to 5, not 'bicubic'"),
        ({"resample": True}, "resample must be Pillow's number"),
        ({"image_mean": 0.5}, "image_mean must be 1 to 16 numbers, one per channel, not 0.5"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std must be above 0, not [0.5, 0.5, 0]"),
        *[
            ({"size": 224, key: True}, f"{key} is not supported")
            for key in ("do_flip_channel_order", "do_pad", "include_top", "rescale_offset")
        ],
    ],
)
def test_what_hugging_face_says_and_we_can_not_do_is_refused(said: dict[str, Any], message: str) -> None:
    assert refusal(said).startswith(message)


def test_our_words_win_over_others_in_the_same_file() -> None:
    assert fields_in(RESNET | {"resize": 230, "interpolation": "bilinear"}) == {
        **{"resize": 230, "crop": 224, "squash": False, "mean": MEAN, "std": STD, "interpolation": "bilinear"}
    }


# One field's wrong values: refused the same way from a file and from the command line.
WRONG: list[tuple[str, object, str]] = [
    *[(side, value, f"{side} must be a whole number from 1 to 4096, not ") for side in ("resize", "crop")
      for value in (0, -1, 4097, 224.0, "224", True, [224])],
    *[(key, value, f"{key} must be 1 to 16 numbers, one per channel, not ") for key in ("mean", "std")
      for value in (True, math.nan, "0.5", [], [0.5] * 17, [0.5, "0.5"], [math.nan], [0.5, math.inf], [True],
                    [10**400])],
    *[("std", value, "std must be above 0, not ") for value in ([0], [0.5, 0.5, -0.1])],
    *[("std", [value], "std is beyond what pixels can be scaled by: ") for value in (1e-7, 1e7)],
    *[("mean", [value], "mean is beyond what pixels can be scaled by: ") for value in (-1e308, 1e7)],
    *[("interpolation", value, "interpolation must be one of nearest, lanczos, ") for value in ("cubic", 3, ["box"])],
    *[("squash", value, "squash must be true or false, not ") for value in (1, "true")],
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_a_wrong_value_is_named_with_its_key(key: str, value: object, message: str) -> None:
    assert refusal({key: value}).startswith(message)
    assert change_refused(IMAGENET, **{key: value}).startswith(message)


def test_a_long_wrong_value_is_not_all_shown() -> None:
    assert refusal({"mean": [0.5] * 100_000}).endswith("not [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]")


@pytest.mark.parametrize("data", [{}, [], [0.5], "null", "7", {"lr": 0.1}, {"crop": None}, {"pretrained_cfg": {}}])
def test_a_file_without_preprocessing_is_told_what_is_understood(data: object) -> None:
    message = refusal(data)
    assert message.startswith("no preprocessing in it: give an object with some of resize, crop, mean, std, ")
    assert all(f" {key}" in message for key in preset_values.UNDERSTOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty: give"),
        (b"\xff\xfe{", "not UTF-8: give"),
        (b'{"crop": 224,\n}', "broken JSON at line 2, column 1: mend it"),
        (b"[" * 100_000, "broken JSON: mend it"),
    ],
)
def test_what_is_no_json_is_refused(content: bytes, message: str) -> None:
    path = Path("mine.json")
    path.write_bytes(content)
    with pytest.raises(RequestError, match=re.escape(f"mine.json: {message}")):
        presets.read(path)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(RequestError, match=r"gone\.json: no such file: give"):
        presets.read(Path("gone.json"))


ORDER = ["net.v2.json", "preset.json", "preprocessor_config.json", "config.json"]
FOREIGN = ("net.v2.json", "config.json")


def test_the_first_of_the_files_beside_the_weights_is_taken() -> None:
    weights = Path("models/net.v2.pth")
    assert presets.beside(weights) is None
    for i, name in reversed(list(enumerate(ORDER))):
        path = saved({"crop": 100 + i, "resize": 200}, f"models/{name}")
        assert presets.beside(weights) == (path, {"crop": 100 + i, "resize": 200})
    second = (Path("models/preset.json"), {"crop": 101, "resize": 200})
    assert presets.beside(Path("models/other.pth")) == second
    assert presets.beside(Path("models")) == second
    assert presets.beside(Path("net.v2.pth")) is None


def test_a_file_beside_that_says_nothing_is_passed_over() -> None:
    weights, config = Path("m/net.pth"), saved({"pretrained_cfg": TIMM}, "m/config.json")
    for name, content in [
        ("net.json", ["cat", "dog"]),
        ("net.json", '{"epoch": 1}\n{"epoch": 2}\n'),  # a log, one object a line
        ("net.json", {"0": "cat"}),
        ("preset.json", {}),
        ("preprocessor_config.json", ["x"]),
    ]:
        saved(content, f"m/{name}")
        found = presets.beside(weights)
        assert found is not None
        assert (found[0], found[1]["resize"]) == (config, 235)
    saved("not JSON", "m/config.json")
    assert presets.beside(weights) is None


@pytest.mark.parametrize("name", ORDER)
def test_a_wrong_preset_beside_is_refused_by_its_name(name: str) -> None:
    """With a name of its own it is preprocessing; any tool's file has to be about it first."""
    saved({"crop": "big"}, f"m/{name}")
    if name in FOREIGN:
        assert presets.beside(Path("m/net.v2.pth")) is None
        saved({"pretrained_cfg": TIMM | {"crop_mode": "border"}}, f"m/{name}")
    said = "crop_mode 'border' is not" if name in FOREIGN else "crop must be"
    with pytest.raises(RequestError, match=re.escape(f"m/{name}: {said}")) as caught:
        presets.beside(Path("m/net.v2.pth"))
    assert str(caught.value).endswith("(--preset none leaves the file alone)")


# What other tools write beside weights, none of it about preprocessing.
OTHERS: dict[str, Any] = {
    "metrics": {"accuracy": 0.93, "mean": 0.91, "std": 0.02},
    "metrics in lists": {"mean": [0.91], "std": [0.02]},
    "metrics of folds": {"mean": [0.91, 0.9, 0.93], "std": [0.02, 0.03, 0.01]},
    "metrics of five classes": {"mean": [0.5] * 5, "std": [0.1] * 5},
    "a mean alone": {"mean": [0.485, 0.456, 0.406], "epochs": 3},
    "training": {"arch": "squeezenet1_1", "size": 224, "lr": 1e-3},
    "switches": {"crop": True, "resize": 1, "squash": False, "mean": True, "epochs": 3},
    "input size": {"input_size": 224, "crop_pct": 0.9, "batch_size": 32},
    "timm's arguments": {"crop_pct": 0.9, "interpolation": "", "mean": None, "std": None, "input_size": None},
    "two tools' words": {"crop": 224, "size": 224, "input_size": 224},
    "Hugging Face's switches": {"do_resize": False, "do_normalize": False, "do_center_crop": True},
    "Weights & Biases": {"mean": {"value": [0.5] * 3}, "std": {"value": [0.5] * 3}, "crop": {"desc": None, "value": 9}},
    "package.json": {"name": "app", "version": "1.0.0", "size": 512, "scripts": {"crop": "node crop.js"}},
    "albumentations": {"transform": {"__class_fullname__": "Compose", "transforms": [{"mean": [0.5] * 3}]}},
    "detection": {"resize": [[640, 640]], "crop": "random", "interpolation": 1},
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", FOREIGN)
def test_any_tools_file_says_nothing_of_preprocessing(name: str, data: Any) -> None:
    saved(data, f"m/{name}")
    for channels in (1, 3):
        assert presets.beside(Path("m/net.v2.pth"), channels) is None


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"mean": list(MEAN), "std": list(STD), "crop": True, "epochs": 3}, {"mean": MEAN, "std": STD}),
        ({"resize": 256, "crop": 224, "mean": 0.91}, {"resize": 256, "crop": 224}),
        ({"mean": [0.5], "std": [0.5], "crop": 96}, {"mean": (0.5,), "std": (0.5,), "crop": 96}),
        ({"mean": list(MEAN), "std": list(STD), "crop_pct": 0.9}, {"mean": MEAN, "std": STD}),
        ({"pretrained_cfg": {"url": ""}, "resize": 96, "crop": 96}, {"resize": 96, "crop": 96}),
        ({"mean": [0.5] * 3, "std": [0.0039216] * 3}, {"mean": HALF, "std": (0.0039216,) * 3}),
        ({"mean": [0.0] * 3, "std": [1 / 255] * 3}, {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}),
        ({"mean": [103.5] * 3, "std": [1.0] * 3}, {"mean": (103.5,) * 3, "std": (1.0,) * 3}),
        ({"image_mean": [0.5] * 3, "size": 96, "vocab": 7}, {"mean": HALF, "resize": 96, "crop": 96, "squash": True}),
    ],
)
@pytest.mark.parametrize("name", FOREIGN)
def test_two_words_of_one_vocabulary_are_preprocessing(name: str, data: Any, fields: dict[str, Any]) -> None:
    path = saved(data, f"m/{name}")
    assert presets.beside(Path("m/net.v2.pth"), 3) == (path, fields)


@pytest.mark.parametrize(
    "said",
    [{"to_rgb": False}, {"bgr_to_rgb": False}, {"rgb_to_bgr": True}, {"input_space": "BGR"}, {"channel_order": "bgr"}],
)
def test_blue_first_is_named(said: dict[str, Any]) -> None:
    (key,) = said
    both = {"mean": [103.53, 116.28, 123.675], "std": [1.0] * 3}
    assert refusal(both | said).startswith(f"{key} {said[key]!r}: the network takes blue, green, red, and pictures")
    saved(both | said, "m/config.json")
    with pytest.raises(RequestError, match=r"blue, green, red.*\(--preset none leaves"):
        presets.beside(Path("m/net.pth"), 3)
    assert fields_in(both | {"to_rgb": True, "input_space": "RGB"}) == {
        "mean": (103.53, 116.28, 123.675),
        "std": (1,) * 3,
    }
    saved({"lr": 0.1} | said, "m/config.json")
    assert presets.beside(Path("m/net.pth"), 3) is None


@pytest.mark.parametrize(
    ("given", "mean", "std", "said"),
    [
        ({"mean": MEAN, "std": STD}, MEAN, STD, 0),
        ({"mean": HALF, "std": HALF}, HALF, HALF, 0),
        ({"mean": (0.0,), "std": (1.0,)}, (0.0,), (1.0,), 0),
        ({"mean": (0.0,), "std": (1 / 255,)}, (0.0,), (1 / 255,), 0),
        ({"mean": (-1.0,), "std": (2.0,)}, (-1.0,), (2.0,), 0),
        ({"std": (1.0, 2.0, 3.0)}, None, (1.0, 2.0, 3.0), 0),
        ({"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}, MEAN, STD, 1),
        ({"mean": (127.5,), "std": (127.5,)}, (0.5,), (0.5,), 1),
        ({"mean": (102.0, 127.5, 153.0), "std": (1.0,) * 3}, (0.4, 0.5, 0.6), (round(1 / 255, 12),) * 3, 1),  # Caffe's
        ({"mean": (0.0,), "std": (255.0,)}, (0.0,), (1.0,), 1),
        ({"mean": (123.675, 116.28, 103.53)}, MEAN, None, 1),
        ({"std": (58.395, 57.12, 57.375)}, None, STD, 1),
        ({"mean": (103.939, 116.779, 123.68), "std": (1.0,)}, (0.407603921569, 0.45795686274, 0.485019607843), None, 2),
        (
            {"mean": (0.406, 0.456, 0.485), "std": (0.225, 0.224, 0.229)},
            (0.406, 0.456, 0.485),
            (0.225, 0.224, 0.229),
            1,
        ),
    ],
)
def test_a_mean_and_std_of_0_to_255_are_divided_and_said(
    given: dict[str, Any], mean: tuple[float, ...] | None, std: tuple[float, ...] | None, said: int
) -> None:
    fields, remarks = presets.in_unit_range({**given, "crop": 96})
    assert fields["crop"] == 96
    assert fields.get("mean") == (pytest.approx(mean, abs=1e-9) if mean else None)
    assert std is None or fields["std"] == pytest.approx(std, abs=1e-12)
    assert len(remarks) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": (1353.7, 1117.2, 1041.8), "std": (897.3, 736.1, 684.8)}, "of neither 0-1 nor 0-255"),
        ({"mean": (0.0,), "std": (65535.0,)}, "of neither 0-1 nor 0-255"),
        ({"mean": (123.675, 116.28, 103.53), "std": STD}, "one is of 0-255 and one of 0-1"),
        ({"mean": (0.5,), "std": (127.5,)}, "one is of 0-255 and one of 0-1"),
        ({"mean": (127.5,), "std": (0.0,)}, "std must be above 0"),
    ],
)
def test_a_mean_and_std_of_other_ranges_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        presets.in_unit_range(given)


@pytest.mark.parametrize("name", ["preset.json", "preprocessor_config.json"])
def test_a_broken_file_with_a_presets_name_is_refused(name: str) -> None:
    saved("{", f"m/{name}")
    with pytest.raises(RequestError, match=re.escape(f"m/{name}: broken JSON at line 1, column 2")):
        presets.beside(Path("m/net.pth"))


def test_a_name_as_long_as_names_may_be_is_looked_for() -> None:
    assert presets.beside(Path("x" * 251 + ".pth")) is None


def test_labels_are_those_of_the_config_beside_the_weights() -> None:
    weights = Path("m/net.pth")
    assert presets.labels_beside(weights) is None
    saved({"id2label": {"0": "cat", "1": "dog"}}, "m/config.json")
    assert presets.labels_beside(weights) == presets.labels_beside(Path("m")) == ("cat", "dog")
    saved({"architecture": "resnet50", "label_names": ["n02121808", "n02084071"]}, "m/config.json")
    assert presets.labels_beside(weights) == ("n02121808", "n02084071")
    for nothing in ("{", ["cat"], {"architecture": "resnet50"}, {"id2label": {"0": "cat", "2": "dog"}}):
        saved(nothing, "m/config.json")
        assert presets.labels_beside(weights) is None


@pytest.mark.parametrize(
    ("fields", "sides"),
    [
        ({}, (256, 224)),
        ({"crop": 200}, (256, 200)),
        ({"crop": 256}, (256, 256)),
        ({"crop": 299}, (299, 299)),  # the resize follows
        ({"resize": 300}, (300, 224)),
        ({"resize": 128}, (128, 128)),  # the crop follows
        ({"resize": 342, "crop": 299}, (342, 299)),
        ({"resize": 96, "crop": 96}, (96, 96)),
        ({"resize": 4096, "crop": 1}, (4096, 1)),
    ],
)
def test_a_side_that_is_not_given_follows_the_other(fields: dict[str, int], sides: tuple[int, int]) -> None:
    preset = presets.changed(IMAGENET, fields)
    assert (preset.resize, preset.crop) == sides
    assert preset == Preset(*sides, MEAN, STD, "bilinear")


def test_a_crop_larger_than_a_resize_that_is_given_is_refused() -> None:
    message = "crop 300 is larger than resize 256: give a crop of at most 256"
    assert change_refused(IMAGENET, crop=300, resize=256) == message


@pytest.mark.parametrize(
    ("preset", "fields", "mean", "std"),
    [
        (IMAGENET, {"mean": HALF}, HALF, STD),
        (IMAGENET, {"mean": (0.5,)}, HALF, STD),  # alone: for each channel
        (IMAGENET, {"std": [0.5]}, MEAN, HALF),
        (IMAGENET, {"mean": (0.1,), "std": (0.3,)}, (0.1,), (0.3,)),  # together: a greyscale network
        (IMAGENET, {"mean": (0, 0), "std": (1, 2)}, (0.0, 0.0), (1.0, 2.0)),
        (GREY, {"mean": (0.5,)}, (0.5,), (0.3081,)),
        (GREY, {"mean": HALF, "std": HALF}, HALF, HALF),
    ],
)
def test_mean_and_std_are_for_the_same_channels(
    preset: Preset, fields: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    new = presets.changed(preset, fields)
    assert (new.mean, new.std) == (mean, std)
    assert all(type(value) is float for value in new.mean + new.std)


@pytest.mark.parametrize(
    ("preset", "fields", "counts"),
    [
        (IMAGENET, {"mean": (0.5,) * 4}, (4, 3)),
        (IMAGENET, {"std": (0.5,) * 2}, (3, 2)),
        (IMAGENET, {"mean": (0.5,), "std": HALF}, (1, 3)),
        (GREY, {"mean": HALF}, (3, 1)),
    ],
)
def test_mean_and_std_for_different_channels_are_refused(
    preset: Preset, fields: dict[str, Any], counts: tuple[int, int]
) -> None:
    message = f"mean has {counts[0]} values and std {counts[1]}: give both, one value per channel"
    assert change_refused(preset, **fields) == message


def test_every_other_field_can_be_changed() -> None:
    for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        assert presets.changed(IMAGENET, {"interpolation": name}).interpolation == name
    assert presets.changed(IMAGENET, {"squash": True}) == Preset(256, 224, MEAN, STD, "bilinear", squash=True)
    assert Preset(256, 224, MEAN, STD, "bilinear") == IMAGENET
    assert change_refused(IMAGENET, size=3).startswith("size is no field of the preprocessing: give one of resize, ")


def test_what_a_file_gives_can_be_changed_to() -> None:
    assert presets.changed(IMAGENET, fields_in(VIT)) == Preset(224, 224, HALF, HALF, "bilinear", squash=True)
    assert presets.changed(IMAGENET, fields_in({"pretrained_cfg": TIMM})) == Preset(235, 224, MEAN, STD, "bicubic")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.485,0.456,0.406", MEAN),
        (" 0.5 ", (0.5,)),
        ("0.5, 0.5 ,.5", HALF),
        ("-1,2e-1,+3", (-1.0, 0.2, 3.0)),
    ],
)
def test_numbers_have_commas_between(text: str, values: tuple[float, ...]) -> None:
    assert presets.numbers(text) == values


@pytest.mark.parametrize("text", ["", " ", "a", "0.5,", ",0.5", "0.5;0.5", "0.5 0.5", "nan", "0.5,inf", "1e999"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        presets.numbers(text)
    assert str(caught.value) == (
        f"{text!r} is not a list of numbers: give one, or one per channel like 0.485,0.456,0.406"
    )


values = st.none() | st.booleans() | st.integers(-1, 5000) | st.floats() | st.sampled_from(["center", "squash", "box"])
nested = values | st.lists(values, max_size=4) | st.dictionaries(
    st.sampled_from(["shortest_edge", "height", "width"]), values, max_size=3
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(data=st.dictionaries(st.sampled_from(preset_values.UNDERSTOOD), nested, max_size=6))
def test_any_object_is_a_preset_or_a_refusal(data: dict[str, Any]) -> None:
    try:
        preset = presets.changed(IMAGENET, fields_in(data))
    except RequestError:
        return
    sides = zip(both(preset.crop), both(preset.resize), strict=True)
    assert all(1 <= crop <= resize <= 4096 for crop, resize in sides)
    assert len(preset.mean) == len(preset.std)
    assert preset.interpolation in preset_values.INTERPOLATIONS


@pytest.mark.parametrize(
    ("text", "channels", "used", "unused"),
    [
        ('{"mean": [0.5], "std": [0.5]}', 1, True, False),
        ('{"mean": [0.5], "std": [0.5]}', 3, False, True),
        ('{"mean": 0.5, "std": 0.5}', 3, False, True),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}', 1, False, True),
        ('{"image_mean": [127.5], "image_std": [127.5], "lr": 1}', 3, True, False),
        ('{"mean": 0.91, "std": 0.02}', 1, False, False),
        ('{"mean": [0.91], "std": [0.02]}', 1, False, False),
        ('{"mean": "arithmetic", "std": null}', 3, False, False),
        ('{"mean": [], "std": []}', 3, False, False),
        ('{"data": {"normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}}', 3, False, True),
        ('{"scores": {"mean": [0.91, 0.8], "std": [0.02, 0.01]}}', 3, False, False),
    ],
)
def test_a_mean_and_std_beside_the_weights_are_used_or_said_not_to_be(
    text: str, channels: int, used: bool, unused: bool
) -> None:
    Path("best.json").write_text(text)
    found = presets.beside(Path("best.pth"), channels)
    assert (found is not None and "mean" in found[1]) == used
    assert ((presets.unused_beside(Path("best.pth")) is not None) and not used) == unused
