"""Detectors out of ultralytics' files, by a package of that name made here: ours, of the same forms, and tiny."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shell import SAMPLES, refused, run

from camcli.errors import SetupError
from camcli.models.adapters.yolo import Apart, Letterbox

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTO = SAMPLES / "cat_chelsea.jpg"
MODEL = "ultralytics:tiny.pt"

# A cell of 8x8 pixels has the logit 20 * (its mean red) - 10, and a box of 16x16 pixels around its centre. The second
# class is that of blue. As in some versions, the head cuts itself off the levels.
PACKAGE = """
import torch
from torch import nn

__version__ = "0.0.0"

class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Conv2d(3, 3, 8, 8, bias=False)
        self.mean.weight.data = torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) / 64

    def forward(self, x):
        return [self.mean(x).relu()]

class Detect(nn.Module):
    def __init__(self):
        super().__init__()
        self.nc, self.stride = 2, torch.tensor([8.0])
        self.sizes, self.classes = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
        self.sizes.weight.data.zero_()
        self.sizes.bias.data = torch.tensor([0.0, 0.0, 16.0, 16.0])
        self.classes.weight.data = torch.tensor([[20.0, 0, 0], [0, 0, 20]])[:, :, None, None]
        self.classes.bias.data.fill_(-10)

    def forward(self, x):
        x = [level.detach() for level in x]
        table, sizes = self.classes(x[0]).flatten(2), self.sizes(x[0])
        y, x = torch.meshgrid(*(torch.arange(n) * 8.0 + 4 for n in sizes.shape[2:]), indexing="ij")
        boxes = (sizes + torch.stack([x, y, x * 0, y * 0])).flatten(2)
        return torch.cat((boxes, table.sigmoid()), 1), {"scores": table}

class Classify(Detect):
    pass

class Odd(Detect):
    def forward(self, x):
        return self.classes(x[0])
Odd.__name__ = Odd.__qualname__ = "Segment"
Segment = Odd

class DetectionModel(nn.Module):
    def __init__(self, yaml, verbose=True):
        super().__init__()
        self.yaml, self.names, self.task = yaml, {0: "red", 1: "blue"}, "detect"
        self.model = nn.Sequential(Stem(), globals()[yaml["head"]]())

    def forward(self, x):
        return self.model(x)
"""


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [name for name in sys.modules if name.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    Path("ultralytics.py").write_text(PACKAGE)
    Path("ultralytics-0.0.0.dist-info").mkdir()
    Path("ultralytics-0.0.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: ultralytics\nVersion: 0.0.0\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    importlib.invalidate_caches()
    yield importlib.import_module("ultralytics")
    sys.modules.pop("ultralytics", None)


def saved(package: Any, head: str = "Detect", **fields: Any) -> None:
    torch.save({"model": package.DetectionModel({"head": head}), "train_args": {"imgsz": 64}} | fields, "tiny.pt")


def scene() -> str:
    """A picture 64 wide and 40 high, red in two cells and blue in one."""
    pixels = np.zeros((40, 64, 3), dtype=np.uint8)
    pixels[8:16, 16:24, 0] = 255
    pixels[24:32, 48:56, 0] = 204
    pixels[24:32, 8:16, 2] = 255
    Image.fromarray(pixels).save("scene.png")
    return "scene.png"


TRUSTED = ("-m", MODEL, "--trust-checkpoint", "--save", "none", "--json")


def test_detections_by_hand(package: Any) -> None:
    saved(package)
    outcome = run("explain", scene(), *TRUSTED, "-c", "each")
    assert outcome.code == 0, outcome.err
    assert "tiny.pt was loaded with --trust-checkpoint" in outcome.err
    (row,) = outcome.rows
    found = [(one["label"], round(one["logit"], 3), one["where"]["box"]) for one in row["top"]]
    assert found == [
        ("red", 10.0, [12, 4, 28, 20]),
        ("blue", 10.0, [4, 20, 20, 36]),
        ("red", 6.0, [44, 20, 60, 36]),
    ]
    assert row["layer"] == "model.model.0"
    # One cell holds all of each map, and its middle is the object's.
    assert [one["peak"] for one in row["explanations"]] == [[19, 11], [11, 27], [51, 27]]


def test_a_letterboxed_picture_has_its_map_in_place(package: Any) -> None:
    """64x40 at a side of 40: 40x25 pixels, on a canvas of 40x32 with 3 rows of grey above and 4 below."""
    saved(package)
    (row,) = run("explain", scene(), *TRUSTED, "--model-arg", "imgsz=40", "--threshold", 0.05, "-c", "red").rows
    ((x0, y0, x1, y1),) = [one["box"] for one in row["explanations"]]
    np.testing.assert_allclose([x0, x1], [0, 64])
    np.testing.assert_allclose([y0, y1], [-3 * 1.6, 29 * 1.6], atol=0.1)


@pytest.mark.parametrize(
    ("given", "size", "canvas", "corner"),
    [
        ((120, 160), 160, (128, 160), (4, 0)),
        ((300, 400), 160, (128, 160), (4, 0)),
        ((451, 300), 640, (640, 448), (0, 11)),
        ((31, 1000), 160, (32, 160), (13, 0)),
        ((400, 3), 640, (640, 32), (0, 13)),
        ((640, 640), 640, (640, 640), (0, 0)),
    ],
)
def test_letterbox(given: tuple[int, int], size: int, canvas: tuple[int, int], corner: tuple[int, int]) -> None:
    laid = Letterbox(size, 32)(torch.zeros(3, *given))
    assert (tuple(laid.tensors.shape[2:]), laid.corners) == (canvas, [corner])
    high, wide = laid.image_sizes[0]
    top, left = corner
    inside = laid.tensors[0, :, top : top + high, left : left + wide]
    assert not inside.any()
    outside = laid.tensors.sum() / 3
    assert float(outside) == pytest.approx((canvas[0] * canvas[1] - high * wide) * 114 / 255, rel=1e-5)


def test_a_detached_head_is_attached_without_a_change(package: Any) -> None:
    head = package.Detect()
    levels = [torch.rand(1, 3, 4, 5, requires_grad=True)]
    boxes, table, given = Apart(head.forward)(levels)
    assert torch.equal(torch.cat((boxes, table), 1), head(levels)[0])
    assert torch.equal(given, head(levels)[0])
    (gradient,) = torch.autograd.grad(table[0, 0, 7], levels)
    assert gradient.nonzero().tolist() == [[0, 0, 1, 2]]
    (plain,) = torch.autograd.grad(head(levels)[0][0, 4, 7], levels, allow_unused=True)
    assert plain is None


def test_a_head_that_joins_nothing_is_refused() -> None:
    with pytest.raises(SetupError, match="joins no boxes and probabilities"):
        Apart(lambda levels: levels[0])([torch.zeros(1, 3, 2, 2)])


@pytest.mark.parametrize(
    ("head", "said"),
    [("Classify", r"tiny.pt ends in a Classify (task detect)"), ("Segment", "its head joins no boxes")],
)
def test_other_heads_are_refused(package: Any, head: str, said: str) -> None:
    saved(package, head)
    line = run("explain", scene(), *TRUSTED)
    assert (line.code, line.out) == (3, "")
    assert said in line.err


def test_a_file_of_something_else(package: Any) -> None:
    torch.save({"epoch": 3}, "tiny.pt")
    assert "tiny.pt holds no network of ultralytics, but a NoneType" in refused(3, "explain", scene(), *TRUSTED)


def test_random_weights_are_random(package: Any) -> None:
    saved(package)
    outcome = run("classify", scene(), *TRUSTED[:3], "-w", "none", "--threshold", 0, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["weights"] == "none"


def test_layers_and_classes(package: Any) -> None:
    saved(package)
    told = json.loads(run("layers", "-m", MODEL, "--trust-checkpoint", "--json").out)
    assert told["layer"] == "model.model.0"
    assert "blue" in run("classes", "-m", MODEL, "--trust-checkpoint").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 3, "a pickle, a whole network whose loading runs code: --trust-checkpoint if you trust"),
        (("--trust-checkpoint", "-w", "IMAGENET1K_V1"), 2, "--weights IMAGENET1K_V1: ultralytics:tiny.pt has its own"),
        (("--trust-checkpoint", "--model-arg", "nc=3"), 2, "--model-arg nc: ultralytics:tiny.pt is in its file"),
        (("--trust-checkpoint", "--model-arg", "imgsz=big"), 2, "--model-arg imgsz=big: write a number of pixels"),
    ],
)
def test_refusals(package: Any, words: tuple[str, ...], code: int, said: str) -> None:
    saved(package)
    assert said in refused(code, "explain", scene(), "-m", MODEL, *words)


def test_without_the_package_or_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: None)
    Path("tiny.pt").write_bytes(b"")
    line = refused(3, "explain", PHOTO, "-m", MODEL)
    assert "ultralytics is not installed: `pip install ultralytics`" in line
    assert "AGPL-3.0" in line
    assert "ultralytics:gone.pt: no such file" in refused(2, "explain", PHOTO, "-m", "ultralytics:gone.pt")


def test_as_weights_it_is_said_how(package: Any) -> None:
    saved(package)
    assert "-m ultralytics:tiny.pt --trust-checkpoint, without --weights" in refused(
        3, "explain", PHOTO, "-w", "tiny.pt"
    )
    trusted = run("explain", PHOTO, "-w", "tiny.pt", "--trust-checkpoint")
    assert "name it with -m ultralytics:tiny.pt" in trusted.err
    facts = json.loads(run("inspect", "tiny.pt", "--json").out)
    assert facts["safe"] is False
    assert "-m ultralytics:tiny.pt" in facts["problem"]
