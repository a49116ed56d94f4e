"""The graded look: the photo stays what it is where the network did not look, and what it never saw is marked."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from camcli.drawing.overlays import heatmap, overlay
from camcli.drawing.styles import Style
from camcli.entries import Box, Entry, Place, Region
from camcli.records import Attribution, Frame, Kind, Question, Ref
from camcli.specs import Look, OutputSpec

WIDTH, HEIGHT = 400, 300
WHOLE: Box = (0, 0, WIDTH, HEIGHT)
GRADED, CLASSIC = Style.of(OutputSpec()), Style.of(OutputSpec(style="classic"))
GREY = Frame(Ref(0, "grey.png"), np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8))


def photo(width: int = WIDTH, height: int = HEIGHT) -> Frame:
    cells = np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Frame(Ref(0, "made.png"), np.asarray(cv2.resize(cells, (width, height)), dtype=np.uint8))


def attributed(values: ArrayLike, kind: Kind = "map", entry: Entry | None = None) -> Attribution:
    return Attribution("grad-cam", kind, "layer4", Question("t", 1.0, entry=entry), np.asarray(values, np.float32))


def change(frame: Frame, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The distance of each pixel from the photo's, in Lab (CIE76)."""
    labs = (cv2.cvtColor((rgb / 255).astype(np.float32), cv2.COLOR_RGB2Lab) for rgb in (frame.rgb, picture))
    one, other = labs
    return np.asarray(np.linalg.norm(one - other, axis=2), dtype=np.float64)


HALF = attributed(np.repeat([[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]], 6, axis=0) * np.linspace(0.7, 1, 6)[:, None])


def test_what_was_ignored_keeps_its_colours_and_what_was_used_is_tinted() -> None:
    """Of a map that is zero in its left half; the classic look tints both halves alike."""
    frame = photo()
    cold, hot = np.s_[:, : WIDTH * 7 // 16], np.s_[:, WIDTH * 9 // 16 :]
    graded, classic = (overlay(frame, WHOLE, HALF, style) for style in (GRADED, CLASSIC))
    assert np.array_equal(graded[cold], frame.rgb[cold])
    assert change(frame, graded)[hot].mean() > 20
    assert change(frame, classic)[hot].mean() / change(frame, classic)[cold].mean() < 2


def test_the_opacity_is_65_percent_of_the_value() -> None:
    """On a ramp from 0 to 1, at each value to a level; the line at half of the scale aside."""
    ramp = attributed(np.linspace(0, 1, WIDTH)[None].repeat(4, axis=0))
    frame = photo(WIDTH, 90)
    colours = heatmap(frame, (0, 0, WIDTH, 90), ramp, GRADED)[..., :3].astype(float)
    share = 0.65 * np.rint(np.linspace(0, 255, WIDTH))[None, :, None] / 255
    expected = frame.rgb * (1 - share) + colours * share
    assert np.abs(overlay(frame, (0, 0, WIDTH, 90), ramp, GRADED) - expected).max() <= 2


@pytest.mark.parametrize("box", [WHOLE, (-30.5, 20.25, 310.5, 361.25)])
def test_a_line_runs_where_the_map_is_half_of_the_scale(box: Box) -> None:
    """A ramp down from 1: the line is straight, in its middle, and nowhere else."""
    ramp = attributed(np.linspace(1, 0, 50)[:, None].repeat(50, axis=1))
    marked = overlay(GREY, box, ramp, replace(GRADED, opacity=0.0)).astype(int) - 128
    middle = (box[1] + box[3]) / 2
    inside = slice(max(0, round(box[0])), min(WIDTH, int(box[2])))
    rows = np.nonzero((np.abs(marked[..., 0]) > 20)[:, inside].all(axis=1))[0]
    rows = rows[rows > box[1]]  # above all is dimmed
    assert len(rows) >= 2
    assert np.abs(rows + 0.5 - middle).max() <= 2
    across = marked[rows.min() - 1 : rows.max() + 2, inside, 0].mean(axis=1)
    assert across.max() > 40
    assert across.min() < -40  # light in dark: seen on any ground


def test_a_line_is_drawn_around_each_strong_part_and_not_on_small_pictures() -> None:
    values = np.zeros((7, 7))
    values[1, 1] = values[5, 5] = 1
    own, bare = attributed(values), replace(GRADED, opacity=0.0)
    left = (overlay(GREY, WHOLE, own, bare) == 128).all(axis=2)
    _, _, parts, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8))
    assert sum(parts[1:, cv2.CC_STAT_AREA] > 200) == 3  # the ground, and the inside of each ring
    small = Frame(Ref(0, "small.png"), GREY.rgb[:90, :200])
    assert np.array_equal(overlay(small, (0, 0, 200, 90), own, bare), small.rgb)


def test_small_pictures_are_enlarged_before_they_are_drawn_on() -> None:
    """So that there is room for a line on them."""
    values = np.zeros((7, 7))
    values[2:5, 2:5] = 1
    tiny = Frame(Ref(0, "tiny.png"), GREY.rgb[:32, :24])
    picture = overlay(tiny, (0, 0, 24, 32), attributed(values), replace(GRADED, opacity=0.0, min_side=160))
    assert picture.shape == (160, 120, 3)
    rows, columns = np.nonzero((picture != 128).any(axis=2))
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == pytest.approx((160, 120), abs=3)


def test_no_line_where_nothing_is_half_of_the_scale_or_all_is() -> None:
    bare = replace(GRADED, opacity=0.0)
    for values, top in ((np.ones((7, 7)), None), (np.random.default_rng(0).random((7, 7)), 2.5)):
        assert np.array_equal(overlay(GREY, WHOLE, attributed(values), replace(bare, top=top)), GREY.rgb)


def test_a_region_has_one_line_its_own() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[0, 0] = True
    entry = Entry(1, "dog", 0.9, 2.0, where=Place(region=Region(mask, (0.0, 0.0, WIDTH, HEIGHT))))
    picture = overlay(GREY, WHOLE, attributed(HALF.values, entry=entry), replace(GRADED, opacity=0.0))
    assert (picture[:120, :120] != 128).any()
    assert (picture[120:, 120:] == 128).all()


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("size", [(400, 300), (4000, 3000)])
def test_what_was_never_seen_is_dimmed_a_little_and_lies_outside_of_dashes(kind: Kind, size: tuple[int, int]) -> None:
    width, height = size
    wide = max(1, round(width / 800))
    frame = photo(width, height)
    left, right = width // 8, width * 7 // 8
    own = attributed(np.ones((3, 5, 5)) if kind == "saliency" else np.ones((5, 5)), kind)
    picture = overlay(frame, (left, 0, right, height), own, GRADED)
    beside = np.concatenate([picture[:, : left - wide], picture[:, right + wide :]], axis=1)
    unseen = np.concatenate([frame.rgb[:, : left - wide], frame.rgb[:, right + wide :]], axis=1)
    assert np.array_equal(beside, np.rint(unseen * 0.6).astype(np.uint8))
    # Nothing is drawn along the edges that the view shares with the picture, and nothing inside of the view.
    clean = overlay(frame, (0, 0, width, height), own, GRADED) if kind == "map" else picture
    assert np.array_equal(picture[:wide, left:right], clean[:wide, left:right])
    for line in (picture[:, left - wide : left], picture[:, right : right + wide]):
        light = (line == 255).all(axis=(1, 2))
        assert 0.4 < light.mean() < 0.6
        assert (np.diff(light.astype(int)) != 0).sum() == pytest.approx(height / (7 * wide), abs=2)


def test_a_legend_tells_the_ends_of_the_scale() -> None:
    """In the upper right corner; of a map from 0, of a saliency from the negative end."""
    own = attributed(np.linspace(0, 3, 20).reshape(4, 5))
    told = replace(GRADED, legend=True)
    without, picture = overlay(GREY, WHOLE, own, GRADED), overlay(GREY, WHOLE, own, told)
    rows, columns = np.nonzero((without != picture).any(axis=2))
    assert rows.max() < HEIGHT / 10
    assert columns.min() > WIDTH / 2
    corner = picture[: rows.max() + 1, columns.min() :].astype(int)
    for end in ((0, 0, 4), (252, 255, 164)):
        assert (np.abs(corner - end).max(axis=2) <= 5).any()
    other = overlay(GREY, WHOLE, own, replace(told, top=4.0))
    assert not np.array_equal(other[: rows.max() + 1, -40:], picture[: rows.max() + 1, -40:])  # another number
    grey = overlay(GREY, WHOLE, attributed(np.ones((3, 4, 5)), "saliency"), told)[: rows.max() + 1, -120:]
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize("size", [(400, 300), (120, 64), (60, 300), (30, 6000), (64, 64), (6000, 30), (400, 40)])
def test_a_legend_is_drawn_whole_or_not_at_all(size: tuple[int, int]) -> None:
    """Issue: on a narrow picture .498 stood as 498, and on a low one the scale hid all of the heat."""
    height = size[1]
    frame, own = photo(*size), attributed(np.linspace(0, 0.498, 20).reshape(4, 5))
    drawn = [overlay(frame, (0, 0, *size), own, replace(GRADED, legend=legend)) for legend in (False, True)]
    rows, columns = np.nonzero((drawn[0] != drawn[1]).any(axis=2))
    if size in ((400, 300), (120, 64)):
        assert rows.max() < height / 4
        assert columns.min() > 0
        assert (drawn[1][: rows.max(), columns.min()] == 0).all()  # the ground that the numbers stand on is there
    else:
        assert not len(rows)


def test_each_style_has_colours_and_an_opacity_of_its_own() -> None:
    drawn = {look: Style.of(OutputSpec(style=look)) for look in get_args(Look)}
    assert {look: (style.colormap, style.opacity) for look, style in drawn.items()} == {
        "graded": ("inferno", 0.65),
        "classic": ("turbo", 0.5),
        "print": ("ink", 0.8),
    }
    asked = OutputSpec(style="classic", colormap="jet", opacity=0.0, max_side=9, legend=True, font="a.ttf")
    assert Style.of(asked, 2.0) == Style("jet", 0.0, 2.0, 9, "classic", True, "a.ttf")
    assert Style.of(OutputSpec()) == Style()
