"""What takes a node seconds before it can work: done beside the executor, and beside what other nodes load."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Preparation:
    """Runs `prepare` once, in a thread of its own where it was begun, else when its result is asked for."""

    def __init__(self, prepare: Callable[[], Any]):
        self._prepare = prepare
        self._thread: threading.Thread | None = None
        self._result: Any = None
        self._error: Exception | None = None

    def begin(self) -> None:
        """Starts a thread for it."""
        # A daemon: a signal ends the process while it loads.
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self._thread.start()

    @property
    def begun(self) -> bool:
        return self._thread is not None

    @property
    def is_done(self) -> bool:
        """Whether what was begun has ended, well or not."""
        return self._thread is not None and not self._thread.is_alive()

    def take(self) -> Any:
        """The result, once; the next time it is made anew. Raises what `prepare` raised."""
        if self._thread is None:
            return self._prepare()
        self._thread.join()
        result, error = self._result, self._error
        self._thread = self._result = self._error = None
        if error is not None:
            raise error
        return result

    def _run(self) -> None:
        try:
            self._result = self._prepare()
        except Exception as error:
            self._error = error
