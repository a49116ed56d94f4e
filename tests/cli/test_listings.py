"""`models`, `layers`, `methods`, `classes` and `doctor`, for people and for programs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
import torchvision
from shell import SAMPLES, refused, run

from camcli import methods
from camcli.models import typed
from camcli.specs import ModelSpec


def test_models_by_wildcard() -> None:
    outcome = run("models", "resnet1*", "--json")
    assert [row["name"] for row in outcome.rows] == ["resnet18", "resnet101", "resnet152"]
    assert outcome.rows[1] == {
        "name": "resnet101",
        "family": "resnet",
        "task": "classify",
        "weights": ["IMAGENET1K_V1", "IMAGENET1K_V2"],
    }
    tasks = [row["task"] for row in run("models", "--json").rows]
    assert Counter(tasks) == {"classify": 81, "segment": 6, "detect": 12, "watch": 9}
    assert [row["name"] for row in run("models", "--task", "segment", "--json").rows][:1] == ["deeplabv3_resnet50"]
    assert refused(2, "models", "--task", "dance").startswith("camcli: error: --task 'dance' is none of classify,")
    assert run("models", "squeeze*").out.splitlines() == [
        "squeezenet1_0\tsqueezenet\tclassify\tIMAGENET1K_V1",
        "squeezenet1_1\tsqueezenet\tclassify\tIMAGENET1K_V1",
    ]
    assert (run("models", "nothing*").code, run("models", "nothing*").out) == (2, "")


def test_layers_marks_the_one_that_is_explained() -> None:
    outcome = run("layers", "vgg16", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert (row["model"], row["layer"], row["shape"]) == ("vgg16", "features.29", [512, 14, 14])
    assert "every path to the score crosses" in row["why"]
    modules = {module["name"]: module for module in row["modules"]}
    assert modules["features.30"] == {"name": "features.30", "type": "MaxPool2d", "shape": [512, 7, 7]}
    listed = run("layers", "vgg16")
    (marked,) = [line for line in listed.out.splitlines() if line.startswith("=>")]
    assert marked == "=>\t  features.29\tReLU\t512x14x14"
    assert "=> features.29 (512x14x14)" in listed.err


def test_layers_of_a_model_that_computes_nothing() -> None:
    """The largest classifier (645 M parameters) is listed without its weights and without its arithmetic."""
    (row,) = run("layers", "regnet_y_128gf", "--json").rows
    assert (row["layer"], row["shape"]) == ("trunk_output", [7392, 12, 12])


def test_layers_of_an_unknown_model() -> None:
    outcome = run("layers", "vgg61")
    assert outcome.code == 2
    assert "did you mean vgg19 or vgg16" in outcome.err


def test_methods() -> None:
    rows = run("methods", "--json").rows
    assert [row["name"] for row in rows] == methods.names()
    said = {"name": "guided-grad-cam", "kind": "saliency", "paper": "arXiv:1610.02391 sec. 3.2"}
    assert rows[2].items() >= (said | {"forwards": 1, "backwards": 2, "heads": 0}).items()
    assert "ReLU activations" in rows[2]["needs"]
    assert "arXiv:1810.03292" in rows[2]["caveat"]
    assert "grad-cam\tmap\tarXiv:1610.02391 eq. 1-2\trelu(sum_k mean_ij(dy/dA_k) * A_k)" in run("methods").out


def test_one_method_in_full() -> None:
    told = dict(line.split("\t") for line in run("methods", "ablation-cam").out.splitlines())
    assert told["formula"].startswith("relu(sum_k (y - y_k) / |y| * A_k)")
    assert (told["forwards"], told["heads"]) == ("1", "C")
    assert told["caveat"].startswith("Redundant channels")
    assert run("methods", "cam", "--json").rows[0]["needs"][1].startswith("a network that ends in an average")
    assert "did you mean grad-cam" in refused(2, "methods", "gradcm")


def test_classes() -> None:
    assert {"id": 243, "label": "bull mastiff"} in run("classes", "resnet50", "bull", "--json").rows
    assert run("classes", "resnet50", "TABBY").out == "281\ttabby\n"
    assert len(run("classes", "efficientnet_lite0", "--json").rows) == 1000
    assert run("classes", "resnet50", "nothing such").code == 2


@pytest.fixture
def cups() -> Path:
    """A fine-tuned network's file, and the names of its classes."""
    net = torchvision.models.squeezenet1_1(num_classes=3)
    torch.save({"state_dict": net.state_dict(), "ema": net.state_dict()}, "cups.pth")
    Path("names.txt").write_text("cup\nmug\njug\n")
    return Path("cups.pth")


@pytest.mark.parametrize("named", [["squeezenet1_1", "-w"], ["-m", "squeezenet1_1", "-w"]], ids=["argument", "option"])
def test_classes_and_layers_of_a_file(named: list[str], cups: Path) -> None:
    flags = [*named, cups, "--labels", "names.txt", "--weights-key", "ema"]
    assert run("classes", *flags).out == "0\tcup\n1\tmug\n2\tjug\n"
    (row,) = run("layers", *flags, "--json").rows
    assert (row["model"], row["layer"]) == ("squeezenet1_1", "features")
    assert next(m["shape"] for m in row["modules"] if m["name"] == "classifier.1")[0] == 3


def test_a_part_of_a_name_after_the_model_however_that_is_named(cups: Path) -> None:
    flags = ["-w", cups, "--labels", "names.txt"]
    assert run("classes", "squeezenet1_1", "ug", *flags).out == "1\tmug\n2\tjug\n"
    assert run("classes", "-m", "squeezenet1_1", "ug", *flags).out == "1\tmug\n2\tjug\n"
    assert run("classes", "-m", "squeezenet1_1", *flags).out.count("\n") == 3
    assert "resnet18 and --model resnet34 are two models" in refused(2, "layers", "resnet18", "-m", "resnet34")


def test_the_advice_of_a_refusal_lists_what_was_refused(cups: Path) -> None:
    """Pasted as it stands, it prints the names that the refused command would have taken."""
    flags = ["-m", "squeezenet1_1", "-w", "cups.pth", "--labels", "names.txt"]
    line = refused(2, "explain", SAMPLES / "espresso.jpg", *flags, "-c", "mugs")
    assert line.endswith("unknown class 'mugs': the classes are cup, mug, jug")
    line = refused(2, "explain", SAMPLES / "espresso.jpg", *flags, "-l", "featurs")
    command = line.split("`")[1]
    assert command == "camcli layers squeezenet1_1 -w cups.pth --labels names.txt"
    assert "=>\tfeatures\t" in run(*command.split()[1:]).out


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec(), "efficientnet_lite0"),
        (ModelSpec("resnet18", "none", resize=300), "resnet18"),
        (ModelSpec(weights="my cups.pth"), "-w 'my cups.pth'"),
        (
            ModelSpec("net.py:Net", model_args=(("width", "8"),), output_key="a"),
            "net.py:Net --model-arg width=8 --output-key a",
        ),
        (
            ModelSpec("resnet18", "a.pt", weights_key="ema", trust_checkpoint=True),
            "resnet18 -w a.pt --weights-key ema --trust-checkpoint",
        ),
    ],
)
def test_a_model_is_named_in_advice_as_its_user_named_it(spec: ModelSpec, words: str) -> None:
    assert typed(spec) == words


def test_layers_are_those_of_the_weights_that_are_named() -> None:
    """ViT-B/16 has weights for pictures of 384 x 384 too."""
    (row,) = run("layers", "vit_b_16", "-w", "IMAGENET1K_SWAG_E2E_V1", "--json").rows
    assert row["shape"] == [768, 24, 24]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_finds_a_working_installation(flags: list[str]) -> None:
    outcome = run("doctor", *flags)
    assert outcome.code == 0, outcome.err
    if flags:
        (facts,) = outcome.rows
        assert facts["explains"] is True
        assert facts["problem"] is None
        assert facts["torch"]
    else:
        assert "explains\tTrue" in outcome.out


def test_layers_are_listed_where_none_is_chosen() -> None:
    """Which of them can be named is what its refusal sends here for."""
    asked = ("layers", "token_people:Windows", "-w", "none", "--resize", "48", "--crop", "48")
    outcome = run(*asked)
    assert outcome.code == 3
    marked = [line.split("\t")[1].strip() for line in outcome.out.splitlines() if line.startswith("*")]
    assert marked == ["embed"]
    assert "near the picture" in outcome.err
    as_json = run(*asked, "--json")
    assert (as_json.code, as_json.rows[0]["layer"]) == (3, None)
    assert "embed" in [module["name"] for module in as_json.rows[0]["modules"]]
