"""Batches that are made while the network is busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
_AHEAD = 3


def made_ahead(make: Callable[[int], Batch], first: int, count: int, workers: int) -> Iterator[Batch]:
    """`make(first)` to `make(first + count - 1)` in order, made ahead in threads."""
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(make, first + n) for n in range(min(_AHEAD, count))]
        for number in range(count):
            if number + _AHEAD < count:
                waiting.append(pool.submit(make, first + number + _AHEAD))
            yield waiting.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)  # nobody takes what is still ahead
