"""The shell's offers: for each option that has some, right, and without torch unless a network must be built."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import typer
from shell import run

from camcli import cli, methods, models
from camcli.cli.flags.drawing import SAVED
from camcli.models import catalog
from camcli.specs import COLORMAPS, TASKS

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
# Each command line of argv: what is offered for its last word; then whether torch was imported for it.
PROBE = """
import contextlib, io, json, os, sys
from camcli import cli
os.environ["_CAMCLI_COMPLETE"] = "complete_fish"
os.environ["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
for words in sys.argv[1:]:
    os.environ["_TYPER_COMPLETE_ARGS"] = words
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        cli.app([], prog_name="camcli")
    offers = [line.split("\\t")[0] for line in said.getvalue().splitlines() if line]
    print(json.dumps([offers, "torch" in sys.modules]))
"""


def offered_without_torch(lines: Sequence[tuple[str, ...]]) -> Iterator[list[str]]:
    """What the shell is offered for each command line's last word, in a process that imports no torch for it."""
    words = [" ".join(("camcli", *line)) for line in lines]
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for line, said in zip(lines, done.stdout.splitlines(), strict=True):
        offers, torch_imported = json.loads(said)
        assert not torch_imported, line
        yield offers


def offered(*words: str, monkeypatch: pytest.MonkeyPatch, shell: str = "fish") -> list[str]:
    """What the shell is offered for the last word."""
    told = {
        "_CAMCLI_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(("camcli", *words)),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(("camcli", *words)),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    with monkeypatch.context() as patched:
        for name, value in told.items():
            patched.setenv(name, value)
        outcome = run()
    assert outcome.err == ""
    return [line.split("\t")[0] for line in outcome.out.splitlines() if line]


OFFERS: dict[tuple[str, ...], list[str]] = {
    ("explain", "a.jpg", "--model", "resnet1"): ["resnet18", "resnet101", "resnet152"],
    ("layers", "vgg16"): ["vgg16", "vgg16_bn"],
    ("models", "vgg16"): ["vgg16", "vgg16_bn"],
    ("explain", "a.jpg", "--method", "guided"): ["guided-backprop", "guided-grad-cam"],
    ("explain", "a.jpg", "--method", "al"): ["all"],
    ("methods", "al"): [],
    ("explain", "a.jpg", "--weights", ""): ["DEFAULT", "IMAGENET1K", "none"],
    ("explain", "a.jpg", "-m", "resnet50", "-w", "I"): ["IMAGENET1K_V1", "IMAGENET1K_V2"],
    ("compare", "a.jpg", "-m", "resnet50", "-w", "IMAGENET1K_V2"): ["IMAGENET1K_V2"],
    ("explain", "a.jpg", "-m", "resnet50", "-w", "best"): [],
    ("layers", "resnet50", "-w", "I"): ["IMAGENET1K_V1", "IMAGENET1K_V2"],
    ("explain", "a.jpg", "--class", "top"): ["top1", "top5"],
    ("explain", "a.jpg", "--class", "espr"): ["espresso maker", "espresso"],
    ("explain", "a.jpg", "--contrast", "tench", "espr"): ["espresso maker", "espresso"],
    ("classes", "vgg16", "espr"): ["espresso maker", "espresso"],
    ("classify", "a.jpg", "--class", "f"): ["folder"],
    ("explain", "a.jpg", "--colormap", ""): list(COLORMAPS),
    ("explain", "a.jpg", "--norm", ""): ["image", "run", "fixed"],
    ("explain", "a.jpg", "--format", ""): ["jpg", "png"],
    ("explain", "a.jpg", "--fuse", "m"): ["mean", "max"],
    ("explain", "a.jpg", "--sanity", ""): ["head", "cascade"],
    ("explain", "a.jpg", "--engine", ""): ["local", "ray"],
    ("explain", "a.jpg", "--precision", ""): ["fp32", "bf16", "fp16"],
    ("explain", "a.jpg", "--fit", "s"): ["squash"],
    ("explain", "a.jpg", "--interpolation", "bi"): ["bilinear", "bicubic"],
    ("models", "--task", ""): list(TASKS),
    ("explain", "a.jpg", "--task", "d"): ["detect"],
    ("explain", "a.jpg", "--target", ""): ["logit", "softmax"],
    ("explain", "a.jpg", "--save", ""): list(SAVED),
    ("explain", "a.jpg", "--save", "overlay,ra"): ["overlay,raw"],
    ("explain", "a.jpg", "--augment", "flip,"): ["flip,scale"],
    ("explain", "a.jpg", "--preset", "n"): ["none"],
    ("explain", "a.jpg", "--preset", ""): [],
    ("explain", "a.jpg", "--labels", ""): [],
    ("config", "exp"): ["explain"],
    ("conf",): ["config"],
}


def test_offers_without_torch() -> None:
    for words, offers in zip(OFFERS, offered_without_torch(list(OFFERS)), strict=True):
        assert offers == OFFERS[words], words


def test_names_with_blanks_are_whole_words_for_bash_too(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = offered("explain", "a.jpg", "-c", "tiger", monkeypatch=monkeypatch)
    assert offers == ["tiger shark", "tiger cat", "tiger", "tiger beetle"]
    assert r"tiger\ cat" in offered("explain", "a.jpg", "-c", "tiger", shell="bash", monkeypatch=monkeypatch)


def test_names_from_a_file_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("names.txt").write_text("red kite\ngreen\n")
    assert offered("explain", "a.jpg", "--labels", "names.txt", "-c", "re", monkeypatch=monkeypatch) == ["red kite"]


def test_offers_know_what_a_config_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("camcli.toml").write_text("model = 'resnet50'\n")
    assert offered("explain", "a.jpg", "-w", "I", monkeypatch=monkeypatch) == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    Path("camcli.toml").write_text("no TOML")
    assert offered("explain", "a.jpg", "-w", "I", monkeypatch=monkeypatch) == ["IMAGENET1K"]


def test_offers_run_no_code_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    Path("camcli.toml").write_text("model = 'evil.py:net'\n")
    assert "features" in offered("explain", "a.jpg", "--layer", "featu", monkeypatch=monkeypatch)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "model",
    ["evil.py:net", "evil:net", "ultralytics:evil.pt", "hf:org/name", "timm:hf-hub:org/name", "open_clip:ViT-B-32"],
)
def test_offers_run_no_code_of_a_model_that_is_only_typed_and_fetch_nothing(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue: evil.py was run at the first Tab after it."""
    Path("evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\ndef net(): ...\n")
    Path("evil.pt").write_bytes(b"")
    monkeypatch.syspath_prepend(Path.cwd())

    def built(*_: object) -> None:
        pytest.fail("a model was opened")

    monkeypatch.setattr(models, "architecture_of", built)
    monkeypatch.setattr(models, "blueprint", built)
    for words in (
        ("explain", "a.jpg", "-m", model, "-l", ""),
        ("explain", "a.jpg", "-m", model, "-c", "e"),
        ("explain", "a.jpg", "-m", model, "--quantity", ""),
        ("explain", "a.jpg", "-m", model, "-w", "evil.pt", "--weights-key", ""),
        ("layers", model, "-l", ""),
        ("classes", model, "e"),
    ):
        offered(*words, monkeypatch=monkeypatch)
    assert not Path("ran").exists()


@pytest.mark.exhaustive
def test_offers_that_need_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = offered("explain", "a.jpg", "--model", "alexnet", "--layer", "features.1", monkeypatch=monkeypatch)
    assert layers == ["features.1", "features.10", "features.11", "features.12"]
    quantities = offered("explain", "a.jpg", "-m", "maskrcnn_resnet50_fpn", "--quantity", "", monkeypatch=monkeypatch)
    assert quantities == ["logit", "score", "x0", "y0", "x1", "y1", "width", "height", "mask"]
    assert "person" in offered("explain", "a.jpg", "-m", "fcn_resnet50", "-c", "p", monkeypatch=monkeypatch)
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)).state_dict()
    torch.save({"net": state, "ema": state}, "both.pth")
    found = offered("explain", "a.jpg", "-w", "both.pth", "--weights-key", "", monkeypatch=monkeypatch)
    assert sorted(found) == ["ema", "net"]
    assert sorted(offered("inspect", "both.pth", "--weights-key", "", monkeypatch=monkeypatch)) == ["ema", "net"]


# Files, folders and URLs, which the shell offers, or what nobody can list.
FILES = set(
    (
        "file font inputs labels mask output partner report results rows runs similar-to state texts weights-of-verify"
    ).split()
)
FREE = set(
    "at bind caption crop end mean model-arg output-key question ray-address region resize shard start std target text "
    "template".split()
)


def test_each_option_and_argument_has_offers_or_can_have_none() -> None:
    group = typer.main.get_command(cli.app)
    root = group.context_class(group, info_name="camcli")
    for name, command in COMMANDS.items():
        context = command.context_class(command, info_name=name, parent=root)
        for param in command.params:
            own = param.opts[0].removeprefix("--")
            known = own in FILES | FREE or (name, own) == ("verify", "weights")
            if "str" not in str(command.hint(param.name)) or command.choices(param.name) or known:
                continue
            tried = ["", "n", "r"] if own != "layer" else ["features"]
            assert any(param.shell_complete(context, begun) for begun in tried) or own in (
                *("quantity", "weights-key"),  # see above
            ), (name, own)


def test_libraries_names_are_read_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    assert set(catalog.names_in("timm:")) == {name.partition(".")[0] for name in timm.list_models()}
    assert offered("explain", "a.jpg", "-m", "timm:resnet18", monkeypatch=monkeypatch) == [
        "timm:resnet18",
        "timm:resnet18d",
    ]
    open_clip = pytest.importorskip("open_clip")
    assert set(catalog.names_in("open_clip:")) == set(open_clip.list_models())


def test_the_classes_that_are_read_off_torchvisions_source_are_its_own() -> None:
    listed = [line.split("\t")[1] for line in run("classes", "resnet18").out.splitlines()]
    assert list(catalog.categories()) == listed


def test_methods_that_are_offered_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered("methods", "", monkeypatch=monkeypatch) == list(methods.names())
