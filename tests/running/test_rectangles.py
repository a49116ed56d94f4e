"""Networks that take a view of unequal sides: how it is asked for, what they see, and where their maps lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shell import refused, run
from torch import nn
from torchvision.transforms import v2

from camcli.errors import RequestError
from camcli.models import presets
from camcli.records import Preset, spelled
from camcli.running.verifying import Trusted, _spec

Picture = Callable[..., Path]
Row = dict[str, Any]
PRESET = Preset(256, 224, (0.0,) * 3, (1.0,) * 3, "bilinear")
RED = (130, 60, 160, 100)

# A linear layer over all places takes 64x32 and no other size.
NET = """
import torch
from torch import nn

class Person(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(6 * 16 * 8, 4)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))
"""


@pytest.fixture
def red() -> Path:
    """A black picture of 300x200 with a red square, whose sides no view here shares."""
    rgb = np.zeros((200, 300, 3), dtype=np.uint8)
    rgb[RED[1] : RED[3], RED[0] : RED[2], 0] = 255
    Image.fromarray(rgb).save("red.png")
    return Path("red.png")


def person() -> tuple[str, ...]:
    Path("person.py").write_text(NET)
    return ("-m", "person.py:Person", "--mean", "0", "--std", "1")


def row_of(*arguments: object) -> Row:
    outcome = run("explain", *arguments, "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    return row


def preset_of(row: Row) -> dict[str, Any]:
    preset = row["provenance"]["preset"]
    return {name: preset[name] for name in ("resize", "crop", "squash")}


@pytest.mark.parametrize(
    ("flags", "view"),
    [
        (("--crop", "64x32"), (0, 0, 300, 200)),
        (("--resize", "80", "--crop", "64x32"), (110, 20, 190, 180)),
        (("--resize", "80X40", "--crop", "64x32"), (30, 20, 270, 180)),
        (("--crop", "32x64", "--fit", "squash"), (0, 0, 300, 200)),
        (("--crop", "64x32", "--fit", "pad"), (0, -200, 300, 410)),
        (("--resize", "48x96", "--crop", "48x80"), (25, 0, 275, 200)),
    ],
)
def test_heat_lies_on_the_red_square_whatever_the_sides(
    red: Path, flags: tuple[str, ...], view: tuple[int, ...]
) -> None:
    asked = ("-m", "nets:RedBlue", "--mean", "0", "--std", "1", "-c", "0")
    row = row_of(red, *asked, *flags, "-M", "grad-cam", "-M", "gradient", "-M", "score-cam", "-M", "occlusion")
    assert row["box"] == pytest.approx(view, abs=3)
    cell = (view[2] - view[0]) / 8, (view[3] - view[1]) / 8  # the coarsest map here has 8 cells a side
    for answer in row["explanations"]:
        x, y = answer["peak"]
        assert RED[0] - cell[0] <= x <= RED[2] + cell[0], answer
        assert RED[1] - cell[1] <= y <= RED[3] + cell[1], answer


def test_what_a_rectangles_network_sees_is_torchvisions_picture(picture: Picture) -> None:
    photo = picture("a.png", (90, 70))
    scores = {score["id"]: score["logit"] for score in row_of(photo, *person(), "--crop", "64x32")["top"]}
    names: dict[str, Any] = {}
    exec(NET, names)
    net: nn.Module = names["Person"]()
    with Image.open(photo) as opened, torch.no_grad():
        pixels = v2.functional.pil_to_tensor(v2.Resize((64, 32))(opened)).float() / 255
        expected = net(pixels[None])[0].tolist()
    assert [scores[i] for i in range(4)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("method", ["grad-cam", "smooth-grad", "occlusion", "full-grad"])
def test_a_network_of_one_rectangular_size_is_explained(picture: Picture, fit: str, method: str) -> None:
    row = row_of(picture("a.png", (90, 70)), *person(), "--crop", "64x32", "--fit", fit, "-M", method)
    assert len(row["explanations"]) == 1


@pytest.mark.parametrize(
    ("said", "sides"),
    [
        ({"crop": [64, 32]}, {"resize": [64, 32], "crop": [64, 32], "squash": True}),
        ({"crop": [64, 32], "resize": 70}, {"resize": 70, "crop": [64, 32], "squash": False}),
        (
            {"resize": [70, 40], "crop": [64, 32], "squash": False},
            {"resize": [70, 40], "crop": [64, 32], "squash": False},
        ),
        ({"size": {"height": 64, "width": 32}}, {"resize": [64, 32], "crop": [64, 32], "squash": True}),
        (
            {"size": {"shortest_edge": 70}, "do_center_crop": True, "crop_size": {"height": 64, "width": 32}},
            {"resize": 70, "crop": [64, 32], "squash": False},
        ),
        ({"input_size": [3, 64, 32], "crop_pct": 1.0}, {"resize": [64, 32], "crop": [64, 32], "squash": False}),
        (
            {"input_size": [3, 64, 32], "crop_pct": 0.8, "crop_mode": "squash"},
            {"resize": [80, 40], "crop": [64, 32], "squash": True},
        ),
    ],
)
def test_a_rectangle_in_each_vocabulary(picture: Picture, said: Row, sides: Row) -> None:
    Path("p.json").write_text(json.dumps(said))
    row = row_of(picture("a.png", (90, 70)), *person(), "--preset", "p.json")
    assert preset_of(row) == sides


def test_a_square_is_one_number_as_it_was(picture: Picture) -> None:
    asked = ("-m", "nets:RedBlue", "--mean", "0", "--std", "1")
    assert preset_of(row_of(picture("a.png"), *asked, "--resize", "48", "--crop", "32")) == {
        **{"resize": 48, "crop": 32, "squash": False}
    }
    assert preset_of(row_of(picture("a.png"), *asked, "--crop", "32x32"))["squash"] is True


def test_rows_of_rectangles_can_be_verified(picture: Picture) -> None:
    asked = (picture("a.png"), *person(), "--crop", "64x32")
    outcome = run("explain", *asked, "--json", "--save", "none")
    Path("rows.jsonl").write_bytes(outcome.stdout)
    again = run("verify", "rows.jsonl", "-m", "person.py:Person")
    assert again.code == 0, again.err
    assert again.out.startswith("identical")
    assert _spec({"crop": [64, 32], "resize": 70}, Trusted()).crop == (64, 32)
    for wrong in ([64], [64, 32, 3], [64, "32"], "64x32", {"height": 64}, True):
        with pytest.raises(RequestError, match="the rows ask for crop"):
            _spec({"crop": wrong}, Trusted())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--crop", "64x"), "--crop '64x': give a number of pixels, or HEIGHTxWIDTH like 256x128"),
        (("--resize", "64,32"), "--resize '64,32': give a number of pixels, or HEIGHTxWIDTH like 256x128"),
        (("--crop", "-5"), "--crop '-5': give a number of pixels, or HEIGHTxWIDTH like 256x128"),
        (("--crop", "0x32"), "crop must be a whole number from 1 to 4096, not 0"),
        (("--crop", "64x5000"), "crop must be a whole number from 1 to 4096, not 5000"),
        (
            ("--crop", "64x32", "--resize", "48"),
            "crop 64x32 (height x width) is larger than resize 48: give a crop of at most 48",
        ),
        (
            ("--crop", "40x64", "--resize", "64x40"),
            "crop 40x64 (height x width) is larger than resize 64x40 (height x width): give a crop of at most",
        ),
    ],
)
def test_sides_that_are_none_are_refused(picture: Picture, flags: tuple[str, ...], said: str) -> None:
    assert said in refused(2, "explain", picture("a.png"), "-m", "nets:RedBlue", *flags)


def test_a_view_that_a_network_can_not_take_is_said_with_which_side_is_which(picture: Picture) -> None:
    said = run("explain", picture("a.png"), *person(), "--crop", "48x64").err
    assert "a view 48 pixels high and 64 wide" in said
    assert (spelled(64), spelled((64, 64)), spelled((64, 32))) == ("64x64", "64x64", "64x32 (height x width)")


@pytest.mark.parametrize(
    ("given", "fields", "sides"),
    [
        ((256, 224), {"crop": (64, 32)}, (256, (64, 32))),
        ((256, 224), {"crop": (300, 100)}, ((300, 100), (300, 100))),  # the resize follows
        ((256, 224), {"resize": (300, 250)}, ((300, 250), 224)),
        ((256, 224), {"resize": (300, 200)}, ((300, 200), (300, 200))),  # the crop follows
        (((64, 32), (64, 32)), {"crop": 48}, (48, 48)),
        (((64, 32), (64, 32)), {"crop": 24}, ((64, 32), 24)),
        (((64, 32), (64, 32)), {"resize": 80}, (80, (64, 32))),
    ],
)
def test_a_rectangle_that_is_not_given_follows_the_other(given: Any, fields: Any, sides: Any) -> None:
    preset = presets.changed(replace(PRESET, resize=given[0], crop=given[1]), fields)
    assert (preset.resize, preset.crop) == sides


def test_a_square_does_not_follow_a_rectangle() -> None:
    person = Preset((64, 32), (64, 32), PRESET.mean, PRESET.std, "bilinear", squash=True)
    with pytest.raises(RequestError, match="is larger than resize 48: give a crop of at most 48"):
        presets.changed(person, {"resize": 48})
