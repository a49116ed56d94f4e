"""Arguments, folders, globs, URIs and stdin -> Iterator[Ref], lazily and in a stable order."""

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain, count, islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO

from camcli.errors import InputError, RequestError
from camcli.inputs import films, json_lines, kinds, lists
from camcli.inputs.moving import Moving, is_moving
from camcli.records import Ref
from camcli.storage import pipes, uris

# Endings of files that are picked up from a folder; one named on the command line is tried whatever its name is.
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff "
        ".ppm .pgm .pbm .pnm .jp2 .j2k .avif .mpo .ico .tga .npy"
    ).split()
)


def expand(
    arguments: Sequence[str],
    *,
    recursive: bool = True,
    skip: Path | None = None,
    stdin: BinaryIO | None = None,
    passed: Counter[str] | None = None,
    moving: Moving | None = None,
    bound: Mapping[str, Any] | None = None,
) -> Iterator[Ref]:
    """One Ref per picture, numbered from 0, in the order named; a folder's files sorted by name, then its folders. A
    film gives one for each frame, or is one itself: see `Moving`. A file of JSON lines gives one for each line: see
    `inputs.json_lines`. `bound` goes with each picture that brings no other; a picture with a partner gives two.

    `-` reads `stdin`: a picture's bytes, or paths separated by newlines (by NULs if one is seen in the first read), in
    UTF-16 and UTF-32 too, or JSON lines. `skip` is a folder never walked into: a run's own output. `passed` counts, by
    suffix, the pictures of other kinds that folders hold.

    Raises:
        RequestError: a named path is missing, or there is nothing to explain. A path that comes from stdin
            is not checked here: it is data, and refused as one `Failed` row.
    """
    return apart(
        listed(arguments, recursive=recursive, skip=skip, stdin=stdin, passed=passed, moving=moving, bound=bound)
    )


def listed(
    arguments: Sequence[str],
    *,
    recursive: bool = True,
    skip: Path | None = None,
    stdin: BinaryIO | None = None,
    passed: Counter[str] | None = None,
    moving: Moving | None = None,
    bound: Mapping[str, Any] | None = None,
) -> Iterator[Ref]:
    """`expand` without numbers, and without telling apart what would share its files: it remembers nothing."""
    if arguments.count("-") > 1:
        raise RequestError("`-` can be given once: stdin has one end")
    if not arguments:
        raise RequestError("no inputs: name a picture, a folder, or `-` for stdin")
    # A name is tried by os.path: Path raises on names that are too long or in a closed folder.
    for argument in arguments:
        there = os.path.exists(argument) or uris.is_uri(argument) or _glob(argument)
        if argument != "-" and not there:
            raise RequestError(f"no such file or folder: {_printable(argument)}")
    passed = Counter() if passed is None else passed
    below = _real(skip) if skip is not None else None
    walk = _Walk(recursive, below, passed, moving or Moving(), bound or {})
    refs = chain.from_iterable(
        map(json_lines.both_ways, chain.from_iterable(_refs(name, walk, stdin) for name in arguments))
    )
    first = next(refs, None)
    if first is None:
        what = "stdin is empty" if list(arguments) == ["-"] else f"no pictures in {_printable(' '.join(arguments))}"
        raise RequestError(f"no inputs: {what}{_instead(passed)}")
    return chain([first], refs)


def passed_over(passed: Counter[str]) -> str:
    """The files that a walk has passed over, in one line."""
    files = "1 file" if passed.total() == 1 else f"{passed.total()} files"
    return f"{files} passed over: " + ", ".join(f"{count} {suffix}" for suffix, count in sorted(passed.items()))


def _instead(passed: Counter[str]) -> str:
    return f"; {passed_over(passed)} (name one, and it is tried or told why not)" if passed else ""


@dataclass(frozen=True, slots=True)
class _Walk:
    """The way of going through folders, and the counts of files `passed` over."""

    recursive: bool
    skip: Path | None
    passed: Counter[str]
    moving: Moving
    bound: Mapping[str, Any]

    def takes(self, name: str) -> bool:
        """True if a file is picked up; counts a picture of a kind that is not."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix in films.FILM_SUFFIXES and (self.moving.whole or self.moving.animated):
            return True
        if suffix in kinds.UNREAD_SUFFIXES:
            self.passed[suffix] += 1
        return suffix in IMAGE_SUFFIXES

    def of(self, ref: Ref, *, opened: bool = True) -> Iterator[Ref]:
        """The ref with what goes with all of the run, or one for each of its frames; only if its file is `opened` is it
        seen to have any."""
        ref = replace(ref, bound=self.bound) if self.bound else ref
        if opened and ref.path is not None and self.moving.splits(ref.path):
            yield from self.moving.frames(ref)
        else:
            yield ref


def ref_named(index: int, name: str) -> Ref:
    """The ref of one file: a path, or a URI if there is no such path."""
    if uris.is_uri(name) and not os.path.exists(name):
        return Ref(index, name, uri=name)
    return Ref(index, name, path=Path(name))


def mirrored(ref: Ref) -> Path:
    """The path of the input's files below any output folder, less their tails: never outside, whatever it is called."""
    named = Path(ref.uri) if ref.uri is not None else ref.path
    if named is None:
        parts = ["stdin" if ref.name == "-" else Path(ref.name).name]
    else:
        root = ref.root if ref.root is not None else named.parent
        below = named.relative_to(root) if named.is_relative_to(root) else Path(named.name)
        # An absolute path from a list has no folder to mirror.
        parts = [below.name] if below.is_absolute() else [part for part in below.parts if part not in ("..", ".")]
    parts = [re.sub(r"[\x00-\x1f\x7f/\\\ud800-\udfff]", "_", part) for part in parts] or ["_"]
    if ref.mark:
        parts[-1] += f"~{ref.mark}"
    if ref.again > 1:
        parts[-1] += f"~{ref.again}"
    if ref.moment is not None:
        parts.append(f"{ref.moment.number:06}")
    return Path(*parts)


def again(named: Iterable[Ref], max_pixels: int) -> Iterator[Ref]:
    """The refs of rows, by name, with the frames of films read anew: rows of one film, in their order, read it once."""
    numbers = count()
    for moving, rows in _passes(named):
        for ref in _again(rows, max_pixels) if moving else rows:
            yield replace(ref, index=next(numbers))


def _passes(named: Iterable[Ref]) -> Iterator[tuple[bool, list[Ref]]]:
    """(True, the refs that one pass through a film serves: in the order of its frames), (False, another ref)."""
    passing: list[Ref] = []
    for ref in named:
        if passing and (ref.moment is None or ref.name != passing[0].name or _number(ref) < _number(passing[-1])):
            yield True, passing
            passing = []
        if ref.moment is None:
            yield False, [ref]
        else:
            passing.append(ref)
    if passing:
        yield True, passing


def _again(rows: Sequence[Ref], max_pixels: int) -> Iterator[Ref]:
    left = deque(rows)
    for frame in Moving(max_pixels=max_pixels).frames(rows[0]):
        while left and frame.moment is not None and _number(left[0]) == frame.moment.number:
            yield replace(frame, bound=left.popleft().bound)
    gone = InputError("open", "missing", "the film has no such frame any more")
    for ref in left:
        yield replace(ref, held=gone)


def _number(ref: Ref) -> int:
    assert ref.moment is not None
    return ref.moment.number


def apart(refs: Iterable[Ref]) -> Iterator[Ref]:
    """The same refs, numbered from 0, and those that would share their files with others told apart."""
    # Of each name 8 bytes: two different ones that share them would cost a needless number, and nothing else.
    taken: set[bytes] = set()
    for index, ref in enumerate(refs):
        ref = replace(ref, index=index)
        # Compared without case: two inputs must not share files on a file system that ignores it.
        while (key := _digest(os.fspath(mirrored(ref)).casefold())) in taken:
            ref = replace(ref, again=ref.again + 1)
        taken.add(key)
        yield ref


def shard(refs: Iterable[Ref], count: int, number: int, of: int, block: int) -> Iterator[Ref]:
    """The number-th (from 1) of so many parts of `count` refs, which follow each other. Parts are whole blocks, but for
    the last one, so that batches are those of the whole run."""
    blocks = -(-count // block)
    first, last = blocks * (number - 1) // of, blocks * number // of
    return islice(refs, first * block, last * block)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _refs(argument: str, walk: _Walk, stdin: BinaryIO | None) -> Iterator[Ref]:
    if argument == "-":
        if stdin is None:
            raise RequestError("`-` needs a stdin to read")
        yield from _from_stdin(stdin, walk)
        return
    if uris.is_uri(argument) and not os.path.exists(argument):
        yield from _remote(argument, walk)
        return
    for name in [argument] if os.path.exists(argument) else _glob(argument):
        if os.path.isdir(name):
            yield from _walk(Path(name), walk)
        elif json_lines.is_list(name):
            with open(name, "rb") as lines:  # noqa: PTH123  a pipe may be called so
                yield from json_lines.refs(lists.all_entries(lines), name, Path(name).parent, walk.bound)
        elif pipes.is_open(name):
            yield _opened(name, walk)
        else:
            yield from walk.of(Ref(0, name, path=Path(name), root=Path(name).parent))


def _opened(name: str, walk: _Walk) -> Ref:
    try:
        with open(name, "rb") as stream:  # noqa: PTH123  no file of that path
            return Ref(0, name, data=pipes.read(stream), bound=walk.bound)
    except OSError:  # a socket
        return Ref(0, name, path=Path(name))  # refused where it is to be decoded


def _remote(uri: str, walk: _Walk) -> Iterator[Ref]:
    for name in uris.walk(uri, recursive=walk.recursive):
        if name == uri or walk.takes(name):
            folder = glob.has_magic(uri) or name == uri
            yield Ref(0, name, uri=name, root=Path(name).parent if folder else Path(uri), bound=walk.bound)


def _glob(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
    if "**" not in pattern:
        return found
    named = sum(1 for _ in takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    return [name for name in found if not _through_a_link(Path(name), named)]


def _through_a_link(path: Path, named: int) -> bool:
    """True if a linked folder is on the way, after so many parts that the user named: it may lead anywhere, and back. A
    walk through a folder does not follow it either."""
    return any(parent.is_symlink() for parent in path.parents if len(parent.parts) > named)


def _real(path: Path) -> Path:
    """The path without links. Path.resolve raises on a loop of them."""
    return Path(os.path.realpath(path))


def _walk(root: Path, walk: _Walk) -> Iterator[Ref]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if walk.recursive and f[0] != "." and _real(here / f) != walk.skip)
        if _real(here) == walk.skip:
            folders.clear()
            continue
        taken = [here / file for file in sorted(files) if file[0] != "." and walk.takes(file)]
        if walk.moving.whole and any(not is_moving(path) for path in taken):
            # Its pictures are the frames of one clip.
            yield from walk.of(Ref(0, os.fspath(here), path=here, root=root.parent if here == root else root))
            taken = [path for path in taken if is_moving(path)]
        for path in taken:
            # Films are picked up if frames are asked for.
            yield from walk.of(Ref(0, os.fspath(path), path=path, root=root), opened=walk.moving.animated)


def pictures_in(folder: Path) -> list[Path]:
    """The still pictures of a folder in the order of their names, the frames of a clip: "2" comes before "10"."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    return sorted((path for path in files if not is_moving(path)), key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that orders names by the numbers in them."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _from_stdin(stdin: BinaryIO, walk: _Walk) -> Iterator[Ref]:
    head = lists.read_head(stdin)
    film = films.is_film(head) or (walk.moving.animated and films.is_animated(head))
    pictured = kinds.is_picture(head) or film
    if not pictured and (framed := json_lines.framing(head)) is not None:
        yield from json_lines.refs(lists.names(head, stdin, framed), "-", Path(), walk.bound)
        return
    if not pictured and (framed := lists.framing(head)) is not None:
        for entry in lists.names(head, stdin, framed):
            yield from walk.of(replace(ref_named(0, os.fsdecode(entry)), root=Path()))
        return
    ref = Ref(0, "-", data=pipes.read(stdin, head), bound=walk.bound)
    yield from walk.moving.frames(ref) if film and not walk.moving.whole else (ref,)


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
