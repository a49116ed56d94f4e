"""Segmentation: a network by hand, torchvision's own, and what a user types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from shell import ROOT, SAMPLES, run

from camcli import methods, models
from camcli.entries import Placement
from camcli.inputs.refs import expand
from camcli.maps import regions
from camcli.records import Explained
from camcli.running.engine import Engine
from camcli.specs import Spec
from camcli.tasks.regions import Within
from camcli.tasks.segment import Segment

PIXELS = f"{ROOT}/tests/places.py:Pixels"
# Pictures go in as they are, in 0-1, 32 pixels high.
AS_THEY_ARE = ("--resize", "32", "--crop", "32", "--mean", "0", "--std", "1")


@pytest.fixture
def flag() -> str:
    """48x32: the left quarter red, the right half blue, black between."""
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:, :12, 0], pixels[:, 24:, 2] = 255, 255
    Image.fromarray(pixels).save("flag.png")
    Path("names.txt").write_text("background\nred\nblue\n")
    return "flag.png"


def rows(*flags: object) -> list[dict[str, Any]]:
    outcome = run("explain", *flags, "--labels", "names.txt", *AS_THEY_ARE, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.rows


def test_the_mask_of_a_region_is_a_file(flag: str) -> None:
    (row,) = rows(flag, "-m", PIXELS, "-c", "blue", "--save", "overlay,mask")
    with Image.open(row["explanations"][0]["files"]["mask"]) as drawn:
        mask = np.asarray(drawn.convert("L"))
    assert drawn.format == "PNG"
    expected = np.zeros((32, 48), dtype=np.uint8)
    expected[:, 24:] = 255
    np.testing.assert_array_equal(mask, expected)


def test_a_segmenter_by_hand(flag: str) -> None:
    """Each class's share, its mean logit over its own pixels, and a map that lies there."""
    (row,) = rows(flag, "-m", PIXELS, "-c", "each", "-M", "hires-cam")
    assert [(e["label"], e["where"]["share"]) for e in row["top"]] == [("blue", 0.5), ("red", 0.25)]
    assert [e["logit"] for e in row["top"]] == pytest.approx([1, 1])
    assert [e["where"]["box"] for e in row["top"]] == [[24, 0, 48, 32], [0, 0, 12, 32]]
    assert row["top"][0]["probability"] == pytest.approx(np.e / (np.e + 1 + np.exp(0.2)), abs=1e-6)
    blue, red = row["explanations"]
    assert blue["layer"] == "cells"
    assert blue["target"]["value"] == pytest.approx(1)
    assert blue["peak"][0] >= 24
    assert red["peak"][0] < 12


@pytest.mark.parametrize("returned", ["tensor", "dict", "softmax", "binary"])
def test_what_a_segmenter_may_return(flag: str, returned: str) -> None:
    names = ("--labels", "no.txt") if returned == "binary" else ()
    Path("no.txt").write_text("else\nred\n")
    outcome = run(
        "explain", flag, "-m", PIXELS, "--model-arg", f"returned={returned}", "-c", "red", "-M", "hires-cam", "--json",
        *AS_THEY_ARE, *(names or ("--labels", "names.txt")),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (answer,) = outcome.rows[0]["explanations"]
    assert answer["target"]["label"] == "red"
    assert answer["target"]["where"]["share"] == 0.25
    assert answer["peak"][0] < 12
    assert ("taken to be probabilities" in outcome.err) == (returned == "softmax")
    if returned == "softmax":
        assert answer["target"]["value"] == pytest.approx(np.log(np.e / (np.e + 1 + np.exp(0.2))), abs=1e-5)


def test_a_class_that_is_nowhere_is_said_to_be(flag: str) -> None:
    Image.new("RGB", (32, 32), "red").save("red.png")
    (row,) = rows("red.png", "-m", PIXELS, "-c", "blue")
    assert row["explanations"] == []
    assert row["note"] == "nothing found of blue: there is red"
    Image.new("RGB", (32, 32)).save("black.png")
    (row,) = rows("black.png", "-m", PIXELS)
    assert row["note"] == "nothing but background: nothing to explain"


def test_a_pixel_a_box_and_a_mask(flag: str) -> None:
    """Each says where; the class is the likeliest there, and hires-cam the method: its map stays within the place."""
    (at,) = rows(flag, "-m", PIXELS, "--at", "30,10")
    (answer,) = at["explanations"]
    assert (answer["method"], answer["target"]["label"]) == ("hires-cam", "blue")
    assert answer["peak"] == [29, 9]
    (region,) = rows(flag, "-m", PIXELS, "--region", "4,0,12,16", "-c", "red")
    (answer,) = region["explanations"]
    assert answer["target"]["where"]["share"] == pytest.approx(8 * 16 / (48 * 32), abs=1e-6)
    assert answer["bbox"][2] <= 14
    drawn = np.zeros((32, 48), dtype=np.uint8)
    drawn[16:, 36:] = 255
    Image.fromarray(drawn).save("mask.png")
    (mask,) = rows(flag, "-m", PIXELS, "--mask", "mask.png")
    (answer,) = mask["explanations"]
    assert answer["target"]["label"] == "blue"
    assert answer["peak"][0] >= 36
    assert answer["peak"][1] >= 16


def test_places_outside_of_a_picture_refuse_that_picture(flag: str) -> None:
    outcome = run("explain", flag, "-m", PIXELS, "--at", "100,10", "--labels", "names.txt", *AS_THEY_ARE, "--json")
    assert outcome.code == 4
    assert outcome.rows[0]["error"]["kind"] == "outside"
    Image.new("L", (20, 20), 255).save("small.png")
    outcome = run("explain", flag, "-m", PIXELS, "--mask", "small.png", *AS_THEY_ARE, "--json")
    assert "is 20x20, and the picture 48x32" in outcome.rows[0]["error"]["message"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--at", "3"), "--at '3': 2 numbers between commas"),
        (("--region", "9,0,3,4"), "x0,y0,x1,y1 with x0 < x1"),
        (("--at", "1,1", "--region", "0,0,3,4"), "--at and --region each name a place"),
        (("--mask", "no.png"), "--mask no.png: "),
        (("-M", "cam"), "cam does not go with models that segment"),
        (("--task", "detect"), "--task detect: "),
    ],
)
def test_what_does_not_go_is_refused(flag: str, flags: tuple[str, ...], said: str) -> None:
    outcome = run("explain", flag, "-m", PIXELS, *flags, *AS_THEY_ARE)
    assert outcome.code in (2, 3)
    assert said in outcome.err


@pytest.mark.exhaustive
def test_each_method_explains_a_region_or_is_refused_by_name(flag: str) -> None:
    outcome = run("explain", flag, "-m", f"{ROOT}/tests/places.py:UNet", "-M", "all", "--json", *AS_THEY_ARE)
    assert outcome.code == 0, outcome.err
    answered = {own["method"] for own in outcome.rows[0]["explanations"]}
    lacking = {name for name in methods.names() if methods.get(name).needs & Segment().lacks.keys()}
    assert set(methods.names()) - answered == lacking | {"attention-rollout"}
    assert all(f"{name} does not go with models that segment: " in outcome.err for name in lacking)


def test_places_are_for_segmenters(flag: str) -> None:
    assert "are for networks that segment" in run("explain", flag, "--at", "3,4").err


@pytest.mark.parametrize(("name", "layer"), [("UNet", "middle"), ("Pyramid", "fuse"), ("Wrapped", "inner.1")])
def test_the_layer_is_the_last_on_the_coarsest_grid(name: str, layer: str) -> None:
    engine = Engine(Spec(model=f"{ROOT}/tests/places.py:{name}", resize=64, crop=64))
    assert [own.name for own in engine.layers] == [layer]


RESNETS = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
GOLDEN = {
    **dict.fromkeys(RESNETS, ("backbone.layer4", 2048)),
    **dict.fromkeys(("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"), ("backbone.16", 960)),
}


def test_torchvision_has_no_other_segmenters() -> None:
    assert set(GOLDEN) == set(torchvision.models.list_models(module=torchvision.models.segmentation))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if "mobilenet" in n else [pytest.mark.exhaustive]) for n in GOLDEN]
)
def test_torchvisions_segmenters_are_read_at_the_end_of_their_trunk(name: str) -> None:
    engine = Engine(Spec(model=name, weights="none"))
    (layer,) = engine.layers
    stride = 16 if "mobilenet" in name else 8
    assert (layer.name, *layer.shape) == (*GOLDEN[name], -(-520 // stride), -(-520 // stride))
    (result,) = engine.explain(expand([str(SAMPLES / "cat_chelsea.jpg")]))
    assert isinstance(result, Explained), result
    assert result.attributions[0].values.shape == (-(-520 // stride), -(-693 // stride))
    assert result.top[0].where is not None


@pytest.mark.exhaustive
def test_the_map_is_captums() -> None:
    """Grad-CAM of deeplabv3's own class over its own pixels, as captum's tutorial asks for it: the sum over M there."""
    spec = Spec(model="deeplabv3_mobilenet_v3_large", weights="none", exact=True)
    model = models.load_model(spec)
    engine = Engine(spec, model=model)
    (result,) = engine.explain(expand([str(SAMPLES / "cat_chelsea.jpg")]))
    assert isinstance(result, Explained), result
    entry = result.top[0]
    assert entry.where is not None
    assert entry.where.region is not None
    mask = torch.from_numpy(entry.where.region.mask)
    (item,) = [engine.reader.read(result.ref)]
    assert item.view is not None
    pixels = torch.from_numpy(item.view.pixels)[None]

    def of_class(images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (model.net(images)["out"] * mask).sum((2, 3))
        return scores

    cam = captum.attr.LayerGradCam(of_class, model.net.get_submodule("backbone.16"))
    theirs = cam.attribute(pixels, target=entry.id, relu_attributions=True)[0, 0].detach() / mask.sum()
    ours = torch.from_numpy(result.attributions[0].values)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6 * float(theirs.max()))


def test_coarse_pixels_of_a_unet_are_told_apart(flag: str) -> None:
    """Two pixels of one class have maps of their own with hires-cam."""
    net = f"{ROOT}/tests/places.py:UNet"
    first, second = (rows(flag, "-m", net, "--at", at, "-c", "background") for at in ("4,4", "40,28"))
    assert first[0]["explanations"][0]["fingerprint"] != second[0]["explanations"][0]["fingerprint"]


def decoded(counts: str, size: tuple[int, int]) -> np.ndarray:
    """COCO's compressed counts, read as its documentation says."""
    runs: list[int] = []
    number = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    return flat.reshape(size[::-1]).T


@pytest.mark.parametrize("seed", range(6))
def test_masks_come_back_from_their_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    mask = rng.random(size) < rng.choice([0.0, 0.01, 0.5, 1.0])
    assert np.array_equal(decoded(regions.counts(mask), size), mask)


def test_a_region_smaller_than_a_cell_is_the_cell_around_it() -> None:
    placement = Placement((0, 0, 100, 50), (100, 50), (100, 50))
    mask, refusal = Within(at=(12, 33)).mask(placement, (5, 10))
    assert refusal is None
    assert np.argwhere(mask).tolist() == [[3, 1]]
