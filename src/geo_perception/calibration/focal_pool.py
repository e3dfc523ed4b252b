"""The focal length of one camera by everything that was said of it: by views, and by turns of the camera.

Images of one view err alike, so a view counts as its best image does and no more. Views of one place err alike in part,
and some are misled altogether (`pooling.py`). Turns are measured by geometry and err by themselves. What was known
before all these may be remembered: one more opinion, of everything that led to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.calibration.pooling import combined, pooled_log_focal

MOST_VIEWS, MOST_TURNS = 40, 10
NEW_VIEW = 0.5  # images are of another view when so little of it is left, by their correlation


@dataclass(frozen=True)
class Opinion:
    """A logarithm of the focal length in pixels with its standard deviation, and when it was said."""

    log_focal: float
    sigma: float
    stamp_s: float

    def aged(self, stamp_s: float, walk: float) -> tuple[float, float]:
        """What it says later, where the logarithm wanders by `walk` in one second."""
        return self.log_focal, float(np.hypot(self.sigma, walk * np.sqrt(max(stamp_s - self.stamp_s, 0.0))))


class FocalPool:
    """Takes opinions in the order of their stamps. `shared_error` is the part of a view's error variance that all views
    of a place have in common, `walk` how far the logarithm of the focal length wanders in one second."""

    def __init__(self, shared_error: float, walk: float, remembered: Opinion | None = None):
        self.shared_error, self.walk, self.remembered = shared_error, walk, remembered
        self.images = 0
        self.stamp_s = float("nan")
        self.views: list[Opinion] = []
        self.turns: list[Opinion] = []
        self._alike = 0.0  # how much of the current view is still seen

    @property
    def known(self) -> bool:
        """Whether anything was said."""
        return bool(self._said)

    @property
    def _said(self) -> list[Opinion]:
        return [*self.views, *self.turns, *([] if self.remembered is None else [self.remembered])]

    def advance(self, stamp_s: float, ncc: float) -> None:
        """Time goes on to an image whose view correlates with the one before by `ncc` (0 to 1)."""
        self.stamp_s, self._alike = stamp_s, self._alike * ncc

    def add_image(self, log_focal: float, sigma: float) -> None:
        """What the image at this stamp says."""
        self.images += 1
        opinion = Opinion(log_focal, sigma, self.stamp_s)
        if not self.views or self._alike < NEW_VIEW:
            self.views, self._alike = [*self.views, opinion][-MOST_VIEWS:], 1.0
        elif sigma <= self.views[-1].sigma:
            self.views[-1] = opinion

    def add_turn(self, log_focal: float, sigma: float) -> None:
        """What a turn that ended at this stamp says."""
        self.turns = [*self.turns, Opinion(log_focal, sigma, self.stamp_s)][-MOST_TURNS:]

    def estimate(self) -> tuple[float, float]:
        """The logarithm of the focal length and its standard deviation. Raises ValueError where nothing was said."""
        if not self.known:
            raise ValueError("nothing was said of the focal length")
        last_s = max(opinion.stamp_s for opinion in self._said)
        opinions = self._of_now(last_s)
        if self.remembered is not None:
            opinions.append(self.remembered.aged(last_s, self.walk))
        # While nothing is said the value stays, and gets less certain.
        return Opinion(*combined(opinions), last_s).aged(self.stamp_s, self.walk)

    def lasting_sigma(self) -> float:
        """The standard deviation to remember: that of what was said since, or of what was remembered, the smaller one.
        Both together are more certain once, but the place may be the same: to remember that again and again would make
        one place ever more certain."""
        sigmas = [] if self.remembered is None else [self.remembered.aged(self.stamp_s, self.walk)[1]]
        if self.views or self.turns:
            sigmas.append(combined(self._of_now(self.stamp_s))[1])
        return min(sigmas)

    def _of_now(self, stamp_s: float) -> list[tuple[float, float]]:
        """What turns and views say at a stamp."""
        opinions = [turn.aged(stamp_s, self.walk) for turn in self.turns]
        if self.views:
            aged = [view.aged(stamp_s, self.walk) for view in self.views]
            opinions.append(pooled_log_focal(*zip(*aged, strict=True), self.shared_error))
        return opinions

    def contradicts(self, log_focal: float, sigma: float, gate_sigma: float) -> bool:
        """Whether this is further from the estimate than the gate allows."""
        mean, own_sigma = self.estimate()
        return abs(log_focal - mean) > gate_sigma * float(np.hypot(sigma, own_sigma))
