"""The one thread that a node's inference runs in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from geo_perception.ros.mailbox import Mailbox


@dataclass(frozen=True)
class Frame:
    """An image message on its way through a node.

    `received_s` is when it came, by the steady clock. `epoch` counts the node's resets: a frame of an earlier epoch is
    not published any more.
    """

    message: object
    received_s: float
    epoch: int

    @property
    def header(self):
        return self.message.header

    @property
    def stamp_ns(self) -> int:
        return self.header.stamp.sec * 1_000_000_000 + self.header.stamp.nanosec


class Worker:
    """Runs `work(frame)` for the newest frame, one after the other. `work` must not raise."""

    def __init__(self, work: Callable[[Frame], None]):
        self._work = work
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._mailbox = Mailbox()
        # A daemon: a device that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, args=(self._mailbox,), name="inference", daemon=True)
        self._thread.start()

    def put(self, frame: Frame) -> bool:
        """Hands a frame over. True when it replaced one that was still waiting."""
        return self._mailbox.put(frame)

    def clear(self) -> None:
        self._mailbox.clear()

    def stop(self, timeout_s: float) -> bool:
        """Waits for the frame being worked on. False when it did not end in time and was left behind."""
        self._mailbox.close()
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self, mailbox: Mailbox[Frame]) -> None:
        while (frame := mailbox.take()) is not None:
            self._work(frame)
