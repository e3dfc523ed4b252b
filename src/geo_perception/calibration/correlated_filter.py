"""A Kalman filter for measurements whose errors are alike from one image to the next.

Two images of one scene are wrong in the same way: a hundred frames of one wall hold hardly more than one frame does. So
the error of a measurement is split into a part that the images share and a part that each has for itself:

    z_k = x_k + L_k (sqrt(c) u_k + sqrt(1 - c) v_k),    R_k = L_k L_k^T

with R_k the covariance that the measurement states, c the shared part, v_k white, and u_k the error of the scene, of
unit variance and with a correlation rho from one image to the next: u_k = rho u_(k-1) + sqrt(1 - rho^2) w_k. The state
is (x, u). Where the view does not change (rho = 1) the variance of a constant x never falls below c R; where it does,
and c = 1, n images give R / (1 + (n - 1) (1 - rho) / (1 + rho)), as generalized least squares would.

x is (log focal length, pitch, roll), a random walk. The logarithm keeps the focal length positive and makes its
uncertainty a share of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOCAL, PITCH, ROLL = 0, 1, 2
_OPEN_VARIANCE = np.pi**2  # says nothing about an angle


@dataclass(frozen=True)
class NoiseModel:
    """`shared` is c, at least 0 and below 1; `walk_3` is how far (log focal, pitch, roll) wander in one second, one
    standard deviation."""

    shared: float
    walk_3: np.ndarray


@dataclass(frozen=True)
class Belief:
    """What is believed at one moment: the mean (6) and covariance (6, 6) of (log focal, pitch, roll, u)."""

    mean_6: np.ndarray
    covariance_66: np.ndarray

    @property
    def x_3(self) -> np.ndarray:
        return self.mean_6[:3]

    @property
    def x_covariance_33(self) -> np.ndarray:
        return self.covariance_66[:3, :3]


def start(z_3: np.ndarray, R_33: np.ndarray, noise: NoiseModel) -> Belief:
    """The belief after the first measurement, when nothing was known before."""
    covariance_66 = np.eye(6)
    covariance_66[:3, :3] = R_33
    covariance_66[:3, 3:] = -np.sqrt(noise.shared) * np.linalg.cholesky(R_33)
    covariance_66[3:, :3] = covariance_66[:3, 3:].T
    return Belief(np.concatenate([z_3, np.zeros(3)]), covariance_66)


def start_from_focal(log_focal: float, variance: float) -> Belief:
    """The belief when only the focal length was measured, by other means than an image's looks."""
    variances = [variance, _OPEN_VARIANCE, _OPEN_VARIANCE, 1.0, 1.0, 1.0]
    return Belief(np.array([log_focal, 0.0, 0.0, 0.0, 0.0, 0.0]), np.diag(variances))


def predict(belief: Belief, seconds: float, rho: float, noise: NoiseModel) -> Belief:
    """The belief some seconds later, at an image whose scene error has the correlation `rho` with that of before."""
    F_66 = np.diag([1.0] * 3 + [rho] * 3)
    Q_66 = np.diag(np.concatenate([noise.walk_3**2 * seconds, np.full(3, 1 - rho**2)]))
    return Belief(F_66 @ belief.mean_6, F_66 @ belief.covariance_66 @ F_66.T + Q_66)


def innovation(belief: Belief, z_3: np.ndarray, R_33: np.ndarray, noise: NoiseModel) -> tuple[np.ndarray, np.ndarray]:
    """How far the measurement lies from what is expected (3), and the covariance (3, 3) of that."""
    H_36 = _observation(R_33, noise)
    nu_3 = z_3 - H_36 @ belief.mean_6
    nu_3[ROLL] = wrap_rad(nu_3[ROLL])
    return nu_3, H_36 @ belief.covariance_66 @ H_36.T + (1 - noise.shared) * R_33


def update(belief: Belief, z_3: np.ndarray, R_33: np.ndarray, noise: NoiseModel) -> Belief:
    """The belief after a measurement with covariance R (3, 3)."""
    H_36 = _observation(R_33, noise)
    nu_3, S_33 = innovation(belief, z_3, R_33, noise)
    gain_63 = np.linalg.solve(S_33, H_36 @ belief.covariance_66).T
    mean_6 = belief.mean_6 + gain_63 @ nu_3
    mean_6[ROLL] = wrap_rad(mean_6[ROLL])
    # Joseph's form: stays symmetric and positive whatever the rounding.
    left_66 = np.eye(6) - gain_63 @ H_36
    noise_33 = (1 - noise.shared) * R_33
    return Belief(mean_6, left_66 @ belief.covariance_66 @ left_66.T + gain_63 @ noise_33 @ gain_63.T)


def focal_innovation(belief: Belief, log_focal: float, variance: float) -> tuple[float, float]:
    """How far a log focal length, measured by other means than an image's looks, lies from what is believed, and the
    variance of that."""
    return log_focal - float(belief.mean_6[FOCAL]), float(belief.covariance_66[FOCAL, FOCAL]) + variance


def update_focal(belief: Belief, log_focal: float, variance: float) -> Belief:
    """The belief after such a measurement."""
    nu, S = focal_innovation(belief, log_focal, variance)
    gain_6 = belief.covariance_66[:, FOCAL] / S
    left_66 = np.eye(6)
    left_66[:, FOCAL] -= gain_6
    covariance_66 = left_66 @ belief.covariance_66 @ left_66.T + variance * np.outer(gain_6, gain_6)
    return Belief(belief.mean_6 + gain_6 * nu, covariance_66)


def replace_focal(belief: Belief, log_focal: float, variance: float) -> Belief:
    """The belief with another focal length, and what was known of the old one forgotten."""
    mean_6, covariance_66 = belief.mean_6.copy(), belief.covariance_66.copy()
    mean_6[FOCAL] = log_focal
    covariance_66[FOCAL, :] = covariance_66[:, FOCAL] = 0.0
    covariance_66[FOCAL, FOCAL] = variance
    return Belief(mean_6, covariance_66)


def open_attitude(belief: Belief) -> Belief:
    """The belief with pitch and roll forgotten and the focal length kept."""
    covariance_66 = belief.covariance_66.copy()
    angles = [PITCH, ROLL]
    covariance_66[angles, :] = covariance_66[:, angles] = 0.0
    covariance_66[angles, angles] = _OPEN_VARIANCE
    return Belief(belief.mean_6, covariance_66)


def wrap_rad(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def _observation(R_33: np.ndarray, noise: NoiseModel) -> np.ndarray:
    return np.concatenate([np.eye(3), np.sqrt(noise.shared) * np.linalg.cholesky(R_33)], axis=1)
