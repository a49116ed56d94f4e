"""A film that is written has each frame at its time, in its colours; whole or not at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import drawn
import numpy as np
import pytest
from PIL import Image

from camcli.errors import RequestError, SetupError
from camcli.inputs import films as reading
from camcli.sinks import films
from camcli.storage.scratch import Scratch

TEN = [drawn.frame(n) for n in range(10)]
Image.init()


def written(frames: Sequence[drawn.RGB], seconds: Sequence[float], rate: Fraction | float = 10) -> Path:
    height, width = frames[0].shape[:2]
    with films.film(Path("out/a.mp4"), (width, height), rate) as writer:
        for rgb, at in zip(frames, seconds, strict=True):
            writer.add(rgb, at)
    return Path("out/a.mp4")


def read(path: Path) -> tuple[reading.Film, list[reading.Still]]:
    with reading.opened(path, 10**8) as film:
        return film, list(film.stills())


@pytest.mark.parametrize("size", [drawn.SIZE, (640, 480), (1280, 720), (127, 96), (128, 95), (127, 95)])
def test_frames_keep_their_colours_and_an_odd_side_gets_one_line_more(size: tuple[int, int]) -> None:
    pytest.importorskip("av")
    frames = [drawn.frame(n, size) for n in range(3)]
    film, stills = read(written(frames, [0, 0.1, 0.2]))
    assert film.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert (film.frames, len(stills), film.note) == (3, 3, None)
    for still, right in zip(stills, frames, strict=True):
        more = [(0, new - old) for new, old in zip(still.rgb().shape, right.shape, strict=True)]
        assert drawn.psnr(still.rgb(), np.pad(right, more, "edge")) > 35


@pytest.mark.parametrize(("size", "tag"), [(drawn.SIZE, 6), ((1280, 720), 1)])
def test_colours_are_tagged_as_they_are_encoded_and_the_index_comes_first(size: tuple[int, int], tag: int) -> None:
    av = pytest.importorskip("av")
    path = written([drawn.frame(0, size)], [0])
    with av.open(path) as film:
        (stream,) = film.streams.video
        context = stream.codec_context
        assert (context.name, stream.format.name) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (tag,) * 3 + (
            1,
        )
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("rate", [10, 30, Fraction(30000, 1001), 23.976])
def test_an_even_rate_is_kept(rate: Fraction | float) -> None:
    pytest.importorskip("av")
    film, stills = read(written(TEN * 4, [float(n / rate) for n in range(40)], rate))
    assert [still.moment.seconds for still in stills] == pytest.approx([float(n / rate) for n in range(40)], abs=1e-5)
    assert [drawn.numbered(still.rgb()) for still in stills] == [*range(10)] * 4
    assert film.rate == pytest.approx(float(rate), rel=1e-4)
    assert film.seconds == pytest.approx(float(40 / rate), abs=2e-3)


def test_each_frame_keeps_its_own_time_and_none_is_lost() -> None:
    pytest.importorskip("av")
    seconds = [0, 0.5, 0.51, 0.51, 2, 7, 7.04, 7.08, 20, 20.01]
    film, stills = read(written(TEN, seconds))
    assert [still.moment.seconds for still in stills] == pytest.approx(seconds, abs=2e-5)
    assert [drawn.numbered(still.rgb()) for still in stills] == [*range(10)]
    assert film.seconds == pytest.approx(20.11, abs=2e-3)


def test_a_part_of_a_film_begins_with_its_first_frame() -> None:
    av = pytest.importorskip("av")
    film, stills = read(path := written(TEN[5:], [n / 10 + 60 for n in range(5)]))
    assert [still.moment.seconds for still in stills] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=2e-5)
    assert film.seconds == pytest.approx(0.5, abs=2e-3)
    with av.open(path) as opened:
        assert opened.duration == pytest.approx(500_000, abs=2000)


def test_after_an_exception_there_is_no_film_and_nothing_is_left() -> None:
    pytest.importorskip("av")
    Path("out").mkdir()
    Path("out/a.mp4").write_bytes(b"the one before")

    def failing(frames: int) -> None:
        with films.film(Path("out/a.mp4"), drawn.SIZE, 10) as writer:
            for n in range(frames):
                writer.add(TEN[n], n / 10)
            raise KeyError("the caller's")

    for frames in (0, 3):
        with pytest.raises(KeyError, match="caller's"):
            failing(frames)
        assert [entry.name for entry in Path("out").iterdir()] == ["a.mp4"]
        assert Path("out/a.mp4").read_bytes() == b"the one before"


def test_a_frame_of_another_size_and_a_film_of_none_are_refused() -> None:
    pytest.importorskip("av")
    with pytest.raises(ValueError, match="a film of 128x96"):
        written([TEN[0], TEN[1][:90]], [0, 1])
    with pytest.raises(ValueError, match="no frames"), films.film(Path("b.mp4"), drawn.SIZE, 10):
        pass
    assert not Path("b.mp4").exists()


def test_a_scratch_of_the_run_is_used_and_kept() -> None:
    pytest.importorskip("av")
    scratch = Scratch(Path("out"))
    with films.film(Path("out/a.mp4"), drawn.SIZE, 10, scratch, durable=True) as writer:
        writer.add(TEN[0], 0)
        assert not Path("out/a.mp4").exists()
    assert Path("out/a.mp4").exists()
    assert not list(scratch.folder.glob("*.tmp"))
    scratch.close()


def test_a_film_that_cannot_be_written_says_so() -> None:
    pytest.importorskip("av")
    Path("out").write_text("a file")
    with pytest.raises(SetupError, match="can't write"), films.film(Path("out/a.mp4"), drawn.SIZE, 10):
        pass


def test_a_full_disk_is_no_bug() -> None:
    pytest.importorskip("av")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    scratch = Scratch(Path("out"))

    def full() -> None:
        from threading import get_ident

        (scratch.folder / f"{get_ident()}.tmp").symlink_to("/dev/full")
        with films.film(Path("out/a.mp4"), drawn.SIZE, 10, scratch) as writer:
            for n in range(10):
                writer.add(TEN[n], n / 10)

    with pytest.raises(SetupError, match="can't write"):
        full()
    scratch.close()


def test_without_h264_it_is_written_as_mpeg4_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    monkeypatch.setattr(av.codec, "codecs_available", {"mpeg4"})
    with films.film(Path("a.mp4"), drawn.SIZE, 10) as writer:
        assert writer.note is not None
        assert "MPEG-4" in writer.note
        for n, rgb in enumerate(TEN):
            writer.add(rgb, n / 10)
    _, stills = read(Path("a.mp4"))
    assert [drawn.numbered(still.rgb()) for still in stills] == [*range(10)]
    assert drawn.psnr(stills[5].rgb(), TEN[5]) > 30


def test_without_pyav_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SetupError, match=r"`pip install camcli\[video\]`"), films.film(Path("a.mp4"), (8, 8), 10):
        pass


@pytest.mark.parametrize("suffix", [".gif", ".WEBP"])
def test_an_animation_goes_on_for_ever_and_shows_the_frames(suffix: str) -> None:
    seconds = [0.125, 0.1, 0.1, 0.25, 0.125, 0.1, 0.1, 0.1, 0.1, 0.1]
    data = films.animation(TEN, seconds, suffix)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.info["loop"]) == (suffix[1:].upper(), 0)
    with reading.opened(data, 10**8) as film:
        stills = list(film.stills())
    assert [drawn.numbered(still.rgb()) for still in stills] == [*range(10)]
    assert min(drawn.psnr(still.rgb(), right) for still, right in zip(stills, TEN, strict=True)) > 24
    starts = [sum(seconds[:n]) for n in range(10)]
    assert [still.moment.seconds for still in stills] == pytest.approx(starts, abs=0.0051)  # GIF counts in hundredths


def test_what_stands_still_in_a_gif_keeps_its_colours() -> None:
    """A square of the rarest colour in the last frame does not change the palette of the first ones."""
    frames = [rgb.copy() for rgb in TEN]
    frames[-1][:40] = np.random.default_rng(0).integers(0, 256, (40, 128, 3), np.uint8)
    with reading.opened(films.animation(frames, 0.1, ".gif"), 10**8) as film:
        first, *others = [still.rgb()[48:] for still in film.stills()]
    assert all(np.array_equal(first[:20], each[:20]) for each in others)


def test_another_suffix_is_no_animation() -> None:
    with pytest.raises(RequestError, match=r"\.png is no animation: \.gif and \.webp are"):
        films.animation(TEN, 0.1, ".png")
