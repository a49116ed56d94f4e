"""What rows keep of their maps and of how they were made, and `camcli verify`, which makes them again."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from shell import SAMPLES, Outcome, run
from variants import thinned

from camcli.maps.fingerprints import deviation, fingerprint
from camcli.models.sources import bundled
from camcli.models.weights import filling
from camcli.running.verifying import SAME_WITHIN, Trusted, _prediction, _spec
from camcli.specs import Spec

Picture = Callable[..., Path]
Row = dict[str, Any]

SMALL = ("-m", "squeezenet1_1", "-w", "weights.pth", "--resize", "64", "--crop", "64")


# Fingerprints.


def levels(text: str) -> tuple[str, list[int]]:
    """(shape, bytes) of a fingerprint's grid."""
    shape, _, encoded = text.partition(":")
    return shape, list(base64.b64decode(encoded))


def a_map(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_a_small_map_is_its_own_grid() -> None:
    """255 / 4 = 63.75 a unit."""
    values = a_map([0, 1], [2, 4])
    found = fingerprint(values)
    assert found["sha256"] == hashlib.sha256(values.tobytes()).hexdigest()
    assert levels(found["grid"]) == ("2x2", [0, 64, 128, 255])


def test_a_large_map_is_averaged_cell_by_cell() -> None:
    cells = np.arange(64, dtype=np.float32).reshape(8, 8)
    noise = np.tile(a_map([-0.5, 0.5], [0.5, -0.5]), (8, 8))
    shape, found = levels(fingerprint(cells.repeat(2, 0).repeat(2, 1) + noise)["grid"])
    assert shape == "8x8"
    assert found == np.rint(cells * (255 / 63)).ravel().tolist()


def test_a_grid_has_at_most_eight_cells_a_side() -> None:
    assert levels(fingerprint(np.ones((3, 20), dtype=np.float32))["grid"]) == ("3x8", [255] * 24)


def test_of_a_saliency_the_strongest_channel_counts() -> None:
    values = np.zeros((3, 2, 2), dtype=np.float32)
    values[0, 0, 0], values[1, 0, 0], values[2, 1, 1] = -4, 1, 2
    found = fingerprint(values, "saliency")
    assert levels(found["grid"]) == ("2x2", [255, 0, 0, 128])
    assert found["sha256"] != fingerprint(-values, "saliency")["sha256"]
    assert found["grid"] == fingerprint(-values, "saliency")["grid"]


def test_a_blank_map_has_a_blank_grid() -> None:
    blank, other = fingerprint(np.zeros((2, 2), np.float32)), fingerprint(a_map([0, 0], [0, 1]))
    assert levels(blank["grid"]) == ("2x2", [0] * 4)
    assert deviation(blank, blank) == 0
    assert deviation(blank, other) == 1


def test_the_hash_does_not_depend_on_the_memory_layout() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert fingerprint(np.asfortranarray(values)) == fingerprint(values)


def test_deviation_is_the_largest_difference_of_a_cell() -> None:
    one, other = fingerprint(a_map([0, 1], [2, 4])), fingerprint(a_map([0, 1], [3, 4]))
    assert deviation(one, one) == 0
    assert deviation(one, other) == deviation(other, one) == (191 - 128) / 255


def test_deviation_leaves_the_scale_out() -> None:
    assert deviation(fingerprint(a_map([0, 1], [2, 4])), fingerprint(a_map([0, 10], [20, 40]))) == 0


def test_a_shifted_map_deviates_much() -> None:
    y, x = np.mgrid[:7, :7]
    bump = np.exp(-((y - 3) ** 2 + (x - 3) ** 2) / 4).astype(np.float32)
    assert deviation(fingerprint(bump), fingerprint(np.roll(bump, 1, axis=1))) > 10 * SAME_WITHIN
    rounded = bump * np.float32(1 + 1e-6)
    assert fingerprint(rounded)["sha256"] != fingerprint(bump)["sha256"]
    assert deviation(fingerprint(bump), fingerprint(rounded)) <= SAME_WITHIN


def test_maps_of_other_shapes_have_nothing_in_common() -> None:
    values = np.arange(6, dtype=np.float32)
    assert deviation(fingerprint(values.reshape(2, 3)), fingerprint(values[::-1].reshape(3, 2))) == 1


# Provenance.


def test_a_row_says_what_it_was_made_with(picture: Picture) -> None:
    (row,) = run("classify", picture("a.png"), "--json").rows
    made = row["provenance"]
    packaged = bundled.packaged_weights().read_bytes()
    assert made["weights_sha256"] == hashlib.sha256(packaged).hexdigest()
    assert made["preset"] == {
        **{"resize": 256, "crop": 224, "mean": [0.5] * 3, "std": [0.5] * 3},
        **{"interpolation": "bilinear", "squash": False},
    }
    assert (made["device"], made["dtype"]) == ("cuda" if torch.cuda.is_available() else "cpu", "float32")
    assert made["versions"] == {name: version(name) for name in ("camcli", "torch", "torchvision")}


def test_random_weights_have_no_file(picture: Picture) -> None:
    (row,) = run("classify", picture("a.png"), "-m", "squeezenet1_1", "-w", "none", "--json").rows
    assert row["weights"] == "none"
    assert row["provenance"]["weights_sha256"] is None


def test_the_preset_is_the_one_that_was_used(picture: Picture) -> None:
    asked = ("--resize", "80", "--crop", "64", "--mean", "0", "--std", "1", "--interpolation", "bicubic")
    (row,) = run("classify", picture("a.png"), *asked, "--json").rows
    assert row["provenance"]["preset"] == {
        **{"resize": 80, "crop": 64, "mean": [0.0] * 3, "std": [1.0] * 3},
        **{"interpolation": "bicubic", "squash": False},
    }


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        (("explain",), Spec(methods=("grad-cam",), fit="crop")),
        (("classify",), Spec(methods=(), classes=(), fit="crop")),
        (
            ("explain", "-M", "gradient", "-M", "grad-cam", "-c", "7", "-c", "top2", "-l", "features.5", "-k", "3"),
            Spec(methods=("gradient", "grad-cam"), classes=("7", "top2"), layers=("features.5",), top=3, fit="crop"),
        ),
        (
            ("explain", "--fit", "squash", "-b", "2", "--mean", "0", "--std", "1,1,1", "--crop", "64", "--multi-label"),
            Spec(
                methods=("grad-cam",),
                fit="squash",
                batch_size=2,
                mean=(0.0,),
                std=(1.0, 1.0, 1.0),
                crop=64,
                multi_label=True,
            ),
        ),
        (
            ("explain", "-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=3"),
            Spec(
                model="squeezenet1_1",
                weights="none",
                model_args=(("num_classes", "3"),),
                methods=("grad-cam",),
                fit="crop",
            ),
        ),
    ],
    ids=["explain", "classify", "asked", "preset", "model"],
)
def test_the_spec_in_a_row_is_the_spec_of_the_run(picture: Picture, asked: tuple[str, ...], spec: Spec) -> None:
    save = ("--save", "none") if asked[0] == "explain" else ()
    outcome = run(asked[0], picture("a.png"), *asked[1:], *save, "--json")
    assert outcome.code == 0, outcome.err
    assert _spec(outcome.rows[0]["provenance"]["spec"], Trusted()) == spec


# `camcli verify`.


def rows_of(*arguments: object, name: str = "rows.jsonl", code: int = 0) -> list[Row]:
    """Explain without files, rows into a file beside."""
    outcome = run("explain", *arguments, "--json", "--save", "none", "-q")
    assert outcome.code == code, outcome.err
    Path(name).write_bytes(outcome.stdout)
    return outcome.rows


def written(rows: list[Row], name: str = "rows.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def refused(*arguments: object, code: int = 2) -> str:
    """What a refused verify says."""
    outcome = run("verify", *arguments)
    assert outcome.code == code, outcome.err
    (line,) = outcome.err.splitlines()
    assert line.startswith("camcli: error: ")
    assert "this is a bug" not in line
    return line.removeprefix("camcli: error: ")


def statuses(outcome: Outcome) -> list[str]:
    return [row["status"] for row in outcome.rows]


@pytest.fixture
def weights() -> Path:
    """A squeezenet1_1 of 5 classes with seeded weights, in weights.pth."""
    return save_small()


def save_small(*, other: bool = False) -> Path:
    with filling.no_initialisation():
        net = torchvision.models.squeezenet1_1(num_classes=5)
    nets.fill(net)
    state = {name: value.flip(0) if other and value.ndim > 1 else value for name, value in net.state_dict().items()}
    torch.save(state, "weights.pth")
    return Path("weights.pth")


def test_rows_made_again_are_identical() -> None:
    photos = [SAMPLES / "cat_chelsea.jpg", SAMPLES / "espresso.jpg", SAMPLES / "honey_bee.jpg"]
    rows_of(*photos)
    outcome = run("verify", "rows.jsonl")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 3
    for line, photo in zip(lines, photos, strict=True):
        assert line.startswith(f"identical  {photo}  grad-cam of ")
        assert line.endswith(" identical")
    assert outcome.err == "camcli: 3 identical, 0 equal, 0 differs, 0 gone\n"


def test_rows_about_rows(picture: Picture) -> None:
    (row,) = rows_of(picture("a.png"))
    outcome = run("verify", "rows.jsonl", "--json", "-q")
    (answer,) = row["explanations"]
    described = {"method": "grad-cam", "target": answer["target"]["id"], "layer": "features"}
    assert outcome.rows == [
        {
            "input": row["input"],
            "status": "identical",
            "maps": [{**described, "status": "identical", "deviation": 0.0, "changed": {}}],
            "changed": {},
        }
    ]
    assert outcome.err == ""


def test_rows_from_a_pipe(picture: Picture, weights: Path) -> None:
    rows_of(picture("a.png"), *SMALL)
    outcome = run("verify", "-", "--json", stdin=Path("rows.jsonl").read_bytes())
    assert (outcome.code, statuses(outcome)) == (0, ["identical"])


def test_predictions_alone_are_verified_too(picture: Picture, weights: Path) -> None:
    picture("a.png")
    (row,) = run("classify", "a.png", *SMALL, "--json").rows
    assert statuses(run("verify", written([row]), "--json")) == ["identical"]
    row["top"][0]["probability"] += 0.01
    assert statuses(run("verify", written([row]), "--json")) == ["equal"]
    row["top"][0]["probability"] += 0.02
    outcome = run("verify", written([row]), "--json")
    assert (outcome.code, statuses(outcome)) == (4, ["differs"])
    row["top"].reverse()
    assert statuses(run("verify", written([row]), "--json")) == ["differs"]


def test_predictions_of_a_model_that_no_layer_explains(picture: Picture, code: str) -> None:
    """`classify` needs no layer, so its rows need none to be verified."""
    two_trunks = code.replace(":make", ":trunks")
    outcome = run("classify", picture("a.png"), "-m", two_trunks, "--json")
    assert outcome.code == 0, outcome.err
    Path("rows.jsonl").write_bytes(outcome.stdout)
    outcome = run("verify", "rows.jsonl", "-m", two_trunks, "--json")
    assert outcome.code == 0, outcome.err
    assert statuses(outcome) == ["identical"]


@pytest.mark.exhaustive
def test_another_picture_under_the_same_name_differs() -> None:
    shutil.copy(SAMPLES / "espresso.jpg", "a.jpg")
    shutil.copy(SAMPLES / "honey_bee.jpg", "b.jpg")
    rows_of("a.jpg", "b.jpg")
    shutil.copy(SAMPLES / "cat_chelsea.jpg", "a.jpg")
    outcome = run("verify", "rows.jsonl", "--json")
    assert (outcome.code, statuses(outcome)) == (4, ["differs", "identical"])
    assert outcome.rows[0]["maps"][0]["status"] == "differs"
    then, now = outcome.rows[0]["changed"]["top1"]
    assert then == 967 != now
    assert outcome.err == "camcli: 1 identical, 0 equal, 1 differs, 0 gone\n"
    assert f"changed: top1 967 -> {now}" in run("verify", "rows.jsonl").out


def test_a_picture_that_is_gone_stops_nothing(picture: Picture, weights: Path) -> None:
    picture("a.png")
    picture("b.png")
    rows_of("a.png", "b.png", *SMALL, "-b", "1")
    Path("a.png").unlink()
    outcome = run("verify", "rows.jsonl", "--json")
    assert (outcome.code, statuses(outcome)) == (4, ["gone", "identical"])
    assert outcome.rows[0]["message"] == "no such file"
    assert outcome.err == "camcli: 1 identical, 0 equal, 0 differs, 1 gone\n"
    assert run("verify", "rows.jsonl", "-q").out.startswith("gone       a.png: no such file\nidentical  b.png  ")


def test_other_weights_under_the_same_name_show(picture: Picture, weights: Path) -> None:
    picture("a.png")
    rows_of("a.png", *SMALL, "-c", "2")
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    after = hashlib.sha256(save_small(other=True).read_bytes()).hexdigest()
    outcome = run("verify", "rows.jsonl", "--json")
    assert (outcome.code, statuses(outcome)) == (4, ["differs"])
    assert outcome.rows[0]["changed"]["weights_sha256"] == [before, after]


def test_another_best_class_has_no_map_to_compare(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL, "-k", "1")
    row["explanations"][0]["target"]["id"] = (row["top"][0]["id"] + 1) % 5
    (check,) = run("verify", written([row]), "--json").rows
    assert check["maps"][0]["status"] == "differs"
    assert check["maps"][0]["deviation"] is None


def tampered(row: Row, by: int) -> Row:
    """The row with its weakest cell a few levels stronger, as other hardware's rounding would leave it."""
    shape, cells = levels(row["explanations"][0]["fingerprint"]["grid"])
    cells[cells.index(min(cells))] += by
    grid = f"{shape}:{base64.b64encode(bytes(cells)).decode()}"
    changed: Row = json.loads(json.dumps(row))
    changed["explanations"][0]["fingerprint"] = {"sha256": "0" * 64, "grid": grid}
    return changed


@pytest.mark.parametrize(("by", "status", "code"), [(0, "equal", 0), (5, "equal", 0), (6, "differs", 4)])
def test_rounding_is_no_difference(picture: Picture, weights: Path, by: int, status: str, code: int) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    outcome = run("verify", written([tampered(row, by)]), "--json")
    assert (outcome.code, statuses(outcome)) == (code, [status])
    assert outcome.rows[0]["maps"][0]["deviation"] == round(by / 255, 4)


@pytest.mark.parametrize(("factor", "status"), [(1.01, "equal"), (1.05, "differs")])
def test_another_scale_is_a_difference(picture: Picture, weights: Path, factor: float, status: str) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row = tampered(row, 0)
    row["explanations"][0]["max"] *= factor
    assert statuses(run("verify", written([row]), "--json")) == [status]


def test_other_versions_are_named(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row["provenance"]["versions"]["torch"] = "1.0"
    row["provenance"]["dtype"] = "float16"
    outcome = run("verify", written([row]), "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"])
    assert outcome.rows[0]["changed"] == {"dtype": ["float16", "float32"], "torch": ["1.0", version("torch")]}


@pytest.mark.exhaustive
def test_scores_that_moved_are_named(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL, "-k", "3")
    first, second, third = row["top"]
    was = second["probability"]
    second["probability"] = round(was + 0.01, 6)
    (check,) = run("verify", written([row]), "--json").rows
    assert (check["status"], check["maps"][0]["status"]) == ("equal", "identical")
    assert check["changed"] == {f"top.{second['id']}.probability": [second["probability"], was]}
    assert run("verify", "rows.jsonl", "-q").out.endswith("changed: probability by up to 0.01\n")
    second["probability"] = was
    first["logit"] += 1
    (check,) = run("verify", written([row]), "--json").rows
    assert check["status"] == "equal"  # the probabilities are as they were
    third["id"] = 9
    said = run("verify", written([row])).out
    assert "  changed: logit by up to 1, no longer among the best: 9\n" in said


def test_other_weights_behind_a_map_that_never_looks_at_them_differ(picture: Picture, weights: Path) -> None:
    """The map of eigen-cam stays where only the head has changed, and the answer does not."""
    picture("a.png")
    rows_of("a.png", *SMALL, "-M", "eigen-cam", "-c", "0")
    state = torch.load(weights)
    state["classifier.1.weight"] = state["classifier.1.weight"].roll(1, 0)
    torch.save(state, weights)
    outcome = run("verify", "rows.jsonl", "--json")
    (check,) = outcome.rows
    assert (outcome.code, check["status"], check["maps"][0]["status"]) == (4, "differs", "identical")
    assert {"weights_sha256", "top1"} <= check["changed"].keys()


def test_an_answer_that_moved_says_what_of_it(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row["explanations"][0] |= {"peak": [0, 0], "note": "blank"}
    row |= {"note": "12 bits", "layer": "elsewhere"}
    row["provenance"]["preset"]["mean"][0] = 0.0
    (check,) = run("verify", written([row]), "--json").rows
    assert check["maps"][0]["changed"].keys() == {"peak", "note"}
    assert check["changed"]["note"] == ["12 bits", None]
    assert check["changed"].keys() == {"note", "layer", "preset.mean"}
    assert "note 12 bits -> None" in run("verify", "rows.jsonl").out


def test_outputs_without_probabilities_have_their_own_scale(picture: Picture, weights: Path) -> None:
    """2 % of the largest: these are about 0.01."""
    picture("a.png")
    (row,) = run("classify", "a.png", *SMALL, "--json").rows
    (found,) = rows_of("a.png", *SMALL, "--output-index", "1")
    assert found["top"][0]["probability"] is None
    largest = max(abs(score["logit"]) for score in found["top"])
    for part, status in ((0.01, "equal"), (0.05, "differs")):
        moved = json.loads(json.dumps(found))
        moved["top"][-1]["logit"] += part * largest
        assert statuses(run("verify", written([moved]), "--json")) == [status]
    assert row["top"][0]["probability"] is not None


def predicted(*scores: tuple[int, float]) -> Row:
    return {"top": [{"id": id_, "label": "", "probability": share, "logit": 0.0} for id_, share in scores]}


@pytest.mark.parametrize(
    ("now", "status"),
    [
        ([(1, 0.5), (2, 0.21), (3, 0.2)], "identical"),
        ([(1, 0.5), (3, 0.21), (2, 0.2)], "equal"),
        ([(1, 0.5), (2, 0.21), (4, 0.205)], "equal"),  # 3 is just below
        ([(1, 0.5), (2, 0.25), (4, 0.23)], "differs"),  # 3 may be far below, and 2 has moved
        ([(1, 0.5), (2, 0.21), (4, 0.17)], "differs"),
        ([(2, 0.51), (1, 0.5), (3, 0.2)], "differs"),  # another best class
        ([(1, 0.5), (2, 0.21)], "equal"),
    ],
)
def test_classes_of_nearly_the_same_score_may_change_places_below_the_best(
    now: list[tuple[int, float]], status: str
) -> None:
    assert _prediction(predicted((1, 0.5), (2, 0.21), (3, 0.2)), predicted(*now)) == status


def test_what_came_through_a_pipe_is_gone(picture: Picture, weights: Path) -> None:
    data = picture("a.png").read_bytes()
    outcome = run("explain", "-", *SMALL, "--save", "none", "--json", stdin=data)
    rows = [*outcome.rows, *rows_of("a.png", "a.png", *SMALL), {**outcome.rows[0], "input": "/dev/fd/0"}]
    outcome = run("verify", written(rows), "--json")
    assert (outcome.code, statuses(outcome)) == (4, ["gone", "identical", "identical", "gone"])
    assert outcome.rows[0] == {
        "input": "-",
        "status": "gone",
        "message": "it came through a pipe, which keeps nothing",
    }
    assert [row.get("again") for row in outcome.rows] == [None, None, 2, None]


@pytest.mark.parametrize(
    "spec",
    [
        Spec(fuse="mean", sanity="head", augment=("flip",), contrast=("1", "2"), similar_to="a.png", output_index=3),
        Spec(resize=1, crop=2, mean=(0.5,), std=(1.0, 2.0), interpolation="bicubic", labels="l", preset="p", seed=4),
        Spec(model_args=(("a", "b"), ("c", "d")), output_key="o", weights_key="k", multi_label=True, neurons=True),
        Spec(counterfactual=True, target="softmax", eigen_smooth=True, precision="bf16", compile=True, exact=True),
    ],
    ids=str,
)
def test_every_field_of_a_spec_comes_back(spec: Spec) -> None:
    from dataclasses import asdict

    assert _spec(json.loads(json.dumps(asdict(spec))), Trusted()) == spec


def test_several_runs_in_one_file(picture: Picture, weights: Path) -> None:
    picture("a.png")
    picture("b.png", (80, 40))
    ours = rows_of("a.png", "b.png", *SMALL)
    theirs = rows_of("a.png", "b.png", *SMALL, "-M", "gradient", "--fit", "squash")
    outcome = run("verify", written([*ours, *theirs]), "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"] * 4)
    assert [row["maps"][0]["method"] for row in outcome.rows] == ["grad-cam"] * 2 + ["gradient"] * 2


def test_rows_in_another_order_are_batched_otherwise(picture: Picture, weights: Path) -> None:
    """A batch of another size may round otherwise, and no more than that."""
    picture("a.png")
    picture("b.png", (80, 40))
    ours = rows_of("a.png", "b.png", *SMALL)
    theirs = rows_of("a.png", "b.png", *SMALL, "--fit", "squash")
    outcome = run("verify", written([ours[0], theirs[1], ours[1]]), "--json")
    assert outcome.code == 0, outcome.err
    assert [row["input"] for row in outcome.rows] == ["a.png", "b.png", "b.png"]
    assert set(statuses(outcome)) <= {"identical", "equal"}


def test_every_method_class_and_layer_is_verified(picture: Picture, weights: Path) -> None:
    methods = ("grad-cam", "guided-backprop", "guided-grad-cam", "gradient", "deconvnet")
    asked = [flag for method in methods for flag in ("-M", method)]
    asked += ["-c", "top2", "-l", "features.5", "-l", "features"]
    (row,) = rows_of(picture("a.png"), picture("b.png", (80, 40)), *SMALL, *asked)[1:]
    outcome = run("verify", "rows.jsonl", "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"] * 2)
    maps = outcome.rows[1]["maps"]
    assert [(m["method"], m["target"], m["layer"]) for m in maps] == [
        (e["method"], e["target"]["id"], e["layer"]) for e in row["explanations"]
    ]
    assert {m["status"] for m in maps} == {"identical"}
    assert {m["method"] for m in maps} == set(methods)
    assert len({m["target"] for m in maps}) == len({m["layer"] for m in maps} - {None}) == 2


def test_the_worst_map_is_the_row(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL, "-c", "top2")
    outcome = run("verify", written([tampered(row, 60)]), "--json")
    assert statuses(outcome) == ["differs"]
    assert [m["status"] for m in outcome.rows[0]["maps"]] == ["differs", "identical"]


@pytest.mark.exhaustive
def test_a_truth_by_folder_is_found_again() -> None:
    Path("val/cup").mkdir(parents=True)
    shutil.copy(SAMPLES / "espresso.jpg", "val/cup")
    (row,) = rows_of("val", "-c", "folder")
    assert row["explanations"][0]["target"]["id"] == row["truth"]["id"] == 968
    assert statuses(run("verify", "rows.jsonl", "--json")) == ["identical"]


def test_random_weights_are_the_same_again(picture: Picture) -> None:
    rows_of(picture("a.png"), "-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=3", "--mean", "0")
    assert statuses(run("verify", "rows.jsonl", "--json")) == ["identical"]


def test_refused_rows_are_passed_over(picture: Picture, weights: Path) -> None:
    Path("a.png").write_text("no picture")
    picture("b.png")
    bad, good = rows_of("a.png", "b.png", *SMALL, code=4)
    outcome = run("verify", "rows.jsonl", "--json")
    assert (outcome.code, [row["input"] for row in outcome.rows]) == (0, [good["input"]])
    alone = run("verify", written([bad]))
    assert (alone.code, alone.out) == (0, "")
    assert alone.err == "camcli: 0 identical, 0 equal, 0 differs, 0 gone\n"


# Rows come from anywhere.


def test_a_missing_file_of_rows() -> None:
    assert refused("rows.jsonl") == "no such file: rows.jsonl"


@pytest.mark.parametrize(
    "line",
    thinned(
        [
            *("not JSON", "", "{}", "[]", "3", "null", '"an error"', '{"input": "a.png"}', "[" * 100_000),
            '{"input": "a.png", "provenance": {"spec": []}}',
            '{"input": 3, "provenance": {"spec": {}}}',
            '{"input": "a.png", "provenance": {"spec": {"weights": "none"}}}',
        ],
        3,
    ),
    ids=lambda line: line[:20] or "blank",
)
def test_a_line_that_is_no_row_is_named(picture: Picture, weights: Path, line: str) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    Path("rows.jsonl").write_text(f"{json.dumps(row)}\n{line}\n")
    assert refused("rows.jsonl") == "line 2 is no row of camcli with its provenance"


def test_bytes_that_are_no_text() -> None:
    Path("rows.jsonl").write_bytes(b"\xff\xfe\x00rows")
    assert refused("rows.jsonl") == "line 1 is no row of camcli with its provenance"
    piped = run("verify", "-", stdin=b"\xff\xfe\x00rows")
    assert piped.code == 2, piped.err


@pytest.mark.parametrize("part", ["explanations", "top", "versions", "fingerprint", "grid", "max"])
def test_a_row_that_lacks_a_part_is_named(picture: Picture, weights: Path, part: str) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    (answer,) = row["explanations"]
    for holder in (row, row["provenance"], answer, answer["fingerprint"]):
        holder.pop(part, None)
    if part == "grid":
        answer["fingerprint"] = {"sha256": "0" * 64, "grid": "8x8:no base64!"}
    assert refused(written([row])).startswith("line 1 is no row of camcli")


def test_fields_of_another_version(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row["provenance"]["spec"] |= {"colour": "red", "angle": 3}
    row["provenance"]["versions"]["camcli"] = "9.1"
    assert refused(written([row])) == (
        f"the rows were made by camcli 9.1 and ask for angle, colour, which camcli {version('camcli')} does not know: "
        "verify them with the version that made them"
    )


def test_rows_of_a_later_schema(picture: Picture, weights: Path) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row["provenance"]["versions"]["camcli"] = "9.1"
    said = refused(written([row | {"schema": 3}]))
    assert said.startswith("line 1 is a row of schema 3, made by camcli 9.1; camcli ")


def test_rows_of_an_earlier_version_lack_fields(picture: Picture, weights: Path) -> None:
    """Fields of the spec that it did not know are unset; what else it did not say is named as changed."""
    (row,) = rows_of(picture("a.png"), *SMALL, "-c", "2")
    for name in ("fit", "target", "precision"):
        del row["provenance"]["spec"][name]
    del row["provenance"]["preset"]["squash"], row["explanations"][0]["bbox"]
    row["schema"] = 1
    outcome = run("verify", written([row]), "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"])
    (check,) = outcome.rows
    assert check["changed"] == {
        "preset.squash": [None, False],
        "spec.fit": [None, "crop"],
        "spec.target": [None, "logit"],
        "spec.precision": [None, "fp32"],
    }
    assert list(check["maps"][0]["changed"]) == ["bbox"]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": "many"}, {"model": 5}, {"methods": [[]]}, {"weights": []}, {"mean": ["a"]}, {"crop": 1.5}]
)
def test_fields_of_the_wrong_type(picture: Picture, weights: Path, wrong: dict[str, Any]) -> None:
    (row,) = rows_of(picture("a.png"), *SMALL)
    row["provenance"]["spec"] |= wrong
    assert next(iter(wrong)) in refused(written([row]))


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user's file, by its factory; running it leaves the file "ran"."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    Path("verified_net.py").write_text(
        "from pathlib import Path\n"
        "import nets\n"
        "Path('ran').touch()\n"
        "def make():\n    return nets.Convolutional()\n"
        "def trunks():\n    net = nets.TwoTrunks()\n    nets.fill(net)\n    return net\n"
    )
    yield "verified_net.py:make"
    sys.modules.pop("verified_net", None)


@pytest.mark.exhaustive
def test_rows_alone_run_no_code(picture: Picture, code: str) -> None:
    rows_of(picture("a.png"), "-m", code)
    Path("ran").unlink()
    said = f"the rows run the code {code}: if you trust it, say so with --model {code}"
    assert refused("rows.jsonl") == said
    assert refused("rows.jsonl", "-m", "resnet18") == said
    assert refused("rows.jsonl", "-m", "verified_net.py:other") == said
    assert not Path("ran").exists()
    outcome = run("verify", "rows.jsonl", "-m", code, "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"])
    assert Path("ran").exists()


def test_rows_alone_trust_no_pickle(picture: Picture) -> None:
    with filling.no_initialisation():
        net = torchvision.models.squeezenet1_1(num_classes=5)
    nets.fill(net)
    torch.save(net, "weights.pth")
    picture("a.png")
    rows_of("a.png", *SMALL, "--trust-checkpoint")
    assert "--trust-checkpoint" in refused("rows.jsonl")
    outcome = run("verify", "rows.jsonl", "--trust-checkpoint", "--json")
    assert (outcome.code, statuses(outcome)) == (0, ["identical"])
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    del rows[0]["provenance"]["spec"]["trust_checkpoint"]
    assert "could run code" in refused(written(rows), code=3)
    # The flag lets rows do what they did, and no more.
    assert "could run code" in refused("rows.jsonl", "--trust-checkpoint", code=3)


def test_rows_alone_run_no_function(picture: Picture) -> None:
    Path("mine.py").write_text(
        "from pathlib import Path\n\ndef first(y):\n    Path('ran').touch()\n    return y[:, 0]\n"
    )
    rows_of(picture("a.png"), "-m", "squeezenet1_1", "-w", "none", "--target", "mine.py:first")
    Path("ran").unlink()
    assert "say so with --target mine.py:first" in refused("rows.jsonl")
    assert "say so with --target mine.py:first" in refused("rows.jsonl", "--target", "os:abort")
    assert not Path("ran").exists()
    assert run("verify", "rows.jsonl", "--target", "mine.py:first").code == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("piped", [True, False])
def test_rows_in_the_encoding_of_windows_are_read(picture: Picture, weights: Path, encoding: str, piped: bool) -> None:
    rows = rows_of(picture("é.png"), *SMALL)
    content = "".join(f"{json.dumps(row, ensure_ascii=False)}\r\n" for row in rows).encode(encoding)
    Path("rows.jsonl").write_bytes(content)
    outcome = run("verify", "-", stdin=content) if piped else run("verify", "rows.jsonl")
    assert outcome.code == 0, outcome.err
    assert "1 identical" in outcome.err


def test_rows_are_verified_on_a_device_that_is_here_and_of_pictures_of_any_size(
    picture: Picture, weights: Path
) -> None:
    rows = rows_of(picture(), *SMALL)
    rows[0]["provenance"]["spec"]["device"] = "cuda:7"
    written(rows)
    assert run("verify", "rows.jsonl").code == 3
    assert run("verify", "rows.jsonl", "--device", "cpu").code == 0
    gone = run("verify", "rows.jsonl", "--device", "cpu", "--max-pixels", "10", "--json")
    assert (gone.code, gone.rows[0]["status"]) == (4, "gone")
    assert "--max-pixels" in gone.rows[0]["message"]
