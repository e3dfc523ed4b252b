"""A slot for one item between two threads: the newest wins, so nothing stale is ever worked on."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One writer side, one reader. `put` never blocks; an item that was not taken yet is replaced."""

    def __init__(self):
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: Item) -> bool:
        """Leaves the item for the reader. True when it replaced one that nobody had taken."""
        with self._changed:
            if self._closed:
                return False
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def wait(self) -> bool:
        """Waits until an item is there, and leaves it there. False when the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            return not self._closed

    def take(self, timeout_s: float | None = None) -> Item | None:
        """Waits for an item and takes it out. None when the mailbox is closed or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Forgets an item that was not taken yet."""
        with self._changed:
            self._item = None

    def close(self) -> None:
        """Ends it: the reader wakes and gets None, what is put afterwards is ignored."""
        with self._changed:
            self._closed, self._item = True, None
            self._changed.notify_all()
