"""How answers show themselves: as HTML and PNG in notebooks, in files, as a line of text, and while they are made."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pages
import pytest
import torch
from PIL import Image
from results import BOXER, attributed, explained
from shell import SAMPLES

import camcli
from camcli.api import notebook
from camcli.api.answer import Answers
from camcli.api.given import number_of
from camcli.entries import Entry
from camcli.maps import locating
from camcli.records import Frame, Truth

CAT = SAMPLES / "cat_chelsea.jpg"
BEE = SAMPLES / "honey_bee.jpg"
HOSTILE = "</td><script>alert(1)</script><img src=x onerror='alert(2)'>\"' \x1b[31m\u202e\udc80"

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*torch.jit.*")]

# What JupyterLab leaves of a notebook that is not trusted (its sanitizer.ts), as far as it is used here.
LEFT_TAGS = {"div", "p", "b", "bdi", "br", "span", "figure", "figcaption", "img", "table", "tr", "td", "progress"}
LEFT_ATTRIBUTES = {"style", "src", "alt", "width", "height"}
LEFT_STYLES = set(
    "background-color border display height margin max-width opacity overflow-wrap text-align vertical-align "
    "width".split()
)
VOID = {"img", "br"}


class Read(HTMLParser):
    """HTML as a browser reads it: tags with their attributes, and text; every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def images(self) -> list[dict[str, str]]:
        return [held for tag, held in self.tags if tag == "img"]

    def picture(self, number: int) -> np.ndarray:
        kind, _, text = self.images[number]["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            assert (str(picture.width), str(picture.height)) == tuple(
                self.images[number][side] for side in ("width", "height")
            )
            return np.asarray(picture.convert("RGB"))


def read(shown: Any) -> Read:
    html = shown._repr_html_()
    assert len(html.encode()) < 100_000
    found = Read(html)
    for tag, attributes in found.tags:
        assert tag in LEFT_TAGS
        assert attributes.keys() <= LEFT_ATTRIBUTES
        for rule in filter(None, attributes.get("style", "").split(";")):
            assert rule.partition(":")[0] in LEFT_STYLES
        if tag == "img":
            assert attributes["alt"]
    return found


def answer_of(*attributions: Any, rgb: Any = None, **more: Any) -> camcli.Answer:
    result = explained("a.jpg", *attributions)
    if rgb is not None:
        result = replace(result, frame=Frame(result.ref, rgb))
    return camcli.Answer(replace(result, **more))


# HTML.


def test_an_answer_shows_its_photo_its_overlay_its_classes_and_what_was_explained() -> None:
    answer = camcli.explain(CAT)
    found = read(answer)
    assert len(found.images) == 2
    photo, overlay = found.picture(0), found.picture(1)
    drawn = np.asarray(answer.overlay(max_side=360))
    assert photo.shape == overlay.shape == drawn.shape == (270, 360, 3)
    assert np.abs(overlay.astype(int) - drawn).mean() < 6 < np.abs(photo.astype(int) - drawn).mean()
    with Image.open(CAT) as original:
        assert np.abs(photo - np.asarray(original.resize((360, 270)), dtype=float)).mean() < 6
    for entry in answer.top:
        assert f"{entry.name}{entry.probability:.3f}" in found.text
    assert "cat_chelsea.jpg" in found.text
    assert "400 × 300 · efficientnet_lite0" in found.text
    assert "282 tiger cat  ·  p = 0." in found.text
    assert "grad-cam at features" in found.text
    assert "what the network never saw" in found.text
    x, y = answer.explanation.peak or (0, 0)
    where = f"strongest {x / 400:.0%} from the left, {y / 300:.0%} from the top"
    assert found.images[1]["alt"] == f"grad-cam of 282 tiger cat over {CAT}: {where}"
    # One explanation of it shows the same.
    assert answer.explanation._repr_html_() == answer._repr_html_()


def test_bars_are_as_long_as_the_probabilities() -> None:
    answer = answer_of(top=(BOXER, Entry(1, "other", 0.25, 1.0), Entry(None, "angle", None, 12.5)))
    found = read(answer)
    widths = [held["style"].split("%")[0] for tag, held in found.tags if tag == "div" and "%;" in held.get("style", "")]
    assert widths == ["width:75.0", "width:25.0"]
    assert "angle12.5" in found.text
    assert "<b><bdi>242 boxer</bdi></b></td>" in answer._repr_html_()
    assert "<b><bdi>1 other" not in answer._repr_html_()


def test_names_stay_text_whatever_they_hold() -> None:
    plain = answer_of()
    entry = Entry(1, HOSTILE, 0.5, 1.0)
    result = replace(
        answer_of(attributed(target=entry, layer=HOSTILE, note="x"), top=(entry, entry)).result, model=HOSTILE
    )
    ref = replace(result.ref, name=HOSTILE, bound={HOSTILE: HOSTILE, "list": [HOSTILE]})
    hostile = camcli.Answer(replace(result, frame=replace(result.frame, ref=ref, note=HOSTILE)))
    for shown in (hostile, hostile.explanation, Answers([hostile])):
        found = read(shown)
        shown._repr_html_().encode()  # no half of a surrogate pair
        assert "</td><script>alert(1)</script><img src=x onerror='alert(2)'>\"' \ufffd[31m\ufffd\ufffd" in found.text
        assert {tag for tag, _ in found.tags} <= {tag for tag, _ in read(plain).tags} | {"br"}
        assert "\x1b" not in repr(hostile) + repr(hostile.explanation)
    assert hostile._repr_png_().startswith(b"\x89PNG")


def test_it_is_small_whatever_was_asked() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    long = Entry(7, '"' * 100_000, 0.5, 1.0)
    several = answer_of(*[attributed(target=long, note=long.label)] * 40, rgb=rgb, top=(long,) * 100)
    found = read(several)
    assert len(found.images) == 12
    assert "And 29 more in .explanations." in found.text
    assert len(read(Answers([several] * 30)).images) == 20
    assert "And 10 more: camcli.report(" in Answers([several] * 30)._repr_html_()
    assert max(read(answer_of(rgb=rgb)).picture(1).shape) >= 200


def test_what_a_reader_has_to_know_is_told() -> None:
    result = replace(
        explained("a.jpg", attributed(np.zeros((2, 3)), note="blank: no gradient")),
        truth=Truth(3, "cup", False),
        note="odd",
    )
    found = read(camcli.Answer(result))
    assert "⚠ blank: no gradient" in found.text
    assert "Not 3 cup, as its folder says." in found.text
    assert "odd" in found.text
    assert found.images[1]["alt"].endswith("over a.jpg: blank")
    whole = read(answer_of(box=(0, 0, 40, 24)))
    assert "never saw" not in whole.text
    nothing = camcli.Answer(replace(result, attributions=(), top=()))
    assert len(read(nothing).images) == 1
    assert repr(nothing) == "<Answer about a.jpg: nothing found; nothing is explained>"
    clip = read(camcli.Answer(pages.clip()))
    assert "first of 4 frames" in clip.text
    assert "grad-cam at layer4, most in frame 10" in clip.text


def test_a_list_shows_its_answers_beside_each_other() -> None:
    answers = camcli.explain([CAT, BEE])
    assert isinstance(answers, list)
    found = read(answers)
    assert [image["alt"].partition(":")[0] for image in found.images] == [
        f"grad-cam of 282 tiger cat over {CAT}",
        f"grad-cam of 309 bee over {BEE}",
    ]
    assert "cat_chelsea.jpg282 tiger cat 0." in found.text
    drawn = np.asarray(answers[1].overlay(max_side=160))
    assert np.abs(found.picture(1).astype(int) - drawn).mean() < 6


# PNG, text, files and other viewers.


def test_the_png_of_one_explanation_is_its_overlay() -> None:
    answer = camcli.explain(CAT)
    assert np.array_equal(pixels(answer._repr_png_()), np.asarray(answer.overlay()))
    assert answer.explanation._repr_png_() == answer._repr_png_()
    large = answer_of(rgb=np.zeros((500, 900, 3), np.uint8), box=(0, 0, 900, 500))
    assert np.array_equal(pixels(large._repr_png_()), np.asarray(large.overlay(max_side=480)))


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as shown:
        assert shown.format == "PNG"
        return np.asarray(shown)


def test_the_png_of_several_is_a_sheet_and_the_line_is_short() -> None:
    answer = answer_of(*[attributed()] * 5)
    height, width, _ = pixels(answer._repr_png_()).shape
    assert 4 * 40 < width < 5 * 40
    assert height > 2 * (24 + 3 * 18)
    assert pixels(answer_of(*[attributed()] * 99)._repr_png_()).shape[0] < 2 * height
    assert repr(answer) == (
        "<Answer about a.jpg: 242 boxer 0.75; grad-cam of 242 boxer, grad-cam of 242 boxer, grad-cam of 242 boxer, and "
        "2 more>"
    )


def test_a_refusal_does_not_print_the_picture() -> None:
    (found,) = camcli.explain_many([b"no picture" * 1000])
    assert len(repr(found)) < 400


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.JPG"])
def test_what_is_saved_is_what_is_drawn(name: str) -> None:
    answer = answer_of(rgb=np.full((240, 400, 3), 90, np.uint8), box=(80, 0, 320, 240))
    for kind, drawn in (("overlay", answer.overlay()), ("heatmap", answer.heatmap()), ("panel", answer.panel())):
        answer.save(name, kind)  # type: ignore[arg-type]
        with Image.open(name) as saved:
            lossy = 3 if name == "a.JPG" else 0
            found, expected = (np.asarray(picture.convert("RGBA"), dtype=int) for picture in (saved, drawn))
            seen = expected[..., 3] > 0  # what colour transparent pixels have is nobody's business
            assert np.abs(found - expected)[seen].mean() <= lossy
            assert lossy or np.array_equal(found[..., 3], expected[..., 3])


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a.json"])
def test_what_nobody_draws_is_not_saved_as_something_else(name: str) -> None:
    answer = answer_of(attributed())
    for held in (answer, answer.explanations[0]):
        with pytest.raises(camcli.RequestError, match="'mask' is nothing to draw: give one of overlay, heatmap, panel"):
            held.save(name, "mask")  # type: ignore[arg-type]
    assert not Path(name).exists()


def test_an_answer_is_saved_as_its_row_and_other_endings_are_refused() -> None:
    answer = answer_of(attributed(), attributed())
    answer.save("a.json")
    assert json.loads(Path("a.json").read_text()) == json.loads(json.dumps(answer.row()))
    endings = r"a.tiff: give it the ending .jpg, .png, .webp or .npz; Answer.save also writes .json"
    with pytest.raises(camcli.RequestError, match=endings):
        answer.explanations[0].save("a.tiff")
    with pytest.raises(camcli.RequestError, match=r"choose one of \.explanations"):
        answer.save("a.png")
    with pytest.raises(camcli.SetupError, match="can't write"):
        answer.explanations[0].save("a.json/a.png")
    assert [path.name for path in Path().iterdir()] == ["a.json"]


def test_it_is_shown_in_the_systems_viewer_or_in_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Image.Image, "show", lambda self: seen.append(np.asarray(self)))
    answer, several = answer_of(), answer_of(attributed(), attributed())
    answer.show()
    answer.explanation.show()
    several.show()
    assert np.array_equal(seen[0], np.asarray(answer.overlay()))
    assert np.array_equal(seen[1], seen[0])
    assert seen[2].shape[1] > 2 * seen[0].shape[1]
    shown = in_a_notebook(monkeypatch)
    answer.show()
    assert (shown, len(seen)) == ([answer], 3)


def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All that is displayed from now on, in what seems to be a notebook's kernel."""
    shown: list[Any] = []

    class Handle:
        def update(self, one: Any) -> None:
            shown.append(one._repr_html_())

    def display(one: Any, display_id: bool = False) -> Handle:
        shown.append(one._repr_html_() if display_id else one)
        return Handle()

    ipython: Any = ModuleType("IPython")
    ipython.display = ModuleType("IPython.display")
    ipython.display.display = display
    ipython.get_ipython = lambda: type("Shell", (), {"kernel": None})()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return shown


def test_a_shell_of_ipythons_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_notebook(monkeypatch)
    assert notebook.notebook() is not None
    for shell in (None, object()):
        monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda shell=shell: shell)
        assert notebook.notebook() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.notebook() is None


def test_an_answer_with_one_explanation_has_all_of_it() -> None:
    answer = answer_of(attributed())
    for name in ("method", "target", "value", "layer", "note", "peak", "bbox"):
        assert getattr(answer, name) == getattr(answer.explanation, name)
        if name != "layer":  # an answer tells its first
            with pytest.raises(camcli.RequestError, match=r"choose one of \.explanations"):
                getattr(answer_of(attributed(), attributed()), name)


def test_a_part_of_a_list_of_answers_is_one_too() -> None:
    answers = Answers(answer_of(attributed()) for _ in range(14))
    assert isinstance(answers[:5], Answers)
    assert answers[3] is answers[2:][1]
    (drawn, fewer, photo) = (Answers(held)._repr_png_() for held in (answers, answers[:12], [answer_of()]))
    assert drawn is not None
    assert fewer is not None
    assert photo is not None
    with Image.open(io.BytesIO(drawn)) as all_of_it, Image.open(io.BytesIO(fewer)) as twelve:
        assert all_of_it.height == twelve.height  # the first 12
    assert drawn != fewer  # which its title says
    assert Answers()._repr_png_() is None


# Values where the picture is.


def test_values_of_a_detectors_canvas_lie_on_that_canvas() -> None:
    """The canvas is padded: it sticks out of the picture, and is not the box of the view."""
    answer = answer_of(replace(attributed(), box=(0, 0, 64, 32)))
    expected = locating.at_size(answer.map, (0, 0, 64, 32), (40, 24))
    assert np.array_equal(answer.map_at_size, expected)
    x, y = answer.explanation.peak or (0, 0)
    assert answer.map_at_size[y, x] == pytest.approx(answer.map_at_size.max(), rel=0.05)


def test_values_of_a_clip_have_its_steps_and_the_peak_is_at_its_frame() -> None:
    answer = camcli.Answer(pages.clip())
    at_size = answer.map_at_size
    assert at_size.shape == (4, 48, 80)
    assert [bool(step.any()) for step in at_size] == [False, False, True, False]
    assert np.array_equal(at_size[2], locating.at_size(answer.map[2], answer.result.box, (80, 48)))
    x, y = answer.explanation.peak or (0, 0)
    assert at_size[2, y, x] == pytest.approx(at_size.max(), rel=0.05)
    x0, y0, x1, y1 = answer.explanation.bbox or (0, 0, 0, 0)
    assert x0 <= x < x1
    assert y0 <= y < y1
    values = np.stack([answer.map, -answer.map, answer.map])
    saliency = replace(answer.result.attributions[0], kind="saliency", values=values)
    drawn = camcli.Answer(replace(answer.result, attributions=(saliency,)))
    assert drawn.map_at_size.shape == (3, 4, 48, 80)
    assert np.array_equal(drawn.map_at_size[1], -at_size)
    assert read(drawn).images


# Progress.


def test_a_notebook_has_a_bar_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = in_a_notebook(monkeypatch)
    monkeypatch.setattr(notebook, "_PACE", 0.0)
    found = list(camcli.explain_many([CAT, "gone.png", BEE], progress=True, batch_size=1))
    assert len(found) == 3
    assert [Read(text).text.partition(",")[0].strip() for text in shown] == [
        f"{done} of 3 pictures" for done in (0, 1, 2, 3, 3)
    ]
    assert "<progress max='3' value='3'></progress>" in shown[-1]
    assert shown[-1].endswith("1 refused")
    assert list(camcli.explain_many([CAT]))  # nothing is shown without being asked for
    assert len(shown) == 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_line_and_a_file_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        camcli.explain([CAT, BEE], progress=True)
    assert terminal.getvalue().startswith("\r0 of 2 pictures, 0 s")
    assert terminal.getvalue().count("\n") == 1
    last = terminal.getvalue().rpartition("\r")[2]
    assert last.startswith("2 of 2 pictures, ")
    assert last.endswith("\n")
    camcli.explain([CAT, BEE], progress=True)
    assert capsys.readouterr() == ("", "")


def test_a_bar_tells_no_total_that_is_wrong() -> None:
    now = iter((0.0, 2.0, 2.0))
    bar = notebook.Bar(2, lambda: next(now))
    for refused in (False, True, False):
        bar.count(refused=refused)
    assert repr(bar) == "3 pictures, 2 s, 1.5/s, 1 refused"
    assert Read(bar._repr_html_()).tags == [("progress", {"max": "1"})]


def test_the_number_of_pictures_is_told_only_if_it_is_known(tmp_path: Path) -> None:
    def endless() -> Iterator[Path]:
        while True:
            yield CAT

    loader: Any = torch.utils.data.DataLoader([torch.zeros(3, 8, 8)] * 4, batch_size=2)  # type: ignore[arg-type]
    assert number_of(CAT) == 1
    assert number_of(SAMPLES) == number_of(f"{SAMPLES}/*.jpg") == 7
    assert number_of([CAT, BEE]) == number_of(torch.zeros(2, 3, 8, 8)) == 2
    assert number_of(loader) is number_of([SAMPLES]) is number_of(endless()) is None
