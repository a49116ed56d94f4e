"""The report page in a real browser, as a reader uses it: from a disk, by mouse, by keys alone, on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pages
import pytest
from pages import COUNT, REFUSED, WRONG
from results import attributed, explained
from shell import ROOT

import camcli
from camcli.entries import Entry
from camcli.records import Explained, Question
from camcli.sinks import as_row, open_page
from camcli.specs import PageSpec

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium-headless-shell"),
    pytest.mark.exhaustive,
    pytest.mark.xdist_group("browser"),
]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.written(tmp_path_factory.mktemp("page") / "page.html", *pages.classified())


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Opens a page of this disk; at the end it has said no error, asked for nothing else, and run no foreign script."""
    contexts = []

    def opened(file: Path, fragment: str = "", script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        page = context.new_page()
        page.add_init_script(script)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
        beside = f"{file.as_uri().removesuffix('.html')}_files/"
        own = (file.as_uri(), beside, "data:")
        page.on("request", lambda asked: wrong.extend({asked.url} if not asked.url.startswith(own) else ()))
        contexts.append((context, wrong))
        page.goto(f"{file.as_uri()}{fragment}")
        return page

    yield opened
    for context, wrong in contexts:
        context.close()
        assert wrong == []


def count(page: Page) -> str:
    return page.locator(".counts").inner_text()


def state(page: Page) -> dict[str, str]:
    page.wait_for_timeout(100)
    return {name: value[0] for name, value in parse_qs(page.url.partition("#")[2]).items()}


def names(page: Page) -> list[str]:
    """The numbers in the names of the cards in sight, in their order."""
    tiles = page.locator("#tiles li:visible button")
    ordered = sorted(tiles.all(), key=lambda tile: int(tile.get_attribute("data-place") or 0))
    return [match[1] for tile in ordered if (match := re.search(r"(\d{3}) <", tile.inner_text()))]


def test_all_cards_are_there_and_filters_and_their_counts_follow(classified: Path, show: Open) -> None:
    page = show(classified)
    assert count(page) == f"{COUNT} pictures"
    answered = COUNT - REFUSED
    chips = {
        chip.inner_text().rsplit(" ", 1)[0]: chip.inner_text().rsplit(" ", 1)[1] for chip in page.locator(".chip").all()
    }
    assert chips == {
        "all": str(COUNT),
        "wrong": str(WRONG),
        "right": str(answered - WRONG),
        "refused": str(REFUSED),
        "with a note": "1",
    }
    page.get_by_role("radio", name="wrong").check(force=True)
    expect(page.locator(".counts")).to_have_text(f"{WRONG} of {COUNT} pictures")
    predicted = page.locator("select[name=cls] option").all_inner_texts()
    assert predicted[0] == "all"
    assert sum(int(option.rsplit("(", 1)[1].rstrip(")")) for option in predicted[1:]) == WRONG
    page.locator("select[name=cls]").select_option(index=1)
    first = int(predicted[1].rsplit("(", 1)[1].rstrip(")"))
    expect(page.locator(".counts")).to_have_text(f"{first} of {COUNT} pictures")
    page.get_by_role("button", name="Show all pictures").click()
    expect(page.locator(".counts")).to_have_text(f"{COUNT} pictures")
    page.locator("#search").fill("007")
    expect(page.locator(".counts")).to_have_text(f"1 of {COUNT} pictures")
    page.locator("#search").fill("nowhere to be found")
    expect(page.locator(".none")).to_contain_text("No picture is like that.")


def test_confidence_orders_and_filters(classified: Path, show: Open) -> None:
    page = show(classified)
    page.locator("select[name=sort]").select_option("sure")
    assert names(page)[:3] == ["058", "057", "056"]
    page.locator("select[name=sort]").select_option("unsure")
    page.wait_for_timeout(100)
    # Refused ones have no confidence at all.
    assert names(page)[:8] == ["009", "019", "029", "039", "049", "059", "000", "001"]
    page.get_by_label("least confidence in percent").fill("80")
    expect(page.locator(".counts")).to_have_text(f"9 of {COUNT} pictures")  # 50 to 58
    page.get_by_label("least confidence in percent").fill("0")
    page.locator(".histogram button").nth(6).click()
    assert (state(page)["low"], state(page)["high"]) == ("30", "35")
    expect(page.locator(".counts")).to_have_text(f"5 of {COUNT} pictures")  # 30 to 34 %


def test_the_heat_is_painted_where_the_network_looked(classified: Path, show: Open) -> None:
    page = show(classified, "#open=1")
    large = page.locator(".pic.large")
    canvas = large.locator("canvas.map")
    whole, seen = large.bounding_box(), canvas.bounding_box()
    assert whole is not None
    assert seen is not None
    # The view is x from 16 to 64 of 80 pixels, and all of the height.
    assert (seen["x"] - whole["x"]) / whole["width"] == pytest.approx(16 / 80, abs=0.01)
    assert seen["width"] / whole["width"] == pytest.approx(48 / 80, abs=0.01)
    assert seen["height"] == pytest.approx(whole["height"], abs=1)
    alpha = """canvas => { const {width, height} = canvas;
      const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
      let best = 3; for (let i = 3; i < data.length; i += 4) if (data[i] > data[best]) best = i;
      const place = (best - 3) / 4;
      return [place % width / width, Math.floor(place / width) / height, data[best], data[3]]; }"""
    x, y, strongest, weakest = canvas.evaluate(alpha)
    # The one cell that is not zero is the last of the second row of four.
    assert x > 0.85
    assert y == pytest.approx(0.375, abs=0.02)
    assert strongest == pytest.approx(0.65 * 255, abs=2)
    assert weakest == 0
    page.locator("#viewer input[name=opacity]").fill("20")
    page.wait_for_timeout(100)
    assert canvas.evaluate(alpha)[2] == pytest.approx(0.2 * 255, abs=2)
    page.locator("#viewer select[name=scale]").select_option("run")
    page.wait_for_timeout(100)
    assert canvas.evaluate(alpha)[2] == pytest.approx(0.2 * 255, abs=2)  # its maximum is the run's own


def test_keys_alone_reach_everything(classified: Path, show: Open) -> None:
    page = show(classified)
    press = page.keyboard.press
    for _ in range(60):
        press("Tab")
        if page.evaluate("document.activeElement.dataset.place") == "0":
            break
    focused = "document.activeElement.dataset.place"
    press("ArrowRight")
    assert page.evaluate(focused) == "1"
    press("ArrowDown")
    below = int(page.evaluate(focused))
    assert below > 1
    press("End")
    assert page.evaluate(focused) == str(COUNT - 1)
    press("Home")
    press("ArrowRight")
    press("ArrowRight")
    press("Enter")
    expect(page.locator("#viewed")).to_contain_text("002")
    assert state(page)["open"] == "2"
    press("j")
    expect(page.locator("#viewed")).to_contain_text("003")
    press("k")
    press("ArrowRight")
    press("ArrowLeft")
    expect(page.locator("#viewed")).to_contain_text("002")
    expect(page.locator(".stage")).to_have_count(2)  # it is wrong: predicted and true class
    press("s")
    expect(page.locator(".stage")).to_have_count(1)
    press("m")
    expect(page.locator("figcaption")).to_contain_text("hires-cam of")
    before = page.locator("figcaption").inner_text()
    press("c")
    expect(page.locator("figcaption")).not_to_have_text(before)
    press("]")
    press("]")
    press("[")
    press("b")
    press("w")
    press("+")
    press("Shift+ArrowLeft")
    held = state(page)
    assert held["opacity"] == "75"
    assert (held["marks"], held["wipe"], held["zoom"], held["x"], held["pair"]) == ("no", "50", "1.5", "0.1", "no")
    expect(page.locator(".view")).to_have_count(0)
    press("0")
    page.locator("#viewer").evaluate("element => element.focus()")
    page.keyboard.down(" ")
    expect(page.locator(".large .over")).to_be_hidden()
    page.keyboard.up(" ")
    expect(page.locator(".large .over")).to_be_visible()
    press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate(focused) == "2"  # where the reader was
    press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    press("Tab")
    press("?")
    expect(page.locator("#help")).to_be_visible()
    press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_a_link_opens_the_very_view(classified: Path, show: Open) -> None:
    page = show(classified)
    page.get_by_role("radio", name="wrong").check(force=True)
    page.locator("#tiles button").first.click()
    page.keyboard.press("m")
    page.keyboard.press("+")
    page.locator("#viewer input[name=wipe]").fill("30")
    page.wait_for_timeout(100)
    link = page.locator(".copy input").last.input_value()
    other = show(classified, f"#{link.partition('#')[2]}")
    assert state(other) == state(page)
    for where in ("#viewed", "figcaption >> nth=0", ".counts"):
        assert other.locator(where).inner_text() == page.locator(where).inner_text()
    assert other.locator(".pic.large").first.get_attribute("style") == page.locator(".pic.large").first.get_attribute(
        "style"
    )
    hostile = show(classified, "#open=99999&opacity=1e9&tab=nowhere&zoom=NaN&cls=<img src=x onerror=alert(3)>")
    expect(hostile.locator("#viewer")).to_be_hidden()
    assert count(hostile) == f"0 of {COUNT} pictures"


def test_zoom_wipe_and_drag(classified: Path, show: Open) -> None:
    page = show(classified, "#open=1")
    window = page.locator(".window")
    box = window.bounding_box()
    assert box is not None
    corner = box["x"] + 5, box["y"] + 5
    page.mouse.move(*corner)
    page.mouse.wheel(0, -400)
    now = state(page)
    assert float(now["zoom"]) == pytest.approx(2.718, abs=0.01)
    # The place under the pointer stays there.
    pixel = page.locator(".pic.large").bounding_box()
    assert pixel is not None
    assert (corner[0] - pixel["x"]) / pixel["width"] == pytest.approx(5 / box["width"], abs=0.005)
    page.mouse.down()
    page.mouse.move(corner[0] + 40, corner[1] + 30)
    page.mouse.up()
    assert float(state(page)["x"]) == pytest.approx((float(now["zoom"]) - 1) / 2, abs=0.001)  # it can't leave its place
    page.mouse.move(corner[0] + 300, corner[1] + 200)
    page.mouse.down()
    page.mouse.move(corner[0] + 200, corner[1] + 200)
    page.mouse.up()
    assert float(state(page)["x"]) < (float(now["zoom"]) - 1) / 2
    page.locator("#viewer input[name=wipe]").fill("40")
    page.wait_for_timeout(100)
    assert (
        page.locator(".large .over").evaluate("element => getComputedStyle(element).clipPath")
        == "inset(0px 0px 0px 40%)"
    )


def test_the_edge_of_the_wipe_is_dragged(classified: Path, show: Open) -> None:
    page = show(classified, "#open=1&wipe=50&zoom=2")
    window, pixel = page.locator(".window").bounding_box(), page.locator(".pic.large").bounding_box()
    assert window is not None
    assert pixel is not None
    row = window["y"] + window["height"] / 2
    page.mouse.move(pixel["x"] + pixel["width"] * 0.5, row)
    page.mouse.down()
    page.mouse.move(pixel["x"] + pixel["width"] * 0.6, row, steps=4)
    assert float(state(page)["wipe"]) == pytest.approx(60, abs=1)
    assert "x" not in state(page)  # the picture stays where it is
    page.mouse.move(window["x"] - 200, row)
    assert 1 <= float(state(page)["wipe"]) <= 50
    page.mouse.up()
    page.mouse.move(pixel["x"] + pixel["width"] * 0.7, row)
    assert float(state(page)["wipe"]) <= 50


def test_the_command_and_the_link_are_copied(classified: Path, show: Open) -> None:
    page = show(classified, "#open=1", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy").first.click()
    expect(page.get_by_role("button", name="copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("camcli --no-config explain --model net 'photos/001 <img")


def test_answers_of_python_show_no_command(tmp_path: Path, show: Open) -> None:
    camcli.report(pages.classified(), tmp_path / "page.html")
    page = show(tmp_path / "page.html", "#open=1")
    expect(page.locator("#viewer .copy")).to_have_count(1)
    expect(page.locator("#viewer .copy")).to_contain_text("Link to this very view")
    expect(page.locator("#viewer details").last).to_contain_text("made with net (V1")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_an_answer_in_a_notebook_is_readable_in_its_colours(tmp_path: Path, show: Open, colours: str) -> None:
    """Without scripts, as in a notebook that is not trusted; names of classes run nothing."""
    file = tmp_path / "cell.html"
    result = next(pages.classified())
    assert isinstance(result, camcli.Explained)
    shown = camcli.Answer(result)._repr_html_()
    style = f"color-scheme: {colours}; background: Canvas; color: CanvasText"
    file.write_text(f"<!doctype html><meta charset=utf-8><body style='{style}'>{shown}")
    page = show(file, color_scheme=colours, java_script_enabled=False)
    assert [image.get_attribute("width") for image in page.locator("img").all()] == ["80"] * 3
    assert page.locator("img").evaluate_all("all => all.every(one => one.naturalWidth === 80)")
    ground = 255 if colours == "light" else 18
    for text in page.locator("bdi, td, p").all():
        red = int(text.evaluate("one => getComputedStyle(one).color").split("(")[1].split(",")[0])
        assert abs(red - ground) > 180


def test_a_refusal_is_a_card_too(classified: Path, show: Open) -> None:
    page = show(classified)
    page.get_by_role("radio", name="refused").check(force=True)
    expect(page.locator("#tiles li:visible")).to_have_count(REFUSED)
    page.locator("#tiles li:visible button").first.click()
    expect(page.locator(".error")).to_contain_text(f"refused: it ends {pages.HOSTILE}")


def test_the_summary_tells_who_is_taken_for_whom(classified: Path, show: Open) -> None:
    page = show(classified, "#tab=summary")
    told = [number.inner_text().split("\n") for number in page.locator(".number").all()]
    assert [" ".join(parts) for parts in told][:3] == [
        f"{COUNT} pictures",
        f"{COUNT - REFUSED - WRONG} right",
        f"{WRONG} wrong",
    ]
    cells = page.locator(".matrix button").all_inner_texts()
    assert sum(map(int, cells)) == COUNT - REFUSED
    mistaken = page.locator(".matrix button.wrong").first
    number = mistaken.inner_text()
    # Each mean map is hot at its right edge, where the hot cell of every answer is.
    hot = page.locator("canvas.mean").first.evaluate(
        """canvas => { const {data} = canvas.getContext('2d').getImageData(0, 0, 28, 28); const light = x => {
        let sum = 0; for (let y = 0; y < 28; y += 1) sum += data[4 * (28 * y + x)]; return sum; };
        return [light(1), light(26)]; }"""
    )
    assert hot[1] > 4 * hot[0]
    mistaken.click()
    expect(page.locator(".counts")).to_have_text(f"{number} of {COUNT} pictures")
    expect(page.locator("#tiles li:visible")).to_have_count(int(number))


def test_the_table_has_every_card(classified: Path, show: Open) -> None:
    page = show(classified, "#tab=table")
    expect(page.locator(".rows tbody tr")).to_have_count(COUNT)
    row = page.locator(".rows tbody tr").nth(2)
    expect(row).to_contain_text("✗")
    row.get_by_role("button").click()
    expect(page.locator("#viewed")).to_contain_text("002")


def test_boxes_and_regions_are_clicked(tmp_path: Path, show: Open) -> None:
    page = show(pages.written(tmp_path / "page.html", pages.detected()), "#open=0")
    expect(page.locator(".marks").last.locator("polygon")).to_have_count(1)
    page.locator(".hit[title^='1 thing 1 #2']").click()
    expect(page.locator("figcaption")).to_have_text("grad-cam of 1 thing 1 #2")
    expect(page.locator(".large .marks rect.strong")).to_have_attribute("x", "40")
    page.locator(".hit.region").click()
    expect(page.locator("figcaption")).to_contain_text("thing 2")


def test_numbers_of_a_class_are_its_own(tmp_path: Path, show: Open) -> None:
    """Of pictures with several things: the confidence that is shown, filtered and averaged is the chosen thing's."""
    page = show(pages.written(tmp_path / "page.html", pages.detected()), "#tab=summary")
    expect(page.locator(".classes")).to_contain_text("mean confidence 90 %")
    expect(page.locator(".classes li", has_text="1 thing 1")).to_contain_text("mean confidence 80 %")
    page = show(tmp_path / "page.html", "#cls=1+thing+1")
    expect(page.locator("#tiles .said")).to_contain_text("1 thing 1 80 %")
    assert count(show(tmp_path / "page.html", "#cls=1+thing+1&low=85")) == "0 of 1 pictures"
    assert count(show(tmp_path / "page.html", "#low=85")) == "1 pictures"


def test_several_runs_are_not_counted_together(tmp_path: Path, show: Open) -> None:
    results = [*pages.classified()][:8]
    others = [replace(result, model="other") if isinstance(result, Explained) else result for result in results]
    file = pages.written(tmp_path / "page.html", *results, *others)
    page = show(file)
    assert count(page) == "16 answers about 8 pictures"
    expect(page.locator("#tiles .open").last).to_contain_text("other")
    page.locator("[name=run]").select_option(label="other (8)")
    expect(page.locator(".counts")).to_have_text("8 of 16 answers about 8 pictures")
    page = show(file, "#tab=summary")
    expect(page.locator(".summary .number")).to_have_count(0)
    expect(page.locator(".summary li")).to_contain_text(["75 % right", "75 % right"])
    page.locator(".summary button").last.click()
    expect(page.locator(".summary .number").first).to_contain_text("8")


def test_mean_maps_are_of_one_method_and_of_what_speaks_for_the_class(tmp_path: Path, show: Open) -> None:
    entry = Entry(3, "cat", 0.9, 5.0)
    corner, other = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    corner[0, 0] = other[3, 3] = 1
    against = replace(attributed(other, target=entry), target=Question("cat", 1.0, entry=entry, negated=True))
    answers = [attributed(corner, target=entry), replace(attributed(other, target=entry), method="hires-cam"), against]
    result = replace(explained("a.jpg", *answers), top=(entry,))
    again = replace(explained("b.jpg", attributed(corner, target=entry)), top=(entry,))
    page = show(pages.written(tmp_path / "page.html", result, again), "#tab=summary")
    expect(page.locator(".mean-of")).to_contain_text("(2)")
    expect(page.locator(".summary")).to_contain_text("by grad-cam at")
    low = page.locator("canvas.mean").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(25, 25, 1, 1).data.slice(0, 3)]"
    )
    assert max(low) < 20  # the other method's corner, and the one that speaks against the class, are dark


def test_a_saliency_has_a_scale_of_its_own(tmp_path: Path, show: Open) -> None:
    values = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    page = show(
        pages.written(tmp_path / "page.html", explained("a.jpg", replace(attributed(values), kind="saliency"))),
        "#open=0",
    )
    expect(page.locator("#viewer .legend")).to_contain_text("negative")
    expect(page.locator("#viewer [name=colors]")).to_have_count(0)


def test_names_are_as_long_as_tells_them_apart(tmp_path: Path, show: Open) -> None:
    names = ("val/a/1.jpg", "val/b/1.jpg", "val/b/2.jpg", "back\\slash.png", "rtl\u202egnp.exe")
    page = show(pages.written(tmp_path / "page.html", *(explained(name, attributed()) for name in names)))
    files = [text.strip() for text in page.locator("#tiles .file").all_text_contents()]
    assert files == ["a/1.jpg", "b/1.jpg", "2.jpg", "back\\slash.png", "rtl\\u202egnp.exe"]


def test_a_part_of_a_run_says_so(tmp_path: Path, show: Open) -> None:
    with open_page(PageSpec(str(tmp_path / "page.html"))) as page:
        page.add(as_row(explained("a.jpg", attributed())))
        page.stop()
    expect(show(tmp_path / "page.html").locator("main")).to_contain_text("stopped before its end")


def test_words_lead_to_their_maps(tmp_path: Path, show: Open) -> None:
    page = show(pages.written(tmp_path / "page.html", pages.captioned()), "#open=0")
    assert page.locator(".words button").all_inner_texts() == ["a", "red", "cup"]
    page.locator(".words button").nth(1).click()
    expect(page.locator("figcaption")).to_contain_text("2 red #2")
    assert page.locator(".words button").nth(1).get_attribute("aria-pressed") == "true"


def test_a_clip_plays_and_begins_at_its_peak(tmp_path: Path, show: Open) -> None:
    page = show(pages.written(tmp_path / "page.html", pages.clip()), "#open=0")
    expect(page.locator(".time")).to_contain_text("frame 10, 0.40 s")
    shift = page.locator(".large .photo").evaluate(
        "image => new DOMMatrix(getComputedStyle(image).transform).e / image.clientWidth"
    )
    assert shift == pytest.approx(-2 / 4, abs=0.01)
    page.get_by_label("frame of the clip").fill("0")
    expect(page.locator(".time")).to_contain_text("frame 0, 0.00 s")
    page.get_by_role("button", name="play").click()
    page.wait_for_url("**#*frame=3*")
    page.get_by_role("button", name="pause").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(classified: Path, show: Open, node_modules: Path, scheme: str) -> None:
    """axe-core finds nothing, in light and dark, in each view."""
    axe = (node_modules / "axe-core" / "axe.min.js").read_text()
    for fragment in ("", "#tab=summary", "#tab=table", "#open=2", "#open=9"):
        page = show(classified, fragment, axe, color_scheme=scheme)
        found = page.evaluate(
            "axe.run().then(result => result.violations.map(v => [v.id, v.nodes.map(n => n.html + n.failureSummary)]))"
        )
        assert found == [], fragment


@pytest.mark.parametrize("fragment", ["", "#tab=summary", "#tab=table", "#open=2", "#open=9"])
def test_a_phone_shows_it_without_scrolling_sideways(classified: Path, show: Open, fragment: str) -> None:
    page = show(classified, fragment, viewport={"width": 375, "height": 700}, has_touch=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") == 375
    if "open" in fragment:
        assert page.locator("#viewer").evaluate("element => element.scrollWidth <= element.clientWidth")


def test_a_step_back_leads_back(classified: Path, show: Open) -> None:
    page = show(classified)
    page.get_by_role("button", name="Summary").click()
    page.locator(".matrix button.wrong").first.click()
    page.locator("#tiles li:visible button").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_back()
    expect(page.locator(".summary")).to_be_visible()
    assert count(page) == f"{COUNT} pictures"
    page.go_back()
    expect(page.locator(".summary")).to_have_count(0)


def test_the_table_is_ordered_by_its_titles(classified: Path, show: Open) -> None:
    page = show(classified, "#tab=table")
    page.get_by_role("button", name="score").click()
    expect(page.locator(".rows tbody tr").first).to_contain_text("058")
    expect(page.get_by_role("columnheader", name="score")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="score").click()
    expect(page.locator(".rows tbody tr").first).to_contain_text("refused")


def test_controls_keep_their_keys_and_notes_stand_below_their_maps(classified: Path, show: Open) -> None:
    page = show(classified, "#open=0")
    expect(page.locator("figcaption")).to_contain_text("✎ flat")
    marks = page.locator("#viewer input[name=marks]")
    marks.press(" ")
    expect(marks).not_to_be_checked()
    page.keyboard.press("Escape")
    page.keyboard.down("h")
    expect(page.locator("#tiles .over").first).to_be_hidden()
    page.keyboard.up("h")
    expect(page.locator("#tiles .over").first).to_be_visible()
    wrong = show(classified, "#open=2")
    wrong.locator(".switch").get_by_role("button").last.click()
    expect(wrong.locator(".stage")).to_have_count(1)


def test_paper_has_the_chosen_cards(classified: Path, show: Open) -> None:
    for tab, sections in (("pictures", 0), ("summary", 1)):
        page = show(classified, f"#outcome=wrong&tab={tab}")
        page.evaluate(
            """addEventListener('beforeprint', () => { const paper = document.getElementById('paper');
            globalThis.printed = [...['.printed', '.summary'].map(of => paper.querySelectorAll(of).length),
            paper.querySelector('.about').textContent]; })"""
        )
        assert page.pdf().startswith(b"%PDF")
        assert page.evaluate("printed") == [WRONG, sections, f"net (V1); only wrong: {WRONG} of {COUNT}"]
        expect(page.locator("#paper")).to_have_count(0)


def test_a_folder_of_photos_opens_from_a_disk_and_is_missed(tmp_path: Path, show: Open) -> None:
    file = pages.written(tmp_path / "large page.html", *pages.classified(), embed_mb=0)
    page = show(file)
    assert count(page) == f"{COUNT} pictures"
    page.wait_for_timeout(300)
    assert page.evaluate("[...document.querySelectorAll('.photo')].every(photo => photo.naturalWidth === 80)")
    shutil.rmtree(tmp_path / "large page_files")
    alone = file.rename(tmp_path / "alone.html")
    context = page.context.browser
    assert context is not None
    lonely = context.new_page()
    lonely.goto(alone.as_uri())
    expect(lonely.get_by_role("alert")).to_contain_text("lie beside this page in large%20page_files/rows.js")
    lonely.close()


def test_without_scripts_it_says_so_and_has_the_numbers(classified: Path, show: Open) -> None:
    page = show(classified, java_script_enabled=False)
    text = page.locator("noscript").inner_text()
    assert "needs JavaScript" in text
    assert f"refused\t{REFUSED}" in text


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm install` brings for the page."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here")
    folder = tmp_path_factory.mktemp("web")
    shutil.copytree(ROOT / "web", folder / "web", ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["npm", "install", "--silent"], cwd=folder / "web", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"npm install failed: {done.stderr[-200:]}")
    return folder / "web" / "node_modules"


def test_the_script_that_is_shipped_is_built_of_what_is_in_the_repository(node_modules: Path) -> None:
    """`npm --prefix web run build` after a change."""
    web = node_modules.parent
    built = web.parent / "src" / "camcli" / "sinks" / "page"
    for script in ("check", "build"):
        done = subprocess.run(["npm", "run", "--silent", script], cwd=web, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in ("page.js", "page.css"):
        assert (built / name).read_bytes() == (ROOT / "src/camcli/sinks/page" / name).read_bytes(), name
