"""Arguments, folders, globs, URIs and stdin -> Iterator[Ref], lazily and in a stable order."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, count, islice
from pathlib import Path
from typing import BinaryIO

from camcli import remote, streams
from camcli.errors import RequestError
from camcli.records import Ref

# What is picked up from a folder; a file named on the command line is tried whatever its name is.
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff "
        ".ppm .pgm .pbm .pnm .jp2 .j2k .avif .mpo .ico .tga"
    ).split()
)

# A longer line is no path; of one without end no more is kept.
_MAX_NAME = 65_536
_SIGNATURES = (
    b"\x93NUMPY",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x01\x00",
)


def expand(
    arguments: Sequence[str],
    *,
    recursive: bool = True,
    skip: Path | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Ref]:
    """One Ref per picture, numbered from 0, in the order named; a folder's files sorted by name, then its folders.

    `-` reads `stdin`: a picture's bytes, or paths separated by newlines (by NULs if one is seen in the first read).
    `skip` is a folder never walked into: a run's own output.

    Raises:
        RequestError: a named path is missing, or there is nothing to explain. A path that comes from stdin
            is not checked here: it is data, and refused as one `Failed` row.
    """
    if arguments.count("-") > 1:
        raise RequestError("`-` can be given once: stdin has one end")
    if not arguments:
        raise RequestError("no inputs: name a picture, a folder, or `-` for stdin")
    # os.path, not Path, where a name is tried: Path raises on names that are too long or behind a closed folder.
    for argument in arguments:
        there = os.path.exists(argument) or remote.is_uri(argument) or _glob(argument)
        if argument != "-" and not there:
            raise RequestError(f"no such file or folder: {_printable(argument)}")
    skipped = skip.absolute().resolve() if skip is not None else None
    numbers = count()
    refs = chain.from_iterable(_refs(argument, numbers, recursive, skipped, stdin) for argument in arguments)
    first = next(refs, None)
    if first is None:
        what = "stdin is empty" if list(arguments) == ["-"] else f"no pictures in {_printable(' '.join(arguments))}"
        raise RequestError(f"no inputs: {what}")
    return apart(chain([first], refs))


def ref_named(index: int, name: str) -> Ref:
    """The ref of one file: a path, or a URI where there is no such path."""
    if remote.is_uri(name) and not os.path.exists(name):
        return Ref(index, name, uri=name)
    return Ref(index, name, path=Path(name))


def mirrored(ref: Ref) -> Path:
    """Where the input's files go below any output folder, less their tails: never outside, whatever it is called."""
    named = Path(ref.uri) if ref.uri is not None else ref.path
    if named is None:
        parts = ["stdin" if ref.name == "-" else Path(ref.name).name]
    else:
        root = ref.root if ref.root is not None else named.parent
        below = named.relative_to(root) if named.is_relative_to(root) else Path(named.name)
        # An absolute path from a list has no folder to mirror.
        parts = [below.name] if below.is_absolute() else [part for part in below.parts if part not in ("..", ".")]
    parts = [re.sub(r"[\x00-\x1f\x7f/\\\ud800-\udfff]", "_", part) for part in parts] or ["_"]
    if ref.again > 1:
        parts[-1] += f"~{ref.again}"
    return Path(*parts)


def apart(refs: Iterable[Ref]) -> Iterator[Ref]:
    """The same refs, numbered where several would share their files."""
    # Of each name 8 bytes: two different ones that share them would cost a needless number, and nothing else.
    taken: set[bytes] = set()
    for ref in refs:
        # Compared without case: two inputs must not share files on a file system that ignores it.
        while (key := _digest(os.fspath(mirrored(ref)).casefold())) in taken:
            ref = replace(ref, again=ref.again + 1)
        taken.add(key)
        yield ref


def shard(refs: Iterable[Ref], count: int, number: int, of: int, block: int) -> Iterator[Ref]:
    """The number-th (from 1) of so many parts of `count` refs, which follow each other; whole blocks but the last one,
    so that batches are those of the whole run."""
    blocks = -(-count // block)
    first, last = blocks * (number - 1) // of, blocks * number // of
    return islice(refs, first * block, last * block)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _refs(
    argument: str, numbers: Iterator[int], recursive: bool, skip: Path | None, stdin: BinaryIO | None
) -> Iterator[Ref]:
    if argument == "-":
        if stdin is None:
            raise RequestError("`-` needs a stdin to read")
        yield from _from_stdin(stdin, numbers, recursive, skip)
        return
    if remote.is_uri(argument) and not os.path.exists(argument):
        yield from _remote(argument, numbers, recursive)
        return
    for name in [argument] if os.path.exists(argument) else _glob(argument):
        if os.path.isdir(name):
            yield from _walk(Path(name), numbers, recursive, skip)
        elif streams.is_open(name):
            yield _opened(next(numbers), name)
        else:
            yield Ref(next(numbers), name, path=Path(name), root=Path(name).parent)


def _opened(index: int, name: str) -> Ref:
    try:
        with open(name, "rb") as stream:  # noqa: PTH123  no file of that path
            return Ref(index, name, data=streams.read(stream))
    except OSError:  # a socket
        return Ref(index, name, path=Path(name))  # refused where it is to be decoded


def _remote(uri: str, numbers: Iterator[int], recursive: bool) -> Iterator[Ref]:
    for name in remote.walk(uri, recursive=recursive):
        if name == uri or Path(name).suffix.lower() in IMAGE_SUFFIXES:
            folder = glob.has_magic(uri) or name == uri
            yield Ref(next(numbers), name, uri=name, root=Path(name).parent if folder else Path(uri))


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []


def _walk(root: Path, numbers: Iterator[int], recursive: bool, skip: Path | None) -> Iterator[Ref]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if recursive and f[0] != "." and (here / f).resolve() != skip)
        if here.resolve() == skip:
            folders.clear()
            continue
        for file in sorted(files):
            if file[0] != "." and Path(file).suffix.lower() in IMAGE_SUFFIXES:
                yield Ref(next(numbers), os.fspath(here / file), path=here / file, root=root)


def _from_stdin(stdin: BinaryIO, numbers: Iterator[int], recursive: bool, skip: Path | None) -> Iterator[Ref]:
    # peek, not read: the first bytes decide what this is, and must still be there for whoever reads it then.
    head: bytes = stdin.peek(16)  # type: ignore[attr-defined]
    if _is_picture(head):
        yield Ref(next(numbers), "-", data=streams.read(stdin))
        return
    for entry in _entries(stdin, b"\0" if b"\0" in head else b"\n"):
        name = os.fsdecode(entry)
        if os.path.isdir(name):
            yield from _walk(Path(name), numbers, recursive, skip)
        else:
            yield replace(ref_named(next(numbers), name), root=Path())


def _is_picture(head: bytes) -> bool:
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[:3] == b"\0\0\0" and head[4:8] == b"ftyp")
        or re.match(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s", head) is not None
    )


def _entries(stdin: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """Entries as they arrive; blank lines are none, and a line may have a Windows ending."""
    rest = b""
    while chunk := stdin.read1(65536):  # type: ignore[attr-defined]
        *whole, rest = (rest + chunk).split(separator)
        rest = rest[:_MAX_NAME]
        yield from _named(whole, separator)
    yield from _named([rest], separator)


def _named(entries: list[bytes], separator: bytes) -> Iterator[bytes]:
    if separator == b"\0":
        return filter(None, entries)
    return (entry.rstrip(b"\r") for entry in entries if entry.strip())


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
