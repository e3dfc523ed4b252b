"""What a process remembers over its own end: a small JSON file, replaced whole, that is believed for a time only."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError
from geo_perception.runtime.files import replace_text

FORMAT_VERSION = 1


class ForeignStateError(InputError):
    """A state file is somebody else's: it must not be written."""


def read_state(path: Path, of: str) -> dict[str, Any] | None:
    """What `of` (a node's name, say) wrote there; None where there is no such file.

    Raises InputError when the file is damaged, and ForeignStateError when it is of another format or of somebody else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, owner, state = found["format_version"], found["of"], found["state"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); nothing is remembered") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; nothing is remembered, and it is written anew") from None
    if version != FORMAT_VERSION or owner != of or not isinstance(state, dict):
        raise ForeignStateError(f"{path} is of {owner}, format {version}; give each node a state file of its own")
    return state


def write_state(path: Path, of: str, state: dict[str, Any]) -> None:
    """Replaces the file, making its folder where it is missing. Raises OSError when the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps({"format_version": FORMAT_VERSION, "of": of, "state": state}) + "\n")


class StateWriter:
    """Writes the newest state in a thread of its own, at most once in `interval_s`: a slow card delays nobody.

    `failure` says why the last writing failed (empty: it did not); `on_failure` is told when that begins.
    """

    def __init__(self, path: Path, of: str, on_failure: Callable[[str], None], interval_s: float):
        self.path, self._of, self._on_failure, self._interval_s = path, of, on_failure, interval_s
        self.failure = ""
        self._newest: dict[str, Any] | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="state file", daemon=True)
        self._thread.start()

    def keep(self, state: dict[str, Any]) -> None:
        """This is to be remembered from now on."""
        with self._changed:
            self._newest = state
            self._changed.notify()

    def forget(self) -> None:
        """Nothing is to be remembered: the file is removed."""
        with self._changed:
            self._newest = {}
            self._changed.notify()

    def close(self, timeout_s: float = 1.0) -> None:
        """Writes what is still to be written, and waits for it no longer than that."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        written_s = float("-inf")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._newest is not None)
                # What is asked to end does not wait for its turn.
                left_s = written_s + self._interval_s - time.monotonic()
                if left_s > 0 and self._newest != {}:
                    self._changed.wait_for(lambda: self._ended or self._newest == {}, left_s)
                state, self._newest = self._newest, None
                if state is None:
                    return
            written_s = time.monotonic()
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        try:
            if state:
                write_state(self.path, self._of, state)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            failure = f"{self.path} cannot be written ({error.strerror or error})"
            if not self.failure:
                self._on_failure(f"{failure}; what is known now is forgotten when this process ends")
            self.failure = failure
        else:
            self.failure = ""
