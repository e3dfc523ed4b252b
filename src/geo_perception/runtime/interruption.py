"""Signals that end the process whatever it is busy with. Imports nothing that takes time.

Python runs its signal handlers in the main thread between two lines of Python. Loading torch or a scene, and the first
inference, spend seconds elsewhere, and raise out of the middle of somebody's import where they do not. So a thread of
its own hears of a signal as soon as it comes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

GRACE_S = 1.5  # an orderly end that takes longer is cut short
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_present: SignalWatch | None = None


def watch_signals(exit_code: int | None = 0, sentence: str = "") -> SignalWatch:
    """From now on SIGINT and SIGTERM end this process at once with `exit_code` (None: 130 and 143, as shells say it),
    after one line on standard error where a sentence is given. What watches already goes on.

    For the main thread of a command, before anything that takes time.
    """
    global _present
    if _present is None:
        _present = SignalWatch(exit_code, sentence)
    return _present


@contextlib.contextmanager
def ended_by_signals(exit_code: int | None = 0, sentence: str = "") -> Iterator[SignalWatch]:
    """`watch_signals` while the block runs; then signals mean what they did before."""
    global _present
    if _present is not None:
        yield _present
        return
    watch = watch_signals(exit_code, sentence)
    try:
        yield watch
    finally:
        watch.close()
        _present = None


class SignalWatch:
    """Hears of SIGINT and SIGTERM. Made by `watch_signals`."""

    def __init__(self, exit_code: int | None, sentence: str):
        self._exit_code, self._sentence = exit_code, sentence
        self._orderly: Callable[[], bool] = lambda: False
        self.asked = self._closed = False
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # Python writes a signal's number there at once, in whichever thread it comes; the handlers have nothing to do.
        self._earlier_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._writer = writer
        self._earlier = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def end_in_order(self, worth_it: Callable[[], bool] = lambda: True) -> None:
        """From now on the first signal sets `asked`, and the process has GRACE_S to end by itself, unless that is not
        worth it at the time. A second signal ends it at once."""
        self._orderly = worth_it

    def close(self) -> None:
        """Signals mean what they did before."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_fd)
        self._closed = True
        os.write(self._writer, b"\0")

    def _listen(self) -> None:
        while not self._closed:
            number = os.read(self._reader, 1)[0]
            if number not in _SIGNALS:
                continue
            if self.asked:
                self._end(number, "ended at once")
            elif not self._orderly():
                self._end(number, self._sentence)
            else:
                self.asked = True
                threading.Thread(target=self._cut_short, args=(number,), name="grace", daemon=True).start()
        os.close(self._reader)
        os.close(self._writer)

    def _cut_short(self, number: int) -> None:
        time.sleep(GRACE_S)
        if not self._closed:
            self._end(number, "ended without waiting for what was still being done")

    def _end(self, number: int, sentence: str) -> None:
        if sentence:
            with contextlib.suppress(OSError):  # nobody reads any more
                os.write(2, f"{sentence}\n".encode())
        os._exit(128 + number if self._exit_code is None else self._exit_code)
