from __future__ import annotations

import codecs
import io
import os
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from camcli.errors import InputError, RequestError
from camcli.inputs.decoding import read_frame
from camcli.inputs.refs import IMAGE_SUFFIXES, expand, passed_over
from camcli.records import Ref


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*arguments: str, recursive: bool = True, skip: Path | None = None) -> list[str]:
    return [ref.name for ref in expand(arguments, recursive=recursive, skip=skip)]


class Slow(io.BytesIO):
    """Bytes that come a few at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def readinto(self, into: Any) -> int:
        return super().readinto(memoryview(into)[: self.size])


def from_stdin(data: bytes, size: int = 65536) -> list[Ref]:
    return list(expand(["-"], stdin=io.BufferedReader(Slow(data, size))))


def listed(data: bytes, size: int = 65536) -> list[str]:
    refs = from_stdin(data, size)
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


def test_pictures_that_are_passed_over_are_counted() -> None:
    touch("d/a.heic", "d/b.HEIC", "d/s/c.dcm", "d/notes.txt", "d/.d.heic", "d/e.jpg", "d/f.npy")
    passed = Counter[str]()
    assert [ref.name for ref in expand(["d"], passed=passed)] == ["d/e.jpg", "d/f.npy"]
    assert passed_over(passed) == "3 files passed over: 1 .dcm, 2 .heic"
    touch("none/a.svg", "none/b.txt")
    assert refusal("none") == (
        "no inputs: no pictures in none; 1 file passed over: 1 .svg (name one, and it is tried or told why not)"
    )


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
        "GRIB 2.png",
        "BZh91.jpg",
        "IIRO.tif",
        "8BPS.jpg",
        "icns.png",
        "qoif.png",
        "DDS 1.jpg",
        "SIMPLE  = yes.png",
        "[1] a.jpg",
        "{x}.png",
        "<b.jpg",
        "Pf 1.png",
    ],
)
def test_a_name_that_starts_like_a_picture_is_still_a_name(name: str) -> None:
    assert listed(f"{name}\nother.png\n".encode()) == [name, "other.png"]
    assert listed(name.encode()) == [name]


def test_a_folder_in_the_list_is_not_walked_and_a_missing_or_absurd_name_is_data() -> None:
    """One row of a list is one input: what is wrong with it must not stop the others, and nobody named the folder."""
    touch("d/b.png", "d/a.png", "a")
    absurd = "x" * 5000
    refs = from_stdin(f"gone.png\nd\n{absurd}\n/\n.\na\nlast.png\n".encode())
    assert [ref.name for ref in refs] == ["gone.png", "d", absurd, "/", ".", "a", "last.png"]
    assert [ref.index for ref in refs] == list(range(7))
    for folder in (refs[1], refs[3], refs[4]):
        with pytest.raises(InputError, match=r"^it is a folder: name it on the command line$"):
            read_frame(folder)


PATHS = "sub/naïve 猫.jpg", "a b.png", "C:\\photos\\x.png", "../up.png"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 3, 7, 65536])
def test_a_list_is_read_in_its_encoding(encoding: str, end: str, size: int) -> None:
    """As PowerShell, Notepad and `cmd /u` write it, in reads of any size."""
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}.get(encoding, b"")
    assert listed(mark + "".join(path + end for path in PATHS).encode(encoding), size) == [*PATHS]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("first", ["a.png", "图片.png", "/srv/ä.jpg"])
def test_utf_16_without_a_mark_is_not_cut_into_letters(encoding: str, first: str) -> None:
    assert listed(f"{first}\r\nb.png\r\n".encode(encoding)) == [first, "b.png"]


def test_names_of_one_letter_that_are_there_are_names() -> None:
    touch("a", "b", "c", "d")
    assert listed(b"a\0b\0c\0d\0") == ["a", "b", "c", "d"]
    assert listed(b"a\0b\0c\0d\0", 1) == ["a", "b", "c", "d"]
    assert listed("w.xy\r\n".encode("utf-16-le")) == ["w.xy"]


DICOM = bytes(128) + b"DICM" + bytes([0, 0, 65, 66, 10] * 4000)
NO_LISTS = {
    "page": b"<!DOCTYPE html>\n<html><head>\n<title>404</title>\n</head></html>\n",
    "page after a blank line": b"\n  <html>\n<body>\nNot found\n",
    "error of a store": b'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n<Code>AccessDenied</Code>\n</Error>\n',
    "answer of an API": b'{\n  "message": "Not Found",\n  "status": 404\n}\n',
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg">\n<rect/>\n</svg>\n',
    "DICOM": DICOM,
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\n\n" + bytes(range(256)) * 8,
    "EXR": b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0\n" * 50,
    "PDF": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
    "zip": b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(range(256)) * 8,
    "noise": random.Random(0).randbytes(20_000),
    "database": b"SQLite format 3\0\x10\0\x01\x01\0@  \0\0\0\x06" + bytes(4000),
    "16-bit samples": b"".join(struct.pack("<H", value % 300) for value in range(5000)),
    "zeros": bytes(10_000),
    "marked noise": b"\xff\xfe" + random.Random(1).randbytes(5_000),
}


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, 65536) for name in NO_LISTS] + [(name, 5) for name in NO_LISTS if name not in ("database", "marked noise")],
)
def test_bytes_that_are_no_list_are_one_input(name: str, size: int) -> None:
    assert from_stdin(NO_LISTS[name], size) == [Ref(0, "-", data=NO_LISTS[name])]


@pytest.mark.parametrize(
    "listing",
    [
        "\n".join(f"Ürlaub/Bild {n}.jpg" for n in range(500)).encode("latin-1"),
        "\n".join(f"写真/{n}枚目.jpg" for n in range(500)).encode("shift-jis"),
        "\n".join(f"фото {n}.jpg" for n in range(500)).encode("koi8-r"),
        "\n".join(f"{{{n}}} <x>.jpg" for n in range(500)).encode(),
        "\n".join(f"bell{chr(7)}{n}.jpg" if n % 50 == 0 else f"name{n}.jpg" for n in range(1, 500)).encode(),
        b"\n".join(b"https://example.org/%d.jpg" % n for n in range(500)),
    ],
    ids=["latin-1", "shift-jis", "koi8-r", "brackets", "a few bells", "URLs"],
)
def test_lists_of_odd_names_are_lists(listing: bytes) -> None:
    assert len(from_stdin(listing)) == len(listing.split(b"\n"))
    assert len(from_stdin(listing.replace(b"\n", b"\0"))) == len(listing.split(b"\n"))


def test_a_name_that_begins_like_another_kind_and_is_there_is_a_name() -> None:
    touch("<html>", '{"a"}.png', "\x01odd")
    for name in ("<html>", '{"a"}.png', "\x01odd"):
        assert listed(f"{name}\nb.png\n".encode()) == [name, "b.png"]


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


raw_names = st.binary(max_size=40).map(lambda name: name.translate(None, b"\0\n\r")).filter(lambda n: n.strip())


@settings(max_examples=60, deadline=None)
@given(st.lists(raw_names, min_size=1, max_size=20))
@pytest.mark.parametrize("framed", [b"\n".join, b"\0".join, lambda names: b"".join(n + b"\r\n" for n in names)])
def test_any_list_of_names_survives_both_framings(framed: Callable[[list[bytes]], bytes], raw: list[bytes]) -> None:
    # Behind a first plain name, because a picture's signature in front makes it a picture.
    data = framed([b"first", *raw])
    refs = from_stdin(data)
    assert [os.fsencode(ref.name) for ref in refs] == [b"first", *raw]


def test_a_recursive_glob_follows_no_linked_folder() -> None:
    touch("mix/a.jpg", "mix/deep/b.jpg", "elsewhere/c.jpg")
    Path("mix/loop").symlink_to(".")
    Path("mix/out").symlink_to("../elsewhere")
    Path("named").symlink_to("mix")
    assert [ref.name for ref in expand(["mix/**/*.jpg"])] == ["mix/a.jpg", "mix/deep/b.jpg"]
    # One that the user names is meant.
    assert [ref.name for ref in expand(["named/**/*.jpg"])] == ["named/a.jpg", "named/deep/b.jpg"]
    assert [ref.name for ref in expand(["mix/out/*.jpg"])] == ["mix/out/c.jpg"]
