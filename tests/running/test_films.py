"""Films through networks that take pictures: a row a frame, and an overlay that is the film again."""

from __future__ import annotations

import shutil
from pathlib import Path

import drawn
import numpy as np
import pytest
from PIL import Image
from shell import ROOT, SAMPLES, run

from camcli.inputs import films
from camcli.records import Row

av = pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("one_thread")

NET = ("-m", f"{ROOT}/tests/nets.py:RedBlue", "--mean", 0, "--std", 1, "--resize", 32, "--crop", 32)
SIZE = (64, 48)


def film(path: str, frames: int = 20, container: str = "mp4") -> str:
    """A film of 10 frames a second: grey, with a red square that goes from the left to the right."""
    width, height = SIZE
    pictures = []
    for number in range(frames):
        rgb = np.full((height, width, 3), 90, np.uint8)
        x = number * (width - 16) // max(1, frames - 1)
        rgb[16:32, x : x + 16] = (255, 0, 0)
        pictures.append(rgb)
    Path(path).write_bytes(drawn.video(pictures, container, rate=10))
    return path


def frames_of(path: str) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    with films.opened(Path(path), 10**8) as opened:
        return [still.rgb() for still in opened.stills()]


def rows_of(*arguments: object, code: int = 0) -> list[Row]:
    outcome = run("explain", *arguments, *NET, "--fit", "squash", "--json")
    assert outcome.code == code, outcome.err
    return outcome.rows


def test_each_frame_has_a_row_and_the_film_its_overlay() -> None:
    rows = rows_of(film("a.mp4"), "-o", "out")
    assert [row["moment"] for row in rows] == [{"frame": n, "seconds": n / 10} for n in range(20)]
    assert {row["input"] for row in rows} == {"a.mp4"}
    (path,) = {row["explanations"][0]["files"]["overlay"] for row in rows}
    assert path == "out/a.mp4.grad-cam.overlay.mp4"
    peaks = [row["explanations"][0]["peak"][0] for row in rows]
    assert peaks == sorted(peaks)
    assert peaks[0] < 16 < 48 <= peaks[-1]
    with films.opened(Path(path), 10**8) as made, films.opened(Path("a.mp4"), 10**8) as given:
        assert (made.size, made.rate, made.frames) == (given.size, given.rate, given.frames) == (SIZE, 10, 20)
        times = [[still.moment.seconds for still in own.stills()] for own in (made, given)]
    np.testing.assert_allclose(times[0], times[1], atol=1e-3)


def test_frames_between_are_shown_with_values_between() -> None:
    rows = rows_of(film("a.mp4"), "--every", 5, "-o", "out", "--style", "classic", "--opacity", 1)
    assert [row["moment"]["frame"] for row in rows] == [0, 5, 10, 15]
    sparse = frames_of("out/a.mp4.grad-cam.overlay.mp4")
    assert len(sparse) == 20
    rows_of(film("b.mp4"), "-o", "out_b", "--style", "classic", "--opacity", 1)
    dense = frames_of("out_b/b.mp4.grad-cam.overlay.mp4")

    def apart(number: int) -> float:
        return float(abs(sparse[number].astype(int) - dense[number]).mean())

    assert max(apart(0), apart(5), apart(10)) < 8 < apart(2)
    # After the last explained frame its values stay.
    assert float(abs(sparse[19].astype(int) - sparse[15]).mean()) < 8


def test_one_scale_holds_for_the_film() -> None:
    """A frame whose evidence is weak is pale beside the others; on a scale of its own it would not be."""
    strong, weak = np.full((48, 64, 3), 90, np.uint8), np.full((48, 64, 3), 90, np.uint8)
    strong[16:32, 24:40] = (255, 0, 0)
    weak[16:32, 24:40] = (130, 90, 90)
    Path("a.mp4").write_bytes(drawn.video([strong] * 4 + [weak] * 4, rate=10))
    rows_of("a.mp4", "-c", 0, "-o", "out", "--style", "classic", "--opacity", 1, "--colormap", "gray")
    frames = frames_of("out/a.mp4.grad-cam.overlay.mp4")
    brightness = [float(frame[8:40, 20:44].mean()) for frame in frames]
    assert min(brightness[:4]) > 3 * max(brightness[5:])


def test_only_a_part_of_it() -> None:
    rows = rows_of(film("a.mp4"), "--start", "0.5", "--end", "12f", "--every", 2, "-o", "out")
    assert [row["moment"]["frame"] for row in rows] == [5, 7, 9, 11]
    assert len(frames_of("out/a.mp4.grad-cam.overlay.mp4")) == 8


def test_a_film_that_breaks_off_gives_its_good_frames_and_says_where() -> None:
    data = Path(film("a.mkv", 40, "matroska")).read_bytes()
    Path("a.mkv").write_bytes(data[: len(data) * 2 // 3])
    rows = rows_of("a.mkv", "-o", "out", code=4)
    good = [row for row in rows if "error" not in row]
    assert 1 <= len(good) < 40
    assert rows[-1]["error"]["kind"] == "broken"
    assert f"breaks off after frame {len(good) - 1} (" in rows[-1]["error"]["message"]
    assert len(frames_of("out/a.mkv.grad-cam.overlay.mp4")) == len(good)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00\x00\x00\x20ftypisom" + bytes(500), b"#EXTM3U\nfile:///etc/passwd\n"]
)
def test_no_film_is_one_refused_row(content: bytes) -> None:
    Path("a.mp4").write_bytes(content)
    (row,) = rows_of("a.mp4", "-o", "out", code=4)
    assert row["error"]["stage"] in ("open", "decode")
    assert "moment" not in row


def test_a_film_beside_pictures() -> None:
    shutil.copy(SAMPLES / "honey_bee.jpg", "bee.jpg")
    rows = rows_of("bee.jpg", film("a.mp4", 3), "bee.jpg", "-o", "out")
    assert [row["input"] for row in rows] == ["bee.jpg", "a.mp4", "a.mp4", "a.mp4", "bee.jpg"]
    assert sorted(path.name for path in Path("out").glob("*.mp4")) == ["a.mp4.grad-cam.overlay.mp4"]


def test_a_film_through_a_pipe() -> None:
    data = Path(film("a.mp4", 5)).read_bytes()
    outcome = run("explain", "-", *NET, "--json", "-o", "out", stdin=data)
    assert [row["moment"]["frame"] for row in outcome.rows] == [0, 1, 2, 3, 4], outcome.err
    assert Path("out/stdin.grad-cam.overlay.mp4").is_file()


def test_two_methods_and_classes_have_films_of_their_own() -> None:
    rows_of(film("a.mp4", 3), "-M", "grad-cam", "-M", "gradient", "-c", 0, "-c", 1, "-o", "out")
    names = [f"a.mp4.{name}.overlay.mp4" for name in ("grad-cam", "grad-cam.2", "gradient", "gradient.2")]
    assert sorted(path.name for path in Path("out").glob("*.mp4")) == sorted(names)


def test_other_pictures_of_frames_are_files_of_their_own() -> None:
    rows_of(film("a.mp4", 3), "--save", "raw,heatmap", "-o", "out")
    assert [path.name[:6] for path in sorted(Path("out/a.mp4").glob("*.npz"))] == ["000000", "000001", "000002"]
    assert len(list(Path("out/a.mp4").glob("*.png"))) == 3


def test_an_animation_is_a_film_if_frames_are_asked_for() -> None:
    pictures = [Image.fromarray(rgb) for rgb in frames_of(film("a.mp4", 6))]
    pictures[0].save("a.gif", save_all=True, append_images=pictures[1:], duration=80)
    assert len(rows_of("a.gif", "-o", "still")) == 1
    rows = rows_of("a.gif", "--every", 2, "-o", "out")
    assert [row["moment"] for row in rows] == [{"frame": n, "seconds": n * 0.08} for n in (0, 2, 4)]
    with Image.open("out/a.gif.grad-cam.overlay.gif") as made:
        assert (made.size, getattr(made, "n_frames", 1)) == (SIZE, 6)


def test_rows_of_a_film_are_verified() -> None:
    outcome = run("explain", film("a.mp4", 6), *NET, "--every", 2, "--save", "none", "--json")
    Path("rows.jsonl").write_bytes(outcome.stdout)
    verified = run("verify", "rows.jsonl", "--model", f"{ROOT}/tests/nets.py:RedBlue", "--json")
    assert [(row["moment"]["frame"], row["status"]) for row in verified.rows] == [
        (0, "identical"),
        (2, "identical"),
        (4, "identical"),
    ]
    film("a.mp4", 3)
    verified = run("verify", "rows.jsonl", "--model", f"{ROOT}/tests/nets.py:RedBlue", "--json")
    assert verified.rows[-1]["status"] == "gone"


def test_a_second_run_draws_the_whole_film_again() -> None:
    """Its overlay is made of all frames: none is taken from the journal."""
    for _ in range(2):
        rows_of(film("a.mp4"), "--every", 5, "-o", "out")
        assert len(frames_of("out/a.mp4.grad-cam.overlay.mp4")) == 20


def test_folders_keep_their_films_for_networks_of_clips() -> None:
    Path("mixed").mkdir()
    film("mixed/a.mp4", 3)
    Image.new("RGB", SIZE).save("mixed/b.png")
    outcome = run("explain", "mixed", *NET, "--json")
    assert [row["input"] for row in outcome.rows] == ["mixed/b.png"]
    assert "1 file passed over: 1 .mp4" in outcome.err


def test_without_pyav_a_film_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    film("a.mp4", 3)
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = run("explain", "a.mp4", *NET)
    assert outcome.code == 3
    assert "pip install camcli[video]" in outcome.err


def test_what_does_not_go_with_films_is_refused() -> None:
    film("a.mp4", 3)
    assert "a film has one scale as it is" in run("explain", "a.mp4", *NET, "--norm", "run").err
    (row,) = rows_of("a.mp4", "--start", "99", code=4)
    assert row["error"]["kind"] == "short"
