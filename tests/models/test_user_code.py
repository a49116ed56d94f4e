"""The user's own network, by `module:factory` or `file.py:factory`: found, run once, kept apart from our output."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import nets
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from shell import Outcome, refused, run
from torchvision import transforms

from camcli import Engine, Explained, Spec
from camcli.inputs import decoding, preprocessing
from camcli.models import catalog
from camcli.records import Fit, Preset, Ref

Picture = Callable[..., Path]

SMALL = ("--resize", "64", "--crop", "48")

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3, width=4, channels=3, name="a", deep=False):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(width, classes)
        self.given = classes, width, name, deep

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))
"""


@pytest.fixture(autouse=True)
def _imports_end_with_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test's code added to sys.path and sys.modules must not answer the next test's imports."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def code(name: str, text: str) -> Path:
    """A file of code below the test's folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def net_of(name: str, extra: str = "") -> Path:
    """A file with the class Net and what `extra` adds to it."""
    return code(name, NET + textwrap.dedent(extra))


def explained(picture: Path, model: str, *flags: object) -> Outcome:
    """A run that succeeds, small and without files."""
    outcome = run("explain", picture, "-m", model, "--json", "--save", "none", *SMALL, *flags)
    assert outcome.code == 0, outcome.err
    return outcome


def engine(model: str, **fields: Any) -> Engine:
    return Engine(Spec(model=model, **({"resize": 64, "crop": 48} | fields)))


# What can be named.


@pytest.mark.parametrize(
    "attribute",
    ["make", "Net", "Holder.make", "Holder.Inner.deep", "ready", "by_lambda"],
    ids=["function", "class", "static method", "nested", "network", "lambda"],
)
def test_a_file_and_what_in_it_makes_the_network(picture: Picture, attribute: str) -> None:
    net_of(
        "net.py",
        """
        def make():
            return Net()

        class Holder:
            make = staticmethod(make)

            class Inner:
                @classmethod
                def deep(cls):
                    return Net()

        ready = Net()
        by_lambda = lambda: Net()
        """,
    )
    (row,) = explained(picture(), f"net.py:{attribute}").rows
    assert (row["model"], row["weights"], row["layer"]) == (f"net.py:{attribute}", "own", "relu")
    assert len(row["top"]) == 3
    assert row["provenance"]["weights_sha256"] is None


def test_a_module_here(picture: Picture) -> None:
    net_of("their_package/nested/module.py", "def make():\n    return Net(7)\n")
    code("their_package/__init__.py", "")
    (row,) = explained(picture(), "their_package.nested.module:make", "--top", "9").rows
    assert len(row["top"]) == 7


def test_an_installed_module(picture: Picture) -> None:
    """The class indices are those of the network itself, in eval mode, on our pixels."""
    row = explained(picture(), "torchvision.models:squeezenet1_1", "--model-arg", "num_classes=4").rows[0]
    assert len(row["top"]) == 4
    assert row["layer"] == "features"


def test_neighbours_can_be_imported(picture: Picture) -> None:
    net_of("elsewhere/its_neighbour.py")
    code("elsewhere/net.py", "from its_neighbour import Net\n\ndef make():\n    return Net()\n")
    assert explained(picture(), "elsewhere/net.py:make").rows
    assert explained(picture(), f"{Path('elsewhere').absolute()}/net.py:make").rows


def test_two_files_of_one_name_are_two_files() -> None:
    for folder, classes in (("one", 3), ("other", 6)):
        net_of(f"{folder}/net.py", f"def make():\n    return Net({classes})\n")
        assert len(engine(f"{folder}/net.py:make").model.labels) == classes


def test_model_args_are_python_values() -> None:
    net_of("net.py")
    arguments = (("classes", "5"), ("width", "0x8"), ("name", "resnet"), ("deep", "true"))
    model = engine("net.py:Net", model_args=arguments).model
    assert model.net.given == (5, 8, "resnet", True)


def test_model_args_on_the_command_line(picture: Picture) -> None:
    net_of("net.py")
    (row,) = explained(picture(), "net.py:Net", "--model-arg", "classes=2", "--model-arg", "deep=False").rows
    assert len(row["top"]) == 2
    assert "Net.__init__() got an unexpected keyword argument 'depth'" in refused(
        3, "explain", picture(), "-m", "net.py:Net", "--model-arg", "depth=2"
    )


def test_a_network_already_made_takes_no_arguments(picture: Picture) -> None:
    net_of("net.py", "ready = Net()\n")
    assert "--model-arg" in refused(2, "explain", picture(), "-m", "net.py:ready", "--model-arg", "classes=5")


def test_labels_and_classes_by_name(picture: Picture) -> None:
    net_of("net.py")
    Path("names.txt").write_text("ant\nbee\ncat\n")
    (row,) = explained(picture(), "net.py:Net", "--labels", "names.txt", "-c", "bee").rows
    assert row["explanations"][0]["target"]["label"] == "bee"


# What it is run for: once, and its output is none of ours.


@pytest.mark.parametrize(
    "command",
    [["explain", "a.png", "-c", "top2", "-m"], ["classify", "a.png", "-m"], ["layers"], ["classes"]],
    ids=lambda command: str(command[0]),
)
def test_the_factory_is_called_once(picture: Picture, command: list[str]) -> None:
    picture("a.png")
    net_of(
        "net.py",
        """
        def log(text):
            with open("log", "a") as file:
                file.write(text + " ")

        log("imported")

        def make():
            log("made")
            return Net()
        """,
    )
    outcome = run(*command, "net.py:make")
    assert outcome.code == 0, outcome.err
    assert Path("log").read_text().split() == ["imported", "made"]


def test_nothing_is_imported_for_a_wrong_flag(picture: Picture) -> None:
    code("net.py", "open('ran', 'w').close()\n")
    refused(2, "explain", picture(), "-m", "net.py:make", "--fit", "stretch")
    assert not Path("ran").exists()


CHATTY = """
print("on import")

class Chatty(Net):
    def __init__(self):
        print("on build")
        super().__init__()

    def forward(self, x):
        print("on forward")
        return super().forward(x)
"""


def test_what_their_code_prints_goes_to_stderr(picture: Picture) -> None:
    net_of("net.py", CHATTY)
    outcome = explained(picture(), "net.py:Chatty")
    assert {"on import", "on build", "on forward"} <= set(outcome.err.splitlines())
    (row,) = outcome.rows
    assert row["model"] == "net.py:Chatty"


@pytest.mark.parametrize("command", ["layers", "classes"])
def test_what_their_code_prints_is_no_listing(command: str) -> None:
    net_of("net.py", CHATTY)
    outcome = run(command, "net.py:Chatty", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.rows


# What is refused.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def make():\n    raise KeyError('weights')", "net.py:make raised KeyError: 'weights'"),
        ("def make():\n    raise ValueError('one\\n\\ntwo')", "net.py:make raised ValueError: one"),
        ("def make():\n    return 1 / 0", "net.py:make raised ZeroDivisionError: division by zero"),
        ("raise RuntimeError('no GPU')", "net.py raised RuntimeError: no GPU"),
        ("def make(:", "net.py raised SyntaxError: invalid syntax"),
        ("import not_there_at_all", "net.py raised ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("def make(needed):\n    pass", "net.py:make raised TypeError: make() missing 1 required"),
        ("def make():\n    raise SystemExit(0)", "net.py:make raised SystemExit: 0"),
        ("import sys\nsys.exit('usage: train.py')", "net.py raised SystemExit: usage: train.py"),
    ],
    ids=["build", "two paragraphs", "arithmetic", "import", "syntax", "missing", "argument", "exit", "exit on import"],
)
def test_code_that_raises_is_one_line(picture: Picture, text: str, said: str) -> None:
    code("net.py", text)
    line = refused(3, "explain", picture(), "-m", "net.py:make")
    assert said in line
    assert "--debug" in line


def test_debug_shows_where_it_raised(picture: Picture) -> None:
    code("net.py", "def make():\n    raise KeyError('weights')")
    err = run("explain", picture(), "-m", "net.py:make", "--debug").err
    assert "Traceback" in err
    assert "in make" in err


@pytest.mark.parametrize(
    ("model", "code_", "said"),
    [
        ("net.py:mak", 2, "unknown name 'mak': did you mean make?"),
        ("net.py:Holder.mak", 2, "unknown name 'Holder.mak'"),
        ("net.py:number", 2, "net.py:number is a int, nothing that can be called"),
        ("net.py", 2, "--model net.py: say what in it makes the network, net.py:FACTORY"),
        ("net.py:", 2, "write module:factory or path/to/file.py:factory"),
        (":make", 2, "write module:factory or path/to/file.py:factory"),
        ("missing.py:make", 2, "no such file: missing.py"),
        ("no/such/net.py:make", 2, "no such file: no/such/net.py"),
        ("not_a_module_here:make", 2, "no module not_a_module_here here or among the installed packages"),
        ("torchvision.not_there:make", 2, "no module torchvision.not_there here or among the installed packages"),
        ("net.py:nothing", 3, "net.py:nothing gives a NoneType, not a torch.nn.Module"),
        ("net.py:weights", 3, "net.py:weights gives a dict, not a torch.nn.Module"),
        ("net.py:Holder", 3, "net.py:Holder gives a Holder, not a torch.nn.Module"),
        ("net.py:scripted", 3, "TorchScript"),
        ("net.py:traced", 3, "TorchScript"),
    ],
)
def test_what_is_no_network_is_refused(picture: Picture, model: str, code_: int, said: str) -> None:
    net_of(
        "net.py",
        """
        import warnings

        number = 3

        def make():
            return Net()

        def nothing():
            pass

        def weights():
            return dict(Net().state_dict())

        class Holder:
            make = staticmethod(make)

        def scripted():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))

        def traced():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.trace(Net(), torch.zeros(1, 3, 48, 48))
        """,
    )
    assert said in refused(code_, "explain", picture(), "-m", model, *SMALL)


@pytest.mark.parametrize("net", ["TwoTrunks", "Linear"])
def test_a_network_without_one_layer_for_all_asks_for_a_layer(picture: Picture, net: str) -> None:
    linear = "def Linear():\n    return Sequential(AdaptiveAvgPool2d(4), Flatten(), Linear_(48, 3))\n"
    imports = "from nets import TwoTrunks\nfrom torch.nn import AdaptiveAvgPool2d, Flatten, Sequential\n"
    code("net.py", f"{imports}from torch.nn import Linear as Linear_\n\n{linear}")
    assert "--layer" in refused(3, "explain", picture(), "-m", f"net.py:{net}", *SMALL)


def test_a_layer_can_be_named_where_none_is_found(picture: Picture) -> None:
    code("net.py", "from nets import TwoTrunks\n")
    (row,) = explained(picture(), "net.py:TwoTrunks", "-l", "right").rows
    assert row["layer"] == "right"


@pytest.mark.parametrize(
    "body",
    [
        "return self.fc(self.conv(x)[:, :, :2, :2].flatten(1)[:, : 0 if x.shape[2] == 48 else 4])",
        "assert x.shape[2] == 32, 'made for 32x32 only'",
        "raise IndexError('made for 32x32 only')",
        "raise NotImplementedError",
    ],
    ids=["shapes", "assertion", "index", "without words"],
)
def test_a_network_that_fails_on_the_size_names_it(picture: Picture, body: str) -> None:
    net_of("net.py", f"class Picky(Net):\n    def forward(self, x):\n        {body}\n")
    line = refused(3, "explain", picture(), "-m", "net.py:Picky", *SMALL)
    assert "fails on a view 48 pixels high and 48 wide: " in line
    assert "--resize, --crop" in line


def test_a_network_of_one_size_is_refused_whole_pictures_not_a_bug(picture: Picture) -> None:
    net_of(
        "net.py",
        """
        class One(Net):
            def forward(self, x):
                assert x.shape[2:] == (48, 48), "made for 48x48 only"
                return super().forward(x)
        """,
    )
    outcome = run("explain", picture(), "-m", "net.py:One", *SMALL, "--fit", "full")
    assert outcome.code in (3, 4), outcome.err
    assert "bug" not in outcome.err


# The weights.


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "net."])
def test_a_file_fills_it(picture: Picture, prefix: str) -> None:
    net_of("net.py")
    trained = nets.noise(4, 3, 3, 3, seed=1), nets.noise(4, seed=2), nets.noise(3, 4, seed=3), nets.noise(3, seed=4)
    names = ("conv.weight", "conv.bias", "fc.weight", "fc.bias")
    state = {prefix + name: value for name, value in zip(names, trained, strict=True)}
    torch.save(state, "trained.pth")
    loaded = engine("net.py:Net", weights="trained.pth").model
    assert loaded.weights == "trained.pth"
    for name, value in zip(names, trained, strict=True):
        assert torch.equal(loaded.net.state_dict()[name], value)
    (row,) = explained(picture(), "net.py:Net", "-w", "trained.pth").rows
    assert row["weights"] == "trained.pth"
    assert len(row["provenance"]["weights_sha256"]) == 64


def test_a_file_that_does_not_fit_is_refused(picture: Picture) -> None:
    net_of("net.py")
    torch.save({"conv.weight": torch.zeros(9, 3, 5, 5), "conv.bias": torch.zeros(9)}, "other.pth")
    line = refused(3, "explain", picture(), "-m", "net.py:Net", "-w", "other.pth")
    assert "other.pth does not fit net.py:Net" in line
    assert "no such weights file: missing.pth" in refused(
        2, "explain", picture(), "-m", "net.py:Net", "-w", "missing.pth"
    )
    assert "IMAGENET1K_V1" in refused(2, "explain", picture(), "-m", "net.py:Net", "-w", "IMAGENET1K_V1")


def test_a_factory_may_load_its_own_weights() -> None:
    net_of(
        "net.py",
        """
        def make():
            net = Net()
            net.load_state_dict(torch.load("own.pth", weights_only=True))
            return net
        """,
    )
    state = {"conv.weight": nets.noise(4, 3, 3, 3), "conv.bias": nets.noise(4), "fc.weight": nets.noise(3, 4)}
    torch.save(state | {"fc.bias": nets.noise(3)}, "own.pth")
    loaded = engine("net.py:make").model
    assert loaded.weights == "own"
    assert torch.equal(loaded.net.state_dict()["fc.weight"], nets.noise(3, 4))


# What stands around it.


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "wrapping",
    [
        "nn.DataParallel(Net())",
        "torch.compile(Net())",
        "nn.DataParallel(torch.compile(Net()))",
        "torch.compile(nn.DataParallel(Net()))",
    ],
)
def test_wrappers_are_taken_off(picture: Picture, wrapping: str) -> None:
    """torch.compile only wraps: nothing is compiled before the first call, and that never comes."""
    net_of("net.py", f"def make():\n    return {wrapping}\n")
    loaded = engine("net.py:make")
    assert type(loaded.model.net).__name__ == "Net"
    assert [layer.name for layer in loaded.layers] == ["relu"]
    (row,) = explained(picture(), "net.py:make").rows
    (bare,) = explained(picture(), "net.py:Net").rows
    assert row["top"] == bare["top"]


def test_a_wrapped_network_takes_its_own_state_dict() -> None:
    net_of("net.py", "def make():\n    return nn.DataParallel(torch.compile(Net()))\n")
    fresh = engine("net.py:make").model.net
    state = {f"module._orig_mod.{name}": value + 1 for name, value in fresh.state_dict().items()}
    torch.save(state, "compiled.pth")
    loaded = engine("net.py:make", weights="compiled.pth").model.net.state_dict()
    assert all(torch.equal(loaded[name], value + 1) for name, value in fresh.state_dict().items())


# The pixels.


@pytest.mark.parametrize(
    ("flags", "mean", "std"),
    [([], 0.449, 0.226), (["--mean", "0.1307", "--std", "0.3081"], 0.1307, 0.3081), (["--mean", "0.5"], 0.5, 0.226)],
    ids=["usual", "given", "mean only"],
)
def test_one_channel_is_grey(picture: Picture, flags: list[str], mean: float, std: float) -> None:
    """Bit for bit what torchvision's Grayscale, Resize, CenterCrop and Normalize give."""
    net_of("net.py", "def make():\n    return Net(channels=1)\n")
    photo = picture("a.png", (130, 90))
    outcome = explained(photo, "net.py:make", *flags)
    assert ("pictures become grey" in outcome.err) == (not flags)

    preset = Preset(64, 48, (mean,), (std,), "bilinear")
    pixels = preprocessing.view_of(decoding.read_frame(Ref(0, "a.png", path=photo)), preset, "crop").pixels
    steps = [transforms.Grayscale(), transforms.Resize(64), transforms.CenterCrop(48), transforms.ToTensor()]
    expected = transforms.Compose([*steps, transforms.Normalize((mean,), (std,))])(Image.open(photo).convert("RGB"))
    assert pixels.shape == (1, 48, 48)
    assert torch.equal(torch.from_numpy(pixels), expected)

    with torch.no_grad():
        scores = engine("net.py:make").model.net(expected[None])[0]
    top = {score["id"]: score["logit"] for score in outcome.rows[0]["top"]}
    assert [top[i] for i in range(3)] == pytest.approx(scores.tolist(), abs=2e-5)


def test_grey_first_or_grey_last_differ_by_rounding_only(picture: Picture) -> None:
    """Grayscale after Resize, as some write it: both steps round to whole numbers, so at most 2 of 255 apart."""
    photo = picture("a.png", (130, 90))
    preset = Preset(64, 48, (0.0,), (1.0,), "bilinear")
    pixels = preprocessing.view_of(decoding.read_frame(Ref(0, "a.png", path=photo)), preset, "crop").pixels
    steps = [transforms.Resize(64), transforms.CenterCrop(48), transforms.Grayscale(), transforms.ToTensor()]
    expected = transforms.Compose(steps)(Image.open(photo).convert("RGB")).numpy()
    np.testing.assert_allclose(pixels, expected, atol=2.01 / 255)


@pytest.mark.parametrize(
    ("method", "fit"),
    [("grad-cam", "pad"), ("guided-grad-cam", "crop"), *(("gradient", fit) for fit in get_args(Fit))],
)
def test_grey_networks_are_drawn(picture: Picture, method: str, fit: str) -> None:
    net_of("net.py", "def make():\n    return Net(channels=1)\n")
    outcome = run("explain", picture(), "-m", "net.py:make", "-M", method, "--fit", fit, *SMALL, "--save=overlay,raw")
    assert outcome.code == 0, outcome.err
    assert len(list(Path("camcli_out").iterdir())) == 2


def test_a_picture_has_no_five_channels(picture: Picture) -> None:
    net_of("net.py", "def make():\n    return Net(channels=5)\n")
    said = run("explain", picture(), "-m", "net.py:make", *SMALL)
    assert said.code in (2, 3)
    assert "net.py:make takes 5 input channels" in said.err


@pytest.mark.parametrize("command", ["layers", "classes"])
def test_a_network_of_five_channels_can_be_listed(command: str) -> None:
    """There is no picture, so there is nothing to normalise."""
    net_of("net.py", "def make():\n    return Net(channels=5)\n")
    assert run(command, "net.py:make", "--json").code == 0


def test_the_stem_need_not_be_defined_first(picture: Picture) -> None:
    net_of(
        "net.py",
        """
        class HeadFirst(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Conv2d(4, 3, 1)
                self.stem = nn.Conv2d(3, 4, 3, padding=1)

            def forward(self, x):
                return self.head(self.stem(x).relu().mean((2, 3), keepdim=True))
        """,
    )
    (row,) = explained(picture(), "net.py:HeadFirst").rows
    assert len(row["top"]) == 3


def test_the_usual_preset_is_said_where_it_is_assumed(picture: Picture) -> None:
    net_of("net.py")
    assumed = run("explain", picture(), "-m", "net.py:Net", "--json", "--save", "none")
    assert "no preset is known, so resize 256, crop 224" in assumed.err
    usual = {"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    preset = assumed.rows[0]["provenance"]["preset"]
    assert {name: preset[name] for name in usual} == usual


def test_a_network_that_tells_its_preset_as_timm_does(picture: Picture) -> None:
    net_of(
        "net.py",
        """
        class Configured(Net):
            pretrained_cfg = {
                "input_size": (3, 40, 40), "crop_pct": 0.8, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
                "interpolation": "bicubic", "num_classes": 3,
            }
        """,
    )
    outcome = run("explain", picture(), "-m", "net.py:Configured", "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    assert "no preset" not in outcome.err
    preset = outcome.rows[0]["provenance"]["preset"]
    assert (preset["resize"], preset["crop"], preset["interpolation"]) == (50, 40, "bicubic")
    assert preset["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.exhaustive
def test_any_size(picture: Picture) -> None:
    net_of("net.py")
    photo = picture("a.png", (130, 90))
    outcome = run("explain", photo, "-m", "net.py:Net", "--resize", "96", "--crop", "80", "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    preset = outcome.rows[0]["provenance"]["preset"]
    assert (preset["resize"], preset["crop"]) == (96, 80)
    (result,) = engine("net.py:Net", resize=96, crop=80).explain([Ref(0, "a.png", path=photo)])
    assert isinstance(result, Explained)
    assert result.attributions[0].values.shape == (80, 80)


# Networks of other kinds, and the right answer.


@pytest.mark.parametrize(
    ("made", "grid"),
    [
        ("ChannelsLast()", (6, 6)),
        ("PatchTransformer()", (6, 6)),
        ("Tokens('class', 1)", (6, 6)),
        ("Tokens('mean', 4)", (6, 6)),
        ("ClassAttention()", (6, 6)),
        ("Wrapped(Convolutional())", (24, 24)),
    ],
)
def test_channels_last_and_tokens(picture: Picture, made: str, grid: tuple[int, int]) -> None:
    code("net.py", f"from nets import *\n\ndef make():\n    return {made}\n")
    (result,) = engine("net.py:make").explain([Ref(0, "a.png", path=picture())])
    assert isinstance(result, Explained)
    assert result.attributions[0].values.shape == grid
    assert explained(picture(), "net.py:make").rows


@pytest.mark.parametrize("ends", ["", ".softmax(1)", ".sigmoid()"], ids=["logits", "softmax", "sigmoid"])
def test_the_map_is_on_the_square_of_the_classs_colour(ends: str) -> None:
    """A red and a blue square on black: each class's peak lies in its own, and so does the box around it."""
    forward = f"    def forward(self, x):\n        return super().forward(x){ends}\n"
    code("net.py", f"import nets\n\nclass Net(nets.RedBlue):\n{forward}")
    squares = np.zeros((96, 96, 3), dtype=np.uint8)
    squares[16:32, 56:72, 0] = 255
    squares[64:80, 8:24, 2] = 255
    Image.fromarray(squares).save("squares.png")
    Path("names.txt").write_text("red\nblue\n")
    flags = ("--resize", "96", "--crop", "96", "--mean", "0", "--std", "1", "--labels", "names.txt")
    (row,) = explained(Path("squares.png"), "net.py:Net", *flags, "-c", "red", "-c", "blue").rows
    red, blue = row["explanations"]
    assert [red["target"]["label"], blue["target"]["label"]] == ["red", "blue"]
    for explanation, (left, top) in ((red, (56, 16)), (blue, (8, 64))):
        x, y = explanation["peak"]
        assert left <= x < left + 16
        assert top <= y < top + 16
    logits = {score["label"]: score["logit"] for score in row["top"]}
    # By hand: the detector answers 1 in the 16 of 576 places that a square covers.
    assert logits == pytest.approx({"red": 16 / 576, "blue": 16 / 576}, abs=1e-5)


def test_one_logit_is_no_and_yes(picture: Picture) -> None:
    net_of("net.py", "def make():\n    return Net(1)\n")
    (row,) = explained(picture(), "net.py:make", "-c", "0", "-c", "1").rows
    logits = {score["id"]: score["logit"] for score in row["top"]}
    assert logits[0] == -logits[1]
    assert sum(score["probability"] for score in row["top"]) == pytest.approx(1, abs=2e-6)
    Path("names.txt").write_text("cancer\n")
    (named,) = explained(picture(), "net.py:make", "--labels", "names.txt").rows
    assert {score["label"] for score in named["top"]} == {"not cancer", "cancer"}


def test_several_outputs_and_the_key_that_picks(picture: Picture) -> None:
    net_of(
        "net.py",
        """
        class Two(Net):
            def forward(self, x):
                scores = super().forward(x)
                return {"main": scores, "aux": scores[:, :2]}
        """,
    )
    line = refused(3, "explain", picture(), "-m", "net.py:Two", *SMALL)
    assert "--output-key, of main (2x3), aux (2x2)" in line
    (row,) = explained(picture(), "net.py:Two", "--output-key", "aux").rows
    assert len(row["top"]) == 2
    assert run("layers", "net.py:Two", "--output-key", "aux", "--json").code == 0


def test_a_network_without_parameters(picture: Picture) -> None:
    """Its provenance has no parameter to take the type from."""
    code(
        "net.py",
        """
        from torch import nn

        class Colours(nn.Module):
            def forward(self, x):
                return x.mean((2, 3))
        """,
    )
    (row,) = explained(picture(), "net.py:Colours", "-M", "gradient").rows
    assert row["provenance"]["dtype"] == "float32"


# The other commands.


def test_layers_of_their_network() -> None:
    net_of("net.py")
    outcome = run("layers", "net.py:Net", "--model-arg", "width=6", "--json")
    assert outcome.code == 0, outcome.err
    (listing,) = outcome.rows
    assert (listing["model"], listing["layer"], listing["shape"]) == ("net.py:Net", "relu", [6, 224, 224])
    assert [module["name"] for module in listing["modules"]] == ["conv", "relu", "fc"]
    table = run("layers", "net.py:Net")
    assert "=>" in table.out
    assert "relu" in table.out


def test_classes_of_their_network() -> None:
    net_of("net.py")
    outcome = run("classes", "net.py:Net", "--json")
    assert [row["id"] for row in outcome.rows] == [0, 1, 2]


# torchvision's quantized models.


def quantized() -> list[str]:
    return list(torchvision.models.list_models(module=torchvision.models.quantization))


def test_quantized_models_name_their_float_twin(picture: Picture) -> None:
    assert quantized()
    for name in quantized():
        twin = name.removeprefix("quantized_")
        assert twin in catalog.names()
        line = refused(3, "explain", picture(), "-m", name)
        assert line.endswith(f"--model {twin}")
    assert "unknown model" in refused(2, "explain", picture(), "-m", "quantized_nothing")
