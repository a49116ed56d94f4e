"""The report page: what it holds, that it can be trusted, and that it is there whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from pages import data_of
from PIL import Image
from results import attributed, explained
from shell import SAMPLES, refused, run

from camcli.cli import retyping
from camcli.entries import Region
from camcli.errors import ExitCode
from camcli.maps import regions
from camcli.records import Failed, Ref, Row
from camcli.sinks import as_row, dump, open_page
from camcli.sinks.page import page as pages
from camcli.specs import PageSpec, Spec

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def photo_of(card: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(card["photo"]))) as photo:
        return np.asarray(photo.convert("RGB"))


def made(file: Path, *names: str, **spec: Any) -> dict[str, Any]:
    with open_page(PageSpec(str(file), **spec), retyping.described) as page:
        for name in names:
            result = explained(name, attributed())
            page.draw(result)
            page.add(as_row(result))
    return data_of(file)


def test_a_card_holds_what_its_row_says_and_what_that_leaves_out() -> None:
    outcome = run("explain", SAMPLES / "honey_bee.jpg", "-o", "out", "--json", "--report", "page.html")
    (row,) = outcome.rows
    (card,) = data_of(Path("page.html"))["cards"]
    assert card["input"] == row["input"]
    assert (card["size"], card["box"]) == (row["size"], row["box"])
    assert card["top"] == row["top"]
    (answer,) = card["explanations"]
    (told,) = row["explanations"]
    assert {key: answer[key] for key in ("method", "layer", "peak", "bbox", "max")} == {
        key: told[key] for key in ("method", "layer", "peak", "bbox", "max")
    }
    assert answer["files"]["overlay"] == "out/honey_bee.jpg.grad-cam.309-bee.overlay.jpg"
    # A map of 7x7 is told as it is, as its row's fingerprint tells it.
    assert answer["grid"] == told["fingerprint"]["grid"]
    assert "coarse" not in answer
    photo = photo_of(card)
    assert photo.shape == (253, 320, 3)
    with Image.open(SAMPLES / "honey_bee.jpg") as original:
        small = np.asarray(original.resize((320, 253), Image.Resampling.BOX), dtype=float)
    assert np.abs(photo - small).mean() < 6


def test_finer_maps_are_told_by_means_and_say_so(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    values = np.zeros((112, 112), np.float32)
    values[:2, :2] = 4
    with open_page(PageSpec(str(file)), retyping.described) as page:
        result = explained("a.jpg", attributed(values))
        page.draw(result)
        page.add(as_row(result))
    (answer,) = data_of(file)["cards"][0]["explanations"]
    sides, _, text = answer["grid"].partition(":")
    levels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(56, 56)
    assert sides == "56x56"
    assert answer["coarse"]
    assert levels[0, 0] == 255
    assert np.count_nonzero(levels) == 1


def test_a_saliency_comes_as_a_picture() -> None:
    run("explain", SAMPLES / "espresso.jpg", "-M", "guided-backprop", "--save", "none", "--report", "page.html")
    (card,) = data_of(Path("page.html"))["cards"]
    drawn = photo_of({"photo": card["explanations"][0]["picture"]})
    assert max(drawn.shape) == 256
    x0, y0, x1, y1 = (round(side * 256 / max(card["size"])) for side in card["box"])
    assert drawn[y0:y1, x0:x1].std() > 5


def test_a_page_trusts_no_name(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    with open_page(PageSpec(str(file)), retyping.described) as page:
        page.add(as_row(Failed(Ref(0, HOSTILE), "decode", "broken", HOSTILE)))
    text = file.read_text()
    assert HOSTILE not in text
    assert data_of(file)["cards"][0]["error"]["message"] == HOSTILE
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    for tag in ("style", 'script data-from=""'):
        (held,) = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "http" not in re.sub(r"http://www.w3.org/\S+|https://\S+licen\S*", "", policy)


def test_cards_come_in_the_order_of_rows_whatever_was_drawn_first(tmp_path: Path) -> None:
    results = [explained(replace(Ref(i, f"{i}.jpg"), path=Path(f"{i}.jpg"))) for i in range(3)]
    with open_page(PageSpec(str(tmp_path / "page.html")), retyping.described) as page:
        for result in reversed(results):
            page.draw(result)
        for result in results:
            page.add(as_row(result))
    cards = data_of(tmp_path / "page.html")["cards"]
    assert [card["input"] for card in cards] == ["0.jpg", "1.jpg", "2.jpg"]
    assert all("photo" in card for card in cards)


def test_a_large_page_has_a_folder_beside_it_which_a_smaller_one_leaves_as_it_should(tmp_path: Path) -> None:
    file, folder = tmp_path / "my page.html", tmp_path / "my page_files"
    cards = made(file, "a'b.jpg", "c\\d.jpg", "e.jpg", embed_mb=0)["cards"]
    assert [card["input"] for card in cards] == ["a'b.jpg", "c\\d.jpg", "e.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg", "rows.js"]
    assert all(card["photo"] is True for card in cards)
    assert "img-src data: 'self' file:; " in file.read_text()
    assert '<script src="my%20page_files/rows.js">' in file.read_text()
    made(file, "a.jpg", embed_mb=0)
    assert sorted(path.name for path in folder.iterdir()) == ["000000.jpg", "rows.js"]
    made(file, "a.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my page.html"]


def test_many_small_pictures_have_a_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EMBED_PICTURES", 2)
    made(tmp_path / "two.html", "a.jpg", "b.jpg")
    made(tmp_path / "three.html", "a.jpg", "b.jpg", "c.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three.html", "three_files", "two.html"]


def test_a_run_that_fails_leaves_the_page_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    made(file, "before.jpg")

    def fail() -> None:
        with open_page(PageSpec(str(file)), retyping.described) as page:
            page.add(as_row(explained("after.jpg")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [card["input"] for card in data_of(file)["cards"]] == ["before.jpg"]
    assert list(tmp_path.iterdir()) == [file]


def test_a_page_is_refused_where_none_can_be() -> None:
    Path("page_files").mkdir()
    (Path("page_files") / "thesis.tex").write_text("mine")
    photo = SAMPLES / "espresso.jpg"
    assert "call it page.html" in refused(2, "explain", photo, "--report", "page.pdf")
    assert "which is not a report's" in refused(2, "explain", photo, "--report", "page.html")
    assert "no such file" in refused(2, "report", "nowhere")
    assert "has no rows.jsonl" in refused(2, "report", "page_files")
    Path("rows.jsonl").write_text('{"input": "a.jpg"}\n')
    assert "line 1 of rows.jsonl is no row of this camcli" in refused(2, "report", "rows.jsonl")
    assert not Path("report.html").exists()


def test_the_page_of_an_earlier_run_is_that_of_the_run_itself() -> None:
    run("explain", SAMPLES, "-o", "out", "--report", "first.html")
    outcome = run("report", "out")
    assert outcome.code == 0
    assert "7 pictures in out/report.html" in outcome.err
    first, again = data_of(Path("first.html")), data_of(Path("out/report.html"))
    assert first["runs"] == again["runs"]
    for one, other in zip(first["cards"], again["cards"], strict=True):
        if "large" not in one["input"]:  # is read at a smaller scale
            assert np.abs(photo_of(one).astype(int) - photo_of(other)).max() <= 12
        for card in (one, other):
            del card["photo"]
            card["explanations"][0].pop("files")
        assert one == other


def test_a_run_that_goes_on_has_the_pictures_of_before_too() -> None:
    run("explain", SAMPLES / "espresso.jpg", "-o", "out")
    run("explain", SAMPLES / "espresso.jpg", SAMPLES / "honey_bee.jpg", "-o", "out", "--report", "page.html")
    cards = data_of(Path("page.html"))["cards"]
    assert [Path(card["input"]).name for card in cards] == ["espresso.jpg", "honey_bee.jpg"]
    assert [photo_of(card).shape[1] for card in cards] == [320, 320]


def test_rows_from_anywhere_make_a_page(tmp_path: Path) -> None:
    """Photos that are gone, are others now or came through a pipe are missing, and the page says why."""
    names = [tmp_path / f"{name}.png" for name in ("kept", "gone", "changed")]
    for name in names:
        Image.effect_noise((48, 32), 90).convert("RGB").save(name)
    rows = run("explain", *names, "--json", "--save", "none").stdout
    piped = run("explain", "-", "--json", "--save", "none", stdin=names[0].read_bytes()).stdout
    names[1].unlink()
    Image.effect_noise((50, 32), 90).convert("RGB").save(names[2])
    outcome = run("report", "-", "-o", "page.html", stdin=rows + b"\n" + piped)
    assert outcome.code == 0
    cards = data_of(Path("page.html"))["cards"]
    assert ["photo" in card for card in cards] == [True, False, False, False]
    assert [card.get("missing", "").partition(":")[0] for card in cards] == [
        "",
        "no such file",
        "it is another picture now, of 50x32 pixels",
        "it came through a pipe, which keeps nothing",
    ]
    assert all("grid" in card["explanations"][0] for card in cards)


def test_raw_values_and_overlays_say_more_than_rows() -> None:
    run(
        "explain",
        SAMPLES / "espresso.jpg",
        "-M",
        "guided-backprop",
        "-M",
        "occlusion",
        "-o",
        "out",
        "--save",
        "raw,overlay",
    )
    run("report", "out")
    saliency, occlusion = data_of(Path("out/report.html"))["cards"][0]["explanations"]
    assert "picture" in saliency
    with np.load(next(Path("out").glob("*.occlusion.*.npz"))) as raw:
        sides = [min(56, side) for side in raw["values"].shape]
    assert occlusion["grid"].startswith(f"{sides[0]}x{sides[1]}:")
    for path in Path("out").glob("*.npz"):
        path.unlink()
    run("report", "out")
    saliency, occlusion = data_of(Path("out/report.html"))["cards"][0]["explanations"]
    assert "picture" in saliency
    assert occlusion["grid"].startswith("8x8:")
    assert occlusion["coarse"]


def test_a_folder_gives_each_input_once_also_after_a_kill() -> None:
    run("explain", SAMPLES / "espresso.jpg", SAMPLES / "honey_bee.jpg", "-o", "out")
    journal = Path("out/rows.jsonl")
    first, second = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second + first + second[:40])
    run("report", "out")
    cards = data_of(Path("out/report.html"))["cards"]
    assert sorted(Path(card["input"]).name for card in cards) == ["espresso.jpg", "honey_bee.jpg"]


def test_classify_has_cards_without_maps() -> None:
    outcome = run("classify", SAMPLES / "espresso.jpg", "--json", "--report", "page.html")
    page = data_of(Path("page.html"))
    assert page["cards"][0]["top"] == outcome.rows[0]["top"]
    assert page["cards"][0]["explanations"] == []
    assert page["runs"][0]["flags"].startswith("camcli --no-config classify")


def test_regions_are_read_back_from_rows_and_outlined() -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (64, 48)):
        mask = rng.random(size) > 0.5
        assert np.array_equal(regions.mask(regions.counts(mask), size), mask)
    mask = np.zeros((100, 100), bool)
    mask[20:60, 10:90] = True
    (outline,) = regions.outlines(Region(mask, (0, 0, 200, 100)))
    points = np.array(outline).reshape(-1, 2)
    assert points.min(0).tolist() == [21, 20.5]
    assert points.max(0).tolist() == [179, 59.5]
    for wrong in ("", "0", "zz", "é", "o"):
        with pytest.raises(ValueError, match="no counts of a mask"):
            regions.mask(wrong, (7, 5))


ASKED: dict[str, tuple[str, ...]] = {
    "model": ("-m", "timm:resnet10t"),
    "weights": ("-w", "my file.pth"),
    "device": ("--device", "cpu"),
    "model_args": ("--model-arg", "width=64", "--model-arg", "b=c d"),
    "weights_key": ("--weights-key", "ema"),
    "trust_checkpoint": ("--trust-checkpoint",),
    "labels": ("--labels", "my labels.txt"),
    "preset": ("--preset", "none"),
    "resize": ("--resize", "64x32"),
    "crop": ("--crop", "48"),
    "mean": ("--mean", "0.1,0.2,0.3"),
    "std": ("--std", "0.5"),
    "interpolation": ("--interpolation", "bicubic"),
    "multi_label": ("--multi-label",),
    "output_key": ("--output-key", "0"),
    "task": ("--task", "watch"),
    "frames": ("--frames", "8"),
    "texts": ("-t", "a cat", "-t", "a dog"),
    "template": ("--template", "a photo of {}"),
    "methods": ("-M", "hires-cam", "-M", "grad-cam"),
    "classes": ("-c", "tiger cat", "-c", "folder"),
    "layers": ("-l", "layer3", "-l", "layer4"),
    "fit": ("--fit", "pad"),
    "top": ("-k", "3"),
    "batch_size": ("-b", "2"),
    "counterfactual": ("--counterfactual",),
    "contrast": ("--contrast", "tiger cat", "5"),
    "target": ("--target", "softmax"),
    "quantity": ("--quantity", "value"),
    "at": ("--at", "10,20.5"),
    "region": ("--region", "1,2,30,40"),
    "mask": ("--mask", "mask.png"),
    "threshold": ("--threshold", "0.25"),
    "output_index": ("--output-index", "3"),
    "similar_to": ("--similar-to", "other.png"),
    "augment": ("--augment", "flip,scale"),
    "eigen_smooth": ("--eigen-smooth",),
    "fuse": ("--fuse", "max"),
    "neurons": ("--neurons",),
    "sanity": ("--sanity", "head"),
    "seed": ("--seed", "7"),
    "precision": ("--precision", "bf16"),
    "compile": ("--compile",),
    "exact": ("--exact",),
    "draft": ("--draft", "512"),
    "white": ("--white", "4095"),
    "start": ("--start", "1:30"),
    "end": ("--end", "40f"),
    "stride": ("--stride", "2"),
    "every": ("--every", "5"),
    "bound": ("--question", "what's that?", "--bind", "mood=so so"),
}


def spec_of(*arguments: str) -> Spec:
    """The Spec that a command line asks for."""
    asked: list[Spec] = []

    def taken(inputs: list[str], spec: Spec, *_: object, **__: object) -> ExitCode:
        asked.append(spec)
        return ExitCode.OK

    with patch("camcli.cli.running.run", taken):
        outcome = run(*arguments)
    assert outcome.code == 0, outcome.err
    return asked[0]


def test_every_field_of_a_spec_has_an_example_here() -> None:
    assert ASKED.keys() == {field.name for field in fields(Spec)}


@pytest.mark.parametrize("name", ASKED)
def test_the_command_of_a_row_asks_for_what_was_asked(name: str) -> None:
    for other in ("my labels.txt", "mask.png", "other.png", "my file.pth"):
        Path(other).touch()
    photo = str(SAMPLES / "espresso.jpg")
    # Most fields are refused beside some others: each one is asked for by itself.
    spec = spec_of("explain", photo, "--save", "none", *ASKED[name])
    assert getattr(spec, name) != getattr(Spec(), name)
    row = row_of(spec, photo)
    said = retyping.described(row)
    command = shlex.split(f"{said['flags']} {said['typed']}")
    assert spec_of(*command[1:]) == spec


def row_of(spec: Spec, name: str, **more: Any) -> Row:
    result = explained(name)
    told = {f.name: value for f in fields(spec) if (value := getattr(spec, f.name)) or value != f.default}
    result = replace(result, provenance=replace(result.provenance, spec=told))
    row: Row = json.loads(dump(as_row(result)))
    return {**row, **more}


def test_the_command_names_the_one_picture_however_it_is_called() -> None:
    spec = Spec(every=5, start="10f", bound=(("question", "shared"),))
    typed = retyping.described(row_of(spec, "-my film.mp4", moment={"frame": 40, "seconds": 1.6}))["typed"]
    assert typed == "'./-my film.mp4' --start 40f --end 41f"
    bound = {"question": "its own", "mood": "x", "boxes": [1]}
    own = retyping.described(row_of(spec, "a.png", bound=bound))["typed"]
    assert own.startswith("- <<< ")
    assert json.loads(shlex.split(own)[2]) == {"image": "a.png", **bound}
    assert retyping.described({"input": "a b.jpg", "error": {}}) == {"typed": "'a b.jpg'"}


def test_what_cannot_be_typed_is_escaped_or_not_offered() -> None:
    name = "a\nb'\r\\ \u202egnp.png"
    typed = retyping.described(row_of(Spec(), name))["typed"]
    assert typed.isprintable()
    assert subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True).stdout == name.encode()
    assert retyping.described(row_of(Spec(), "not \ufffd text.png"))["typed"] == ""
