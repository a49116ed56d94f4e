"""timm's models as `timm:NAME`: the same network and the same pixels as timm's own, and what is said without them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from shell import Outcome, finish, refused, run, spawn
from torch import Tensor, nn

from camcli import Engine, Spec
from camcli.inputs import decoding, preprocessing
from camcli.models import architecture_of, labels
from camcli.models.sources import timm as timm_zoo
from camcli.records import Preset, Ref
from camcli.specs import ModelSpec

timm = pytest.importorskip("timm")

Picture = Callable[..., Path]


def made(name: str, **arguments: Any) -> nn.Module:
    """timm's own model, seeded."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="timm")
        torch.manual_seed(0)
        net: nn.Module = timm.create_model(name, **arguments)
    return net.eval().requires_grad_(False)


def pixels_by_timm(name: str, picture: Path) -> Tensor:
    """What timm's evaluation transform makes of a picture."""
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    with Image.open(picture) as opened:
        pixels: Tensor = timm.data.create_transform(**config, is_training=False)(opened.convert("RGB"))
    return pixels


def explained(*arguments: object) -> Outcome:
    """A run that succeeds, without files."""
    outcome = run("explain", *arguments, "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    return outcome


SWIN = ("--model-arg", "embed_dim=24", "--model-arg", "depths=(1, 2)", "--model-arg", "num_heads=(2, 4)")


@pytest.mark.parametrize(
    ("name", "flags", "grid"),
    [
        ("test_vit", (), (64, 10, 10)),
        ("test_convnext", (), (64, 5, 5)),
        ("test_efficientnet", (), (256, 5, 5)),
        ("swin_tiny_patch4_window7_224", SWIN, (48, 28, 28)),
    ],
    ids=["tokens", "convnext", "efficientnet", "channels last"],
)
def test_timm_models_are_explained(
    picture: Picture, name: str, flags: tuple[str, ...], grid: tuple[int, int, int]
) -> None:
    photo = picture("a.png", (200, 180))
    (row,) = explained(photo, "-m", f"timm:{name}", "-w", "none", "-c", "7", *flags).rows
    assert (row["model"], row["weights"]) == (f"timm:{name}", "none")
    (explanation,) = row["explanations"]
    assert explanation["target"]["id"] == 7
    assert explanation["target"]["label"] == "cock"  # 1000 classes are ImageNet's
    assert set(row["provenance"]["versions"]) == {"camcli", "torch", "torchvision", "timm"}
    assert row["provenance"]["versions"]["timm"] == timm.__version__
    (listing,) = run("layers", f"timm:{name}", "--json", *flags).rows
    assert (listing["layer"], tuple(listing["shape"])) == (row["layer"], grid)


def test_every_method_runs_on_a_timm_model_with_relu(picture: Picture) -> None:
    methods = ("grad-cam", "guided-grad-cam", "guided-backprop", "deconvnet", "gradient")
    flags = [text for name in methods for text in ("-M", name)]
    (row,) = explained(picture(), "-m", "timm:test_resnet", "-w", "none", *flags).rows
    assert [explanation["method"] for explanation in row["explanations"]] == list(methods)


@pytest.mark.parametrize(
    "name",
    ["test_vit", "test_resnet", "test_mambaout", "vit_tiny_patch16_224", "mixer_s32_224", "mobilenetv3_small_050"],
)
@pytest.mark.parametrize("size", [(300, 200), (90, 130)], ids=["larger", "smaller"])
def test_the_pixels_are_those_of_timms_transform(picture: Picture, name: str, size: tuple[int, int]) -> None:
    photo = picture("a.png", size)
    preset = architecture_of(ModelSpec(f"timm:{name}", "none")).preset
    pixels = preprocessing.view_of(decoding.read_frame(Ref(0, "a.png", path=photo)), preset, "crop").pixels
    assert torch.equal(torch.from_numpy(pixels), pixels_by_timm(name, photo))


def test_presets_of_configs() -> None:
    config = {"input_size": (3, 240, 240), "crop_pct": 0.9, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    expected = Preset(266, 240, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert timm_zoo.preset_of(config) == expected
    squashed = timm_zoo.preset_of(config | {"crop_mode": "squash", "interpolation": "bilinear"})
    assert (squashed.squash, squashed.interpolation) == (True, "bilinear")
    assert timm_zoo.preset_of({}).crop == 224


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (90, 330), (64, 64)])
@pytest.mark.parametrize("sides", [(128, 64), (64, 512)], ids=["person", "line"])
def test_a_rectangles_pixels_are_those_of_timms_transform(
    picture: Picture, mode: str, size: tuple[int, int], sides: tuple[int, int]
) -> None:
    asked: dict[str, Any] = {"input_size": (3, *sides), "crop_pct": 0.9, "crop_mode": mode, "interpolation": "bicubic"}
    preset = timm_zoo.preset_of(asked)
    assert preset.view_size == sides
    photo = picture("a.png", size)
    pixels = preprocessing.view_of(decoding.read_frame(Ref(0, "a.png", path=photo)), preset, "crop").pixels
    with Image.open(photo) as opened:
        expected = timm.data.create_transform(**asked, is_training=False)(opened.convert("RGB"))
    assert torch.equal(torch.from_numpy(pixels), expected)


def test_a_timm_model_of_a_rectangle_is_explained_at_it(picture: Picture) -> None:
    assert architecture_of(ModelSpec("timm:vit_base_patch16_sapiens2", "none")).preset.view_size == (1024, 768)
    asked = ("-m", "timm:test_vit", "-w", "none", "--model-arg", "img_size=(96, 48)")
    (row,) = explained(picture("a.png"), *asked).rows
    assert row["provenance"]["preset"]["crop"] == [96, 48]
    assert row["explanations"][0]["fingerprint"]["grid"].startswith("6x3:")


@pytest.mark.parametrize("names", [("1", "2", "10"), ("Zebra", "ant"), ("a", "b 2", "b 10"), ("a", "b"), ("x1", "x")])
def test_timms_order_of_class_folders_is_named_where_it_is_another(names: tuple[str, ...]) -> None:
    for name in names:
        Path("train", name).mkdir(parents=True)
        Path("train", name, "a.png").touch()
    theirs = tuple(timm.data.readers.reader_image_folder.find_images_and_targets("train")[1])
    assert bool(labels.about_order(Path("train"))) is (theirs != labels.read(Path("train")))
    assert tuple(sorted(names, key=labels._natural)) == theirs


def test_a_tag_has_its_own_preset() -> None:
    """The tag chooses weights, and with them the pixels."""
    tagged, other = (
        architecture_of(ModelSpec(f"timm:vit_base_patch16_224.{tag}", "none")).preset
        for tag in ("augreg_in21k_ft_in1k", "mae")
    )
    assert tagged.mean == (0.5, 0.5, 0.5)
    assert other.mean == (0.485, 0.456, 0.406)


def test_timm_models_are_listed_by_wildcard() -> None:
    outcome = run("models", "timm:test_*", "--json")
    assert outcome.code == 0, outcome.err
    listed = {row["name"]: row for row in outcome.rows}
    assert list(listed) == [f"timm:{name}" for name in timm.list_models("test_*")]
    assert listed["timm:test_vit"] == {
        "name": "timm:test_vit",
        "family": "vision_transformer",
        "task": "classify",
        "weights": ["r160_in1k"],
    }
    assert "timm:test_resnet" in run("models", "timm:test_*").out
    assert "no model matches 'timm:nothing*'" in refused(2, "models", "timm:nothing*")


def test_layers_and_classes_of_a_timm_model() -> None:
    assert run("classes", "timm:test_vit", "--json").rows[7] == {"id": 7, "label": "cock"}
    (listing,) = run("layers", "timm:test_vit", "--json").rows
    assert listing["model"] == "timm:test_vit"
    assert listing["layer"].startswith("blocks.")


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("timm:test_vti", [], "unknown model 'timm:test_vti': did you mean timm:test_vit"),
        ("timm:resnt50", [], "timm:resnet50"),
        ("timm:", [], "unknown model 'timm:'"),
        ("timm:test_vit.no_such_tag", [], "r160_in1k"),
        ("timm:test_vit", ["-w", "IMAGENET1K_V1"], "timm's stand in the name, timm:test_vit.TAG"),
        ("timm:test_vit", ["-w", "missing.pth"], "no such weights file: missing.pth"),
        (
            "timm:test_vit",
            ["-w", "none", "--model-arg", "no_such_option=1"],
            "--model-arg: timm:test_vit can't be built",
        ),
        (
            "timm:test_vit",
            ["-w", "none", "--model-arg", "checkpoint_path=x.pth"],
            "name the file of a timm model's weights with --weights FILE",
        ),
        (
            "timm:test_vit",
            ["-w", "none", "--model-arg", "pretrained_cfg_overlay={'file': 'x.pth'}"],
            "name the file of a timm model's weights with --weights FILE",
        ),
    ],
)
def test_a_wrong_name_is_refused(picture: Picture, name: str, flags: list[str], said: str) -> None:
    assert said in refused(2, "explain", picture(), "-m", name, *flags)


@pytest.mark.parametrize("flags", [["-w", "none"], ["-w", "head.pth"]], ids=["no weights", "file"])
def test_features_without_a_classifier_name_no_class(picture: Picture, flags: list[str]) -> None:
    torch.save(made("test_resnet", num_classes=0).state_dict(), "head.pth")
    line = refused(2, "explain", picture(), "-m", "timm:test_resnet", "--model-arg", "num_classes=0", *flags)
    assert "has no head, so it names no class: `camcli explain --similar-to PICTURE`" in line


def test_sizes_are_the_models_own(picture: Picture) -> None:
    """A vision transformer has one size, unless it is built for another; a convolutional network takes any."""
    sized = ("--resize", "96", "--crop", "96")
    refusal = run("explain", picture(), "-m", "timm:test_vit", "-w", "none", *sized)
    assert refusal.code in (2, 3)
    assert "bug" not in refusal.err
    assert "160x160 pictures only" in refused(
        3, "explain", picture(), "-m", "timm:test_vit", "-w", "none", "--fit", "full"
    )
    (row,) = explained(picture(), "-m", "timm:test_resnet", "-w", "none", *sized).rows
    assert row["provenance"]["preset"]["crop"] == 96


def test_a_transformer_built_for_another_size_takes_it(picture: Picture) -> None:
    flags = ("-w", "none", "--model-arg", "img_size=96", "--resize", "96", "--crop", "96")
    (row,) = explained(picture(), "-m", "timm:test_vit", *flags).rows
    assert row["provenance"]["preset"]["crop"] == 96


def test_grey_timm_models(picture: Picture) -> None:
    outcome = explained(picture(), "-m", "timm:test_resnet", "-w", "none", "--model-arg", "in_chans=1")
    assert "pictures become grey" in outcome.err
    assert len(outcome.rows[0]["provenance"]["preset"]["mean"]) == 1


@pytest.mark.parametrize(
    ("name", "argued"),
    [("test_vit", False), ("test_vit", True), ("test_resnet", False), ("test_efficientnet", False)],
    ids=["vit", "vit, num_classes given", "resnet", "efficientnet"],
)
def test_a_fine_tuned_file_gives_timms_own_scores(picture: Picture, name: str, argued: bool) -> None:
    """A head of 5 classes, bit for bit the direct forward on timm's own pixels."""
    photo = picture("a.png", (300, 200))
    net = made(name, num_classes=5)
    torch.save(net.state_dict(), "tuned.pth")
    arguments = (("num_classes", "5"),) if argued else ()
    engine = Engine(Spec(model=f"timm:{name}", weights="tuned.pth", model_args=arguments, exact=True))
    pixels = preprocessing.view_of(decoding.read_frame(Ref(0, "a.png", path=photo)), engine.model.preset, "crop").pixels
    assert torch.equal(torch.from_numpy(pixels), pixels_by_timm(name, photo))
    ours = engine.model.task.outputs(engine.model.net, torch.from_numpy(pixels)[None]).scores
    assert ours.shape == (1, 5)
    assert torch.equal(ours, net(pixels_by_timm(name, photo)[None]))

    Path("names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    flags = [text for key, value in arguments for text in ("--model-arg", f"{key}={value}")]
    outcome = explained(photo, "-m", f"timm:{name}", "-w", "tuned.pth", "--labels", "names.txt", *flags)
    (row,) = outcome.rows
    logits = {score["id"]: score["logit"] for score in row["top"]}
    assert [logits[i] for i in range(5)] == pytest.approx(ours[0].tolist(), abs=2e-5)
    assert row["weights"] == "tuned.pth"
    assert len(row["provenance"]["weights_sha256"]) == 64


def test_a_timm_model_made_by_user_code_tells_its_preset() -> None:
    Path("net.py").write_text(
        "import timm\n\ndef make():\n    return timm.create_model('test_vit', pretrained=False, num_classes=4)\n"
    )
    model = Engine(Spec(model="net.py:make")).model
    assert model.preset == architecture_of(ModelSpec("timm:test_vit", "none")).preset
    assert len(model.labels) == 4


# Without timm, and without its weights.


def test_without_timm_the_extra_is_named(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: None)
    line = refused(3, "explain", picture(), "-m", "timm:test_vit")
    assert "timm is not installed: `pip install camcli[timm]`" in line


@pytest.mark.parametrize("command", [["models", "timm:test_*"], ["layers", "timm:test_vit"]])
def test_without_timm_nothing_is_listed(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A timm that is found, and still can't be imported."""
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: object())
    assert "timm is not installed: `pip install camcli[timm]`" in refused(3, *command)


@pytest.mark.exhaustive
def test_weights_that_cannot_be_had_name_the_flag(picture: Picture, tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": str(tmp_path / "hf" / "hub")}
    process = spawn("explain", picture(), "-m", "timm:test_vit", env=os.environ | offline)
    outcome = finish(process)
    assert outcome.code == 3, outcome.err
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert "can't get the weights of timm:test_vit" in line
    assert "--weights FILE" in line
    assert "--model efficientnet_lite0" in line


def test_a_model_that_was_never_published_says_so(picture: Picture) -> None:
    """test_vit4 has no weights at all: nothing is asked of any network."""
    line = refused(3, "explain", picture(), "-m", "timm:test_vit4")
    assert "timm:test_vit4" in line
    assert "--weights" in line
