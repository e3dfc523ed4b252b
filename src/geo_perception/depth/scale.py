"""The factor that makes metres of relative depth, followed over time. No ROS and no clock: time is stamps of images.

metric depth = exp(log scale) x relative depth. The scale of a network differs from view to view, so its logarithm is a
random walk. The errors of one source are alike from one image to the next (the same landmarks, the same patch of floor,
the same wrong camera height), as in `calibration.correlated_filter`:

    z_k = x_k + sigma_k (sqrt(c) u_k + sqrt(1 - c) v_k)

with c the shared part, v white, and u of unit variance, one for each source, fading over `correlation_s`. The state is
(x, u of every source). Where nothing fades, the variance of a constant x never falls below c sigma^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError

SOURCES = ("landmarks", "ground", "odometry")
CLOCK_JUMP_S = 1.0  # stamps that go back by less belong to measurements that took longer
_STATES = 1 + len(SOURCES)


@dataclass(frozen=True)
class ScaleMeasurement:
    """What one image tells of the scale, the standard error of that, and how many points agreed.

    Raises InputError for a `source` that is none of SOURCES.
    """

    log_scale: float
    sigma: float
    source: str
    support: int

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
    """Takes measurements as they come and tells the scale at a stamp. `options` may be changed at any time.

    A measurement that is back in time by up to CLOCK_JUMP_S is taken as one of now, with what the scale may have
    wandered since as further uncertainty. One that is back by more starts anew: the clock was set, or a recording
    began again. So does one after a silence longer than `max_age_s`.
    """

    def __init__(self, options: ScaleOptions | None = None):
        self.options = options or ScaleOptions()
        self.reset()

    def reset(self) -> None:
        """Forgets every measurement."""
        self._belief: _Belief | None = None
        self._rival: _Belief | None = None  # what measurements that contradict the belief say together
        self._rival_count = 0
        self._stamp_s = self._used_s = float("nan")
        self._heard_s: dict[str, float] = {}  # when each source last went in

    def update(self, measurement: ScaleMeasurement, stamp_s: float) -> bool:
        """Whether the measurement went in. False: it is no number, or it contradicts what is believed."""
        if not (measurement.usable and np.isfinite(stamp_s)):
            return False
        if stamp_s < self._stamp_s - CLOCK_JUMP_S or stamp_s - self._used_s > self.options.max_age_s:
            self.reset()
        late_s = 0.0 if self._belief is None else max(self._stamp_s - stamp_s, 0.0)
        self._advance(stamp_s)
        z, source = measurement.log_scale, SOURCES.index(measurement.source)
        variance = max(measurement.sigma, self.options.floor_sigma) ** 2 + self.options.walk**2 * late_s
        if self._belief is None:
            return self._accept(_start(z, variance, source, self.options), measurement.source)
        if self._agrees(self._belief, z, variance, source):
            return self._accept(_update(self._belief, z, variance, source, self.options), measurement.source)
        if self._rival is not None and self._agrees(self._rival, z, variance, source):
            self._rival, self._rival_count = (
                _update(self._rival, z, variance, source, self.options),
                self._rival_count + 1,
            )
        else:
            self._rival, self._rival_count = _start(z, variance, source, self.options), 1
        if self._rival_count < self.options.restart_after:
            return False
        self._heard_s.clear()
        return self._accept(self._rival, measurement.source)

    def scale(self, stamp_s: float) -> Scale | None:
        """The scale at a stamp, from what was measured so far; None when nothing was, for longer than `max_age_s` or
        since the clock went back."""
        if self._belief is None or not np.isfinite(stamp_s) or stamp_s < self._stamp_s - CLOCK_JUMP_S:
            return None
        age_s = max(stamp_s - self._used_s, 0.0)
        if age_s > self.options.max_age_s:
            return None
        variance = self._belief.covariance_nn[0, 0] + self.options.walk**2 * max(stamp_s - self._stamp_s, 0.0)
        recent = [s for s in SOURCES if stamp_s - self._heard_s.get(s, -np.inf) <= self.options.max_age_s]
        factor = float(np.exp(self._belief.mean_n[0]))
        return Scale(factor, float(np.sqrt(variance)), "+".join(recent), float(age_s))

    def _accept(self, belief: _Belief, source: str) -> bool:
        self._belief, self._rival, self._rival_count = belief, None, 0
        self._used_s = self._heard_s[source] = self._stamp_s
        return True

    def _advance(self, stamp_s: float) -> None:
        if self._belief is None:
            self._stamp_s = stamp_s
            return
        seconds = max(stamp_s - self._stamp_s, 0.0)
        self._belief = _predict(self._belief, seconds, self.options)
        if self._rival is not None:
            self._rival = _predict(self._rival, seconds, self.options)
        self._stamp_s += seconds

    def _agrees(self, belief: _Belief, z: float, variance: float, source: int) -> bool:
        H_n = _observation(variance, source, self.options)
        S = H_n @ belief.covariance_nn @ H_n + (1 - self.options.shared_error) * variance
        return bool(abs(z - H_n @ belief.mean_n) <= self.options.gate_sigma * np.sqrt(S))


@dataclass(frozen=True)
class _Belief:
    """Mean (4) and covariance (4, 4) of the log scale and the shared error of each source."""

    mean_n: np.ndarray
    covariance_nn: np.ndarray


def _start(z: float, variance: float, source: int, options: ScaleOptions) -> _Belief:
    """After the first measurement, nothing known before: x = z - sigma (sqrt(c) u + sqrt(1 - c) v)."""
    mean_n, covariance_nn = np.zeros(_STATES), np.eye(_STATES)
    mean_n[0], covariance_nn[0, 0] = z, variance
    covariance_nn[0, 1 + source] = covariance_nn[1 + source, 0] = -np.sqrt(options.shared_error * variance)
    return _Belief(mean_n, covariance_nn)


def _predict(belief: _Belief, seconds: float, options: ScaleOptions) -> _Belief:
    rho = float(np.exp(-seconds / options.correlation_s))
    F_n = np.array([1.0] + [rho] * len(SOURCES))
    Q_n = np.array([options.walk**2 * seconds] + [1 - rho**2] * len(SOURCES))
    return _Belief(F_n * belief.mean_n, belief.covariance_nn * np.outer(F_n, F_n) + np.diag(Q_n))


def _update(belief: _Belief, z: float, variance: float, source: int, options: ScaleOptions) -> _Belief:
    H_n, noise = _observation(variance, source, options), (1 - options.shared_error) * variance
    gain_n = belief.covariance_nn @ H_n / (H_n @ belief.covariance_nn @ H_n + noise)
    mean_n = belief.mean_n + gain_n * (z - H_n @ belief.mean_n)
    # Joseph's form: stays symmetric and positive whatever the rounding.
    left_nn = np.eye(_STATES) - np.outer(gain_n, H_n)
    return _Belief(mean_n, left_nn @ belief.covariance_nn @ left_nn.T + noise * np.outer(gain_n, gain_n))


def _observation(variance: float, source: int, options: ScaleOptions) -> np.ndarray:
    H_n = np.zeros(_STATES)
    H_n[0], H_n[1 + source] = 1.0, np.sqrt(options.shared_error * variance)
    return H_n
