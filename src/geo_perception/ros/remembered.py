"""What a node remembers over its own end: the parameters `state_file` and `state_max_age_s`, and what they do."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError
from geo_perception.ros.parameters import Change, Spec
from geo_perception.runtime.state_file import ForeignStateError, StateWriter, read_state

STATE_PARAMETERS = (
    Spec("state_file", "", "file in which what is known is kept, so that a node that was killed goes on with it; "
         "nothing: it begins anew", change=Change.UNCONFIGURED),
    Spec("state_max_age_s", 120.0, "how long what was known is believed after a restart, by the stamps of images",
         low=0.0, high=86400.0),
)  # fmt: skip


class Remembered:
    """Reads and writes the state file of one node. `kind` says what the node knows, for the log; what changes all the
    time is written once in `interval_s`."""

    def __init__(self, node: Any, kind: str, interval_s: float):
        self._node, self._kind, self._interval_s = node, kind, interval_s
        self._writer: StateWriter | None = None
        self._kept: dict[str, Any] | None = None

    def recall(self, take: Callable[[dict[str, Any]], None]) -> None:
        """At activation: hands the kept state to `take`, and goes on keeping. What is damaged, or of something else, is
        said in a line and forgotten; so is what makes `take` raise a KeyError, TypeError or ValueError. A file of
        somebody else is not written."""
        self.close()
        path = os.path.expanduser(self._node.value("state_file"))
        if not path:
            return
        owner = self._node.get_fully_qualified_name()
        log = self._node.get_logger()
        self._writer = StateWriter(Path(path), owner, lambda why: log.warning(f"state file: {why}"), self._interval_s)
        try:
            state = read_state(Path(path), owner)
            if state is not None:
                take(state)
                log.info(f"{path}: {self._kind} is remembered, if the first images fit it")
        except ForeignStateError as error:
            self._writer.close()
            self._writer = None
            log.warning(f"state file: {error}")
        except InputError as error:
            log.warning(f"state file: {error}")
        except (KeyError, TypeError, ValueError):
            log.warning(f"state file: {path} does not hold {self._kind}; nothing is remembered")

    def keep(self, state: dict[str, Any] | None) -> None:
        """This is known now; with None, what was kept is left as it is."""
        if self._writer is not None and state is not None and state != self._kept:
            self._kept = state
            self._writer.keep(state)

    def forget(self) -> None:
        """Somebody asked to forget all: the file, too."""
        if self._writer is not None:
            self._kept = None
            self._writer.forget()

    def close(self) -> None:
        """Writes what is still to be written."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._kept = None

    @property
    def verdict(self) -> str:
        """For the diagnostics."""
        if self._writer is None:
            return "none"
        return self._writer.failure or str(self._writer.path)


def number(state: dict[str, Any], name: str) -> float:
    """A finite number of the state. Raises KeyError, TypeError or ValueError where it is none."""
    value = float(state[name])
    if not math.isfinite(value):
        raise ValueError(name)
    return value
