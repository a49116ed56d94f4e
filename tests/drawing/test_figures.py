"""Sheets of answers side by side: what lies where, nothing cut, and the same in PNG, SVG and PDF."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image
from results import BOXER, MASTIFF, attributed, explained
from variants import thinned

from camcli.drawing import colours, lettering, overlays
from camcli.drawing.figures import pdf, raster, svg
from camcli.drawing.figures.arranging import Measures, arranged
from camcli.drawing.figures.comparing import Results, compared
from camcli.drawing.figures.elements import ASCENT, DESCENT, Part, Picture, Text, Typeface
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.errors import SetupError
from camcli.records import Attribution, Explained, Frame, Ref, Truth
from camcli.specs import Norm, OutputSpec

FACE = Typeface()
COLUMN, PAGE = (Measures.of_print(width, 300, 8) for width in (89, 183))
PIXELS = Measures.of_pixels(240, 8)
MM = 72 / 25.4
HOSTILE = (
    "a" * 240,
    "猫がコーヒーを飲む" * 20,
    "<b>&\"'</b>]]>" * 9,
    "two\nlines\x1b[31m\u202e\udce9\ufffe",
    "$\\alpha_{x}$ [bold]",
)


def frame(size: tuple[int, int], name: str = "a.png", index: int = 0) -> Frame:
    noise = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Frame(Ref(index, name), noise)


def result(
    *answers: Attribution, size: tuple[int, int] = (40, 24), name: str = "a.png", index: int = 0, model: str = "net"
) -> Explained:
    return replace(explained("a.png", *answers, frame=frame(size, name, index)), model=model, box=(0, 0, *size))


def by(*methods: str, **told: object) -> list[Attribution]:
    return [replace(attributed(), method=method, **told) for method in methods]  # type: ignore[arg-type]


def pages_of(
    results: Sequence[Explained], measures: Measures = PAGE, norm: Norm = "image", **look: object
) -> list[Part]:
    kept = Results(measures.most_pixels)
    for one in results:
        kept.add(one)
    return arranged(compared(kept.pictures, OutputSpec(norm=norm, **look)), measures, FACE)  # type: ignore[arg-type]


def words(page: Part) -> list[str]:
    return [text.words for text in page.texts]


def box(text: Text) -> Box:
    length = FACE.length(text.words, text.size)
    left = text.x - length * {"l": 0, "m": 0.5, "r": 1}[text.anchor]
    return left, text.y - ASCENT * text.size, left + length, text.y + DESCENT * text.size


def meet(one: Box, other: Box) -> bool:
    slack = 0.01
    return all(one[side] < other[side + 2] - slack and other[side] < one[side + 2] - slack for side in (0, 1))


def check(page: Part) -> None:
    """Nothing sticks out of the page, and nothing lies on anything else."""
    boxes = [box(text) for text in page.texts]
    boxes += [(one.x, one.y, one.x + one.width, one.y + one.height) for one in page.pictures]
    for x0, y0, x1, y1 in boxes:
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= page.width + 0.01
        assert y1 <= page.height + 0.01
    assert [pair for pair in combinations(boxes, 2) if meet(*pair)] == []


def tiles(page: Part) -> list[Box]:
    """The places of photos and answers, not of colour bars."""
    return [(p.x, p.y, p.width, p.height) for p in page.pictures if len(p.pixels) > 1]


# Where things lie.


def test_three_methods_and_two_classes_are_a_photo_and_two_rows_of_three() -> None:
    answers = by("grad-cam", "eigen-cam", "cam") + [
        replace(own, target=attributed(target=MASTIFF).target) for own in by("grad-cam", "eigen-cam", "cam")
    ]
    (page,) = pages_of([result(*answers)])
    check(page)
    assert page.width == pytest.approx(183 * MM)
    photo, *rest = tiles(page)
    gap = 3.5
    cell = (183 * MM - 5 * gap) / 4
    assert all((width, height) == pytest.approx((cell, cell * 24 / 40)) for *_, width, height in [photo, *rest])
    assert [x for x, *_ in rest] == pytest.approx([gap + column * (cell + gap) for column in (1, 2, 3)] * 2)
    assert len({round(y, 3) for _, y, *_ in [photo, *rest[:3]]}) == 1  # the first row beside the photo
    assert len({round(y, 3) for _, y, *_ in rest}) == 2
    heads = [text for text in page.texts if text.words in ("grad-cam", "eigen-cam", "cam")]
    assert [text.x for text in heads] == pytest.approx([x for x, *_ in rest[:3]])
    assert [line for line in words(page) if "p =" in line] == [
        "242 boxer  ·  p = 0.750  ·  predicted",
        "243 bull mastiff  ·  p = 0.250",
    ]
    assert "a.png" in words(page)
    assert "net  ·  layer layer4" in words(page)


def test_on_pixels_the_longer_side_is_the_one_asked_for_and_letters_grow_with_it() -> None:
    for side in (64, 240, 800):
        (page,) = pages_of([result(*by("grad-cam"), size=(30, 20))], Measures.of_pixels(side, 8))
        check(page)
        assert all(tile[2:] == pytest.approx((side, side * 2 / 3)) for tile in tiles(page))
        assert max(text.size for text in page.texts) == pytest.approx(max(10, side / 18))


@pytest.mark.parametrize("measures", [COLUMN, PAGE, PIXELS, Measures.of_pixels(32, 8), Measures.of_print(30, 300, 8)])
@pytest.mark.parametrize("name", thinned(HOSTILE, 3))
def test_no_name_is_cut_or_leaves_the_page(name: str, measures: Measures) -> None:
    label = replace(BOXER, label=name)
    answers = [
        replace(attributed(target=label, note=f"note of {name}"), method=method, layer=name)
        for method in ("grad-cam", "smooth-grad-cam-pp")
    ]
    one = replace(result(*answers, name=name.replace("/", "_"), model=name), truth=Truth(1, name, False))
    pages = pages_of([one], measures)
    for page in pages:
        check(page)
    shown = re.sub(r"\s", "", "".join(word for page in pages for word in words(page)))
    plain = re.sub(r"\s", "", lettering.plain(name))
    assert shown.count(plain) >= 5  # file, truth, row, model, layer, note


def test_tall_pictures_and_wide_ones_keep_their_shape() -> None:
    for size in ((10, 300), (300, 10), (1, 1)):
        for measures in (COLUMN, PIXELS):
            (page,) = pages_of([result(*by("grad-cam", "cam"), size=size)], measures)
            check(page)
            for _, _, width, height in tiles(page):
                assert width / height == pytest.approx(size[0] / size[1], rel=0.1) or min(width, height) == 1


def test_more_methods_than_columns_go_on_below_under_heads_of_their_own() -> None:
    methods = [f"method-{number}" for number in range(5)]
    (page,) = pages_of([result(*by(*methods))], replace(PAGE, columns=2))
    check(page)
    assert [word for word in words(page) if word in methods] == methods
    assert sum("p =" in word for word in words(page)) == 3
    assert len(tiles(page)) == 6


def test_a_narrow_figure_has_no_columns_that_letters_dont_fit_into() -> None:
    (page,) = pages_of([result(*by(*(f"m{number}" for number in range(12))))], COLUMN)
    check(page)
    assert min(tile[2] for tile in tiles(page)) >= 7 * 6 - 0.01


def test_models_share_a_photo_and_methods_of_one_model_leave_room_in_the_others_rows() -> None:
    one, other = result(*by("grad-cam", "cam")), result(*by("grad-cam", "gradient"), model="other")
    (page,) = pages_of([one, other])
    check(page)
    assert len(tiles(page)) == 5
    assert [word for word in words(page) if word in ("grad-cam", "cam", "gradient")] == ["grad-cam", "cam", "gradient"]
    assert [word.split("  ·  ")[0] for word in words(page) if "p =" in word] == ["net", "other"]


def test_many_pictures_go_on_pages_each_with_heads_and_the_notes_that_it_cites() -> None:
    noted = [by("grad-cam", note=f"note {number // 6}") for number in range(12)]
    many = [result(*noted[number], name=f"{number}.png", index=number, size=(40, 40)) for number in range(12)]
    pages = pages_of(many, COLUMN)
    assert len(pages) > 1
    for page in pages:
        check(page)
        assert page.height <= 247 * MM
        assert words(page)[0] == "grad-cam"
        cited = {word for word in words(page) if re.fullmatch(r"\[\d\]", word)}
        assert {f"[{word[1]}]" for word in words(page) if re.match(r"\[\d\] note", word)} == cited
    names = [word for page in pages for word in words(page) if word.endswith(".png")]
    assert names == [f"{number}.png" for number in range(12)]


def test_rows_of_one_picture_that_are_more_than_a_page_go_on_beside_the_photo_again() -> None:
    rows = [attributed(target=replace(BOXER, id=number, label=f"class {number}")) for number in range(30)]
    pages = pages_of([result(*rows)], COLUMN)
    assert len(pages) > 1
    for page in pages:
        check(page)
        assert "a.png" in words(page)
    assert sum("p =" in word for page in pages for word in words(page)) == 30


# What is marked.


@pytest.mark.parametrize(("correct", "said"), [(True, "✓ predicted 242 boxer"), (False, "✗ predicted 242 boxer")])
def test_right_and_wrong_are_marked_by_more_than_a_colour(correct: bool, said: str) -> None:
    truth = Truth(242, "boxer", True) if correct else Truth(243, "bull mastiff", False)
    rows = [attributed(), attributed(target=MASTIFF)]
    (page,) = pages_of([replace(result(*rows), truth=truth)])
    assert said in words(page)
    assert ("truth 243 bull mastiff" in words(page)) is not correct
    tags = [word.split("  ·  ")[2:] for word in words(page) if "p =" in word]
    assert tags == ([["predicted", "truth"], []] if correct else [["predicted"], ["truth"]])


def test_a_prediction_that_no_row_is_about_is_told() -> None:
    (page,) = pages_of([result(attributed(target=MASTIFF))])
    assert "predicted 242 boxer" in words(page)


def test_what_has_no_answer_says_why_and_the_same_note_has_one_number() -> None:
    nothing = replace(result(), attributions=(), note="nothing was found")
    (page,) = pages_of([nothing])
    check(page)
    assert "nothing was found" in words(page)
    (page,) = pages_of([result(*by("grad-cam", "cam", note="flat"))])
    assert words(page).count("[1]") == 2
    assert words(page).count("[1] flat") == 1


# Scales.

HALF, WHOLE = (attributed(values=top * np.linspace(0, 1, 12).reshape(3, 4)) for top in (1.0, 2.0))


def drawn(pages: Sequence[Part]) -> list[colours.Pixels]:
    return [p.pixels for page in pages for p in page.pictures if len(p.pixels) > 1]


def test_norm_run_draws_all_of_a_method_on_one_scale_and_says_where_it_ends() -> None:
    ref = Ref(1, "b.png")
    both = [one := result(HALF), replace(one, frame=replace(one.frame, ref=ref), attributions=(WHOLE,))]
    own, together, fixed = pages_of(both), pages_of(both, norm="run"), pages_of(both, norm="fixed", norm_max=2.0)
    assert np.array_equal(drawn(own)[1], drawn(own)[3])
    assert not np.array_equal(drawn(together)[1], drawn(together)[3])
    assert all(np.array_equal(*pair) for pair in zip(drawn(together), drawn(fixed), strict=True))
    assert "largest value of each map" in words(own[0])
    assert {"0", "2"} <= set(words(together[0]))
    assert {"0", "2"} <= set(words(fixed[0]))


def test_methods_have_scales_of_their_own() -> None:
    answers = [HALF, replace(WHOLE, method="cam")]
    (page,) = pages_of([result(*answers)], norm="run")
    assert np.array_equal(drawn([page])[1], drawn([page])[2])
    assert "Scales end at: grad-cam 1, cam 2" in words(page)
    assert "largest value of each method" in words(page)


def test_the_bars_are_of_the_kinds_that_are_there() -> None:
    saliency = Attribution("gradient", "saliency", None, HALF.target, np.zeros((3, 4, 4), np.float32) + 1)
    for answers, count in ((by("grad-cam"), 1), ([saliency], 1), ([*by("grad-cam"), saliency], 2)):
        (page,) = pages_of([result(*answers)])
        bars = [p for p in page.pictures if len(p.pixels) == 1]
        assert [bar.pixels.shape for bar in bars] == [(1, 256, 3)] * count
        assert len([b for b in page.borders if b.height]) == count
        check(page)


def test_legend_says_the_end_of_each_scale_below_its_picture() -> None:
    (page,) = pages_of([result(HALF, replace(WHOLE, method="cam"))], legend=True)
    assert {"scale to 1", "scale to 2"} <= set(words(page))
    check(page)


# Black and white.


def test_in_print_a_larger_value_is_darker_whatever_the_photo() -> None:
    """Of the luminance of each pixel, on photos of one grey; lines and what is not seen aside."""
    ramp = attributed(values=np.linspace(0, 1, 256)[None].repeat(2, 0))
    style = replace(Style.of(OutputSpec(style="print")), max_side=None)
    for grey in (0, 90, 200, 255):
        still = Frame(Ref(0, "g.png"), np.full((90, 512, 3), grey, np.uint8))
        picture = overlays.overlay(still, (0, 0, 512, 90), ramp, style)  # too small for lines
        light = np.asarray(Image.fromarray(picture).convert("L")).astype(int)[45]
        assert (np.diff(light) <= 0).all()
        assert light[0] - light[-1] > 90
    bar = colours.scale_of("map", style)
    assert (np.diff(np.asarray(Image.fromarray(bar[None]).convert("L"))[0].astype(int)) <= 0).all()


def test_in_print_everything_is_grey_and_the_unseen_is_hatched() -> None:
    saliency = Attribution(
        "gradient", "saliency", None, HALF.target, np.random.default_rng(0).normal(size=(3, 9, 9)).astype(np.float32)
    )
    style = Style.of(OutputSpec(style="print"))
    still = frame((200, 150))
    for answer in (HALF, saliency):
        picture = overlays.overlay(still, (25, 0, 175, 150), answer, style)
        assert (picture == picture[..., :1]).all()
        assert set(np.unique(picture[:, :25])) == {190, 255}
    assert (overlays.photo(still, style).std(axis=2) == 0).all()


# Files.


@pytest.fixture
def hostile_page() -> Part:
    label = replace(BOXER, label=HOSTILE[2])
    (page,) = pages_of([result(attributed(target=label, note="$x$ & <y>"), name="猫 & <cat>.png")], COLUMN)
    return page


def test_svg_is_xml_with_text_as_text_and_pictures_of_the_resolution(hostile_page: Part) -> None:
    content = svg.encoded(hostile_page, FACE, printed=True)
    assert content == svg.encoded(hostile_page, FACE, printed=True)
    root = ElementTree.fromstring(content)
    space = "{http://www.w3.org/2000/svg}"
    assert float(root.attrib["width"].removesuffix("pt")) / MM == pytest.approx(89, abs=0.01)
    assert [text.text for text in root.iter(f"{space}text")] == words(hostile_page)
    sizes = [float(text.attrib["font-size"]) for text in root.iter(f"{space}text")]
    assert min(sizes) >= 5
    lines = [float(way.attrib["stroke-width"]) for way in root.iter(f"{space}path")]
    assert min(lines) >= 0.5
    images = list(root.iter(f"{space}image"))
    assert len(images) == 3
    for image in images[:2]:
        kind, data = image.attrib["href"].split(";base64,")
        assert kind == "data:image/jpeg"
        with Image.open(io.BytesIO(b64decode(data))) as picture:
            assert picture.width == pytest.approx(float(image.attrib["width"]) / 72 * 300, abs=1)


def test_pdf_has_its_texts_in_embedded_truetype_and_the_size_of_the_page() -> None:
    pypdfium2 = pytest.importorskip("pypdfium2")
    many = [
        result(*by("grad-cam", "cam"), name=f"{number} $a_b$ кот.png", index=number, size=(30, 40))
        for number in range(9)
    ]
    pages = pages_of(many, COLUMN)
    assert len(pages) > 1
    content = pdf.encoded(pages, FACE)
    assert content == pdf.encoded(pages, FACE)
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    document = pypdfium2.PdfDocument(content)
    assert len(document) == len(pages)
    for shown, page in zip(document, pages, strict=True):
        assert shown.get_size() == pytest.approx((page.width, page.height), abs=0.01)
        assert shown.get_size()[0] / MM == pytest.approx(89, abs=0.01)
        text = shown.get_textpage().get_text_range()
        assert re.sub(r"\s", "", text) == re.sub(r"\s", "", "".join(words(page)))
        assert sum(one.type == 3 for one in shown.get_objects()) == len(page.pictures)


def test_no_matplotlibrc_changes_a_pdf() -> None:
    """Issue: one in the working directory turned photos and maps upside down."""
    matplotlib = pytest.importorskip("matplotlib")
    pages = pages_of([result(*by("grad-cam"))], COLUMN)
    content = pdf.encoded(pages, FACE)
    hostile = {
        "image.origin": "lower",
        "image.resample": False,
        "figure.facecolor": "red",
        "savefig.facecolor": "red",
        "savefig.bbox": "tight",
        "savefig.dpi": 10,
        "patch.edgecolor": "red",
        "text.usetex": True,
        "pdf.fonttype": 3,
        "pdf.compression": 0,
        "figure.autolayout": True,
        "figure.constrained_layout.use": True,
        "axes.xmargin": 0.4,
        "path.sketch": (3, 10, 1),
        "text.antialiased": False,
    }
    with matplotlib.rc_context(hostile):
        assert pdf.encoded(pages, FACE) == content
        assert matplotlib.rcParams["image.origin"] == "lower"


def test_letters_that_no_font_has_are_as_long_in_a_pdf_as_they_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: Matplotlib drew its own, longer marks for them, over the next column."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    monkeypatch.setattr(lettering, "_of_system", lambda character: ())
    for letters in ("\U00013000" * 8, "猫" * 8, "ab\U00013000" * 3):
        page = Part(300, 40, (Text(10, 30, letters, 20),))
        (shown,) = pypdfium2.PdfDocument(pdf.encoded([page], FACE))
        ink = np.argwhere(np.asarray(shown.render(scale=2).to_pil().convert("L")) < 128)
        assert ink[:, 1].max() / 2 <= 10 + FACE.length(letters, 20) + 0.5
        assert shown.get_textpage().get_text_range().count("\ufffd") == len(letters.replace("ab", ""))


@pytest.mark.parametrize("width", range(20, 120, 3))
def test_no_line_ends_inside_of_a_number(width: int) -> None:
    """Issue: p = 0.012 stood as 'p = 0.' above '012'."""
    text = "7 tabby, tabby cat  ·  p = 0.012  ·  logit = -1,234.5e-06  ·  img_001/b-12.png"
    lines = FACE.wrapped(text, 6, width)
    for number in ("0.012", "-1,234.5e-06"):
        if FACE.length(f"logit = {number}", 6) <= width:
            assert any(number in line for line in lines)
    if FACE.length("p = 0.012", 6) <= width:
        assert any("p = 0.012" in line for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)


def test_a_picture_of_one_row_is_no_colour_bar_and_an_svg_names_the_users_font() -> None:
    bar, photo = (
        Part(60, 9, pictures=(Picture(0, 0, 60, 9, np.zeros((1, 60, 3), dtype=np.uint8), kind),))
        for kind in ("bar", "photo")
    )
    assert b"data:image/png" in svg.encoded(bar, FACE, printed=True)
    assert b"data:image/jpeg" in svg.encoded(photo, FACE, printed=True)
    root = ElementTree.fromstring(svg.encoded(bar, Typeface(made("TrueType")), printed=True))
    assert root.attrib["font-family"].startswith("'Own', Arial, ")


def test_a_character_that_no_font_has_is_no_warning_in_a_pdf() -> None:
    pages = pages_of([result(*by("grad-cam"), name="\U000e0100\U0001f600 猫.png")], COLUMN)
    assert pdf.encoded(pages, FACE).startswith(b"%PDF")


def made(outlines: str) -> str:
    """A font of one letter, "a", a square: TrueType or PostScript."""
    builder = FontBuilder(1000, isTTF=outlines == "TrueType")
    builder.setupGlyphOrder([".notdef", "a"])
    builder.setupCharacterMap({ord("a"): "a"})
    glyphs = {}
    for name in (".notdef", "a"):
        pen = TTGlyphPen(None) if outlines == "TrueType" else T2CharStringPen(600, None)
        for step, at in enumerate(((0, 0), (0, 500), (500, 500), (500, 0)) if name == "a" else ()):
            (pen.lineTo if step else pen.moveTo)(at)
        if name == "a":
            pen.closePath()
        glyphs[name] = pen.glyph() if outlines == "TrueType" else pen.getCharString()
    if outlines == "TrueType":
        builder.setupGlyf(glyphs)
    else:
        builder.setupCFF("Own", {}, glyphs, {})
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Own", "styleName": outlines, "psName": f"Own{outlines}"})
    builder.setupOS2(usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(f"{outlines}.font")
    return f"{outlines}.font"


def test_a_font_that_is_no_truetype_is_drawn_as_shapes_and_not_embedded_as_one() -> None:
    pypdfium2 = pytest.importorskip("pypdfium2")
    page = Part(100, 40, (Text(10, 30, "aa$a$", 20),))
    dark = {}
    for outlines in ("TrueType", "PostScript"):
        content = pdf.encoded([page], Typeface(made(outlines)))
        (shown,) = pypdfium2.PdfDocument(content)
        said = shown.get_textpage().get_text_range()
        assert said.replace(" ", "") == ("aa$a$" if outlines == "TrueType" else "$$")
        dark[outlines] = np.asarray(shown.render(scale=4).to_pil().convert("L")) < 128
    assert dark["TrueType"].sum() > 1000
    assert (dark["TrueType"] != dark["PostScript"]).mean() < 0.005


def test_without_matplotlib_a_pdf_is_refused_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"pip install camcli\[figure\]"):
        pdf.check()


@pytest.mark.parametrize(("kind", "format"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_a_raster_has_the_pixels_of_its_width_and_says_its_dpi(kind: str, format: str, hostile_page: Part) -> None:
    content = raster.encoded(hostile_page, kind, FACE, COLUMN.scale, 300)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == format
        assert picture.width == round(89 / 25.4 * 300)
        if kind != "webp":
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_letters_are_as_long_in_pixels_as_on_the_page() -> None:
    """Letters are set on whole pixels: a line may be some longer than it is ruled, and no more than the gap."""
    for line in ("smooth-grad-cam-pp", "242 boxer  ·  p = 0.750  ·  predicted", "i" * 40, "W" * 20):
        for size in (10, 13.3, 29.2):
            assert lettering.font(line, size).length(line) <= FACE.length(line, size) + size / 2


def test_lines_in_pictures_are_half_a_point_or_more() -> None:
    assert COLUMN.thinnest / COLUMN.scale >= 0.5
    assert PIXELS.thinnest == 1
    still = frame((400, 300))
    style = replace(Style.of(OutputSpec()), line=COLUMN.thinnest)
    outlined = overlays.overlay(still, (100, 100, 300, 250), HALF, style)
    assert (outlined[97:100, 100:103] == 255).all()  # three pixels of 300 dpi


def test_no_more_of_a_photo_is_kept_than_is_drawn_and_it_is_drawn_as_it_would_be() -> None:
    whole = frame((640, 480))
    kept = overlays.reduced(whole, 240)
    assert kept.rgb.shape == (180, 240, 3)
    assert kept.size == whole.size
    style = replace(Style.of(OutputSpec()), max_side=240, min_side=240)
    one, other = (overlays.overlay(still, (80, 0, 560, 480), HALF, style) for still in (whole, kept))
    assert np.array_equal(one, other)
    assert overlays.reduced(kept, 240) is kept


def test_a_tiny_picture_is_enlarged_square_by_square_and_a_photo_smoothly() -> None:
    for size, squares in ((32, True), (100, False)):
        still = frame((size, size))
        enlarged = overlays.photo(still, replace(Style(), min_side=4 * size))
        assert np.array_equal(enlarged, still.rgb.repeat(4, 0).repeat(4, 1)) is squares
