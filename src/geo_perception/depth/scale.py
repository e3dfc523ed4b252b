"""The factor that makes metres of relative depth, followed over time. No ROS and no clock: time is stamps of images.

metric depth = exp(log scale) x relative depth. The scale of a network differs from view to view, so its logarithm is a
random walk. The errors of one source are alike from one image to the next (the same landmarks, the same patch of floor,
the same wrong camera height), as in `filtering.correlated_filter`. The state is (x, u of every source).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.depth.metric_points import MetricPoints
from geo_perception.errors import InputError
from geo_perception.filtering.correlated_filter import CorrelatedFilter, CorrelatedMeasurement, GaussianState

SOURCES = ("landmarks", "ground", "odometry", "camera_pose")
CLOCK_JUMP_S = 1.0  # stamps that go back by less belong to measurements that took longer


@dataclass(frozen=True)
class ScaleMeasurement:
    """The log scale measured on one image, its standard error, how many points agreed, and the points themselves where
    they are known.

    Raises InputError for a `source` that is none of SOURCES.
    """

    log_scale: float
    sigma: float
    source: str
    support: int
    points: MetricPoints | None = None

    def __post_init__(self):
        if self.source not in SOURCES:
            raise InputError(f"a scale from '{self.source}' is not known; use one of {', '.join(SOURCES)}")

    @property
    def usable(self) -> bool:
        """Whether both numbers are finite and the standard error is positive."""
        return bool(np.isfinite((self.log_scale, self.sigma)).all() and self.sigma > 0)


@dataclass(frozen=True)
class Scale:
    """Metres in one unit of relative depth. `sigma` is the standard deviation of its logarithm (0.1 is 10 %), `source`
    the names of the sources that lately went in, joined by "+", `age_s` the time since the last one did."""

    factor: float
    sigma: float
    source: str
    age_s: float


@dataclass(frozen=True)
class RememberedScale:
    """A log scale with its standard deviation at a stamp, and the names of its sources, joined by "+"."""

    log_scale: float
    sigma: float
    source: str
    stamp_s: float

    @property
    def usable(self) -> bool:
        """Whether all three are numbers, the deviation positive, and the sources known."""
        numbers = np.isfinite((self.log_scale, self.sigma, self.stamp_s)).all()
        return bool(numbers and self.sigma > 0 and set(self.source.split("+")) <= set(SOURCES))


@dataclass(frozen=True)
class ScaleOptions:
    """How measurements are fused. Standard deviations are of the log scale (0.1 is 10 %)."""

    walk: float = 0.05  # wandering in one second; it grows with the square root of time
    shared_error: float = 0.7  # the part of a measurement's variance that the next one of its source repeats
    correlation_s: float = 10.0  # the errors of one source this far apart in time are still alike (factor 1/e)
    floor_sigma: float = 0.02  # no measurement is taken as more certain than this
    gate_sigma: float = 4.0  # a measurement further off than this is left out
    restart_after: int = 5  # so many in a row that are left out and agree with each other start anew
    max_age_s: float = 10.0  # after so long without a measurement there is no scale any more

    def __post_init__(self):
        if not 0 <= self.shared_error < 1:
            raise InputError(f"shared_error is {self.shared_error:g}; give 0 or more, and less than 1")
        if self.walk < 0 or min(self.correlation_s, self.floor_sigma, self.gate_sigma, self.max_age_s) <= 0:
            raise InputError(
                f"scale options with walk {self.walk:g}, correlation_s {self.correlation_s:g}, floor_sigma "
                f"{self.floor_sigma:g}, gate_sigma {self.gate_sigma:g}, max_age_s {self.max_age_s:g}; give positive "
                "numbers (walk may be 0)"
            )
        if self.restart_after < 1:
            raise InputError(f"restart_after is {self.restart_after}; give 1 or more")


class ScaleFilter:
    """Takes measurements as they come and estimates the scale at a stamp. `options` may be changed at any time.

    A measurement that is back in time by up to CLOCK_JUMP_S is taken as one of now, with what the scale may have
    wandered since as further uncertainty. One that is back by more starts anew: the clock was set, or a recording
    began again. So does one after a silence longer than `max_age_s`.
    """

    def __init__(self, options: ScaleOptions | None = None):
        self.options = options or ScaleOptions()
        self._filter = CorrelatedFilter(np.ones(1 + len(SOURCES)))
        self.reset()

    def reset(self) -> None:
        """Forgets every measurement."""
        self._filter.reset()
        self._stamp_s = self._used_s = float("nan")
        self._measured_s: dict[str, float] = {}  # when each source last went in
        self._believed_s = 0.0  # how long what is remembered holds, until something is measured

    def remember(self, known: RememberedScale, max_age_s: float) -> None:
        """Begins with what was known before this process did, less certain by all the time since. It holds for so many
        seconds from its stamp, or until something is measured: then as ever."""
        self.reset()
        sources = known.source.split("+")
        z = CorrelatedMeasurement(
            np.array([known.log_scale]), np.array([[known.sigma**2]]), self.options.shared_error,
            1 + SOURCES.index(sources[0]),
        )  # fmt: skip
        self._filter.accept(self._filter.started(z))
        self._stamp_s = self._used_s = known.stamp_s
        self._measured_s = dict.fromkeys(sources, known.stamp_s)
        self._believed_s = max_age_s

    def known(self) -> RememberedScale | None:
        """What to remember: the scale when it was last measured, and since."""
        state = self._filter.state
        if state is None:
            return None
        sigma = float(np.sqrt(state.covariance_nn[0, 0]))
        newest_s = max(self._measured_s.values())
        recent = [s for s in SOURCES if newest_s - self._measured_s.get(s, -np.inf) <= self.options.max_age_s]
        return RememberedScale(float(state.mean_n[0]), sigma, "+".join(recent), self._stamp_s)

    @property
    def _max_age_s(self) -> float:
        return max(self.options.max_age_s, self._believed_s)

    def update(self, measurement: ScaleMeasurement, stamp_s: float) -> bool:
        """Whether the measurement went in. False: it is no number, or it contradicts what is believed."""
        if not (measurement.usable and np.isfinite(stamp_s)):
            return False
        if stamp_s < self._stamp_s - CLOCK_JUMP_S or stamp_s - self._used_s > self._max_age_s:
            self.reset()
        options, source = self.options, measurement.source
        late_s = 0.0 if self._filter.state is None else max(self._stamp_s - stamp_s, 0.0)
        self._advance(stamp_s)
        variance = max(measurement.sigma, options.floor_sigma) ** 2 + options.walk**2 * late_s
        at = 1 + SOURCES.index(source)
        z = CorrelatedMeasurement(np.array([measurement.log_scale]), np.array([[variance]]), options.shared_error, at)
        if self._filter.state is None:
            return self._accept(self._filter.started(z), source)
        if not self._filter.contradictions(z, options.gate_sigma).any():
            return self._accept(self._filter.updated(self._filter.state, z), source)
        if self._filter.support_alternative(z, options.gate_sigma) < options.restart_after:
            return False
        self._measured_s.clear()
        return self._accept(self._filter.alternative, source)

    def scale(self, stamp_s: float) -> Scale | None:
        """The scale at a stamp, from what was measured so far; None when nothing was, for longer than `max_age_s` or
        since the clock went back."""
        state = self._filter.state
        if state is None or not np.isfinite(stamp_s) or stamp_s < self._stamp_s - CLOCK_JUMP_S:
            return None
        age_s = max(stamp_s - self._used_s, 0.0)
        if age_s > self._max_age_s:
            return None
        variance = state.covariance_nn[0, 0] + self.options.walk**2 * max(stamp_s - self._stamp_s, 0.0)
        recent = [s for s in SOURCES if stamp_s - self._measured_s.get(s, -np.inf) <= self._max_age_s]
        factor = float(np.exp(state.mean_n[0]))
        return Scale(factor, float(np.sqrt(variance)), "+".join(recent), float(age_s))

    def _accept(self, state: GaussianState, source: str) -> bool:
        self._filter.accept(state)
        self._believed_s = 0.0
        self._used_s = self._measured_s[source] = self._stamp_s
        return True

    def _advance(self, stamp_s: float) -> None:
        if self._filter.state is None:
            self._stamp_s = stamp_s
            return
        seconds = max(stamp_s - self._stamp_s, 0.0)
        rho = float(np.exp(-seconds / self.options.correlation_s))
        self._filter.predict(seconds, rho, np.array([self.options.walk]))
        self._stamp_s += seconds
