"""Networks that take more than pictures: what goes in with each one, through every method, file and record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bound_people
import numpy as np
import pytest
import torch
from PIL import Image
from shell import ROOT, SAMPLES, refused, run
from variants import thinned

import camcli
from camcli import methods
from camcli.records import Row

pytestmark = pytest.mark.usefixtures("one_thread")

PEOPLE = ROOT / "tests" / "bound_people.py"
ASKED = [f"how much {colour}" for colour in bound_people.COLOURS]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a.png: red above, green below, a blue corner; b.png: the other way round."""
    monkeypatch.chdir(tmp_path)
    rgb = np.zeros((16, 16, 3), dtype=np.uint8)
    rgb[:8, :, 0], rgb[8:, :, 1] = 200, 200
    rgb[12:, 12:] = (0, 0, 250)
    Image.fromarray(rgb).save("a.png")
    Image.fromarray(rgb[::-1]).save("b.png")


def people(name: str) -> tuple[object, ...]:
    """Such shallow networks have their layer named."""
    return ("-m", f"{PEOPLE}:{name}", "-l", {"Colours": "last", "Alike": "norm"}.get(name, "maps"))


def rows_of(*flags: object, stdin: bytes = b"") -> list[Row]:
    found = run("explain", *flags, "--json", stdin=stdin)
    assert found.code == 0, found.err
    return found.rows


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def values(row: Row) -> Any:
    return np.load(row["explanations"][0]["files"]["raw"])["values"]


def test_the_question_decides_what_is_shown() -> None:
    maps = {}
    for question in ASKED:
        (row,) = rows_of("a.png", *people("Colours"), "--question", question, "--save", "raw")
        assert (row["layer"], row["top"][0]["label"], row["bound"]) == ("last", "much", {"question": question})
        maps[question] = values(row)
    top, bottom, corner = (np.argwhere(maps[question] > 0) for question in ASKED)
    assert (top.max(0).tolist(), bottom.min(0).tolist(), corner.min(0).tolist()) == ([3, 7], [4, 0], [6, 6])
    # 8 * mean(red) is the score: 8 * 200/255 / 2.
    (row,) = rows_of("a.png", *people("Colours"), "--question", ASKED[0], "--save", "none")
    assert row["top"][0]["logit"] == pytest.approx(8 * 200 / 255 / 2, abs=1e-4)


APPLICABLE = [name for name in methods.names() if name not in ("attention-rollout", "le-grad", "full-grad", "opti-cam")]
# These never look at the score; the gradients of a linear network don't vary.
SAME = ("random-cam", "eigen-cam", "kpca-cam", "var-grad")
BENT = ("guided-backprop", "guided-grad-cam", "deconvnet")


@pytest.mark.parametrize("method", thinned([name for name in APPLICABLE if name not in BENT], 4))
def test_pictures_of_one_batch_keep_what_is_bound_to_them(method: str) -> None:
    """Changed pictures too, of methods that ask about them: a batch of three questions gives what each alone gives."""
    asked = lines(*({"image": "a.png", "question": question} for question in ASKED))
    flags = (*people("Colours"), "-M", method, "--save", "raw", "-c", "0")
    together = [values(row) for row in rows_of("-", *flags, "-o", "together", stdin=asked)]
    alone = []
    for number, question in enumerate(ASKED):
        alone += rows_of("a.png", *flags, "--question", question, "-o", f"alone{number}")
    for own, row in zip(together, alone, strict=True):
        np.testing.assert_allclose(own, values(row), rtol=1e-5, atol=1e-6)
    assert method in SAME or not np.allclose(together[0], together[1])


def test_each_distinct_question_is_encoded_once() -> None:
    bound_people.Colours.asked.clear()
    net = bound_people.Colours()
    several = [{"image": "a.png", "question": question} for question in ASKED] * 7
    assert (
        len(camcli.explain([each["image"] for each in several], net, layer="last", bound={"question": ASKED[0]})) == 21
    )
    # The example, which the network is tried with, then once for all pictures.
    assert net.asked == ["how much red"] * 3
    assert len(net._forward_pre_hooks) + len(net._forward_hooks) == 0


def test_what_is_missing_or_not_taken_is_refused() -> None:
    def said(*flags: object) -> str:
        return refused(2, "explain", "a.png", *people("Colours"), "--save", "none", *flags)

    assert 'takes a question with each picture: give --question, or lines {"image": …, "question": …}' in said()
    assert "no colour 'pink': ask about red, green, blue" in said("--question", "how much pink")
    assert "--caption:" in said("--caption", "red")
    assert "takes question with a picture" in said("--caption", "red")
    assert "takes pictures alone" in refused(2, "explain", "a.png", "--question", "what", "--save", "none")
    assert "write KEY=VALUE" in said("--bind", "nothing")
    asked = lines(*({"image": "a.png"} | more for more in ({"question": ASKED[1]}, {}, {"question": "how"})))
    found = run("explain", "-", *people("Colours"), "--json", "--save", "none", stdin=asked)
    assert found.code == 4
    assert [row.get("error", {}).get("kind") for row in found.rows] == [None, "missing", "unfit"]
    assert found.rows[1]["bound" if "bound" in found.rows[1] else "error"]["stage"] == "bind"


def test_a_record_of_a_run_tells_questions_apart(tmp_path: Path) -> None:
    flags = ("explain", "pairs.jsonl", *people("Colours"), "-o", "out", "--json")
    Path("pairs.jsonl").write_bytes(lines(*({"image": "a.png", "question": question} for question in ASKED)))
    first = run(*flags)
    assert "(3 of them done before)" in run(*flags).err
    assert len({row["explanations"][0]["files"]["overlay"] for row in first.rows}) == 3
    Path("pairs.jsonl").write_bytes(
        lines(*({"image": "a.png", "question": question} for question in (ASKED[0], ASKED[2], ASKED[2])))
    )
    again = run(*flags)
    assert "(2 of them done before)" in again.err or "(0 of them done before)" in again.err
    assert [row["bound"]["question"] for row in again.rows] == [ASKED[0], ASKED[2], ASKED[2]]
    Path("rows.jsonl").write_bytes(again.stdout)
    verified = run("verify", "rows.jsonl", "--model", people("Colours")[1], "--json")
    assert [row["status"] for row in verified.rows] == ["identical"] * 3, verified.out


def test_classify_answers_too() -> None:
    (row,) = run("classify", "a.png", *people("Colours")[:2], "--question", ASKED[2], "--json").rows
    assert row["top"][0]["label"] == "much"
    assert "question: how much blue" in run("classify", "a.png", *people("Colours")[:2], "--question", ASKED[2]).out


def test_a_caption_is_explained_word_by_word_and_whole() -> None:
    (row,) = rows_of("a.png", *people("Words"), "-c", "each", "--save", "raw,strip")
    whole, first, second = row["top"]
    assert (whole["id"], whole["label"], "part" in whole) == (None, "red green", False)
    assert [(word["id"], word["label"], word["part"]) for word in (first, second)] == [(0, "red", 1), (1, "green", 2)]
    # The logarithms of the words' probabilities add up to the sentence's; the end's is left out.
    scores = 20 * torch.tensor([[200 / 255, 0, 0, -2], [0, 200 / 255 * 14 / 16, 250 / 255 * 2 / 16, -2.0]])
    logs = scores.log_softmax(1)
    assert [first["logit"], second["logit"]] == pytest.approx([float(logs[0, 0]), float(logs[1, 1])], abs=1e-4)
    assert first["logit"] + second["logit"] == pytest.approx(whole["logit"], abs=1e-5)
    assert [answer["target"]["quantity"] for answer in row["explanations"]] == ["log-probability"] * 3
    assert {answer["method"] for answer in row["explanations"]} == {"hires-cam"}
    assert len({answer["files"]["strip"] for answer in row["explanations"]}) == 1
    with Image.open(row["explanations"][0]["files"]["strip"]) as strip:
        assert strip.width > 4 * 120
    at = [answer["peak"][1] < 8 for answer in row["explanations"][1:]]
    assert at == [True, False]


def test_a_caption_of_the_user_s_is_explained_and_its_words_chosen() -> None:
    (row,) = rows_of(
        "a.png", *people("Words"), "--caption", "green green", "-c", "word:2", "-c", "green:all", "--save", "none"
    )
    assert row["top"][0]["label"] == "green green"
    assert [answer["target"]["name"] for answer in row["explanations"]] == ["1 green #2", "1 green #1"]
    (row,) = rows_of("a.png", *people("Words"), "-c", "#1", "--quantity", "logit", "--save", "none")
    assert row["explanations"][0]["target"]["value"] == pytest.approx(20 * 200 / 255, rel=1e-4)
    (row,) = rows_of("a.png", *people("Words"), "-c", "blue", "--save", "none")
    assert row["explanations"] == []
    assert row["note"] == "nothing found of blue: there is red green, red, green"
    mixed = lines({"image": "a.png", "caption": "blue"}, {"image": "a.png"})
    assert [row["top"][0]["label"] for row in rows_of("-", *people("Words"), "--save", "none", stdin=mixed)] == [
        "blue",
        "red green",
    ]
    assert "(caption 'pink')" in refused(2, "explain", "a.png", *people("Words"), "--caption", "pink")


@pytest.mark.parametrize("name", ["Plays", "PlaysInPairs", "PlaysAndTells"])
def test_a_policy_tells_why_and_how_good_it_is(name: str) -> None:
    sides = np.full((16, 16, 3), (250, 0, 0), dtype=np.uint8)
    sides[:, 8:] = (100, 200, 0)
    Image.fromarray(sides).save("f.png")

    def asked(*flags: object) -> list[tuple[str, str, Any]]:
        (row,) = rows_of("f.png", *people(name), "--save", "none", *flags)
        return [(a["target"]["name"], a["target"]["quantity"], a["target"]["value"]) for a in row["explanations"]]

    left, right = 10 * 250 / 255 + 3, 10 * 100 / 255 + 3
    assert asked() == [("0 left", "logit", pytest.approx(left, rel=1e-5))]
    both = asked("-c", "each", "--quantity", "advantage")
    assert [value for *_, value in both] == pytest.approx([(left - right) / 2, (right - left) / 2], rel=1e-4)
    assert asked("--quantity", "value") == [("value", "value", pytest.approx(200 / 255 / 2, rel=1e-5))]
    share = 1 / (1 + np.exp(right - left))
    assert asked("--quantity", "probability") == [("0 left", "probability", pytest.approx(share, rel=1e-4))]
    (row,) = rows_of("f.png", *people(name), "--save", "raw", "--quantity", "value")
    assert (values(row)[:, :8] == 0).all()
    assert (values(row)[:, 8:] > 0).all()


def test_a_policy_is_given_its_state() -> None:
    np.savez("state.npz", hidden=np.zeros(3))
    np.save("state.npy", np.array([0.0, 100.0], dtype=np.float32))
    (row,) = rows_of("a.png", *people("OnlyPlays"), "--state", "state.npy", "--save", "none")
    assert row["top"][0]["label"] == "right"
    found = rows_of("-", *people("OnlyPlays"), "--save", "none", stdin=lines({"image": "a.png", "state": [50, 0]}))
    assert found[0]["top"][0]["label"] == "left"
    said = refused(2, "explain", "a.png", *people("OnlyPlays"), "--state", "state.npy", "--quantity", "value")
    assert "act has no value here" in said
    assert "missing.npy" in refused(2, "explain", "a.png", *people("OnlyPlays"), "--state", "missing.npy")


def test_numbers_are_no_classes() -> None:
    (row,) = rows_of("a.png", *people("Amounts"), "-c", "each", "--save", "none")
    assert [(entry["label"], entry["probability"]) for entry in row["top"]] == [("red", None), ("green", None)]
    assert [a["target"]["value"] for a in row["explanations"]] == pytest.approx(
        [200 / 255 / 2, 200 / 255 / 2 * 14 / 16], rel=1e-4
    )
    assert {a["target"]["quantity"] for a in row["explanations"]} == {"output"}
    assert "softmax" in refused(2, "explain", "a.png", *people("Amounts"), "--target", "softmax")


def test_a_pair_is_shown_both_ways() -> None:
    one, other = rows_of("a.png", *people("Alike"), "--partner", "b.png", "--save", "raw")
    assert [(row["input"], row["bound"]["partner"]) for row in (one, other)] == [("a.png", "b.png"), ("b.png", "a.png")]
    targets = [row["explanations"][0]["target"] for row in (one, other)]
    assert targets[0]["value"] == pytest.approx(targets[1]["value"], rel=1e-6)
    assert targets[0]["quantity"] == "similarity"
    net = bound_people.Alike().train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    camcli.explain("a.png", net, layer="norm", bound={"partner": "b.png"})
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


@pytest.mark.exhaustive
def test_any_classifier_s_pictures_can_be_compared() -> None:
    cat, both = SAMPLES / "cat_chelsea.jpg", SAMPLES / "cat_and_espresso.jpg"
    one, other = rows_of(cat, "--partner", both, "--save", "raw", "-o", "pair")
    for row, picture, partner in ((one, cat, both), (other, both, cat)):
        assert row["input"] == str(picture)
        assert row["explanations"][0]["target"]["name"] == f"similar to {partner.name}"
        (alone,) = rows_of(picture, "--similar-to", partner, "--save", "raw", "-o", f"to-{partner.stem}")
        np.testing.assert_allclose(values(row), values(alone), rtol=1e-4, atol=1e-6)
    found = rows_of("-", "--task", "liken", "--save", "none", stdin=lines({"image": str(cat), "partner": str(both)}))
    assert [row["explanations"][0]["target"]["label"] for row in found] == [
        "similar to cat_and_espresso.jpg",
        "similar to cat_chelsea.jpg",
    ]
    said = refused(2, "explain", cat, "--partner", both, "-c", "espresso", "--save", "none")
    assert "--partner and --class each say what is explained" in said
    assert "no such file" in refused(2, "explain", cat, "--partner", "gone.jpg", "--save", "none")
    detector = f"{ROOT / 'examples' / 'dense.py'}:detector"
    said = refused(2, "explain", cat, "-m", detector, "--partner", both, "--save", "none")
    assert "--partner does not go with models that detect" in said


def test_a_file_stays_one_question_s_in_whatever_order_they_come() -> None:
    """A list that is edited and put back: no question's map is in another's file."""

    def written(*questions: str) -> dict[str, Any]:
        Path("pairs.jsonl").write_bytes(lines(*({"image": "a.png", "question": question} for question in questions)))
        found = rows_of("pairs.jsonl", *people("Colours"), "-o", "out", "--save", "raw")
        return {row["bound"]["question"]: values(row) for row in found}

    first = written(ASKED[0], ASKED[1])
    written(ASKED[1], ASKED[2])
    again = written(ASKED[0], ASKED[1])
    for question, expected in first.items():
        np.testing.assert_array_equal(again[question], expected)


def test_what_writes_captions_is_given_a_copy() -> None:
    (own,), (other,) = (rows_of("a.png", *people(name), "--save", "none") for name in ("Words", "WordsInPlace"))
    assert other["top"] == own["top"]
    found = run("explain", "a.png", *people("WordsInAList"), "--save", "none", "--json")
    assert (found.code, "generate gives list" in found.rows[0]["error"]["message"]) == (4, True)


def test_words_are_no_places() -> None:
    said = refused(3, "explain", "a.png", *people("Reads")[:2], "-l", "out", "--question", "is it red")
    assert "are words that go in with the picture" in said
    (row,) = rows_of("a.png", *people("Reads")[:2], "-l", "patch", "--question", "is it red", "--save", "none")
    assert row["layer"] == "patch"


def test_numbers_that_are_none_are_refused_alone() -> None:
    found = run("explain", "a.png", *people("MaskedPlays"), "--quantity", "advantage", "--save", "none", "--json")
    assert (found.code, found.rows[0]["error"]["kind"]) == (4, "not-finite")
    bad = b'{"image": "a.png", "question": "how much red", "weight": NaN}\n'
    rows = run("explain", "-", *people("Colours"), "--save", "none", "--json", stdin=bad).rows
    assert "no JSON, which has no NaN" in rows[0]["error"]["message"]
    listed = lines({"image": "a.png", "partner": ["b.png"]})
    found = run("explain", "-", "--task", "liken", "--save", "none", "--json", stdin=listed)
    assert (found.code, found.rows[0]["error"]["kind"]) == (4, "unfit")


def test_a_class_that_says_something_else_is_told_or_left_alone() -> None:
    class Listed(bound_people.Colours):
        takes = ["question"]  # type: ignore[assignment]  # noqa: RUF012

    class Otherwise(bound_people.Amounts):
        task = "regression"
        labels = 3  # type: ignore[assignment]

        @property
        def takes(self) -> object:
            raise KeyError("nothing")

    with pytest.raises(camcli.SetupError, match="takes is a list: write a dict"):
        camcli.explain("a.png", Listed(), layer="last")
    assert [entry.label for entry in camcli.explain("a.png", Otherwise(), layer="maps").top] == ["class 0", "class 1"]
    policy = camcli.explain("a.png", bound_people.Plays(), layer="maps", quantity="value")
    assert policy.explanations[0].value == pytest.approx(200 / 255 / 2 * 14 / 16, rel=1e-4)
    with pytest.raises(camcli.RequestError, match="bound: partner is a ndarray"):
        camcli.explain("a.png", bound_people.Alike(), layer="norm", bound={"partner": np.zeros((3, 3))})
    camcli.explain("a.png", bound_people.Alike(), layer="norm", bound={"partner": Path("b.png")})
    Path("pairs.jsonl").write_bytes(lines(*({"image": "a.png", "question": question} for question in ASKED)))
    assert len(camcli.explain("pairs.jsonl", bound_people.Colours(), layer="last")) == 3
