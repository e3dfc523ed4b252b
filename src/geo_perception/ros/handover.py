"""A subscription that another takes the place of, kept until the other receives: nothing is lost between the two."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 2.0  # by then discovery is over, and a successor that receives nothing has nothing to receive


class Handover:
    """At most one subscription that is on its way out. May be called from one thread."""

    def __init__(self):
        self._end: Callable[[], None] | None = None
        self._begun_s = 0.0

    def begin(self, end: Callable[[], None]) -> None:
        """`end` destroys the former subscription. One whose time was not over is ended now."""
        self.finish()
        self._end, self._begun_s = end, time.monotonic()

    def finish(self) -> None:
        """The successor has received something, or nothing is wanted any more."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def poll(self, now_s: float) -> None:
        """Ends what has waited long enough."""
        if self.is_on and now_s - self._begun_s > PATIENCE_S:
            self.finish()

    @property
    def is_on(self) -> bool:
        return self._end is not None
