"""`--class folder`: a validation set's folders name the class that is explained, and whether it was seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nets
import numpy as np
import pytest
import torch
import torchvision
from shell import SAMPLES, run
from torchvision.models import ResNet18_Weights

from camcli.models import labels
from camcli.models.weights import filling
from camcli.questions.classes import ClassId, OfFolder, TopN, of_folder, parse, select
from camcli.tasks.classify import ClassPrediction

Picture = Callable[..., Path]

LABELS: list[str] = ResNet18_Weights.DEFAULT.meta["categories"]
PETS = ["cat", "Big Dog", "gold-fish"]
JSON = ("--json", "--save", "none", "-q")


# Folder names.


@pytest.mark.parametrize(
    ("folder", "class_id"),
    [
        *[("tabby", 281), ("tiger cat", 282), ("tiger_cat", 282), ("Tiger-Cat", 282), ("TIGER  CAT", 282)],
        *[("Cardigan", 264), ("cardigan", 474), ("jack-o'-lantern", 607), ("jack o' lantern", 607)],
        *[("282", 282), ("0", 0), ("007", 7), ("999", 999)],
        *[("n02123045", 281), ("n02123045_tabby", 281), ("n02123045-tabby", 281), ("n01440764 tench", 0)],
        *[("n02012849", 134), ("n03126707", 517)],  # "crane" the bird and the machine
    ],
)
def test_a_folder_is_called_after_its_class(folder: str, class_id: int) -> None:
    assert of_folder(folder, LABELS, labels.wordnet_ids()) == class_id


@pytest.mark.parametrize(
    "folder",
    [
        *("", "no such thing", "cat", "tab", "top1", "folder", "1000", "-1", "+7", "1.0", "²"),
        *("n99999999", "n0212304", "n021230455", "n02123045x", "x n02123045", "CARDIGAN"),
    ],
)
def test_a_folder_that_names_no_class_or_two(folder: str) -> None:
    assert of_folder(folder, LABELS, labels.wordnet_ids()) is None


@pytest.mark.exhaustive
def test_every_class_is_found_by_each_of_its_names() -> None:
    ids = labels.wordnet_ids()
    for i, (label, wordnet_id) in enumerate(zip(LABELS, ids, strict=True)):
        found = [of_folder(name, LABELS, ids) for name in (label, str(i), wordnet_id, f"{wordnet_id}_{label}")]
        assert found == [i] * 4


def test_wordnet_ids_are_imagenets_alone() -> None:
    assert of_folder("n02123045", PETS, None) is None
    assert of_folder("n02123045", ["cat", "n02123045"], None) == 1
    assert of_folder("big_dog", PETS, None) == 1
    assert of_folder("Gold_Fish", PETS, None) == 2


def test_a_label_of_digits_beats_the_id() -> None:
    """The digits of MNIST sorted in another order, say."""
    assert of_folder("1", ["3", "2", "1", "0"], None) == 2
    assert of_folder("0", ["3", "2", "1", "zero"], None) == 0


@pytest.mark.parametrize(
    ("folder", "class_id"), [("2", 1), ("10", 2), ("02", 1), ("0", None), ("3", None), ("12", None)]
)
def test_where_all_names_are_numbers_a_folder_is_a_name(folder: str, class_id: int | None) -> None:
    """Graded 1, 2 and 10: a folder 0 is no class, and not the first one."""
    assert of_folder(folder, ["1", "2", "10"], None) == class_id


def test_names_that_differ_by_blanks_or_case_alone_are_told_apart_in_full_only() -> None:
    alike = ["big dog", "Big Dog", "big_dog"]
    assert [of_folder(name, alike, None) for name in alike] == [0, 1, 2]
    assert of_folder("BIG DOG", alike, None) is None
    assert of_folder("big-dog", alike, None) is None


def test_a_name_that_two_classes_share_is_neither() -> None:
    assert of_folder("crane", ["crane", "heron", "crane"], None) is None


def ranked(ids: list[int]) -> ClassPrediction:
    return ClassPrediction(PETS, ids, np.zeros(0, dtype=np.float32), None)


def test_folder_is_a_selector_like_the_others() -> None:
    assert parse(["folder", "top2", "1"], PETS, "mine") == [OfFolder(), TopN(2), ClassId(1)]
    assert parse([" FOLDER "], PETS, "mine") == [OfFolder()]
    assert select([OfFolder(), TopN(2)], ranked([2, 0, 1]), 0) == [0, 2]
    assert select([TopN(1), OfFolder()], ranked([2, 0, 1]), 2) == [2]


# The shell.


def photo(name: str, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / name, folder)


def test_a_validation_set_is_explained_by_its_truth() -> None:
    for folder in ("tiger_cat", "n02123159", "282", "n02123159_tiger_cat"):
        photo("cat_chelsea.jpg", f"val/{folder}")
    photo("espresso.jpg", "val/cup")
    photo("espresso.jpg", "val/Espresso")
    outcome = run("explain", "val/", "--class", "folder", *JSON)
    assert outcome.code == 0, outcome.err
    rows = {Path(row["input"]).parent.name: row for row in outcome.rows}
    assert len(rows) == 6
    for folder, row in rows.items():
        best = row["top"][0]["id"]
        truth = {"cup": 968, "Espresso": 967}.get(folder, 282)
        assert row["truth"] == {"id": truth, "label": LABELS[truth]}, folder
        assert row["correct"] is (best == truth), folder
        (explanation,) = row["explanations"]
        assert explanation["target"]["id"] == truth, folder
    assert (rows["cup"]["correct"], rows["Espresso"]["correct"]) == (False, True)
    assert rows["cup"]["top"][0]["id"] == 967


def test_a_folder_that_names_no_class_stops_nothing() -> None:
    photo("espresso.jpg", "val/espresso")
    photo("espresso.jpg", "val/drinks")
    outcome = run("explain", "val", "-c", "folder", *JSON)
    assert outcome.code == 4
    bad, good = outcome.rows
    assert bad["input"] == "val/drinks/espresso.jpg"
    assert bad["error"] == {
        "stage": "target",
        "kind": "unknown-class",
        "message": "its folder 'drinks' names no class of efficientnet_lite0",
    }
    assert good["correct"] is True


def test_a_picture_named_alone_has_a_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    photo("espresso.jpg", "espresso")
    monkeypatch.chdir("espresso")
    (named,) = run("explain", "espresso.jpg", "-c", "folder", *JSON).rows
    (piped,) = run("explain", "-", "-c", "folder", *JSON, stdin=b"espresso.jpg\n").rows
    assert named["truth"] == piped["truth"] == {"id": 967, "label": "espresso"}


def test_a_picture_from_a_pipe_has_none() -> None:
    outcome = run("explain", "-", "-c", "folder", *JSON, stdin=(SAMPLES / "espresso.jpg").read_bytes())
    assert outcome.code == 4
    (row,) = outcome.rows
    assert (row["error"]["stage"], row["error"]["kind"]) == ("target", "no-folder")


def test_classify_says_truth_and_correct_too() -> None:
    photo("espresso.jpg", "val/cup")
    photo("espresso.jpg", "val/espresso")
    outcome = run("classify", "val", "-c", "folder", "--json")
    assert [(row["truth"]["label"], row["correct"]) for row in outcome.rows] == [("cup", False), ("espresso", True)]
    assert [row["explanations"] for row in outcome.rows] == [[], []]
    assert "1 of 2 as their folder says" in outcome.err
    assert "(not 968 cup)" in run("classify", "val", "-c", "folder").out


def test_without_folder_nothing_is_true_or_false() -> None:
    photo("espresso.jpg", "val/cup")
    (row,) = run("explain", "val", *JSON).rows
    assert not {"truth", "correct"} & row.keys()


def test_truth_and_guess_side_by_side() -> None:
    photo("espresso.jpg", "val/cup")
    photo("espresso.jpg", "val/espresso")
    asked = ("-c", "folder", "-c", "top1", "-M", "grad-cam", "-M", "gradient")
    wrong, right = run("explain", "val", *asked, *JSON).rows
    assert {(e["method"], e["target"]["id"]) for e in wrong["explanations"]} == {
        (method, class_id) for method in ("grad-cam", "gradient") for class_id in (967, 968)
    }
    assert [(e["method"], e["target"]["id"]) for e in right["explanations"]] == [("grad-cam", 967), ("gradient", 967)]


@pytest.mark.exhaustive
def test_the_truth_explained_is_the_class_explained() -> None:
    """Classes differ from picture to picture in one batch, and each map is that of its own."""
    photo("espresso.jpg", "val/cup")
    photo("honey_bee.jpg", "val/bee")
    by_folder = run("explain", "val", "-c", "folder", *JSON, "-b", "1").rows
    for row, class_id in zip(by_folder, (309, 968), strict=True):
        (by_id,) = run("explain", row["input"], "-c", class_id, *JSON).rows
        assert row["explanations"] == by_id["explanations"]
    together = run("explain", "val", "-c", "folder", *JSON).rows
    assert [r["explanations"][0]["target"]["id"] for r in together] == [309, 968]
    for row, other in zip(by_folder, together, strict=True):
        assert other["explanations"][0]["max"] == pytest.approx(row["explanations"][0]["max"], rel=1e-3)


def test_the_set_that_names_the_classes_is_the_set_that_is_explained(picture: Picture) -> None:
    folders = ("apple", "fig", "Kiwi", "pear", "red_plum")
    for folder in folders:
        picture(f"val/{folder}/a.png")
    with filling.no_initialisation():
        net = torchvision.models.squeezenet1_1(num_classes=5)
    nets.fill(net)
    torch.save(net.state_dict(), "weights.pth")
    asked = ("-m", "squeezenet1_1", "-w", "weights.pth", "--labels", "val", "-c", "folder")
    outcome = run("explain", "val", *asked, *JSON)
    assert outcome.code == 0, outcome.err
    named = {Path(row["input"]).parent.name: row["truth"] for row in outcome.rows}
    assert named == {folder: {"id": i, "label": folder} for i, folder in enumerate(sorted(folders))}
    assert sum(row["correct"] for row in outcome.rows) == 1  # the same picture in each


def test_wordnet_folders_mean_nothing_to_other_classes(picture: Picture) -> None:
    picture("val/n02123045/a.png")
    picture("val/1/a.png")
    asked = ("-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=3", "-c", "folder")
    outcome = run("explain", "val", *asked, *JSON)
    assert outcome.code == 4, outcome.err
    by_id, unknown = outcome.rows
    assert by_id["truth"] == {"id": 1, "label": "class 1"}
    assert unknown["error"]["kind"] == "unknown-class"


UNNAMED = ("-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=3", "-c", "folder")


def test_classes_without_names_are_the_folders_in_order_and_that_is_said(picture: Picture) -> None:
    for folder in ("fig", "Apple", "10"):
        picture(f"val/{folder}/a.png")
        picture(f"val/{folder}/b.png")
    outcome = run("explain", "val", *UNNAMED, "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    truths = {Path(row["input"]).parent.name: row["truth"]["id"] for row in outcome.rows}
    assert truths == {"10": 0, "Apple": 1, "fig": 2}
    assert outcome.err.count("taken in ImageFolder's order of val/ (0 10, 1 Apple, 2 fig)") == 1
    (row,) = run("explain", "val/fig/a.png", *UNNAMED, *JSON).rows
    assert row["truth"]["id"] == 2


def test_one_logit_without_names_takes_two_folders_in_order(picture: Picture) -> None:
    for folder in ("weed", "crop"):
        picture(f"val/{folder}/a.png")
    asked = ("-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=1", "-c", "folder")
    crop, weed = run("explain", "val", *asked, *JSON).rows
    assert (crop["truth"], weed["truth"]) == ({"id": 0, "label": "no"}, {"id": 1, "label": "yes"})


def test_folders_that_are_not_as_many_as_classes_without_names_are_one_error(picture: Picture) -> None:
    for folder in ("fig", "apple"):
        picture(f"val/{folder}/a.png")
    outcome = run("explain", "val", *UNNAMED, *JSON)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("camcli: error: --class folder: squeezenet1_1 has 3 classes without names, and") == 1
    assert "has 2 folders: name the classes with --labels FILE" in outcome.err
