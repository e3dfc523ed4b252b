"""A Kalman filter for measurements whose errors are correlated in time, with restart.

Two images of one scene are wrong in the same way: a hundred frames of one wall hold hardly more than one frame does. So
the error of a measurement is split into a part that the next one repeats and a part that each has for itself:

    z_k = x_k + L_k (sqrt(c) u_k + sqrt(1 - c) v_k),    R_k = L_k L_k^T

with R_k the covariance that the measurement states, c the shared part, v_k white, and u_k the repeated error, of unit
variance and with a correlation rho from one measurement to the next: u_k = rho u_(k-1) + sqrt(1 - rho^2) w_k. The state
is (x, u), and x a random walk. Where rho = 1 the variance of a constant x never falls below c R; elsewhere, with c = 1,
n measurements give R / (1 + (n - 1) (1 - rho) / (1 + rho)), as generalized least squares would.

Measurements that contradict the state are left out. Those that agree with each other form an alternative, which the
owner of the filter accepts when enough of them do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.geometry import wrap_rad


@dataclass(frozen=True)
class GaussianState:
    """The mean (n) and covariance (n, n) of (x, u)."""

    mean_n: np.ndarray
    covariance_nn: np.ndarray

    def replaced(self, entries: list[int], variances, means=None) -> GaussianState:
        """The state with these entries known anew, independent of the others; their means stay where none are given."""
        mean_n, covariance_nn = self.mean_n.copy(), self.covariance_nn.copy()
        if means is not None:
            mean_n[entries] = means
        covariance_nn[entries, :] = covariance_nn[:, entries] = 0.0
        covariance_nn[entries, entries] = variances
        return GaussianState(mean_n, covariance_nn)


@dataclass(frozen=True)
class CorrelatedMeasurement:
    """A measurement z (k) of the first k entries of x with covariance R (k, k).

    `shared` is c, at least 0 and below 1; the repeated error is in the k entries of the state from `shared_at` on.
    """

    z_k: np.ndarray
    R_kk: np.ndarray
    shared: float = 0.0
    shared_at: int = 0

    def shared_kk(self) -> np.ndarray:
        """How the repeated error enters the measurement: sqrt(c) L (k, k)."""
        return np.sqrt(self.shared) * np.linalg.cholesky(self.R_kk)

    def observation_kn(self, states: int) -> np.ndarray:
        """The observation matrix H (k, n) for a state of n entries."""
        count = len(self.z_k)
        H_kn = np.eye(count, states)
        if self.shared:
            H_kn[:, self.shared_at : self.shared_at + count] = self.shared_kk()
        return H_kn


class CorrelatedFilter:
    """The state, and the alternative that measurements which contradict it support.

    `prior_variance_n` (n) holds the variance of each entry of (x, u) before any measurement, 1 for u. `angles` are the
    entries of x that are angles. Assign `state` to change the estimate by other means than a measurement.
    """

    def __init__(self, prior_variance_n, angles: tuple[int, ...] = ()):
        self._prior_n, self._angles = np.asarray(prior_variance_n, np.float64), angles
        self.reset()

    def reset(self) -> None:
        """Forgets every measurement."""
        self.state: GaussianState | None = None
        self.alternative: GaussianState | None = None
        self.alternative_count = 0

    def predict(self, seconds: float, rho: float, walk_x: np.ndarray) -> None:
        """Some seconds later, at a measurement whose repeated error has the correlation `rho` with that of before.
        `walk_x` is how far each entry of x wanders in one second, one standard deviation."""
        shared = len(self._prior_n) - len(walk_x)
        F_n = np.concatenate([np.ones(len(walk_x)), np.full(shared, rho)])
        Q_n = np.concatenate([np.square(walk_x) * seconds, np.full(shared, 1 - rho**2)])
        self.state, self.alternative = (
            known and GaussianState(F_n * known.mean_n, known.covariance_nn * np.outer(F_n, F_n) + np.diag(Q_n))
            for known in (self.state, self.alternative)
        )

    def contradictions(self, measurement: CorrelatedMeasurement, gate_sigma: float) -> np.ndarray:
        """Which entries (k) of a measurement lie further from the state than the gate allows."""
        return self._outside(self.state, measurement, gate_sigma)

    def accept(self, state: GaussianState) -> None:
        """Takes a state as the estimate, and forgets the alternative."""
        self.state, self.alternative, self.alternative_count = state, None, 0

    def support_alternative(self, measurement: CorrelatedMeasurement, gate_sigma: float) -> int:
        """Adds a measurement that contradicts the state to the alternative; returns how many agree there by now.

        Measurements agree on the first entry. The others may wander faster than the walk says: where only those
        contradict the alternative, they are known from this measurement alone.
        """
        outside_k = self.alternative and self._outside(self.alternative, measurement, gate_sigma)
        if outside_k is None or outside_k[0]:
            self.alternative, self.alternative_count = self.started(measurement), 1
            return 1
        kept = self.alternative
        if outside_k.any():
            kept = self.opened(kept, list(range(1, len(measurement.z_k))))
        self.alternative, self.alternative_count = self.updated(kept, measurement), self.alternative_count + 1
        return self.alternative_count

    def started(self, measurement: CorrelatedMeasurement) -> GaussianState:
        """The state after the first measurement, when nothing was known before."""
        count, mean_n, covariance_nn = len(measurement.z_k), np.zeros(len(self._prior_n)), np.diag(self._prior_n)
        mean_n[:count], covariance_nn[:count, :count] = measurement.z_k, measurement.R_kk
        if measurement.shared:
            shared_k = slice(measurement.shared_at, measurement.shared_at + count)
            covariance_nn[:count, shared_k] = -measurement.shared_kk()
            covariance_nn[shared_k, :count] = covariance_nn[:count, shared_k].T
        return GaussianState(mean_n, covariance_nn)

    def opened(self, state: GaussianState, entries: list[int]) -> GaussianState:
        """The state with what is known of these entries forgotten."""
        return state.replaced(entries, self._prior_n[entries])

    def updated(self, state: GaussianState, measurement: CorrelatedMeasurement) -> GaussianState:
        """The state after a measurement."""
        H_kn = measurement.observation_kn(len(self._prior_n))
        nu_k, S_kk = self.innovation(state, measurement)
        gain_nk = np.linalg.solve(S_kk, H_kn @ state.covariance_nn).T
        mean_n = state.mean_n + gain_nk @ nu_k
        for angle in self._angles:
            mean_n[angle] = wrap_rad(mean_n[angle])
        # Joseph's form: stays symmetric and positive whatever the rounding.
        left_nn = np.eye(len(mean_n)) - gain_nk @ H_kn
        white_kk = (1 - measurement.shared) * measurement.R_kk
        return GaussianState(mean_n, left_nn @ state.covariance_nn @ left_nn.T + gain_nk @ white_kk @ gain_nk.T)

    def innovation(self, state: GaussianState, measurement: CorrelatedMeasurement) -> tuple[np.ndarray, np.ndarray]:
        """How far the measurement lies from what the state predicts (k), and the covariance (k, k) of that."""
        H_kn = measurement.observation_kn(len(self._prior_n))
        nu_k = measurement.z_k - H_kn @ state.mean_n
        for angle in self._angles:
            if angle < len(nu_k):
                nu_k[angle] = wrap_rad(nu_k[angle])
        return nu_k, H_kn @ state.covariance_nn @ H_kn.T + (1 - measurement.shared) * measurement.R_kk

    def _outside(self, state: GaussianState, measurement: CorrelatedMeasurement, gate_sigma: float) -> np.ndarray:
        nu_k, S_kk = self.innovation(state, measurement)
        return np.abs(nu_k) > gate_sigma * np.sqrt(np.diag(S_kk))
