"""`camcli.report`: the page of answers from Python is that of the command."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from results import explained
from shell import SAMPLES, run

import camcli
from camcli.records import Explained
from camcli.sinks import dump

CAT = SAMPLES / "cat_chelsea.jpg"
BEE = SAMPLES / "honey_bee.jpg"

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*torch.jit.*")]


def data_of(file: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', Path(file).read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_of_answers_has_the_cards_of_the_commands() -> None:
    Path("broken.jpg").write_bytes(b"no picture")
    methods = ("grad-cam", "guided-backprop")
    run("explain", CAT, "broken.jpg", BEE, "-M", methods[0], "-M", methods[1], "-o", "out", "--report", "shell.html")
    camcli.report(camcli.explain_many([CAT, "broken.jpg", BEE], method=methods), "python.html")
    shell, python = data_of("shell.html"), data_of("python.html")
    assert [card["input"] for card in python["cards"]] == [str(CAT), "broken.jpg", str(BEE)]
    for card in shell["cards"]:
        for answer in card.get("explanations", ()):
            del answer["files"]
    assert python["cards"] == shell["cards"]
    # No command makes them again: none is told.
    (told,), (said,) = shell["runs"], python["runs"]
    assert told.pop("flags").startswith("camcli --no-config explain")
    assert said == told


def test_rows_make_a_page_too_and_pictures_in_memory_are_seen() -> None:
    answer = camcli.explain(CAT)
    camcli.report(json.loads(dump(answer.row())), "row.html")
    camcli.report(answer, "answer.html")
    row, own = data_of("row.html")["cards"][0], data_of("answer.html")["cards"][0]
    assert row == own
    camcli.report([answer.result, camcli.explain(np.asarray(Image.open(BEE)))], "both.html")
    cards = data_of("both.html")["cards"]
    assert [(card["input"], "photo" in card) for card in cards] == [(str(CAT), True), ("picture 0", True)]
    assert {key: cards[0][key] for key in own} == own


def test_what_makes_no_page_leaves_the_one_that_is_there() -> None:
    camcli.report(explained("a.jpg"), "page.html")
    before = Path("page.html").read_bytes()
    row = camcli.Answer(explained("a.jpg")).row()
    given: list[tuple[Any, str]] = [
        ([], "no answers are given"),
        ("page.html", "a str is no answer: give what explain or explain_many gives, or rows"),
        ([{**row, "size": "large"}], r"that is no row of this camcli \(its size\)"),
        ([{"input": "a.jpg"}], "that is no row of this camcli"),
    ]
    for answers, said in given:
        with pytest.raises(camcli.RequestError, match=said):
            camcli.report(answers, "page.html")
    with pytest.raises(camcli.RequestError, match=r"call it page\.html; choose another file"):
        camcli.report(explained("a.jpg"), "page.pdf")
    assert Path("page.html").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["page.html"]


def test_answers_are_taken_one_at_a_time() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def many() -> Iterator[Explained]:
        for number in range(6):
            result = explained(f"{number}.jpg")
            alive.append(weakref.ref(result.frame.rgb))
            yield result
            del result
            gc.collect()
            assert sum(one() is not None for one in alive) <= 1

    camcli.report(many(), "page.html")
    assert len(data_of("page.html")["cards"]) == 6


def test_a_large_page_has_its_pictures_beside_it() -> None:
    camcli.report([explained("a.jpg")], Path("page.html"), embed_mb=0)
    assert sorted(path.name for path in Path("page_files").iterdir()) == ["000000.jpg", "rows.js"]
