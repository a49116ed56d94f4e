"""Which architecture a file belongs to, found by itself, and what `camcli inspect` says of a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
import torchvision
from shell import run
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from camcli.errors import SetupError
from camcli.models import catalog, guess
from camcli.models.model import Architecture
from camcli.models.sources import bundled
from camcli.models.weights import checkpoints, filling, fitting

SMALL = "squeezenet1_1"
CLASSES = 7
FEW = ("resnet18", SMALL, "mobilenet_v3_small", "regnet_y_400mf", "vit_b_32")


@pytest.fixture(scope="module")
def built_once() -> Iterator[None]:
    """Ranking builds some networks for their names and shapes: here each one once, not once a test."""
    made: dict[str, nn.Module] = {}
    get_model = torchvision.models.get_model

    def remembered(name: str, **options: Any) -> nn.Module:
        key = f"{name} {sorted(options.items())}"
        if key not in made:
            net = made[key] = get_model(name, **options)
            state = net.state_dict()
            setattr(net, "state_dict", lambda state=state: state)  # noqa: B010  mypy has methods stay as they are
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, "get_model", remembered)
        yield


def _shapes(name: str, **options: Any) -> dict[str, Tensor]:
    """A network's tensors of seven classes without their numbers, but for those that are looked at."""
    on = "cpu" if name.startswith("regnet") else "meta"
    with torch.device(on), filling.no_initialisation():
        # Of the module itself, past the networks that are remembered.
        net = torchvision.models.get_model_builder(name)(weights=None, num_classes=CLASSES, **options)
        state = net.state_dict()
    return {
        f"model.{key}": torch.full(value.shape, 1.5) if key.endswith("running_var") else value
        for key, value in state.items()
    }


def _found(tensors: dict[str, Tensor]) -> tuple[str, int]:
    found = guess.only(guess.ranked(tensors), "tuned.pth")
    return found.name, found.classes


@pytest.mark.parametrize("name", FEW)
def test_a_file_of_other_classes_under_a_prefix_is_recognised(name: str, built_once: None) -> None:
    assert _found(_shapes(name)) == (name, CLASSES)


FAMILIES = sorted({entry.family for entry in catalog.classifiers().values()})


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", FAMILIES)
def test_each_of_torchvisions_is_recognised_among_its_relatives(
    family: str, built_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle one of each family among all of it, a few others and the bundled model; all against all costs minutes,
    and is what `benchmarks/checkpoint_formats.py` does."""
    relatives = [name for name, entry in catalog.classifiers().items() if entry.family == family]
    among = list(dict.fromkeys([*relatives, *FEW, catalog.BUNDLED]))
    monkeypatch.setattr(catalog, "names", lambda: among)
    name = relatives[len(relatives) // 2]
    options = {"aux_logits": True, "init_weights": False} if family in ("googlenet", "inception") else {}
    assert _found(_shapes(name, **options)) == (name, CLASSES)


def test_the_bundled_models_own_file_is_recognised(built_once: None) -> None:
    tensors = checkpoints.read(bundled.packaged_weights()).tensors
    assert _found(dict(tensors)) == (catalog.BUNDLED, 1000)


def _other_widths() -> dict[str, Tensor]:
    block = torchvision.models.resnet.BasicBlock
    with torch.device("meta"):
        net = torchvision.models.ResNet(block, [2, 2, 2, 2], num_classes=CLASSES)
        net.layer3[0].conv1 = nn.Conv2d(128, 100, 3, bias=False)
        net.layer3[0].bn1 = nn.BatchNorm2d(100)
    return {k: torch.full(v.shape, 1.5) if k.endswith("running_var") else v for k, v in net.state_dict().items()}


def test_a_network_of_other_widths_is_refused_with_the_three_nearest(built_once: None) -> None:
    ranked = guess.ranked(_other_widths())
    problems = [candidate.fit.problems for candidate in ranked]
    assert problems == sorted(problems)
    with pytest.raises(
        SetupError, match=rf"tuned\.pth fits none of {len(catalog.classifiers())} architectures"
    ) as refused:
        guess.only(ranked, "tuned.pth")
    said = str(refused.value)
    assert "Nearest: resnet18: " in said
    assert "layer3.0.conv1.weight 100x128x3x3, wanted 256x128x3x3" in said
    assert all(f"{candidate.name}: " in said for candidate in ranked[:3])
    assert f"{ranked[3].name}: " not in said
    assert said.endswith("--model-arg width_mult=0.5; else give the network as code, --model FILE.py:factory")


def test_a_file_that_fits_several_alike_is_refused_with_their_names() -> None:
    shapes = {"conv.weight": (4, 3, 3, 3), "fc.weight": (5, 4)}
    fit = fitting.match(shapes, shapes)
    alike = [guess.Candidate(name, fit, 5) for name in ("one", "other")]
    with pytest.raises(SetupError, match=r"tuned\.pth fits one, other alike: say which with --model"):
        guess.only(alike, "tuned.pth")


@pytest.mark.exhaustive
def test_of_two_architectures_in_one_file_the_user_says_which(picture: Callable[..., Path]) -> None:
    two = {
        "student": torchvision.models.squeezenet1_1(weights=None),
        "teacher": torchvision.models.resnet18(weights=None),
    }
    both = {f"{at}.{name}": value for at, net in two.items() for name, value in net.state_dict().items()}
    torch.save(both, "two.pth")
    refused, inspected = run("classify", picture(), "-w", "two.pth"), run("inspect", "two.pth", "--json")
    assert refused.code == 3
    said = f"two.pth holds 2 networks ({SMALL} under student, resnet18 under teacher): say which, --weights-key student"
    assert f"{said} or teacher" in refused.err
    assert (inspected.rows[0]["architecture"], inspected.rows[0]["alike"]) == (SMALL, [])
    assert inspected.rows[0]["other networks"] == ["resnet18 (--weights-key teacher)"]
    chosen = run("classify", picture(), "-w", "two.pth", "--weights-key", "teacher", "--json")
    assert chosen.rows[0]["model"] == "resnet18"


# The table that rules out what need not be built.


@pytest.mark.exhaustive
def test_the_table_is_that_of_the_installed_torchvision() -> None:
    """`python benchmarks/architecture_shapes.py` makes it anew."""
    made_with, table = guess._table()
    assert made_with == guess.library()
    assert table == {name: guess.shapes(guess.state_of(name)) for name in catalog.classifiers()}


def test_the_table_knows_a_few_of_the_installed_torchvision() -> None:
    _, table = guess._table()
    assert set(table) == set(catalog.classifiers())
    assert all(table[name] == guess.shapes(guess.state_of(name)) for name in (*FEW, catalog.BUNDLED))


def _built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the architectures that are built from now on."""
    names: list[str] = []
    candidate = guess.candidate

    def noted(architecture: Architecture, tensors: dict[str, Tensor]) -> guess.Candidate:
        names.append(architecture.name)
        return candidate(architecture, tensors)

    monkeypatch.setattr(guess, "candidate", noted)
    return names


def test_few_networks_are_built_for_a_file_that_fits_and_for_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    built = _built(monkeypatch)
    assert _found(_shapes("mobilenet_v3_small")) == ("mobilenet_v3_small", CLASSES)
    assert built == ["mobilenet_v3_small"]
    built.clear()
    assert len(guess.ranked(_other_widths())) >= 3
    assert len(built) <= 12
    built.clear()
    assert len(guess.ranked({"a.weight": torch.zeros(2, 2)})) == 3
    assert len(built) == 3


UNLIKE: dict[str, tuple[str, Callable[[nn.Module], object]]] = {
    "one input channel": ("resnet18", lambda net: net.set_submodule("conv1", nn.Conv2d(1, 64, 7, bias=False))),
    "one layer for a head of three": ("vgg11", lambda net: net.set_submodule("classifier", nn.Linear(25088, CLASSES))),
    "one layer for a head of two": (
        "mobilenet_v3_small",
        lambda net: net.set_submodule("classifier", nn.Linear(576, CLASSES)),
    ),
    "a stem of version 1": (
        "mnasnet0_5",
        lambda net: net._load_from_state_dict({}, "", {"version": 1}, False, [], [], []),
    ),
}


@pytest.mark.filterwarnings("ignore:A new version of MNASNet")
@pytest.mark.parametrize("kind", UNLIKE)
def test_no_network_is_ruled_out_that_a_file_fits(kind: str) -> None:
    """As far from its architecture as a file may be."""
    name, change = UNLIKE[kind]
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
        change(net)
    assert _found({f"model.{key}": value for key, value in net.state_dict().items()}) == (name, CLASSES)


def test_another_torchvision_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the table does not know, or may have wrong, is built."""
    _, table = guess._table()
    few = ["alexnet", *FEW]
    monkeypatch.setattr(catalog, "classifiers", lambda: few)
    wrong = {name: table["alexnet"] for name in few if name != "resnet18"}
    monkeypatch.setattr(guess, "_table", lambda: ("torchvision 0.0.1", wrong))
    built = _built(monkeypatch)
    assert _found(_shapes("resnet18")) == ("resnet18", CLASSES)
    assert built == ["resnet18"]
    built.clear()
    assert _found(_shapes(SMALL)) == (SMALL, CLASSES)
    assert sorted(built) == sorted(few)


# From the shell.


@pytest.fixture
def tuned() -> dict[str, Tensor]:
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.squeezenet1_1(weights=None, num_classes=CLASSES)
    nets.fill(net)
    return dict(net.state_dict())


def _lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    """What Lightning's Trainer saves, class names beside it."""
    held = {f"model.{name}": value for name, value in state.items()} | {"criterion.weight": torch.ones(CLASSES)}
    return {"epoch": 3, "state_dict": held, "optimizer_states": [], "classes": list("abcdefg")}


def test_explain_recognises_a_file_and_says_what_it_is(tuned: dict[str, Tensor], picture: Callable[..., Path]) -> None:
    torch.save(_lightning(tuned), "last.ckpt")
    outcome = run("explain", picture(), "-w", "last.ckpt", "--json")
    assert outcome.code == 0, outcome.err
    assert f"last.ckpt holds weights of {SMALL}" in outcome.err
    (row,) = outcome.rows
    assert (row["model"], row["weights"]) == (SMALL, "last.ckpt")
    assert {best["label"] for best in row["top"]} <= set("abcdefg")
    named = run("explain", picture(), "-m", SMALL, "-w", "last.ckpt", "--json")
    assert named.rows[0]["top"] == row["top"]


def test_inspect_describes_a_lightning_file(tuned: dict[str, Tensor], built_once: None) -> None:
    torch.save(_lightning(tuned), "last.ckpt")
    outcome = run("inspect", "last.ckpt", "--json")
    assert outcome.code == 0, outcome.err
    (facts,) = outcome.rows
    file = Path("last.ckpt").read_bytes()
    assert facts == {
        "file": "last.ckpt",
        "format": "torch.save archive",
        "bytes": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
        "safe": True,
        "key": "state_dict",
        "keys": ["state_dict"],
        "beside": {"epoch": "3", "optimizer_states": "a list of 0", "classes": "a list of 7"},
        "tensors": len(tuned) + 1,
        "numbers": sum(value.numel() for value in tuned.values()) + CLASSES,
        "dtypes": ["float32"],
        "labels": list("abcdefg"),
        "preset": None,
        "architecture": SMALL,
        "use": f"camcli explain PICTURE -m {SMALL} -w last.ckpt",
        "alike": [],
        "other networks": [],
        "classes": CLASSES,
        "prefix": "model.",
        "head": [f"model.classifier.1.weight {CLASSES}x512x1x1"],
        "left aside": ["criterion.weight"],
        "remarks": ["last.ckpt: 1 tensor beside the network left aside (criterion.weight)"],
        "problem": None,
    }


def test_inspect_for_people_is_a_table(tuned: dict[str, Tensor], built_once: None) -> None:
    torch.save(_lightning(tuned), "last.ckpt")
    outcome = run("inspect", "last.ckpt")
    assert outcome.code == 0, outcome.err
    lines = dict(line.split("\t") for line in outcome.out.splitlines())
    assert (lines["architecture"], lines["safe"], lines["prefix"]) == (SMALL, "yes", "model.")
    assert lines["classes"] == str(CLASSES)
    assert lines["beside"] == "epoch: 3; optimizer_states: a list of 0; classes: a list of 7"
    assert not {"problem", "alike", "preset"} & set(lines)
    assert "\N{REPLACEMENT CHARACTER}" not in outcome.out


def test_inspect_says_what_explain_says(picture: Callable[..., Path]) -> None:
    """A head that was moved, weights that are computed, a head without bias; and refuses what explain refuses."""
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.squeezenet1_1(weights=None)
    nets.fill(net)
    net.set_submodule("classifier.1", nn.Sequential(nn.Dropout(), nn.Conv2d(512, CLASSES, 1, bias=False)))
    parametrizations.weight_norm(net.get_submodule("features.0"))
    torch.save(net.state_dict(), "moved.pth")
    explained = run("explain", picture(), "-w", "moved.pth", "--save", "none", "--json")
    inspected = run("inspect", "moved.pth", "--json")
    assert (explained.code, inspected.code) == (0, 0), explained.err
    said = inspected.rows[0]["remarks"]
    assert len(said) == 3
    assert all(remark in explained.err for remark in said)
    assert inspected.rows[0]["head"] == [f"classifier.1.1.weight {CLASSES}x512x1x1"]
    both = {f"{name}.{key}": value + n for n, name in enumerate("ab") for key, value in net.state_dict().items()}
    torch.save(both, "two.pth")
    explained, inspected = run("explain", picture(), "-w", "two.pth"), run("inspect", "two.pth", "--json")
    assert (explained.code, inspected.code) == (3, 3)
    assert "it holds 2 networks (a, b): say which, --weights-key a or b" in explained.err
    assert "it holds 2 networks (a, b): say which, --weights-key a or b" in inspected.rows[0]["problem"]


def test_inspect_chooses_among_several_states(tuned: dict[str, Tensor]) -> None:
    torch.save({"model": tuned, "ema": {name: value.half() for name, value in tuned.items()}}, "two.pth")
    facts = run("inspect", "two.pth", "-m", SMALL, "--weights-key", "ema", "--json").rows[0]
    assert (facts["key"], facts["keys"], facts["dtypes"]) == ("ema", ["model", "ema"], ["float16"])
    refused = run("inspect", "two.pth", "-m", SMALL, "--weights-key", "nope")
    assert (refused.code, refused.out) == (2, "")
    assert "it has model, ema" in refused.err


def test_inspect_of_an_unsafe_file(tuned: dict[str, Tensor]) -> None:
    torch.save({"state_dict": tuned, "args": Fraction(1, 10)}, "args.pth")
    outcome = run("inspect", "args.pth", "--json")
    assert outcome.code == 3
    assert "its pickle asks for fractions.Fraction" in outcome.rows[0]["problem"]
    assert "architecture" not in outcome.rows[0]
    trusted = run("inspect", "args.pth", "-m", SMALL, "--trust-checkpoint", "--json")
    assert trusted.code == 0, trusted.err
    assert (trusted.rows[0]["safe"], trusted.rows[0]["architecture"]) == (False, SMALL)


def test_inspect_of_a_file_that_fits_nothing(built_once: None) -> None:
    state = {name: torch.zeros(value.shape) for name, value in _other_widths().items()}
    torch.save(state, "wide.pth")
    outcome = run("inspect", "wide.pth", "--json")
    assert outcome.code == 3
    (facts,) = outcome.rows
    said = f"wide.pth does not fit any of {len(catalog.classifiers())} architectures. If it is one of them made with "
    assert facts["problem"].startswith(said)
    assert (facts["architecture"], len(facts["nearest"])) == (None, 3)
    assert "layer3.0.conv1.weight 100x128x3x3, wanted 256x128x3x3" in facts["nearest"]["resnet18"]
    assert "resnet18: " in run("inspect", "wide.pth").out


def test_inspect_with_a_model_lists_every_tensor_that_differs(tuned: dict[str, Tensor]) -> None:
    left_over = [f"features.{i}.scale" for i in range(20)]
    missing = [name for name in tuned if name.startswith("features.3.")]
    state = {name: value for name, value in tuned.items() if name not in missing}
    torch.save(state | dict.fromkeys(left_over, torch.ones(1)), "odd.pth")
    outcome = run("inspect", "odd.pth", "-m", SMALL, "--json")
    assert outcome.code == 3
    facts = json.loads(outcome.out)
    assert facts["problem"] == f"odd.pth does not fit {SMALL}"
    assert all(name in facts["nearest"][SMALL] for name in (*left_over, *missing))
    assert set(facts["nearest"]) == {SMALL}


def test_inspect_of_no_file_and_of_no_model() -> None:
    outcome = run("inspect", "missing.pth")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no such file: missing.pth" in outcome.err
    Path("there.pth").write_bytes(b"")
    outcome = run("inspect", "there.pth", "-m", "resnet5")
    assert outcome.code == 2
    assert "unknown model 'resnet5'" in outcome.err
