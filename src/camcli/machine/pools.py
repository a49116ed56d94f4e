"""Threads: a pool for what many pictures need, and one step ahead for what another device waits for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# Decoding and encoding scale with cores, but each worker holds a few copies of a picture.
MAX_WORKERS = 16


def default_workers() -> int:
    """One for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS)


@contextmanager
def pool_of(workers: int) -> Iterator[Executor]:
    """A pool of threads that forgets what has not begun when the block is left, and waits for what has."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="camcli")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, the next one being made in a thread while the consumer works on this one."""
    iterator = iter(items)
    end = object()
    with pool_of(1) as pool:
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield item  # type: ignore[misc]
