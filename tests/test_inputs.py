from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from camcli.errors import RequestError
from camcli.inputs import IMAGE_SUFFIXES, expand
from camcli.records import Ref


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*arguments: str, recursive: bool = True, skip: Path | None = None) -> list[str]:
    return [ref.name for ref in expand(arguments, recursive=recursive, skip=skip)]


def from_stdin(data: bytes) -> list[Ref]:
    return list(expand(["-"], stdin=io.BufferedReader(io.BytesIO(data))))


def listed(data: bytes) -> list[str]:
    refs = from_stdin(data)
    assert all(ref.data is None and ref.path == Path(ref.name) for ref in refs)
    return [ref.name for ref in refs]


def refusal(*arguments: str, stdin: bytes | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        expand(arguments, stdin=None if stdin is None else io.BufferedReader(io.BytesIO(stdin)))
    return str(caught.value)


def test_refs_are_numbered_in_the_order_named() -> None:
    touch("b.png", "a.png", "d/2.jpg", "d/1.jpg")
    refs = list(expand(["b.png", "d", "a.png", "b.png"]))
    assert [ref.name for ref in refs] == ["b.png", "d/1.jpg", "d/2.jpg", "a.png", "b.png"]
    assert [ref.index for ref in refs] == [0, 1, 2, 3, 4]
    assert [ref.root for ref in refs] == [Path(), Path("d"), Path("d"), Path(), Path()]
    assert all(ref.path == Path(ref.name) and ref.data is None for ref in refs)


def test_a_folder_gives_its_files_sorted_then_its_folders() -> None:
    touch("d/z.png", "d/a/2.png", "d/a/1.png", "d/a/deep/er.png", "d/B.png", "d/c.png", "d/b/0.png")
    assert names("d") == ["d/B.png", "d/c.png", "d/z.png", "d/a/1.png", "d/a/2.png", "d/a/deep/er.png", "d/b/0.png"]
    assert names("d", recursive=False) == ["d/B.png", "d/c.png", "d/z.png"]
    assert {ref.root for ref in expand(["d"])} == {Path("d")}


def test_a_folder_gives_pictures_only_and_nothing_hidden() -> None:
    touch(*(f"d/a{suffix}" for suffix in IMAGE_SUFFIXES), "d/UPPER.JPG")
    shown = len(IMAGE_SUFFIXES) + 1
    touch("d/notes.txt", "d/a.py", "d/png", "d/.hidden.png", "d/.git/a.png", "d/sub/.b/c.png", "d/a.jpg.part")
    assert len(names("d")) == shown
    assert len(names(".")) == shown  # the folder itself may start with a dot


def test_a_file_named_outright_is_tried_whatever_its_name() -> None:
    touch("notes.txt", ".hidden.png", "noext", "d/.x/y.dat")
    assert names("notes.txt", ".hidden.png", "noext", "d/.x/y.dat") == [
        "notes.txt",
        ".hidden.png",
        "noext",
        "d/.x/y.dat",
    ]


def test_a_quoted_glob_is_expanded_in_order_and_a_folder_in_it_walked() -> None:
    touch("p/b.jpg", "p/a.jpg", "p/c.txt", "p/.h.jpg", "q/sub.jpg/in.png", "q/r/s/deep.jpg")
    assert names("p/*.jpg") == ["p/a.jpg", "p/b.jpg"]
    assert names("p/[ab].jpg", "p/?.txt") == ["p/a.jpg", "p/b.jpg", "p/c.txt"]
    assert names("q/*.jpg") == ["q/sub.jpg/in.png"]
    assert names("q/**/*p.jpg") == ["q/r/s/deep.jpg"]


def test_a_real_file_beats_the_glob_its_name_looks_like() -> None:
    touch("img[1].png", "img1.png", "what?.png", "whats.png")
    assert names("img[1].png", "what?.png") == ["img[1].png", "what?.png"]


@pytest.mark.parametrize("missing", ["gone.png", "d/gone", "*.nothing", "a\0b", "x" * 300, "x" * 300 + "/*.png"])
def test_a_missing_path_is_refused_before_anything_is_done(missing: str) -> None:
    touch("a.png")
    assert refusal("a.png", missing).startswith("no such file or folder: ")


def test_an_unprintable_name_can_be_told() -> None:
    assert refusal("caf\udce9.png").encode() == b"no such file or folder: caf?.png"


def test_nothing_to_explain_is_a_bad_request() -> None:
    touch("d/notes.txt")
    Path("empty").mkdir()
    assert refusal("d") == "no inputs: no pictures in d"
    assert refusal("d", "empty") == "no inputs: no pictures in d empty"
    assert refusal().startswith("no inputs")
    assert refusal("-", stdin=b"") == refusal("-", stdin=b"\n\r\n\n") == "no inputs: stdin is empty"
    assert refusal("-", "-", stdin=b"a.png\n").startswith("`-` can be given once")


def test_the_runs_own_output_is_never_its_input() -> None:
    touch("a.png", "camcli_out/a.overlay.png", "camcli_out/deep/b.png", "other/camcli_out/c.png")
    assert names(".", skip=Path("camcli_out")) == ["a.png", "other/camcli_out/c.png"]
    assert names(".", skip=Path("other/../camcli_out").absolute()) == ["a.png", "other/camcli_out/c.png"]
    with pytest.raises(RequestError):
        expand(["camcli_out"], skip=Path("camcli_out"))


def test_a_loop_of_linked_folders_ends() -> None:
    touch("d/sub/a.png")
    Path("d/sub/up").symlink_to(Path("..").resolve() / Path.cwd().name / "d", target_is_directory=True)
    Path("d/self").symlink_to("self")
    assert names("d") == ["d/sub/a.png"]


ENCODED: list[tuple[str, str, dict[str, object]]] = [
    *(
        (kind, "RGB", {})
        for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "MPO")
    ),
    *((kind, "L", {}) for kind in ("JPEG", "PNG", "BMP", "PPM")),
    *((kind, "1", {}) for kind in ("PNG", "BMP", "PPM", "TIFF")),
    ("TIFF", "I;16B", {}),  # Pillow writes these bytes the other way round: "MM"
    ("TIFF", "RGB", {"big_tiff": True}),
    ("WEBP", "RGB", {"lossless": True}),
    ("JPEG2000", "RGB", {"no_jp2": True}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), ENCODED, ids=str)
def test_a_picture_on_stdin_is_one_picture(kind: str, mode: str, options: dict[str, object]) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    buffer = io.BytesIO()
    Image.new(mode, (300, 200)).save(buffer, kind, **options)
    assert from_stdin(buffer.getvalue()) == [Ref(0, "-", data=buffer.getvalue())]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\nb.png", ["a.png", "b.png"]),
        (b"a.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"\n\na.png\n\r\n\nb.png\n\n", ["a.png", "b.png"]),
        (b"a.png\0b.png\0", ["a.png", "b.png"]),
        (b"a.png\0b.png", ["a.png", "b.png"]),
        (b"new\nline.png\0cr\r\0\0 \0", ["new\nline.png", "cr\r", " "]),
        (b"caf\xe9.png\n\xff\xfe.png\n", ["caf\udce9.png", "\udcff\udcfe.png"]),
        ("naïve 猫.png\n".encode(), ["naïve 猫.png"]),
        (b"/abs/olute.png\n../up.png\n-dash.png\n-\n", ["/abs/olute.png", "../up.png", "-dash.png", "-"]),
    ],
)
def test_a_list_on_stdin(data: bytes, expected: list[str]) -> None:
    assert listed(data) == expected


@pytest.mark.parametrize(
    "name",
    [
        "BM.png",
        "BMW i3.jpg",
        "P5.pgm",
        "P5 holiday.jpg",
        "P3",
        "P6/1.jpg",
        "GIF.gif",
        "GIF8.gif",
        "RIFF.png",
        "RIFFRAFF",
        "II.tif",
        "MM.tif",
        "src/ftyp/a.jpg",
        "ÿØ.jpg",
        "PNG",
        "\x89.png",
    ],
)
def test_a_name_that_starts_like_a_picture_is_still_a_name(name: str) -> None:
    assert listed(f"{name}\nother.png\n".encode()) == [name, "other.png"]
    assert listed(name.encode()) == [name]


def test_a_folder_in_the_list_is_walked_and_a_missing_or_absurd_name_is_data() -> None:
    """One row of a list is one input: what is wrong with it must not stop the others."""
    touch("d/b.png", "d/a.png", "d/s/c.png")
    absurd = "x" * 5000
    refs = from_stdin(f"gone.png\nd\n{absurd}\nlast.png\n".encode())
    assert [ref.name for ref in refs] == ["gone.png", "d/a.png", "d/b.png", "d/s/c.png", absurd, "last.png"]
    assert [ref.index for ref in refs] == list(range(6))
    assert {ref.root for ref in refs[1:4]} == {Path("d")}


def test_of_a_line_without_end_no_more_is_kept_than_a_name_has() -> None:
    stdin = io.BufferedReader(io.BytesIO(b"a" * 10_000_000 + b"\nb.png\n"))
    long, short = (ref.name for ref in expand(["-"], stdin=stdin))
    assert 65_536 <= len(long) < 200_000
    assert short == "b.png"


def test_stdin_among_other_inputs_keeps_its_place() -> None:
    touch("a.png", "b.png")
    refs = list(expand(["a.png", "-", "b.png"], stdin=io.BufferedReader(io.BytesIO(b"x.png\ny.png\n"))))
    assert [(ref.index, ref.name) for ref in refs] == [(0, "a.png"), (1, "x.png"), (2, "y.png"), (3, "b.png")]


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_the_first_refs_come_before_the_writer_has_finished(separator: bytes) -> None:
    reader, writer = os.pipe()
    # Were expand to wait for the end, this would free it, and the test would fail rather than hang.
    rescue = threading.Timer(20, os.close, [writer])
    rescue.start()
    with os.fdopen(reader, "rb") as stdin:
        os.write(writer, separator.join([b"a.png", b"b.png", b"c.p"]))
        refs = expand(["-"], stdin=stdin)
        assert [next(refs).name, next(refs).name] == ["a.png", "b.png"]
        assert rescue.is_alive()
        os.write(writer, b"ng" + separator + b"d.png" + separator)
        assert [next(refs).name, next(refs).name] == ["c.png", "d.png"]
        assert rescue.is_alive()
        rescue.cancel()
        rescue.join()
        os.close(writer)
        assert list(refs) == []


# No slash and not only dots: those are folders, and would be walked.
raw_names = (
    st.binary(max_size=40).map(lambda name: name.translate(None, b"\0\n\r/")).filter(lambda n: n.strip(b" \t\v\f."))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(raw_names, min_size=1, max_size=20))
@pytest.mark.parametrize("framed", [b"\n".join, b"\0".join, lambda names: b"".join(n + b"\r\n" for n in names)])
def test_any_list_of_names_survives_both_framings(framed: Callable[[list[bytes]], bytes], raw: list[bytes]) -> None:
    # Behind a first plain name, because a picture's signature in front makes it a picture.
    data = framed([b"first", *raw])
    refs = from_stdin(data)
    assert [os.fsencode(ref.name) for ref in refs] == [b"first", *raw]
