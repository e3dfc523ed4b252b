"""The data loader: prefetching of batches that are drawn by number, and a memory cache of images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import numpy as np

Batch = TypeVar("Batch")
_AHEAD = 3


def prefetch(make: Callable[[int], Batch], first: int, count: int, workers: int) -> Iterator[Batch]:
    """Yields `make(first)` to `make(first + count - 1)` in order, made ahead in threads. What `make` raises comes out
    where its batch would.

    Not the worker processes of torch's `DataLoader`: batches are made by NumPy and OpenCV, which let other threads run,
    and one process has one cache and sends no batch to another.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(make, first + n) for n in range(min(_AHEAD, count))]
        for number in range(count):
            if number + _AHEAD < count:
                waiting.append(pool.submit(make, first + number + _AHEAD))
            yield waiting.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)  # nobody takes what is still ahead


class MemoryCache:
    """Arrays by key; those used longest ago go when `limit_bytes` is passed. Safe to use from several threads.

    The key of a file's content holds its `file_version`, or a file that was replaced is not read again.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this key, made where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        array = make()  # outside the lock: other threads need not wait for a file
        with self._lock:
            self._kept[key] = array
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self.limit_bytes:
                self._kept.popitem(last=False)
        return array
