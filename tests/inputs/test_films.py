"""Each frame of a film is given, as it was drawn, at its time; what is no film, or breaks off, is refused as that."""

from __future__ import annotations

import io
import sys
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pytest
from PIL import Image
from variants import thinned

from camcli.errors import InputError, RequestError, SetupError
from camcli.inputs import films
from camcli.inputs.decoding import read_frame
from camcli.inputs.films import At, Still, at, is_animated, is_film
from camcli.inputs.guards import Source
from camcli.records import Moment, Ref

Image.init()
LARGE = 10**8
HUNDRED = [drawn.frame(n) for n in range(100)]
TEN = HUNDRED[:10]


def stills(source: Source, start: At | None = None, end: At | None = None, every: int = 1) -> list[Still]:
    with films.opened(source, LARGE) as film:
        return list(film.stills(start, end, every))


def numbers(found: Sequence[Still]) -> list[int]:
    return [still.moment.number for still in found]


def until_it_breaks(source: Source, max_pixels: int = LARGE) -> tuple[list[Still], tuple[str, str, str]]:
    found: list[Still] = []
    with pytest.raises(InputError) as caught, films.opened(source, max_pixels) as film:
        found += film.stills()
    return found, (caught.value.stage, caught.value.kind, str(caught.value))


def refusal(source: Source, max_pixels: int = LARGE) -> tuple[str, str, str]:
    found, said = until_it_breaks(source, max_pixels)
    assert not found
    return said


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2.5", At(2.5)),
        ("2.5s", At(2.5)),
        (".5", At(0.5)),
        ("90", At(90)),
        ("1:30", At(90)),
        ("1:02:03.5", At(3723.5)),
        ("40f", At(frame=40)),
        (" 0 ", At(0)),
    ],
)
def test_a_place_is_a_time_or_a_frame(text: str, place: At) -> None:
    assert at(text) == place


@pytest.mark.parametrize("text", ["", "f", "-1", "1:60", "1:99:00", "1e3", "nan", "2,5", "1:2:3:4", "4.5f", "²"])
def test_what_is_no_place_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(RequestError, match=r"write seconds, .* or a frame, 40f"):
        at(text)


def of_colours(paths: list[Path], colours: Sequence[int]) -> list[Path]:
    for path, grey in zip(paths, colours, strict=True):
        Image.new("RGB", (8, 6), (grey,) * 3).save(path)
    return paths


def test_a_folder_of_frames_is_a_film_without_a_clock() -> None:
    paths = of_colours([Path(f"{n}.png") for n in range(9)], range(9))
    film = films.of_pictures(paths, LARGE)
    assert (film.size, film.rate, film.frames, film.seconds) == ((8, 6), None, 9, None)
    found = list(film.stills(At(frame=2), At(frame=8), every=2))
    assert [still.moment for still in found] == [Moment(n, float(n)) for n in (2, 4, 6)]
    assert [still.rgb()[0, 0, 0] for still in found] == [2, 4, 6]


def test_a_frame_of_another_size_is_refused_and_the_others_are_not() -> None:
    paths = of_colours([Path(f"{n}.png") for n in range(3)], range(3))
    Image.new("RGB", (6, 8)).save(paths[1])
    one, two, three = films.of_pictures(paths, LARGE).stills()
    with pytest.raises(InputError, match=r"1\.png is 6x8, and the first frame, 0\.png, 8x6") as caught:
        two.rgb()
    assert caught.value.kind == "size"
    assert (one.rgb()[0, 0, 0], three.rgb()[0, 0, 0]) == (0, 2)


def clear(number: int) -> Image.Image:
    picture = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
    picture.paste((200, number * 20, 0, 255), (number, 4, number + 8, 12))
    picture.paste((0, 90, 200, 120), (0, 20, 32, 24))
    return picture


ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_animated_picture_is_a_film(kind: str) -> None:
    if kind not in Image.SAVE_ALL:
        pytest.skip(f"this Pillow can't write an animated {kind}")
    options: dict[str, dict[str, Any]] = {
        "GIF": {"disposal": 2},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    data = drawn.animation([clear(n) for n in range(5)], kind, duration=[50, 100, 150, 50, 50], **options.get(kind, {}))
    Path("a.bin").write_bytes(data)
    assert is_animated(data)
    assert is_animated(Path("a.bin"))
    with films.opened(data, LARGE) as film:
        assert (film.size, film.frames) == ((32, 24), 5)
        assert film.rate == pytest.approx(12.5)
        found = list(film.stills())
    assert np.array_equal(found[0].rgb(), read_frame(Ref(0, "a", data=data)).rgb)
    assert [still.moment.seconds for still in found] == pytest.approx([0, 0.05, 0.15, 0.3, 0.35])
    for number, still in enumerate(found):
        rgb = still.rgb().astype(int)
        assert abs(rgb[8, number + 4] - (200, number * 20, 0)).max() <= 12
        assert abs(rgb[8, 28] - 255).max() <= 3  # white shows through, and no trace of the frames before
    assert numbers(stills(data, At(0.15), At(frame=4))) == [2, 3]


def test_a_gif_without_durations_is_shown_as_browsers_do() -> None:
    data = drawn.animation([clear(n) for n in range(3)], "GIF", duration=0)
    assert [still.moment.seconds for still in stills(data)] == pytest.approx([0, 0.1, 0.2])


def test_a_png_shows_its_frames_and_not_what_stands_for_them() -> None:
    shown = [Image.new("RGB", (8, 8), (n * 50, 0, 0)) for n in range(4)]
    data = drawn.animation(shown, "PNG", default_image=True, duration=100)
    assert [still.rgb()[0, 0, 0] for still in stills(data)] == [50, 100, 150]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP"])
def test_a_still_picture_is_no_film(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, kind)
    assert refusal(buffer.getvalue())[:2] == ("open", "still")
    assert not is_animated(buffer.getvalue())
    assert not is_film(buffer.getvalue())


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_that_is_cut_off_gives_its_good_frames(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 24, 32), np.uint8)
    whole = drawn.animation([Image.fromarray(each) for each in noise], kind, duration=100)
    frames = [still.rgb() for still in stills(whole)]
    for tenth in range(1, 10):
        found, (_, reason, said) = until_it_breaks(whole[: len(whole) * tenth // 10])
        assert reason in ("broken", "not-a-picture", "still"), said
        assert all(np.array_equal(still.rgb(), right) for still, right in zip(found, frames, strict=False))
        assert kind == "WEBP" or tenth < 5 or f"breaks off after frame {len(found) - 1} (" in said


def test_a_large_animation_is_refused() -> None:
    data = drawn.animation([clear(n) for n in range(3)], "GIF")
    assert refusal(data, 32 * 24 - 1)[:2] == ("decode", "too-large")


def test_without_pyav_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    Path("a.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    with pytest.raises(SetupError, match=r"`pip install camcli\[video\]`"), films.opened(Path("a.mp4"), LARGE):
        pass


def test_an_old_pyav_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("av"), "__version__", "14.1.0")
    with pytest.raises(SetupError, match=r"PyAV 17\.1 or later, and 14\.1\.0 is here"):
        stills(drawn.video(TEN))


def test_films_are_told_by_name_and_by_their_beginning() -> None:
    assert is_film(Path("A.MP4"))
    assert not is_film(Path("a.gif"))
    Path("code.ts").write_text("const films: number[] = [];\n" * 100)
    assert not is_film(Path("code.ts"))
    Path("wide.ts").write_bytes((b"G" + bytes(187)) * 9)
    assert is_film(Path("wide.ts"))
    for head in (b"\x1aE\xdf\xa3", b"OggS\0", b"\0\0\0\x08wide\0\0\0\0mdat"):
        assert is_film(head + bytes(900))
    assert not is_film(b"dir/wide/moov.png\n" * 99)


FORMATS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("prores", "yuv422p10le"),
    "matroska": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "mpeg": ("mpeg2video", "yuv420p"),
    "mpegts": ("libx264", "yuv420p"),
    "3gp": ("mpeg4", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "asf": ("wmv2", "yuv420p"),
}
QUICK: dict[str, Any] = {"options": {"deadline": "realtime", "cpu-used": "8"}}


def hundred(container: str) -> bytes:
    codec, pixels = FORMATS[container]
    return drawn.video(HUNDRED, container, codec, pixels, **(QUICK if container == "webm" else {}))


@pytest.mark.parametrize("container", thinned(FORMATS, 3))
def test_all_frames_are_given_and_a_film_that_is_cut_off_says_where(container: str) -> None:
    """B-frames are held back by the decoder, and the last ones come only when it is asked for them."""
    pytest.importorskip("av")
    whole = hundred(container)
    assert is_film(whole)
    right = stills(whole)
    assert numbers(right) == list(range(100))
    assert [still.moment.seconds for still in right] == pytest.approx([n / 30 for n in range(100)], abs=1.1e-3)
    assert [drawn.numbered(still.rgb()) for still in right] == list(range(100))
    if container == "mpegts":
        return  # where a stream ends, nothing tells that it was longer
    ends = 0
    for tenth in range(1, 10):
        cut = whole[: len(whole) * tenth // 10]
        try:
            assert container in ("avi", "mpeg", "asf")  # what is behind their pictures can be missing
            assert numbers(stills(cut))
        except (AssertionError, InputError):
            found, (_, kind, said) = until_it_breaks(cut)
            assert kind in ("broken", "not-a-picture")
            ends += len(found) > 0
            if found:
                last = found[-1].moment
                assert f"breaks off after frame {last.number} ({last.seconds:.2f} s): " in said
            for still, good in zip(found, right, strict=False):
                assert still.moment == good.moment
            for still, good in list(zip(found, right, strict=False))[-3:]:
                assert np.array_equal(still.rgb(), good.rgb())
    assert ends > 3 or container in ("mov", "3gp")  # whose header is at the end


def test_frames_are_chosen_by_time_and_number() -> None:
    pytest.importorskip("av")
    film = drawn.video(TEN, rate=10)
    assert numbers(stills(film, At(0.3), At(0.6))) == [3, 4, 5]
    assert numbers(stills(film, At(frame=1), At(frame=9), every=3)) == [1, 4, 7]
    assert numbers(stills(film, At(0.25), every=4)) == [3, 7]
    assert numbers(stills(film, None, At(0.0))) == []
    assert numbers(stills(film, At(99))) == []
    assert [drawn.numbered(still.rgb()) for still in stills(film, At(0.7))] == [7, 8, 9]
    with pytest.raises(ValueError, match="every"):
        stills(film, every=0)


def test_a_film_can_be_read_again_and_an_end_hides_what_is_broken_behind_it() -> None:
    pytest.importorskip("av")
    whole = hundred("mp4")
    with films.opened(whole[: len(whole) * 7 // 10], LARGE) as film:
        assert numbers(list(film.stills(None, At(frame=9)))) == list(range(9))
        with pytest.raises(InputError, match="breaks off"):
            list(film.stills())
        assert numbers(list(film.stills(None, At(frame=3)))) == [0, 1, 2]


def test_times_are_the_frames_own() -> None:
    pytest.importorskip("av")
    ticks = [5, 6, 9, 20, 21, 22, 40, 41, 60, 61]
    for container in ("mp4", "matroska"):
        found = stills(drawn.video(TEN, container, rate=10, ticks=ticks))
        expected = [(tick - 5) / 10 for tick in ticks]
        assert [still.moment.seconds for still in found] == pytest.approx(expected, abs=1e-9)


def test_pixels_are_converted_in_any_thread_when_they_are_asked_for() -> None:
    pytest.importorskip("av")
    found = stills(drawn.video(HUNDRED))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda still: drawn.numbered(still.rgb()), found)) == list(range(100))
        first = list(pool.map(lambda _: found[0].rgb(), range(20)))
    assert all(np.array_equal(first[0], each) for each in first)


COLOURS: dict[str, tuple[tuple[int, int], str, str, dict[str, Any]]] = {
    "SD without tags": (drawn.SIZE, "libx264", "yuv420p", {"colorspace": 2, "context": 6}),
    "SD, BT.709": (drawn.SIZE, "libx264", "yuv420p", {"colorspace": 1}),
    "SD, full range": (drawn.SIZE, "libx264", "yuv420p", {"colorspace": 1, "color_range": 2}),
    "HD without tags": ((1280, 720), "libx264", "yuv420p", {"context": 1}),
    "HD, BT.601": ((1280, 720), "libx264", "yuv420p", {"colorspace": 6}),
    "10 bits": (drawn.SIZE, "libx264", "yuv420p10le", {"colorspace": 1}),
    "10 bits, 4:2:2": (drawn.SIZE, "libx264", "yuv422p10le", {"colorspace": 1}),
    "JPEG": (drawn.SIZE, "mjpeg", "yuvj420p", {"colorspace": 6, "color_range": 2}),
    "RGB": (drawn.SIZE, "libx264rgb", "rgb24", {}),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_those_that_were_drawn(name: str) -> None:
    pytest.importorskip("av")
    size, codec, pixels, tags = COLOURS[name]
    options = {"crf": "4", "preset": "ultrafast"} if "264" in codec else {}
    frames = [drawn.frame(n, size) for n in range(3)]
    film = drawn.video(frames, "matroska", codec, pixels, options=options, **tags)
    for still, right in zip(stills(film), frames, strict=True):
        assert drawn.psnr(still.rgb(), right) > 35


def test_transparency_is_laid_over_white() -> None:
    pytest.importorskip("av")
    rgba = np.dstack([drawn.frame(0), np.full(drawn.SIZE[::-1], 255, np.uint8)])
    rgba[:20, :20, 3] = 0
    film = drawn.video([rgba], "mov", "qtrle", "argb")
    expected = rgba[..., :3].copy()
    expected[:20, :20] = 255
    assert np.array_equal(stills(film)[0].rgb(), expected)


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_phones_film_is_upright(turn: int) -> None:
    pytest.importorskip("av")
    film = drawn.video(TEN, turn=turn)
    right = np.rot90(drawn.frame(0), turn // 90)
    with films.opened(film, LARGE) as opened:
        assert opened.size == (right.shape[1], right.shape[0])
        assert drawn.psnr(next(iter(opened.stills())).rgb(), right) > 30


def test_what_is_unusual_is_noted() -> None:
    pytest.importorskip("av")

    def note(**context: Any) -> str | None:
        with films.opened(drawn.video(TEN, "matroska", **context), LARGE) as film:
            return film.note

    assert note() is None
    assert note(color_trc=16) == "HDR, shown without tone mapping"
    assert note(sample_aspect_ratio=Fraction(4, 3)) == "its pixels are not square, 4:3, and shown as if they were"
    assert note(options={"flags": "+ildct"}) == "interlaced, shown as it is"


def other_film() -> Path:
    Path("other.mp4").write_bytes(drawn.video(TEN))
    return Path("other.mp4").absolute()


HOSTILE = {
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nFILE\n#EXT-X-ENDLIST\n",
    "list": "ffconcat version 1.0\nfile FILE\n",
    "manifest": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1">'
    "<BaseURL>FILE</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "text": "a film, in words\n" * 99,
    "page": "<!doctype html>\n<video src=FILE>",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd"])
def test_a_file_that_names_others_is_no_film(name: str, suffix: str) -> None:
    pytest.importorskip("av")
    path = Path(f"named{suffix}")
    path.write_text(HOSTILE[name].replace("FILE", str(other_film())))
    for source in (path, path.read_bytes()):
        assert refusal(source)[1] == "not-a-picture"


@pytest.mark.parametrize(
    "name", ["concat:other.mp4|b.mp4", "subfile,,start,0,end,0,,:other.mp4", "pipe:0", "a%03d.mp4"]
)
def test_a_name_is_never_an_address(name: str) -> None:
    pytest.importorskip("av")
    other_film()
    with pytest.raises(InputError) as caught, films.opened(Path(name), LARGE):
        pass
    assert caught.value.kind == "missing"
    Path(name).write_bytes(drawn.video(TEN[:4]))
    assert numbers(stills(Path(name))) == [0, 1, 2, 3]


def test_a_film_may_not_lean_on_another_file() -> None:
    """QuickTime's external references: the header in one file, the pictures in another."""
    pytest.importorskip("av")
    whole = other_film().read_bytes()
    pointing = b"alis" + bytes(4) + b"url \0\0\0\0other.mp4\0"
    at_url = whole.index(b"url \0\0\0\1")
    found, (_, kind, _) = until_it_breaks(whole[:at_url] + b"url \0\0\0\0" + whole[at_url + 8 : at_url + 40] + pointing)
    assert kind == "broken"
    assert not found


@pytest.mark.parametrize(
    "data", [b"\0" * 5000, np.random.default_rng(1).bytes(9000), b"\0\0\0\x18ftypisom" + bytes(99)]
)
def test_bytes_that_are_no_film_are_refused(data: bytes) -> None:
    pytest.importorskip("av")
    assert refusal(data)[1] in ("not-a-picture", "broken")


def test_an_empty_file_a_missing_one_and_a_folder_are_refused() -> None:
    Path("empty.mp4").touch()
    assert [refusal(source)[1] for source in (Path("empty.mp4"), b"", Path("no.mp4"), Path.cwd())] == [
        "empty",
        "empty",
        "missing",
        "not-a-file",
    ]


def test_a_file_that_goes_while_its_film_is_open_is_missing() -> None:
    pytest.importorskip("av")
    path = other_film()
    with films.opened(path, LARGE) as film:
        path.unlink()
        with pytest.raises(InputError, match="no such file"):
            list(film.stills())


def test_sound_alone_is_no_film() -> None:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    assert refusal(buffer.getvalue())[1] == "not-a-picture"
    with av.open("sound.mkv", "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        heard.sample_rate = 8000
        output.mux(stream.encode(heard))
    assert refusal(Path("sound.mkv"))[1:] == (
        "not-a-picture",
        "no film: there are no moving pictures in it, or its header is cut off",
    )


@pytest.mark.exhaustive
def test_large_frames_are_refused_before_they_are_decoded() -> None:
    pytest.importorskip("av")
    film = drawn.video(TEN)
    assert refusal(film, 128 * 96 - 1)[:2] == ("decode", "too-large")
    # A stream of 9000x9000, flat and therefore tiny.
    from camcli.inputs.streams import MAX_FILM_PIXELS

    huge = drawn.video([np.zeros((9000, 9000, 3), np.uint8)], options={"preset": "ultrafast"})
    assert len(huge) < 1_000_000
    assert MAX_FILM_PIXELS < 9000 * 9000
    _, kind, said = refusal(huge)
    assert (kind, said[:9]) == ("too-large", "9000x9000")


@pytest.mark.parametrize(("size", "kind"), [((112, 64), "broken"), ((160, 128), "broken"), ((320, 240), "too-large")])
def test_a_film_that_changes_its_size_breaks_off_there(size: tuple[int, int], kind: str) -> None:
    pytest.importorskip("av")
    parts = [drawn.video(each, "mpegts") for each in (TEN, [drawn.frame(n, size) for n in range(9)])]
    found, (_, reason, said) = until_it_breaks(b"".join(parts), 30_000)
    assert numbers(found) == list(range(10))
    assert reason == kind
    assert said.startswith("breaks off after frame 9 (0.30 s): ")
    assert f"{size[0]}x{size[1]}" in said


def test_a_header_that_lies_about_the_number_of_frames_is_not_believed() -> None:
    pytest.importorskip("av")
    film = hundred("avi")
    at_length = film.index(b"vids") + 32
    assert film[at_length : at_length + 4] == (100).to_bytes(4, "little")
    for told in (3, 10**9):
        lying = film[:at_length] + told.to_bytes(4, "little") + film[at_length + 4 :]
        if told < 100:
            assert numbers(stills(lying)) == list(range(100))
        else:
            found, (_, kind, _) = until_it_breaks(lying)
            assert (numbers(found), kind) == (list(range(100)), "broken")


def test_a_cover_is_not_the_film() -> None:
    av = pytest.importorskip("av")
    from av.stream import Disposition

    picture = io.BytesIO()
    Image.new("RGB", (300, 300)).save(picture, "JPEG")
    with av.open("covered.mp4", "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 300, 300, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = *drawn.SIZE, "yuv420p"
        packet = av.Packet(picture.getvalue())
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        output.mux(packet)
        for number, rgb in enumerate(TEN):
            shown = av.VideoFrame.from_ndarray(rgb, "rgb24")
            shown.pts = number
            output.mux(stream.encode(shown))
        output.mux(stream.encode(None))
    with av.open("covered.mp4") as covered:
        assert len(covered.streams.video) == 2
    with films.opened(Path("covered.mp4"), LARGE) as film:
        assert film.size == drawn.SIZE
        assert numbers(list(film.stills())) == list(range(10))


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    whole = hundred("mp4")
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
    assert stills(bytes(broken))  # FFmpeg logs that it mends it
    for data in (whole[:-900], whole[:200]):
        until_it_breaks(data)
    assert capfd.readouterr().err == ""


@pytest.mark.exhaustive
def test_scrambled_films_give_frames_or_a_refusal() -> None:
    pytest.importorskip("av")
    random = np.random.default_rng(3)
    for container in ("mp4", "webm", "mpeg", "flv"):
        whole = hundred(container)
        for _ in range(6):
            data = np.frombuffer(whole, np.uint8).copy()
            data[random.integers(0, len(data), 5)] = random.integers(0, 256, 5)
            try:
                for still in stills(data.tobytes()):
                    assert still.rgb().shape == (96, 128, 3)
            except InputError as error:
                assert str(error)  # noqa: PT017
