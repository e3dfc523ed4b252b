"""Making the next thing while the last one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Asked], Made], asked: Iterable[Asked], ahead: int = 2) -> Iterator[Made]:
    """What `make` makes of each, in order, by a thread that is at most `ahead` in front of who takes them: for what
    leaves Python most of the time. What it raises is raised where the thing would have come; nothing is made after it.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, "ahead") as thread:
        try:
            for one in asked:
                waiting.append(thread.submit(make, one))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
