"""The one thread that a node's inference runs in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from geo_perception.errors import InputError
from geo_perception.ros.mailbox import Mailbox
from geo_perception.ros.turns import Turn, Turns


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
    """Runs `work(frame)` for the newest frame, one after the other, when it is this worker's turn: the frame is chosen
    then, so that it is not old. `work` must not raise.

    There is never more than one thread: while one that did not end in time is still at work, there is no start.
    """

    def __init__(self, work: Callable[[Frame], None]):
        self._work = work
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._mailbox.close()
        self._thread: threading.Thread | None = None
        self.turn = Turns().join(0)

    def check_ended(self) -> None:
        """Raises InputError while the thread of an earlier start that was stopped is still at work."""
        if self.left_behind:
            raise InputError(
                "an inference that was asked to stop is still running, and two must not run side by side; try again "
                "when it has ended, or start the process anew"
            )

    @property
    def left_behind(self) -> bool:
        """Whether a thread was stopped and has not ended."""
        return self._mailbox.closed and self._thread is not None and self._thread.is_alive()

    def start(self, turn: Turn | None = None) -> None:
        """Without a turn that it shares with others it never waits. Raises InputError as `check_ended` does."""
        self.check_ended()
        self._mailbox, self.turn = Mailbox(), turn or Turns().join(0)
        # A daemon: a device that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(self._mailbox, self.turn), name="inference", daemon=True
        )
        self._thread.start()

    def put(self, frame: Frame) -> bool:
        """Hands a frame over. True when it replaced one that was still waiting."""
        replaced = self._mailbox.put(frame)
        # Lets go of the interpreter, so that the thread that was woken begins now, and not when this one next waits.
        time.sleep(0)
        return replaced

    def clear(self) -> None:
        self._mailbox.clear()

    def stop(self, timeout_s: float) -> bool:
        """Waits for the frame being worked on. False when it did not end in time and was left behind. What was stopped
        before is not waited for again."""
        if self._thread is None or self._mailbox.closed:
            return True
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, mailbox: Mailbox[Frame], turn: Turn) -> None:
        while mailbox.wait():
            with suppress(MemoryError):  # not even for the answer to a lack of it; the next frame may have some
                turn.take()
                try:
                    frame = mailbox.take(0.0)
                    if frame is not None:
                        self._work(frame)
                finally:
                    turn.end()
