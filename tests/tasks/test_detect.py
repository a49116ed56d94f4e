"""Detectors: a network by hand, torchvision's own, and what a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from places import Boxes
from shell import ROOT, SAMPLES, SHARED, run
from torch import nn

from camcli import methods, models
from camcli.entries import Box
from camcli.inputs.refs import expand
from camcli.maps import locating
from camcli.records import Attribution, Explained
from camcli.running.engine import Engine
from camcli.specs import Spec
from camcli.tasks.detect import Detect
from camcli.tasks.frozen import frozen

BOXES = f"{ROOT}/tests/places.py:Boxes"
DETACHED = f"{ROOT}/tests/places.py:Detached"


@pytest.fixture
def scene() -> str:
    """Two objects, of 32x32 pixels: red 1 and green 1/4 at (8, 8), red 3/4 at (24, 20)."""
    return saved("scene.npy", scene_of((8, 8, 1.0, 0.25), (24, 20, 0.75, 0.0)))


def scene_of(*objects: tuple[int, int, float, float], size: tuple[int, int] = (32, 32)) -> NDArray[np.float32]:
    pixels = np.zeros((*size, 3), dtype=np.float32)
    for x, y, red, green in objects:
        pixels[y : y + 4, x : x + 4, 0], pixels[y : y + 4, x : x + 4, 1] = red, green
    return pixels


def saved(name: str, pixels: NDArray[np.float32]) -> str:
    np.save(name, pixels)
    return name


def explained(path: str | Path, **spec: Any) -> Explained:
    (result,) = Engine(Spec(**{"model": BOXES} | spec)).explain(expand([str(path)]))
    assert isinstance(result, Explained), result
    return result


@pytest.mark.exhaustive
def test_a_detector_by_hand(scene: str) -> None:
    result = explained(scene, classes=("each",), methods=("hires-cam", "grad-cam"))
    first, second = result.top
    assert [entry.where and entry.where.box for entry in result.top] == [(4, 4, 16, 16), (20, 16, 32, 28)]
    assert [entry.id for entry in result.top] == [1, 1]
    assert [entry.part for entry in result.top] == [1, 2]
    assert (first.probability, second.probability) == pytest.approx((0.9931854, 0.9818948), abs=1e-6)
    assert (first.score, second.score) == (5, 4)
    hires = [answer.values for answer in result.attributions if answer.method == "hires-cam"]
    pooled = [answer.values for answer in result.attributions if answer.method == "grad-cam"]
    for values, cell, value in zip(hires, ((2, 2), (5, 6)), (7, 6), strict=True):
        expected = np.zeros((8, 8), dtype=np.float32)
        expected[cell] = value
        assert np.array_equal(values, expected)
    expected = np.zeros((8, 8), dtype=np.float32)
    expected[2, 2], expected[5, 6] = 0.109375, 0.09375
    assert np.array_equal(pooled[0], expected)
    assert np.array_equal(pooled[1], expected)
    notes = {answer.method: answer.note or "" for answer in result.attributions}
    assert notes["hires-cam"] == ""
    assert notes["grad-cam"].startswith("its weights are means over the whole map")


@pytest.mark.exhaustive
def test_a_saturated_score_hides_nothing(scene: str) -> None:
    """Twelve times the logits: the probability is 1, its own gradient 0."""
    plain, sharp = explained(scene), explained(scene, model_args=(("sharp", "12"),))
    assert sharp.top[0].probability == 1
    assert sharp.top[0].score == 60
    assert np.array_equal(sharp.attributions[0].values, 12 * plain.attributions[0].values)


def test_the_gradient_is_that_of_finite_differences(scene: str) -> None:
    """Of the logit, and of the box's right side, in a detector whose boxes depend on the picture."""
    torch.manual_seed(0)
    net = Boxes().double()
    net.sides.weight.data = torch.randn(4, 2, 1, 1).double()
    image = torch.from_numpy(np.load(scene)).permute(2, 0, 1).double()
    task = Detect()
    for quantity, rate in (("logit", 1e-6), ("x1", 1e-6), ("width", 1e-6), ("score", 1e-6)):
        picture = image.clone().requires_grad_()
        with frozen(net):
            outputs = task.outputs(net, picture[None])
            target = task.target(outputs, [], (0,), quantity)
            (gradient,) = torch.autograd.grad(target(outputs)[0], picture)
            direction = torch.randn(image.shape, dtype=torch.float64)
            near = [
                float(target(task.outputs(net, (image + sign * rate * direction)[None].requires_grad_()))[0].detach())
                for sign in (1, -1)
            ]
        assert float((gradient * direction).sum()) == pytest.approx((near[0] - near[1]) / (2 * rate), rel=1e-4), (
            quantity
        )


@pytest.mark.exhaustive
def test_what_is_asked_about(scene: str) -> None:
    def asked(*classes: str) -> list[tuple[int | None, int | None]]:
        answers = explained(scene, classes=classes, methods=("hires-cam",)).attributions
        return [(entry.id, entry.part) for a in answers if (entry := a.target.entry) is not None]

    assert asked("1") == [(1, 1)]
    assert asked("1:all") == [(1, 1), (1, 2)]
    assert asked("#2") == [(1, 2)]
    assert asked("#3") == []
    assert asked("each") == asked("top2") == [(1, 1), (1, 2)]
    assert asked("#2", "top1") == [(1, 2), (1, 1)]


@pytest.mark.exhaustive
def test_a_picture_in_which_nothing_is_found_is_answered() -> None:
    empty = saved("empty.npy", scene_of())
    outcome = run("explain", empty, "-m", BOXES, "--json", "-o", "out")
    assert outcome.code == 0
    (row,) = outcome.rows
    assert (row["top"], row["explanations"]) == ([], [])
    assert row["note"] == "nothing found with a score above 0.5: nothing to explain"


@pytest.mark.exhaustive
def test_a_class_that_was_not_found_is_said_to_be_missing(scene: str) -> None:
    outcome = run("explain", scene, "-m", BOXES, "-c", "2", "--json")
    assert outcome.code == 0
    assert outcome.rows[0]["note"] == "nothing found of 2: there is class 1"


@pytest.mark.exhaustive
def test_the_threshold(scene: str) -> None:
    assert [e.part for e in explained(scene, threshold=0.99).top] == [1]
    (row,) = run("classify", scene, "-m", BOXES, "--threshold", "0.99", "--json").rows
    assert [entry["part"] for entry in row["top"]] == [1]


@pytest.mark.exhaustive
def test_names_of_the_users_classes(scene: str) -> None:
    Path("names.txt").write_text("background\ncar\nship\n")
    outcome = run("explain", scene, "-m", BOXES, "--labels", "names.txt", "-c", "car:all", "--json")
    assert [answer["target"]["name"] for answer in outcome.rows[0]["explanations"]] == ["1 car #1", "1 car #2"]
    Path("ids.json").write_text('{"0": "sky", "1": "car", "2": "ship"}')
    assert run("explain", scene, "-m", BOXES, "--labels", "ids.json", "-c", "car", "--json").code == 0
    Path("some.txt").write_text("car\nship\n")
    assert "is 'car' label 0 or 1 of the detector?" in run("explain", scene, "-m", BOXES, "--labels", "some.txt").err
    assert "unknown class 'plane'" in run("explain", scene, "-m", BOXES, "--labels", "names.txt", "-c", "plane").err


@pytest.mark.exhaustive
def test_rows_do_not_depend_on_other_pictures(scene: str) -> None:
    wide = saved("wide.npy", scene_of((8, 8, 1.0, 0.0), (40, 4, 0.5, 0.0), size=(24, 64)))
    together = run("explain", scene, wide, scene, "-m", BOXES, "--json", "-c", "each").rows
    for row, path in zip(together, (scene, wide, scene), strict=True):
        (alone,) = run("explain", path, "-m", BOXES, "--json", "-c", "each").rows
        assert plain(row) == plain(alone)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    answers = [{key: value for key, value in own.items() if key != "files"} for own in row["explanations"]]
    return {**row, "ms": None, "again": None, "explanations": answers}


@pytest.mark.exhaustive
def test_occlusion_compares_detections_not_their_numbers(scene: str) -> None:
    """Hiding the other object changes the number of detections, not the likeness to this one: D-RISE."""
    (answer,) = explained(scene, methods=("occlusion",), classes=("#2",)).attributions
    peak_y, peak_x = np.unravel_index(int(answer.values.argmax()), answer.values.shape)
    assert 16 <= peak_y < 28
    assert 16 <= peak_x < 32
    assert float(answer.values[8:12, 8:12].max()) == pytest.approx(0, abs=1e-6)


@pytest.mark.exhaustive
def test_each_method_explains_a_detection_or_is_refused_by_name(scene: str) -> None:
    outcome = run("explain", scene, "-m", BOXES, "-M", "all", "--json")
    assert outcome.code == 0, outcome.err
    answers = {own["method"]: own for own in outcome.rows[0]["explanations"]}
    lacking = {name for name in methods.names() if methods.get(name).needs & Detect().lacks.keys()}
    bent = {name for name in methods.names() if methods.get(name).bends_relu}
    assert set(methods.names()) - answers.keys() == lacking | bent
    assert all(f"{name} does not go with models that detect: " in outcome.err for name in lacking)
    for name, own in answers.items():
        if own["peak"] is not None:
            assert all(4 <= side < 16 for side in own["peak"]), name
    assert [name for name, own in answers.items() if own["peak"] is None] == ["var-grad"]  # a linear network


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--augment", "flip"), "--augment does not go with models that detect: detections of a changed picture"),
        (("--sanity", "head"), "--sanity does not go with models that detect"),
        (("--quantity", "mask"), "--quantity 'mask' is none of logit, score, x0, y0, x1, y1, width, height"),
        (("--at", "3,4"), "--at, --region and --mask are for networks that segment"),
        (("-M", "cam"), "cam does not go with models that detect: it is defined for networks that give one score"),
        (("--similar-to", "scene.npy"), "--similar-to does not go with models that detect"),
    ],
)
def test_what_does_not_go_with_detectors_is_refused_first(scene: str, flags: tuple[str, ...], said: str) -> None:
    outcome = run("explain", scene, "-m", BOXES, *flags)
    assert outcome.code in (2, 3)
    assert said in outcome.err


def test_a_detached_detector_is_refused_but_for_what_needs_no_gradient(scene: str) -> None:
    outcome = run("explain", scene, "-m", DETACHED)
    assert outcome.code == 3
    assert "no gradient reaches the model's layers: forward detaches its tensors" in outcome.err
    (row,) = run("explain", scene, "-m", DETACHED, "-M", "occlusion", "--json").rows
    assert row["top"][0]["logit"] is None
    assert row["explanations"][0]["peak"] is not None


@pytest.mark.exhaustive
def test_a_detector_that_pads_without_a_word_is_refused(scene: str) -> None:
    """Its map would be stretched over the picture, padding and all."""
    outcome = run("explain", scene, "-m", f"{ROOT}/tests/places.py:Letterboxed")
    assert outcome.code == 3
    assert "cells" in outcome.err
    assert "picture" in outcome.err


@pytest.mark.exhaustive
def test_verify_knows_detections_by_label_and_place() -> None:
    scene = saved("scene.npy", scene_of((8, 8, 1.0, 0.25), (24, 20, 0.31, 0.0)))
    outcome = run("explain", scene, "-m", BOXES, "-c", "each", "--json")
    Path("rows.jsonl").write_text(outcome.out)
    again = run("verify", "rows.jsonl", "-m", BOXES, "--json")
    assert again.code == 0
    assert again.rows[0]["status"] == "identical"
    (row,) = outcome.rows
    row["explanations"].reverse()
    row["top"].reverse()
    for entry, part in zip(row["top"], (1, 2), strict=True):
        entry["part"] = part
    Path("rows.jsonl").write_text(json.dumps(row))
    again = run("verify", "rows.jsonl", "-m", BOXES, "--json")
    assert (again.code, again.rows[0]["status"]) == (0, "equal")
    row["top"][1]["where"]["box"] = [0, 0, 4, 4]
    Path("rows.jsonl").write_text(json.dumps(row))
    assert run("verify", "rows.jsonl", "-m", BOXES, "--json").rows[0]["status"] == "differs"


TWO_STAGES = [f"layer_blocks.{i}" for i in (3, 2, 1, 0)]
ONE_STAGE = ["layer_blocks.2", "layer_blocks.1", "layer_blocks.0", "extra_blocks.p6", "extra_blocks.p7"]
GOLDEN = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": ["layer_blocks.1", "layer_blocks.0"],
    "fasterrcnn_mobilenet_v3_large_fpn": ["layer_blocks.1", "layer_blocks.0"],
    "fasterrcnn_resnet50_fpn": TWO_STAGES,
    "fasterrcnn_resnet50_fpn_v2": TWO_STAGES,
    "maskrcnn_resnet50_fpn": TWO_STAGES,
    "maskrcnn_resnet50_fpn_v2": TWO_STAGES,
    "keypointrcnn_resnet50_fpn": TWO_STAGES,
    "retinanet_resnet50_fpn": ONE_STAGE,
    "retinanet_resnet50_fpn_v2": ONE_STAGE,
    "fcos_resnet50_fpn": ONE_STAGE,
    "ssd300_vgg16": ["backbone.features", *(f"backbone.extra.{i}" for i in range(5))],
    "ssdlite320_mobilenet_v3_large": [
        "backbone.features.0",
        "backbone.features.1",
        *(f"backbone.extra.{i}" for i in range(4)),
    ],
}
# The box of the padded canvas, for a picture of 640x480; None: the picture fills it.
CANVAS = {
    **dict.fromkeys(GOLDEN, (0, 0, 653.208, 480)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (0, 0, 673.052, 480),
    "ssd300_vgg16": None,
    "ssdlite320_mobilenet_v3_large": None,
}
QUICK = ("fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large")


def test_torchvision_has_no_other_detectors() -> None:
    assert set(GOLDEN) == set(torchvision.models.list_models(module=torchvision.models.detection))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.exhaustive]) for name in GOLDEN]
)
def test_torchvisions_detectors_are_read_at_their_levels(name: str) -> None:
    """With a head that finds something: the levels, the canvas, and a logit that the score is made of."""
    least = "score_thresh" if name.startswith(("ssd", "retina", "fcos")) else "box_score_thresh"
    spec = Spec(model=name, weights="none", threshold=0.0, classes=("#1",), model_args=((least, "-1.0"),))
    model = models.load_model(spec)
    torch.manual_seed(0)
    for key, weights in model.net.named_parameters():
        if any(word in key for word in ("cls", "classification", "box_predictor")):
            nn.init.normal_(weights.data, std=0.02)
    engine = Engine(spec, model=model)
    assert [layer.name.removeprefix("backbone.fpn.") for layer in engine.layers] == GOLDEN[name]
    Image.open(SAMPLES / "cat_chelsea.jpg").resize((640, 480)).save("a.png")
    (result,) = engine.explain(expand(["a.png"]))
    assert isinstance(result, Explained), result
    (answer,) = result.attributions
    assert answer.values.any()
    assert answer.layer in [layer.name for layer in engine.layers]
    assert (answer.box and tuple(round(side, 3) for side in answer.box)) == CANVAS[name]
    entry = result.top[0]
    assert entry.score is not None
    assert entry.probability is not None
    if name.startswith("retinanet"):  # a sigmoid of one number; others divide by all classes', or multiply two
        assert entry.probability == pytest.approx(1 / (1 + np.exp(-entry.score)), abs=1e-6)
    place = entry.where
    assert place is not None
    assert (place.region is not None) == name.startswith("maskrcnn")
    assert len(place.points) == (17 if name.startswith("keypoint") else 0)


def test_a_class_that_is_none_is_refused() -> None:
    outcome = run("explain", SAMPLES / "espresso.jpg", "-m", QUICK[1], "-w", "none", "-c", "N/A")
    assert outcome.code == 2


PERSON = SHARED / "weights" / "person"
COCO = SHARED / "images" / "coco128"


@pytest.mark.exhaustive
@pytest.mark.skipif(not PERSON.exists(), reason="the real person detector is not at hand")
def test_a_real_detector_of_persons() -> None:
    """One person on a bench: the box and score that its author gives, and the heat on the person."""
    (picture,) = COCO.rglob("000000000510.jpg")
    flags = ("-m", f"{PERSON}/ssdlite_person.py:SSDLitePerson", "-w", PERSON / "ssdlite_person.pth", "--json")
    outcome = run("explain", picture, *flags, "-o", "out")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    (entry,) = row["top"]
    assert entry["where"]["box"] == pytest.approx([251.7, 126.7, 412.8, 422.5], abs=0.1)
    assert entry["probability"] == pytest.approx(1.0, abs=1e-5)
    (answer,) = row["explanations"]
    x0, y0, x1, y1 = entry["where"]["box"]
    assert answer["method"] == "hires-cam"
    assert answer["layer"] == "last"
    assert x0 <= answer["peak"][0] < x1
    assert y0 <= answer["peak"][1] < y1


@pytest.mark.exhaustive
@pytest.mark.skipif(not PERSON.exists(), reason="the real person detector is not at hand")
@pytest.mark.parametrize(
    ("method", "layers", "peaks", "energy"),
    [("hires-cam", (), 0.85, 0.7), ("hires-cam", ("blocks.12",), 0.85, 0.7), ("grad-cam", ("blocks.12",), 0.0, 0.0)],
)
def test_the_heat_is_on_the_persons(method: str, layers: tuple[str, ...], peaks: float, energy: float) -> None:
    """coco128's first 70 photos: 42 true positives; hires-cam lies on them, Grad-CAM's mean over the map does not."""
    files = sorted(path for path in (COCO / "object_detection").rglob("*.txt") if path.stem.isdigit())[:70]
    spec = Spec(
        model=f"{PERSON}/ssdlite_person.py:SSDLitePerson",
        weights=str(PERSON / "ssdlite_person.pth"),
        classes=("each",),
        methods=(method,),
        layers=layers,
    )
    engine = Engine(spec)
    pictures = [str(next((COCO / "images").rglob(f"{path.stem}.jpg"))) for path in files]
    inside, shares = [], []
    for path, result in zip(files, engine.explain(expand(pictures)), strict=True):
        assert isinstance(result, Explained), result
        persons = people_in(path, result.frame.size)
        for answer in result.attributions:
            box = box_of(answer)
            best = max(persons, key=lambda person: locating.iou(person, box), default=None)
            if best is None or locating.iou(best, box) <= 0.5:
                continue
            persons.remove(best)
            peak, _ = locating.locate(answer, result.box, result.frame.size)
            inside.append(peak is not None and box[0] <= peak[0] <= box[2] and box[1] <= peak[1] <= box[3])
            fine = locating.at_size(answer.values, answer.box or result.box, result.frame.size)
            x0, y0, x1, y1 = (max(0, round(side)) for side in box)
            shares.append(float(fine[y0:y1, x0:x1].sum() / max(fine.sum(), 1e-12)))
    assert len(inside) == 42
    assert np.mean(inside) >= peaks
    assert np.mean(shares) >= energy
    if method == "grad-cam":
        assert np.mean(inside) <= 0.3


def box_of(answer: Attribution) -> Box:
    entry = answer.target.entry
    assert entry is not None
    assert entry.where is not None
    assert entry.where.box is not None
    return entry.where.box


def people_in(path: Path, size: tuple[int, int]) -> list[tuple[float, ...]]:
    """The boxes of persons, class 0, in a file of YOLO's."""
    rows = [list(map(float, line.split())) for line in path.read_text().splitlines() if line.startswith("0 ")]
    width, height = size
    return [
        ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height) for _, x, y, w, h in rows
    ]


@pytest.mark.parametrize(
    ("asked", "name"), [("__background__", "__background__"), ("0", "__background__"), ("id:12", "N/A")]
)
def test_what_torchvisions_detectors_never_find_is_refused(scene: str, asked: str, name: str) -> None:
    outcome = run("explain", scene, "-m", "ssdlite320_mobilenet_v3_large", "-w", "none", "-c", asked)
    assert outcome.code == 2
    assert f"is {name!r}, which ssdlite320_mobilenet_v3_large never finds" in outcome.err
