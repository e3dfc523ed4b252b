"""Rendering on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import cv2

from geo_training.console import track

Item, Result = TypeVar("Item"), TypeVar("Result")
_MAX_WORKERS = 8


def render_all(make: Callable[[Item], Result], items: Sequence[Item], few: int = 3, chunk: int = 1) -> Iterator[Result]:
    """`make` of every item, in order, with a progress bar. All cores work, but for fewer than `few` items."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(items) < few or cores == 1:
        yield from (make(item) for item in track(items, "rendering"))
        return
    # A fresh interpreter: forking a process that has threads (OpenCV's, say) can hang.
    with ProcessPoolExecutor(
        min(cores, _MAX_WORKERS), mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield from track(pool.map(make, items, chunksize=chunk), "rendering", len(items))
