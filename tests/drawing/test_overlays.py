from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from results import explained

from camcli.drawing import lettering, overlays
from camcli.drawing.captions import caption, heading
from camcli.drawing.overlays import heatmap, overlay, panel
from camcli.drawing.styles import Style
from camcli.entries import Box, Entry
from camcli.maps.locating import locate
from camcli.maps.scaling import top_of
from camcli.records import Attribution, Frame, Kind, Question, Ref, Truth
from camcli.specs import COLORMAPS

GRAY = Style(colormap="gray")
CLASSIC = Style("turbo", 0.5, look="classic")


def frame_of(width: int, height: int) -> Frame:
    rgb = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(Ref(0, "made.png"), rgb)


def attributed(values: ArrayLike, kind: Kind = "map", *, label: str = "tabby", note: str | None = None) -> Attribution:
    target = Question(label, 9.5, entry=Entry(281, label, 0.8765, 9.5))
    return Attribution("grad-cam", kind, "layer4", target, np.asarray(values, dtype=np.float32), note)


def noise_map(height: int, width: int) -> Attribution:
    return attributed(np.random.default_rng(5).random((height, width)) * 7)


def cell(height: int, width: int, **cells: tuple[int, int, float]) -> NDArray[np.float32]:
    values = np.zeros((height, width), dtype=np.float32)
    for row, column, value in cells.values():
        values[row, column] = value
    return values


def test_the_heat_lies_inside_the_box_and_the_rest_is_the_dimmed_photo() -> None:
    frame, box = frame_of(90, 60), (20, 5, 70, 45)
    inside = np.zeros((60, 90), dtype=bool)
    inside[5:45, 20:70] = True
    picture = overlay(frame, box, noise_map(4, 5), CLASSIC)
    assert np.array_equal(picture[~inside], np.rint(frame.rgb[~inside] * 0.4).astype(np.uint8))
    colours = heatmap(frame, box, noise_map(4, 5), CLASSIC)
    assert np.array_equal(colours[..., 3], np.where(inside, 255, 0))
    mixed = colours[inside][:, :3] * 0.5 + frame.rgb[inside] * 0.5
    assert np.abs(picture[inside] - mixed).max() <= 0.5


@pytest.mark.parametrize(
    ("cells", "size"), [((7, 7), (224, 224)), ((5, 8), (301, 190)), ((12, 3), (50, 333)), ((1, 1), (9, 4))]
)
def test_upsampling_is_bilinear_between_cell_centres(cells: tuple[int, int], size: tuple[int, int]) -> None:
    own = noise_map(*cells)
    painted = heatmap(frame_of(*size), (0, 0, *size), own, GRAY)[..., 0]
    scaled = torch.from_numpy(own.values / own.values.max())[None, None]
    expected = torch.nn.functional.interpolate(scaled, size[::-1], mode="bilinear", align_corners=False)[0, 0]
    assert np.abs(painted - np.rint(expected.numpy() * 255)).max() <= 1


@pytest.mark.parametrize("cells", [(7, 7), (14, 14), (3, 50)])
@pytest.mark.parametrize(
    "size", [(6000, 30), (30, 6000), (1025, 1), (1, 2048), (1100, 900), (900, 1100), (2500, 100), (4000, 700)]
)
def test_large_and_elongated_pictures_have_the_colours_of_their_levels(
    cells: tuple[int, int], size: tuple[int, int]
) -> None:
    """Issue: 6000x30 was coloured at 1024x5, and lost rows of its map."""
    width, height = size
    own = noise_map(*cells)
    levels = np.rint(own.values / own.values.max() * 255)
    columns = np.clip((np.arange(width) + 0.5) / width * cells[1] - 0.5, 0, cells[1] - 1)
    rows = np.clip((np.arange(height) + 0.5) / height * cells[0] - 0.5, 0, cells[0] - 1)
    across = np.array([np.interp(columns, np.arange(cells[1]), row) for row in levels])
    expected = np.array([np.interp(rows, np.arange(cells[0]), column) for column in across.T]).T
    frame, box = frame_of(*size), (0, 0, *size)
    assert np.abs(heatmap(frame, box, own, GRAY)[..., 0] - expected).max() <= 1
    fine = heatmap(frame, box, own, GRAY)[..., 0]
    table = heatmap(frame_of(256, 1), (0, 0, 256, 1), attributed([np.arange(256)]), Style("turbo"))[0, :, :3]
    assert np.array_equal(heatmap(frame, box, own, Style("turbo"))[..., :3], table[fine])


@pytest.mark.parametrize("peak", [(0, 6), (3, 1), (1, 4)])
@pytest.mark.parametrize("box", [(0, 0, 240, 120), (30, 10, 230, 110)])
def test_the_heat_peaks_where_the_map_does(peak: tuple[int, int], box: Box) -> None:
    own = attributed(cell(4, 8, at=(*peak, 2.0)))
    picture = heatmap(frame_of(240, 120), box, own, GRAY)[..., 0].astype(int)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert (row - box[1]) * 4 // (box[3] - box[1]) == peak[0]
    assert (column - box[0]) * 8 // (box[2] - box[0]) == peak[1]


# The published ends of each map, low and high, as RGB.
ENDS = {
    "turbo": ((48, 18, 59), (122, 4, 3)),
    "jet": ((0, 0, 128), (128, 0, 0)),
    "viridis": ((68, 1, 84), (253, 231, 37)),
    "inferno": ((0, 0, 4), (252, 255, 164)),
    "magma": ((0, 0, 4), (252, 253, 191)),
    "plasma": ((13, 8, 135), (240, 249, 33)),
    "cividis": ((0, 34, 78), (254, 232, 56)),
    "hot": ((0, 0, 0), (255, 255, 255)),
    "bone": ((0, 0, 0), (255, 255, 255)),
    "gray": ((0, 0, 0), (255, 255, 255)),
}


@pytest.mark.parametrize("name", COLORMAPS)
def test_colours_run_from_the_low_end_to_the_high_one_in_rgb(name: str) -> None:
    colours = heatmap(frame_of(80, 20), (0, 0, 80, 20), attributed([[0.0, 3.0]]), Style(name))[..., :3].astype(int)
    assert np.abs(colours[0, 0] - ENDS[name][0]).max() <= 5
    assert np.abs(colours[0, -1] - ENDS[name][1]).max() <= 5
    assert len(np.unique(colours[0], axis=0)) > 20


def test_opacity_runs_from_the_photo_to_the_heat() -> None:
    frame, box, own = frame_of(50, 40), (0, 0, 50, 40), noise_map(3, 4)
    for look in (CLASSIC, Style()):
        assert np.array_equal(overlay(frame, box, own, replace(look, opacity=0.0)), frame.rgb)
    opaque = replace(CLASSIC, opacity=1.0)
    assert np.array_equal(overlay(frame, box, own, opaque), heatmap(frame, box, own, CLASSIC)[..., :3])


@pytest.mark.parametrize(("kind", "shape"), [("map", (3, 4)), ("saliency", (3, 8, 6))])
def test_a_blank_answer_paints_nothing(kind: Kind, shape: tuple[int, ...]) -> None:
    frame, box = frame_of(50, 40), (10, 0, 40, 40)
    blank = attributed(np.zeros(shape), kind)
    for look, brightness in ((CLASSIC, 0.4), (Style(legend=True), 0.6)):
        picture = overlay(frame, box, blank, look)
        assert np.array_equal(picture[:, 10:40], frame.rgb[:, 10:40])
        assert np.array_equal(picture[:, :9], np.rint(frame.rgb[:, :9] * brightness))
    level = heatmap(frame, box, blank, GRAY)[:, 10:40, :3]
    assert (level == (0 if kind == "map" else 128)).all()


def test_a_saliency_is_grey_in_the_middle_and_symmetric() -> None:
    frame, box = frame_of(50, 40), (0, 0, 50, 40)
    values = np.random.default_rng(1).normal(size=(3, 40, 50))
    values[:, :, :10] = 0
    up, down = (heatmap(frame, box, attributed(v, "saliency"), Style()).astype(int)[..., :3] for v in (values, -values))
    assert np.abs(up + down - 255).max() <= 1
    assert set(np.unique(up[:, :10])) <= {127, 128}
    strong = np.abs(values) > 0.1
    assert np.array_equal(up.transpose(2, 0, 1)[strong] > 127.5, values[strong] > 0)
    # It takes the photo's place, whatever the opacity.
    assert np.array_equal(overlay(frame, box, attributed(values, "saliency"), Style(opacity=0.3)), up)


def test_a_saliencys_channels_are_red_green_blue() -> None:
    values = np.zeros((3, 4, 5))
    values[0, :, 0], values[2, :, 4] = 1, -1
    picture = heatmap(frame_of(5, 4), (0, 0, 5, 4), attributed(values, "saliency"), Style())
    assert picture[0, 0, :3].tolist() == [255, 128, 128]
    assert picture[0, 4, :3].tolist() == [128, 128, 0]


def test_one_top_makes_two_pictures_comparable() -> None:
    frame, box = frame_of(60, 20), (0, 0, 60, 20)
    weak, strong = attributed([[0.0, 1.0]]), attributed([[4.0, 1.0]])

    def colour(own: Attribution, column: int, top: float | None) -> list[int]:
        found: list[int] = heatmap(frame, box, own, Style(top=top))[0, column].tolist()
        return found

    assert colour(weak, -1, 4.0) == colour(strong, -1, 4.0)
    assert colour(weak, -1, None) != colour(strong, -1, None)
    assert colour(weak, -1, None) == colour(strong, 0, None)  # each one's own maximum
    assert colour(strong, 0, 2.0) == colour(strong, 0, 4.0)  # what is above the top is the top


def test_the_top_of_a_map_is_its_maximum_of_a_saliency_nearly() -> None:
    assert top_of(attributed([[0.5, 2.5], [0.0, 1.0]]).values, "map") == 2.5
    ramp = attributed(np.arange(3000).reshape(3, 25, 40) * np.where(np.arange(40) % 2, 1, -1), "saliency")
    assert top_of(ramp.values, "saliency") == pytest.approx(2999 * 0.995, abs=0.01)
    assert CLASSIC.top_of(ramp) == top_of(ramp.values, "saliency")
    # Stretched, so that it is seen in small; but not where one scale is to hold for several.
    assert Style().top_of(ramp) == pytest.approx(2999 * 0.98, abs=0.01)
    assert Style(top=7.0).top_of(ramp) == 7.0


def test_a_saliency_of_few_values_is_not_drawn_blank() -> None:
    values = np.zeros((3, 40, 50))
    values[:, 3, 4] = -2
    own = attributed(values, "saliency")
    assert Style().top_of(own) == CLASSIC.top_of(own) == 2
    assert heatmap(frame_of(50, 40), (0, 0, 50, 40), own, Style())[3, 4, :3].max() == 0


def test_a_box_that_sticks_out_is_cut_by_the_frame() -> None:
    own = noise_map(7, 7)
    whole = heatmap(frame_of(100, 100), (0, 0, 100, 100), own, Style())
    assert np.array_equal(heatmap(frame_of(100, 60), (0, -20, 100, 80), own, Style()), whole[20:80])
    assert np.array_equal(heatmap(frame_of(50, 100), (-25, 0, 75, 100), own, Style()), whole[:, 25:75])
    assert overlay(frame_of(100, 60), (0, -20, 100, 80), own, Style()).shape == (60, 100, 3)


@pytest.mark.parametrize("size", [(400, 300), (300, 400)])
def test_max_side_shrinks_the_photo_and_its_box_alike(size: tuple[int, int]) -> None:
    width, height = size
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    box = (width // 4, height // 5, width * 3 // 4, height * 4 // 5)
    rgb[box[1] : box[3], box[0] : box[2]] = 250
    frame, small = Frame(Ref(0, "made"), rgb), replace(CLASSIC, opacity=0, max_side=100)
    shape = (75, 100) if width > height else (100, 75)
    picture, colours = (draw(frame, box, noise_map(3, 4), small) for draw in (overlay, heatmap))
    assert picture.shape == (*shape, 3)
    # The bright part of the photo, averaged over its pixels, is where the box now is, to the pixel.
    rows, columns = np.nonzero(colours[..., 3])
    assert (rows.min(), rows.max() + 1) == (shape[0] // 5, shape[0] * 4 // 5)
    assert columns.min() == pytest.approx(shape[1] / 4, abs=0.5)
    assert columns.max() + 1 == pytest.approx(shape[1] * 3 / 4, abs=0.5)
    assert (picture[..., 0] > 125).sum() == pytest.approx(len(rows), abs=shape[0])
    assert np.array_equal(
        overlay(frame, box, noise_map(3, 4), Style(max_side=400)), overlay(frame, box, noise_map(3, 4), Style())
    )


@pytest.mark.parametrize("label", ["tabby", "a label that goes on and on " * 3])
def test_a_panel_is_the_photo_the_overlay_and_a_caption_that_fits(label: str) -> None:
    frame, box, own = frame_of(320, 200), (60, 0, 260, 200), attributed([[0.0, 1.0]], label=label)
    picture = panel(frame, box, own, Style(), "made.png  ·  resnet50  ·  predicted 281 tabby")
    assert np.array_equal(picture[:200, :320], frame.rgb)
    assert np.array_equal(picture[:200, 320:], overlay(frame, box, own, Style()))
    strip = picture[200:].min(axis=2)
    assert strip.shape[1] == 640
    assert 8 <= strip.shape[0] < 100
    inked = np.nonzero((strip < 128).any(axis=0))[0]
    assert len(inked) > 100
    assert (strip[:, :2] == 255).all()
    assert (strip[:, -2:] == 255).all()
    assert (strip[[0, -1]] == 255).all()


def lines_of(picture: NDArray[np.uint8], height: int) -> int:
    """The lines of text under a picture of that height."""
    inked = (picture[height:].min(axis=2) < 128).any(axis=1)
    # The dots of an i are lines of their own otherwise.
    joined = cv2.dilate(inked[:, None].astype(np.uint8), np.ones((3, 1)))[:, 0]
    return int((np.diff(joined.astype(int), prepend=0) == 1).sum())


def test_a_panel_has_as_many_lines_as_there_is_to_say() -> None:
    frame, own, heading = frame_of(320, 200), attributed([[0.0, 1.0]]), "made.png  ·  resnet50"
    assert lines_of(panel(frame, (0, 0, 320, 200), own, Style()), 200) == 1
    assert lines_of(panel(frame, (0, 0, 320, 200), own, Style(), heading), 200) == 2
    noted = attributed([[0.0, 1.0]], note="a note that goes on and on, longer than the panel is wide with all the rest")
    assert lines_of(panel(frame, (0, 0, 320, 200), noted, Style(), heading), 200) == 3


def test_a_panel_says_that_something_was_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fitted = lettering.fitted

    def heard(lines: list[str], width: float, file: str | None) -> tuple[list[str], lettering.Letters]:
        said.append("\n".join(lines))
        return fitted(lines, width, file)

    monkeypatch.setattr(lettering, "fitted", heard)
    for box in ((60, 0, 260, 200), (0, 0, 320, 200), (0, -60, 320, 260)):
        panel(frame_of(320, 200), box, attributed([[0.0, 1.0]]), Style())
    assert ["dimmed: not seen" in text for text in said] == [True, False, False]


def test_the_heading_sets_the_prediction_against_the_truth() -> None:
    result = explained("pets/my dog.jpeg")
    assert heading(result) == "my dog.jpeg  ·  net  ·  predicted 242 boxer"
    wrong, right = Truth(243, "bull mastiff", correct=False), Truth(242, "boxer", correct=True)
    assert heading(replace(result, truth=wrong)).endswith("predicted 242 boxer, truth 243 bull mastiff")
    assert heading(replace(result, truth=right)).endswith("predicted 242 boxer: right")
    # One output of a network without classes is no prediction, and an embedding has none.
    assert heading(replace(result, top=(Entry(0, "angle", None, 1.5),))) == "my dog.jpeg  ·  net"
    assert heading(replace(result, top=())) == "my dog.jpeg  ·  net"


def test_the_caption_says_what_is_seen_and_why_it_is_blank() -> None:
    assert caption(attributed([[1.0]])) == "281 tabby  ·  p = 0.876  ·  grad-cam  ·  layer4"
    assert caption(attributed([[0.0]], note="no gradient")).endswith("layer4  ·  no gradient")


def test_a_place_in_a_map_of_8_pixel_cells() -> None:
    """Cell (1, 5) is centred on (44, 12) of the box. Its tent falls below 15 % between 6.5 and 7.5 pixels from it."""
    own = attributed(cell(5, 7, at=(1, 5, 3.0)))
    assert locate(own, (0, 0, 56, 40), (56, 40)) == ((43, 11), (37, 5, 51, 19))
    assert locate(own, (100, 30, 156, 70), (200, 90)) == ((143, 41), (137, 35, 151, 49))


def test_a_place_in_a_large_frame_is_right_to_a_256th() -> None:
    peak, bbox = locate(attributed(cell(5, 7, at=(1, 5, 3.0))), (200, 100, 2300, 1600), (2500, 1700))
    assert peak is not None
    assert bbox is not None
    assert np.abs(np.subtract(peak, (200 + 5.5 * 300, 100 + 1.5 * 300))).max() <= 2100 / 256
    tent = 0.85 * 300
    assert np.abs(np.subtract(bbox, (1850 - tent, 550 - tent, 1850 + tent, 550 + tent))).max() <= 2 * 2100 / 256


def test_the_box_is_of_the_largest_part_and_the_peak_of_the_highest() -> None:
    own = attributed(cell(6, 9, peak=(0, 8, 1.0), a=(4, 1, 0.6), b=(4, 2, 0.6), c=(5, 1, 0.6)))
    peak, bbox = locate(own, (0, 0, 72, 48), (72, 48))
    assert peak is not None
    assert peak[0] >= 64
    assert peak[1] < 8
    # The tents of 0.6 reach 0.15 at three quarters of a cell, 6 pixels, from the outer centres (12, 36) and (20, 44).
    assert bbox == (6, 30, 26, 48)


def test_what_lies_outside_the_frame_is_no_place() -> None:
    own = attributed(cell(10, 10, padding=(0, 3, 9.0), inside=(6, 7, 1.0)))
    peak, bbox = locate(own, (0, -20, 80, 60), (80, 40))
    assert peak == (59, 31)
    assert bbox == (53, 25, 67, 39)
    assert locate(attributed(cell(10, 10, padding=(0, 3, 9.0))), (0, -20, 80, 60), (80, 40)) == (None, None)


def test_a_blank_answer_has_no_place_and_a_saliency_no_box() -> None:
    assert locate(attributed(np.zeros((4, 5))), (0, 0, 50, 40), (50, 40)) == (None, None)
    assert locate(attributed(np.zeros((3, 4, 5)), "saliency"), (0, 0, 5, 4), (5, 4)) == (None, None)
    values = np.zeros((3, 40, 50))
    values[0, 5, 6], values[2, 30, 41] = 2, -3  # the strongest is negative
    assert locate(attributed(values, "saliency"), (10, 20, 60, 60), (70, 80)) == ((51, 50), None)


def test_drawing_leaves_the_raw_values_and_the_photo_alone() -> None:
    frame, own = frame_of(50, 40), noise_map(3, 4)
    before = frame.rgb.copy(), own.values.copy()
    for draw in (overlays.overlay, overlays.heatmap, overlays.panel):
        draw(frame, (5, 0, 45, 40), own, Style(max_side=None))
    locate(own, (0, -20, 50, 60), frame.size)
    assert np.array_equal(frame.rgb, before[0])
    assert np.array_equal(own.values, before[1])


def test_any_map_is_drawn_anywhere() -> None:
    """Maps of all sizes in boxes that may stick out, over pictures of all sizes: a line of one piece, or of none."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height = (int(side) for side in rng.integers(20, 300, 2))
        frame = Frame(Ref(0, "a.png"), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        values = rng.random(tuple(rng.integers(1, 16, 2))).astype(np.float32)
        x0, y0 = rng.uniform(-20, 19, 2)
        x1, y1 = rng.uniform(60, 320, 2)
        box = float(x0), float(y0), float(x1), float(y1)
        style = Style(max_side=int(rng.integers(16, 400)), min_side=int(rng.choice([0, 120, 500])))
        drawn = overlays.overlay(frame, box, attributed(values), style)
        assert drawn.dtype == np.uint8
        assert drawn.ndim == 3
