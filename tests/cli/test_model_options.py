"""The options that say how a network is read: names, preprocessing, probabilities, arguments."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
import torchvision
from PIL import Image
from shell import SAMPLES, run
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from camcli.models.weights import filling

Picture = Callable[..., Path]
Row = dict[str, Any]

FRUIT = ("apple", "fig", "Kiwi", "pear", "red plum")
SMALL = ("-m", "squeezenet1_1", "-w", "weights.pth")
USUAL = {
    **{"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    **{"interpolation": "bilinear", "squash": False},
}
# One preset in the words of three tools.
ASKED = {
    **{"resize": 80, "crop": 64, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    **{"interpolation": "bicubic", "squash": False},
}
DIALECTS: dict[str, Row] = {
    "ours": ASKED,
    "timm": {
        "architecture": "resnet18",
        "pretrained_cfg": {
            **{"input_size": [3, 64, 64], "crop_pct": 0.8, "crop_mode": "center", "interpolation": "bicubic"},
            **{"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        },
    },
    "hugging-face": {
        **{"size": {"shortest_edge": 80}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}},
        **{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "do_normalize": True},
    },
}


def small(classes: int = 5) -> nn.Module:
    """squeezenet1_1 with seeded weights and a head of its own."""
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.squeezenet1_1(num_classes=classes)
    nets.fill(net)
    return net.eval().requires_grad_(False)


@pytest.fixture
def weights(picture: Picture) -> Path:
    """A checkpoint of 5 classes, weights.pth, and a picture beside it, a.png."""
    picture("a.png", (120, 90))
    torch.save(small().state_dict(), "weights.pth")
    return Path("weights.pth")


def classified(*arguments: object, says: str = "") -> Row:
    """The row of a.png; `says` is part of what stderr holds."""
    outcome = run("classify", "a.png", *arguments, "--json", "-k", "9")
    assert outcome.code == 0, outcome.err
    assert says in outcome.err
    (row,) = outcome.rows
    return row


def names_of(row: Row) -> tuple[str, ...]:
    return tuple(score["label"] for score in sorted(row["top"], key=lambda score: int(score["id"])))


def logits_of(row: Row) -> list[float]:
    return [score["logit"] for score in sorted(row["top"], key=lambda score: int(score["id"]))]


def refused(*arguments: object, code: int = 2) -> str:
    """What is said about a.png's refused run."""
    outcome = run("classify", "a.png", *arguments, "--json")
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    line = outcome.err.splitlines()[-1]
    assert "this is a bug" not in line
    return line.removeprefix("camcli: error: ")


def in_a_text() -> str:
    Path("fruit.txt").write_text("".join(f"{name}\n" for name in FRUIT))
    return "fruit.txt"


def in_json() -> str:
    Path("fruit.json").write_text(json.dumps({str(i): name for i, name in enumerate(FRUIT)}))
    return "fruit.json"


def in_folders() -> str:
    for name in FRUIT:
        Path("fruit", name).mkdir(parents=True)
    return "fruit"


# Names.


@pytest.mark.parametrize("given", [in_a_text, in_json, in_folders])
def test_labels_name_the_classes(weights: Path, given: Callable[[], str]) -> None:
    labels = given()
    expected = tuple(sorted(FRUIT)) if labels == "fruit" else FRUIT
    assert names_of(classified(*SMALL, "--labels", labels)) == expected


def test_a_class_is_asked_for_by_its_label(weights: Path) -> None:
    outcome = run("explain", "a.png", *SMALL, "--labels", in_a_text(), "-c", "plum", "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    (explanation,) = outcome.rows[0]["explanations"]
    assert (explanation["target"]["id"], explanation["target"]["label"]) == (4, "red plum")


@pytest.mark.parametrize("content", ["apple\nfig\n", "a\nb\nc\nd\ne\nf\n"])
def test_as_many_names_as_classes(weights: Path, content: str) -> None:
    Path("few.txt").write_text(content)
    said = refused(*SMALL, "--labels", "few.txt")
    assert said == f"few.txt names {content.count(chr(10))} classes, and the model has 5"


def test_a_hidden_folder_among_the_classes_is_named(weights: Path) -> None:
    for name in (*FRUIT, ".ipynb_checkpoints"):
        Path("train", name).mkdir(parents=True)
    said = refused(*SMALL, "--labels", "train")
    assert said == "train names 6 classes (.ipynb_checkpoints among them), and the model has 5"


def test_as_many_names_as_classes_before_any_download(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*arguments: object, **options: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr("camcli.models.weights.downloads.fetch", fetched)
    picture("a.png")
    assert refused("-m", "vgg16", "--labels", in_a_text()) == "fruit.txt names 5 classes, and the model has 1000"


@pytest.mark.parametrize("name", ["labels", "preset"])
def test_a_missing_file_is_refused_before_torch_is_imported(picture: Picture, name: str) -> None:
    picture("a.png")
    probe = (
        "import sys, atexit; from camcli.__main__ import main;"
        "atexit.register(lambda: sys.stderr.write('TORCH' if 'torch' in sys.modules else 'FREE'));"
        f"sys.argv = ['camcli', 'explain', 'a.png', '--{name}', 'none.txt', '--mean', 'abc']; main()"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"--{name} none.txt: no such file; 'abc' is not a list of numbers" in done.stderr
    assert done.stderr.endswith("FREE")


def test_names_inside_the_checkpoint(weights: Path) -> None:
    torch.save({"model": small().state_dict(), "classes": list(FRUIT)}, weights)
    assert names_of(classified(*SMALL)) == FRUIT
    assert names_of(classified(*SMALL, "--labels", in_folders())) == tuple(sorted(FRUIT))


def test_names_in_the_config_beside(weights: Path) -> None:
    Path("config.json").write_text(json.dumps({"id2label": {str(i): name for i, name in enumerate(FRUIT)}}))
    assert names_of(classified(*SMALL)) == FRUIT


def test_names_for_another_number_of_classes_are_not_the_files(weights: Path) -> None:
    Path("config.json").write_text(json.dumps({"id2label": {"0": "yes", "1": "no"}}))
    assert names_of(classified(*SMALL))[:2] == ("class 0", "class 1")


def test_classes_without_names_are_numbered_and_said(weights: Path) -> None:
    row = classified(*SMALL, says="camcli: squeezenet1_1: 5 classes without names: --labels FILE gives them")
    assert names_of(row) == tuple(f"class {i}" for i in range(5))


@pytest.mark.parametrize(
    ("content", "names"), [("weed", ("not weed", "weed")), ("crop\nweed", ("crop", "weed"))], ids=["one", "two"]
)
def test_one_logit_is_a_question_of_yes_or_no(weights: Path, content: str, names: tuple[str, ...]) -> None:
    torch.save(small(1).state_dict(), weights)
    Path("names.txt").write_text(content)
    row = classified(*SMALL, "--labels", "names.txt")
    assert names_of(row) == names
    no, yes = logits_of(row)
    assert no == -yes
    by_id = {score["id"]: score["probability"] for score in row["top"]}
    assert by_id[1] == pytest.approx(1 / (1 + math.exp(-yes)), abs=1e-5)
    assert by_id[0] + by_id[1] == pytest.approx(1, abs=1e-5)


@pytest.mark.exhaustive
def test_one_logit_without_a_name_is_yes_against_no(weights: Path) -> None:
    torch.save(small(1).state_dict(), weights)
    row = classified(*SMALL, says="squeezenet1_1: one logit, read as no or yes: --labels FILE gives them names")
    assert names_of(row) == ("no", "yes")
    for asked, class_id in (("yes", 1), ("No", 0), ("1", 1)):
        outcome = run("explain", "a.png", *SMALL, "-c", asked, "--resize", "64", "--json", "--save", "none")
        assert outcome.code == 0, outcome.err
        assert outcome.rows[0]["explanations"][0]["target"]["id"] == class_id
    assert "unknown class 'maybe': the classes are no, yes" in run("explain", "a.png", *SMALL, "-c", "maybe").err


def test_classes_called_numbers(weights: Path) -> None:
    for name in ("1", "2", "3", "10", "20"):
        Path("train", name).mkdir(parents=True)

    def asked(text: str) -> tuple[int, str]:
        flags = ("--labels", "train", "-c", text, "--crop", "64x64", "--json", "--save", "none")
        outcome = run("explain", "a.png", *SMALL, *flags)
        said = "class folders in torchvision's order (1, 10, 2, 20, …); timm sorts them 1, 2, 3, 10, …"
        if outcome.code:
            return outcome.code, outcome.err.splitlines()[-1]
        assert said in outcome.err
        target = outcome.rows[0]["explanations"][0]["target"]
        return target["id"], target["label"]

    assert asked("10") == (1, "10")
    assert asked("name:2") == (2, "2")
    assert asked("id:2") == (2, "2")
    assert asked("id:1") == (1, "10")
    clash = "camcli: error: class 1 is the name of id 0, and id 1 is called '10': say name:1 or id:1"
    assert asked("1") == (2, clash)


# Preprocessing.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_preset_in_three_dialects(weights: Path, dialect: str) -> None:
    assert classified(*SMALL)["provenance"]["preset"] == USUAL
    Path("given.json").write_text(json.dumps(DIALECTS[dialect]))
    assert classified(*SMALL, "--preset", "given.json")["provenance"]["preset"] == ASKED


@pytest.mark.parametrize("name", ["weights.json", "preset.json", "preprocessor_config.json", "config.json"])
def test_a_preset_beside_the_weights_is_used_and_said(weights: Path, name: str) -> None:
    Path(name).write_text(json.dumps(DIALECTS["hugging-face"]))
    row = classified(*SMALL, says=f"camcli: preset from {name}: ")
    assert row["provenance"]["preset"] == ASKED


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("weights.json", {"accuracy": 0.93, "mean": 0.91, "std": 0.02}),
        ("weights.json", {"mean": [0.91], "std": [0.02]}),
        ("config.json", {"arch": "squeezenet1_1", "size": 224, "crop": True}),
    ],
)
def test_another_tools_file_beside_the_weights_changes_nothing(weights: Path, name: str, data: Row) -> None:
    before = classified(*SMALL)
    Path(name).write_text(json.dumps(data))
    outcome = run("classify", "a.png", *SMALL, "--json", "-k", "9")
    assert outcome.code == 0, outcome.err
    assert "preset from" not in outcome.err
    assert logits_of(outcome.rows[0]) == logits_of(before)


def test_files_beside_the_weights_can_be_left_alone(weights: Path) -> None:
    before = classified(*SMALL)
    Path("preset.json").write_text('{"crop": "big"}')
    assert refused(*SMALL).endswith("not 'big' (--preset none leaves the file alone)")
    row = classified(*SMALL, "--preset", "none")
    assert (row["provenance"]["preset"], logits_of(row)) == (USUAL, logits_of(before))


@pytest.mark.parametrize("where", ["flags", "named", "beside"])
def test_a_mean_of_0_to_255_is_that_of_0_to_1_wherever_it_stands(weights: Path, where: str) -> None:
    right = classified(*SMALL, "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6")
    numbers = {"mean": [25.5, 51, 76.5], "std": [102, 127.5, 153]}
    Path("config.json" if where == "beside" else "given.json").write_text(json.dumps(numbers))
    flags = ("--mean", "25.5,51,76.5", "--std", "102,127.5,153")
    asked = {"flags": flags, "named": ("--preset", "given.json"), "beside": ()}[where]
    row = classified(*SMALL, *asked, says="mean 25.5,51,76.5 and std 102,127.5,153: of 0-255, divided by 255")
    assert row["provenance"]["preset"]["mean"] == [0.1, 0.2, 0.3]
    assert logits_of(row) == logits_of(right)


def test_flags_and_file_have_ranges_of_their_own(weights: Path) -> None:
    Path("given.json").write_text('{"mean": [25.5, 51, 76.5]}')
    preset = classified(*SMALL, "--preset", "given.json", "--std", "0.4,0.5,0.6")["provenance"]["preset"]
    assert (preset["mean"], preset["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


@pytest.mark.exhaustive
def test_what_is_assumed_of_a_file_is_said_once_and_how_to_change_it(weights: Path) -> None:
    outcome = run("classify", "a.png", *SMALL, "--json")
    said = "squeezenet1_1: resize 256, crop 224, as its own weights want; --resize and --crop, if these want another"
    assert outcome.err.count(said) == 1
    torch.save(torchvision.models.shufflenet_v2_x1_5(num_classes=2).state_dict(), "v2.pth")
    assert "resize 232, crop 224" in run("classify", "a.png", "-m", "shufflenet_v2_x1_5", "-w", "v2.pth").err
    for told in (("--resize", "256"), ("--crop", "224"), ("-w", "none")):
        assert "as its own weights want" not in run("classify", "a.png", *SMALL, *told).err
    Path("preset.json").write_text('{"resize": 256}')
    assert "as its own weights want" not in run("classify", "a.png", *SMALL).err


def test_a_preset_that_is_named_beats_the_one_beside(weights: Path) -> None:
    Path("preset.json").write_text(json.dumps(ASKED))
    Path("given.json").write_text('{"crop": 96}')
    outcome = run("classify", "a.png", *SMALL, "--preset", "given.json", "--json")
    assert outcome.rows[0]["provenance"]["preset"] == USUAL | {"crop": 96}
    assert "preset from" not in outcome.err


@pytest.mark.parametrize("where", ["beside", "named"])
def test_single_options_beat_every_preset(weights: Path, where: str) -> None:
    Path("preset.json" if where == "beside" else "given.json").write_text(json.dumps(ASKED))
    named = ("--preset", "given.json") if where == "named" else ()
    flags = ("--resize", "90", "--crop", "70", "--mean", "0.5", "--std", "1,2,3", "--interpolation", "nearest")
    assert classified(*SMALL, *named, *flags)["provenance"]["preset"] == {
        **{"resize": 90, "crop": 70, "mean": [0.5] * 3, "std": [1.0, 2.0, 3.0]},
        **{"interpolation": "nearest", "squash": False},
    }
    assert classified(*SMALL, *named, "--mean", "0")["provenance"]["preset"] == ASKED | {"mean": [0.0] * 3}


def test_options_do_what_torchvisions_preset_does(weights: Path) -> None:
    net = small()
    net.load_state_dict(torch.load(weights, weights_only=True))
    transform = ImageClassification(
        **{"resize_size": 80, "crop_size": 64, "mean": ASKED["mean"], "std": ASKED["std"]},
        interpolation=InterpolationMode.BICUBIC,
    )
    with Image.open("a.png") as image, torch.no_grad():
        expected = net(transform(image.convert("RGB"))[None])[0].tolist()
    sides = ("--resize", "80", "--crop", "64", "--interpolation", "bicubic")
    flags = (*sides, "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6")
    Path("given.json").write_text(json.dumps(ASKED))
    by_flags, by_file = classified(*SMALL, *flags), classified(*SMALL, "--preset", "given.json")
    assert logits_of(by_flags) == logits_of(by_file) == pytest.approx(expected, abs=2e-5, rel=1e-5)
    assert logits_of(classified(*SMALL)) != logits_of(by_flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mean", "0,0"], "mean has 2 values and std 3: give both, one value per channel"),
        (["--mean", "0,0", "--std", "1,1"], "takes 3 input channels, and the mean and std have 2 numbers"),
        (["--mean", "abc"], "'abc' is not a list of numbers"),
        (["--std", "1,,2"], "'1,,2' is not a list of numbers"),
        (["--mean", "nan"], "'nan' is not a list of numbers"),
        (["--std", "0"], "std must be above 0"),
        (["--interpolation", "cubic"], "--interpolation 'cubic' is none of nearest, lanczos, bilinear, bicubic"),
        (["--resize", "64", "--crop", "80"], "crop 80 is larger than resize 64"),
        (["--crop", "5000"], "crop must be a whole number from 1 to 4096"),
        (["--weights-key", "ema", "-w", "none"], "--weights-key goes with --weights FILE"),
        (["--weights-key", "ema", "-w", "DEFAULT"], "--weights-key goes with --weights FILE"),
        (["--model-arg", "nonsense"], "--model-arg 'nonsense': write KEY=VALUE"),
        (["--model-arg", "=5"], "--model-arg '': write KEY=VALUE"),
        (["--model-arg", "two words=5"], "--model-arg 'two words': write KEY=VALUE"),
        (["--model-arg", "nonsense=1"], "--model-arg: squeezenet1_1 can't be built"),
        (["--output-key", "logits"], "--output-key logits: the model gives one tensor"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense(weights: Path, flags: list[str], said: str) -> None:
    assert said in refused(*SMALL, *flags)


def test_a_preset_file_without_a_preset(weights: Path) -> None:
    Path("given.json").write_text('{"colour": "red"}')
    assert "given.json: no preprocessing in it" in refused(*SMALL, "--preset", "given.json")


# Probabilities and arguments.


def test_several_labels_can_be_true_at_once(weights: Path) -> None:
    one, several = classified(*SMALL), classified(*SMALL, "--multi-label")
    assert logits_of(one) == logits_of(several)
    for score in several["top"]:
        assert score["probability"] == pytest.approx(1 / (1 + math.exp(-score["logit"])), abs=1e-5)
    assert sum(score["probability"] for score in one["top"]) == pytest.approx(1, abs=1e-5)
    assert sum(score["probability"] for score in several["top"]) > 1.5


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (5, 2)])
def test_no_more_classes_than_there_are(weights: Path, asked: int, given: int) -> None:
    torch.save(small(2).state_dict(), weights)
    outcome = run("explain", "a.png", *SMALL, "-k", asked, "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    assert len(outcome.rows[0]["top"]) == given


def test_arguments_of_the_constructor(picture: Picture) -> None:
    picture("a.png")
    asked = ("--model-arg", "num_classes=3", "-m", "resnet18", "-w", "none")
    row = classified(*asked, says="resnet18: 3 classes without names")
    assert names_of(row) == ("class 0", "class 1", "class 2")


THREE = ("-m", "squeezenet1_1", "-w", "none", "--model-arg", "num_classes=3")


def test_a_head_of_another_size_takes_names_of_its_own(picture: Picture) -> None:
    picture("a.png")
    Path("names.txt").write_text("cat\ndog\nfish\n")
    assert names_of(classified(*THREE, "--labels", "names.txt")) == ("cat", "dog", "fish")
    Path("names.txt").write_text("cat\ndog\n")
    assert refused(*THREE, "--labels", "names.txt") == "names.txt names 2 classes, and the model has 3"


def test_a_head_of_another_size_has_classes_of_its_own(picture: Picture) -> None:
    picture("a.png")
    Path("names.txt").write_text("cat\ndog\nunicorn\n")
    for asked in (("-c", "class 2"), ("-c", "2"), ("-c", "top3"), ("-c", "unicorn", "--labels", "names.txt")):
        outcome = run("explain", "a.png", *THREE, *asked, "--json", "--save", "none")
        assert outcome.code == 0, outcome.err
        assert 2 in [e["target"]["id"] for e in outcome.rows[0]["explanations"]]
    outcome = run("explain", "a.png", *THREE, "-c", "500")
    assert outcome.code == 2
    assert "class 500 is outside 0-2: squeezenet1_1 has 3 classes" in outcome.err


# Real checkpoints.


def answers(*arguments: object, pictures: tuple[Path, ...]) -> list[Row]:
    outcome = run("classify", *pictures, *arguments, "--json", "-q")
    assert outcome.code == 0, outcome.err
    return outcome.rows


@pytest.mark.parametrize(
    "model", [("-m", "mobilenet_v2"), pytest.param((), marks=pytest.mark.exhaustive)], ids=["named", "guessed"]
)
def test_birds(shared: Path, model: tuple[str, ...]) -> None:
    """964 birds, and "background" for a cat."""
    coral = shared / "images" / "coral"
    weights = shared / "weights" / "mobilenet_v2_inat_birds_965cls_tvnorm.pth"
    asked = (*model, "-w", weights, "--labels", coral / "inat_bird_labels.txt")
    bird, cat = answers(*asked, pictures=(coral / "bird.bmp", coral / "cat_720p.jpg"))
    assert "Black-capped Chickadee" in bird["top"][0]["label"]
    assert bird["top"][0]["probability"] > 0.9
    assert (cat["top"][0]["id"], cat["top"][0]["label"]) == (964, "background")
    assert bird["model"] == "mobilenet_v2"


def test_leaves(shared: Path) -> None:
    """A real user's file, saved on CUDA."""
    weights = shared / "weights" / "finetuned" / "leaforia_squeezenet1_0_corn4.pth"
    names = ("gray leaf spot", "common rust", "northern leaf blight", "healthy")
    Path("corn.txt").write_text("\n".join(names))
    asked = ("-m", "squeezenet1_0", "-w", weights, "--labels", "corn.txt", "-k", "9")
    (row,) = answers(*asked, pictures=(SAMPLES / "honey_bee.jpg",))
    assert sorted(names_of(row)) == sorted(names)
    assert sum(score["probability"] for score in row["top"]) == pytest.approx(1, abs=1e-4)


def test_paintings(shared: Path) -> None:
    """A real user's file without names, trained on squashed pictures in [0, 1]."""
    weights = shared / "weights" / "finetuned" / "wikiart_squeezenet1_0_27styles.pth"
    asked = ("-m", "squeezenet1_0", "-w", weights, "--mean", "0", "--std", "1", "--fit", "squash", "-k", "99")
    (row,) = answers(*asked, pictures=(SAMPLES / "espresso.jpg",))
    assert names_of(row) == tuple(f"class {i}" for i in range(27))
    assert row["box"] == [0, 0, 600, 400]
    assert (row["provenance"]["preset"]["mean"], row["provenance"]["preset"]["std"]) == ([0.0] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("squeezenet1_1_imagenet1k_v1_from_fp16.pth", "squeezenet1_1"),
        pytest.param("mobilenet_v2_imagenet_tf2ptq_tvnorm.pth", "mobilenet_v2", marks=pytest.mark.exhaustive),
    ],
)
def test_a_file_alone_says_its_architecture(shared: Path, file: str, model: str) -> None:
    (row,) = answers("-w", shared / "weights" / file, pictures=(SAMPLES / "cat_chelsea.jpg",))
    assert (row["model"], row["weights"]) == (model, file)
    assert {281, 282, 285} & {score["id"] for score in row["top"][:3]}


# The same network for every command.


@pytest.mark.parametrize(
    "flags",
    [
        ["--resize", "300", "--mean", "0.1", "--std", "0.7"],
        ["--crop", "160", "--interpolation", "nearest", "--multi-label"],
        ["--preset", "own.json", "--fit", "pad", "--exact"],
    ],
)
def test_compare_and_classify_answer_as_explain_does(weights: Path, flags: list[str], picture: Picture) -> None:
    Path("own.json").write_text(json.dumps({"resize": 240, "crop": 200, "mean": [0.2, 0.3, 0.4], "std": [1, 1, 1]}))
    photo, network = picture("photo.png", (90, 70)), [*SMALL, *flags, "--json"]
    rows = [
        run(*command, photo, *network).rows[0]
        for command in (["explain", "--save", "none"], ["compare", "-M", "grad-cam"], ["classify"])
    ]
    assert rows[0]["top"] == rows[1]["top"] == rows[2]["top"]
    assert rows[0]["explanations"][0]["fingerprint"] == rows[1]["explanations"][0]["fingerprint"]
    assert rows[0]["provenance"]["preset"] == rows[1]["provenance"]["preset"]
    assert rows[0]["provenance"]["spec"] == rows[1]["provenance"]["spec"]
