"""The examples with their shipped weights, asked as a user would: right answers, and the heat on what it is about."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shell import ROOT, run

from camcli.records import Row

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = ROOT / "examples"
SCENES = 200


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in [name for name, module in sys.modules.items() if _is_example(module)]:
        del sys.modules[name]


def _is_example(module: ModuleType) -> bool:
    return Path(getattr(module, "__file__", None) or "").parent == EXAMPLES


def drawn(pixels: Sequence[NDArray[np.uint8]]) -> list[str]:
    names = [f"{number:03}.png" for number in range(len(pixels))]
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(name)
    return names


def model(name: str) -> tuple[object, ...]:
    return ("-m", EXAMPLES / f"{name}.py:model", "-w", EXAMPLES / f"{name}.safetensors")


def rows_of(*flags: object, stdin: bytes = b"") -> list[Row]:
    found = run("explain", *flags, "--json", "--save", "none", stdin=stdin)
    assert found.code == 0, found.err
    return found.rows


def lines(objects: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def peak(row: Row, answer: int = 0) -> tuple[int, int]:
    """The peak (x, y); far off if the map is blank."""
    x, y = row["explanations"][answer]["peak"] or (-99, -99)
    return x, y


def within(place: tuple[int, int], box: Sequence[int]) -> bool:
    return box[0] <= place[0] < box[2] and box[1] <= place[1] < box[3]


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


@pytest.mark.exhaustive
def test_questions_are_answered_by_what_they_are_about() -> None:
    import vqa

    asked = vqa.asked_scenes(SCENES, seed=9)
    names = drawn([scene.pixels for scene, *_ in asked])
    given = [{"image": name, "question": question} for name, (_, question, *_) in zip(names, asked, strict=True)]
    rows = rows_of("-", *model("vqa"), stdin=lines(given))
    assert {row["layer"] for row in rows} == {"blocks.1"}
    right = [row["top"][0]["label"] == answer for row, (_, _, answer, _) in zip(rows, asked, strict=True)]
    assert share(right) >= 0.97
    on_it = [within(peak(row), thing.box) for row, (*_, thing) in zip(rows, asked, strict=True)]
    area = np.mean([(box[2] - box[0]) * (box[3] - box[1]) / 32**2 for *_, thing in asked if (box := thing.box)])
    assert area < 0.08
    assert share(on_it) >= 0.55


def test_two_questions_about_one_picture_have_two_maps() -> None:
    import shapes
    import vqa

    scene = next(one for one in shapes.scenes(40, seed=4) if len(vqa.questions(one)) >= 4)
    (name,) = drawn([scene.pixels])
    asked = [{"image": name, "question": question} for question, *_ in vqa.questions(scene)]
    rows = rows_of("-", *model("vqa"), stdin=lines(asked))
    assert len({row["explanations"][0]["fingerprint"]["sha256"] for row in rows}) == len(rows) >= 4


@pytest.mark.exhaustive
def test_words_are_about_their_things() -> None:
    import caption

    scenes = caption.drawn(SCENES, seed=9)
    rows = rows_of(*drawn([scene.pixels for scene in scenes]), *model("caption"), "-c", "each", "--top", 1)
    right = [row["top"][0]["label"] == caption.caption(scene) for row, scene in zip(rows, scenes, strict=True)]
    assert share(right) >= 0.85
    for row in rows:
        whole, *words = row["top"]
        assert sum(word["logit"] for word in words) == pytest.approx(whole["logit"], abs=1e-5 * (1 + len(words)))
    # The colours are the second and the sixth word; the caption's own answer comes first.
    for word, own in ((2, 0), (6, 1)):
        kept = [pair for pair, told in zip(zip(rows, scenes, strict=True), right, strict=True) if told]
        on_own = share([within(peak(row, word), scene.things[own].box) for row, scene in kept])
        on_other = share([within(peak(row, word), scene.things[1 - own].box) for row, scene in kept])
        assert on_own >= max(8 * on_other, 0.3), (word, on_own, on_other)


@pytest.mark.exhaustive
def test_a_policy_looks_at_ball_and_paddle_and_never_at_the_bird() -> None:
    import policy
    from safetensors.torch import load_file

    net = policy.model()
    net.load_state_dict(load_file(EXAMPLES / "policy.safetensors"))
    games, _ = policy.played(net, SCENES, seed=9)
    assert games.caught.mean() >= 0.99
    rng = np.random.default_rng(4)
    games, cells = policy.Games.new(SCENES, rng), []
    frames = []
    for number in range(SCENES):
        if games.over:
            games = policy.Games.new(SCENES, rng)
        frames.append(games.frames()[number])
        cells.append((games.bird[number].tolist(), int(games.paddle[number])))
        games.step(rng.integers(0, 3, SCENES), rng)
    names = drawn(frames)

    def peaks(*flags: object) -> list[tuple[int, int]]:
        """(row, column) in cells."""
        return [(y // policy.CELL, x // policy.CELL) for x, y in map(peak, rows_of(*names, *model("policy"), *flags))]

    acted, valued = peaks(), peaks("--quantity", "value")
    assert share([list(own) == bird for own, (bird, _) in zip(acted, cells, strict=True)]) <= 0.01
    bottom = policy.CELLS - 1
    on_paddle = [own[0] == bottom and abs(own[1] - paddle) <= 1 for own, (_, paddle) in zip(valued, cells, strict=True)]
    assert share(on_paddle) >= 0.85


@pytest.mark.exhaustive
def test_two_pictures_are_alike_by_their_things() -> None:
    import siamese

    pairs = siamese.pairs(SCENES, seed=9)
    firsts = drawn([first.pixels for first, *_ in pairs])
    for number, (_, second, _) in enumerate(pairs):
        Image.fromarray(second.pixels).save(f"other{number:03}.png")
    given = [{"image": name, "partner": f"other{number:03}.png"} for number, name in enumerate(firsts)]
    rows = rows_of("-", *model("siamese"), "-M", "hires-cam", stdin=lines(given))
    assert len(rows) == 2 * SCENES
    for which in (0, 1):
        own = rows[which::2]
        told = [row["explanations"][0]["target"]["value"] > 0 for row in own]
        assert share([each == same for each, (*_, same) in zip(told, pairs, strict=True)]) >= 0.95
        # A map shows what speaks for likeness, so of those that are alike.
        alike = [(row, scenes[which]) for row, (*scenes, same) in zip(own, pairs, strict=True) if same]
        assert share([within(peak(row), scene.things[0].box) for row, scene in alike]) >= 0.8


def test_an_amount_is_read_off_what_has_it() -> None:
    import regression
    import shapes

    scenes = shapes.scenes(SCENES, seed=9)
    rows = rows_of(*drawn([scene.pixels for scene in scenes]), *model("regression"))
    amounts = regression.red(scenes)[:, 0].numpy()
    found = np.array([row["top"][0]["logit"] for row in rows])
    assert 1 - np.square(found - amounts).mean() / amounts.var() >= 0.98
    assert {row["explanations"][0]["target"]["name"] for row in rows} == {"0 red pixels"}
    red = [(row, [t for t in scene.things if t.colour == "red"]) for row, scene in zip(rows, scenes, strict=True)]
    assert share([any(within(peak(row), thing.box) for thing in things) for row, things in red if things]) >= 0.9
