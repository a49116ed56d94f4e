"""Refs -> decoded pictures with their views, a batch at a time, several pictures at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any

from camcli.errors import of_input
from camcli.inputs import clips, decoding, memory, preprocessing
from camcli.inputs.guards import NoRoomError
from camcli.inputs.memory import Normalised
from camcli.inputs.moving import ALL, Sampling
from camcli.records import AS_IT_IS, MAX_PIXELS, Decoding, Failed, Fit, Frame, Preset, Ref, Result, View

# A batch ends early when its decoded frames hold this many pixels (3 bytes each), so that memory does not
# depend on how large the pictures are: eight of 12 megapixels, which cores share evenly.
MAX_BATCH_PIXELS = 96_000_000
MAX_AHEAD_PIXELS = 20_000_000
# All workers together; sixteen of 12 megapixels, or eight of 24.
MAX_ROOM = 200_000_000


@dataclass(slots=True)
class Item:
    """One ref on its way through a batch."""

    ref: Ref
    ms: dict[str, float] = field(default_factory=dict)
    truth: int | None = None
    frame: Frame | None = None
    view: View | None = None
    # The pixels that it took of a `Room`; postponed: it found none and is to be read later.
    held: int = 0
    postponed: bool = False
    result: Result | None = None
    # What goes into the network with it, as the network takes it.
    bound: Any = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """The way from a run's pictures to views. `truth` gives the class that a ref's folder names, if that is asked.

    Pictures of more than `max_pixels` are refused. `sampling`: the frames of a clip, if the preset wants clips.
    """

    preset: Preset
    fit: Fit
    decoding: Decoding = AS_IT_IS
    truth: Callable[[Ref], int] | None = None
    max_pixels: int = MAX_PIXELS
    sampling: Sampling = ALL

    def read(self, ref: Ref, room: Room | None = None) -> Item:
        """The ref's item, with its refusal if it can't be read; it is postponed if there is no `room` for it."""
        item = Item(ref)

        def taken(pixels: int) -> bool:
            if room is not None and not room.take(pixels):
                return False
            item.held = pixels
            return True

        started = time.perf_counter()
        try:
            if self.truth is not None:
                item.truth = self.truth(ref)
            if isinstance(ref.held, Normalised):
                item.frame, item.view = memory.seen(ref, ref.held, self.preset)
                return item
            if self.preset.frames is not None and ref.held is None:
                item.frame, image = clips.read(ref, self.preset, self.sampling, self.max_pixels), None
            else:
                item.frame, image = decoding.read(ref, self.decoding, self.max_pixels, room=taken)
            decoded = time.perf_counter()
            item.view = preprocessing.view_of(item.frame, self.preset, self.fit, image)
            item.ms = {"decode": (decoded - started) * 1e3, "preprocess": (time.perf_counter() - decoded) * 1e3}
        except NoRoomError:
            item.postponed = True
        except Exception as error:  # noqa: BLE001  the boundary of one input: it stops no other
            item.result = refused(ref, error, "read")
        return item

    def batches(self, refs: Iterable[Ref], size: int, pool: Executor, workers: int) -> Iterator[list[Item]]:
        """Batches of at most `size` items in the refs' order, none across a multiple of `size` refs.

        A batch depends on the refs' places alone, not on other readers of other refs: shards of whole multiples are
        batched as the whole run is. The pixels of a batch are held, and those read ahead: of `workers` pictures, of
        more if they are small, or of fewer that fill `MAX_ROOM`.
        """
        refs = iter(refs)
        while block := list(islice(refs, size)):
            batch: list[Item] = []
            pixels = 0
            with _Reading(self.read, block, pool, workers) as reading:
                for item in reading:
                    batch.append(item)
                    pixels += _pixels(item)
                    if pixels >= MAX_BATCH_PIXELS:
                        # Decoding on while the network computes would slow it many times.
                        reading.settle()
                        yield batch
                        batch, pixels = [], 0
            if batch:
                yield batch


def refused(ref: Ref, error: Exception, stage: str) -> Failed:
    """The refusal of one input. Raises: the error itself, if it is about the whole run."""
    refusal = of_input(error, stage)
    return Failed(ref, refusal.stage, refusal.kind, str(refusal))


class Room:
    """The pixels that may be held of pictures whose turn has not come. A picture takes its own before it is decoded."""

    def __init__(self, pixels: int) -> None:
        self._left = pixels
        self._lock = Lock()

    def take(self, pixels: int) -> bool:
        with self._lock:
            fits = pixels <= self._left
            self._left -= pixels if fits else 0
            return fits

    def give(self, pixels: int) -> None:
        with self._lock:
            self._left += pixels


class _Reading:
    """Items in the refs' order, some of them read ahead: as many as there are workers, or more while they are small.

    A picture that finds no room is read when its turn comes: a folder of few bytes may hold many pixels.
    """

    def __init__(self, read: Callable[..., Item], refs: Iterable[Ref], pool: Executor, workers: int) -> None:
        self._read = read
        self._refs = refs
        self._pool = pool
        self._workers = workers
        self._waiting: deque[Future[Item]] = deque()
        self._room = Room(MAX_ROOM)

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        for future in self._waiting:
            future.cancel()

    def __iter__(self) -> Iterator[Item]:
        ahead = self._workers
        for ref in self._refs:
            self._waiting.append(self._pool.submit(self._read, ref, self._room))
            while len(self._waiting) > ahead:
                yield (item := self._next())
                # A worker must not wait for one that has a larger picture.
                pixels = max(1, _pixels(item))
                ahead = min(max(self._workers, MAX_AHEAD_PIXELS // pixels), max(1, MAX_ROOM // pixels))
        while self._waiting:
            yield self._next()

    def _next(self) -> Item:
        item = self._waiting.popleft().result()
        self._room.give(item.held)
        return self._read(item.ref) if item.postponed else item

    def settle(self) -> None:
        """Wait until nothing is being read."""
        wait(self._waiting)


def _pixels(item: Item) -> int:
    return item.frame.rgb.size // 3 if item.frame else 0
