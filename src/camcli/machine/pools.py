"""Threads: a pool for work on many pictures, and one step ahead for work that another device waits for."""

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
    """The usual number of workers: one for each core that this process may use, `MAX_WORKERS` at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS)


@contextmanager
def pool_of(workers: int) -> Iterator[Executor]:
    """A pool of threads. When the block is left, it forgets tasks that have not begun and waits for those that have."""
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
