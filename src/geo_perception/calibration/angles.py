"""A camera as (log focal, pitch, roll), and as solvers have it: log focal and a vertical with its two tangents."""

from __future__ import annotations

import numpy as np

from geo_perception.calibration.joint import CameraTerm, JointCamera
from geo_perception.calibration.solve import CameraSolution
from geo_perception.calibration.uncertainty import Uncertainty
from geo_perception.geometry import attitude_from_up, up_from_attitude


def camera_values(solution: CameraSolution, uncertainty: Uncertainty) -> tuple[np.ndarray, np.ndarray]:
    """(log focal, pitch, roll) of the first image of a solution, and their calibrated covariance (3, 3)."""
    up_3 = solution.up_b3[0].double().cpu().numpy()
    pitch_rad, roll_rad = attitude_from_up(up_3)
    information_33 = solution.information_b33[0].double().cpu().numpy()
    values_3 = np.array([float(solution.log_focal_b[0]), float(pitch_rad), float(roll_rad)])
    try:
        covariance_33 = np.linalg.inv(information_33)
    except np.linalg.LinAlgError:
        return values_3, np.full((3, 3), np.nan)
    return values_3, uncertainty.calibrated(_of_angles(covariance_33, float(pitch_rad)))


def camera_term(values_3: np.ndarray, covariance_33: np.ndarray) -> CameraTerm:
    """(log focal, pitch, roll) and their covariance (3, 3) as evidence of a camera."""
    log_focal, pitch_rad, roll_rad = values_3
    to_tangents_33 = np.linalg.inv(to_angles(pitch_rad))
    information_33 = np.linalg.inv(to_tangents_33 @ covariance_33 @ to_tangents_33.T)
    return CameraTerm(float(log_focal), up_from_attitude(pitch_rad, roll_rad), information_33)


def joint_values(joint: JointCamera) -> tuple[np.ndarray, np.ndarray]:
    """(log focal, pitch, roll) of a camera from all evidence, and their covariance (3, 3), not calibrated."""
    pitch_rad, roll_rad = (float(angle) for angle in attitude_from_up(joint.up_3))
    return np.array([joint.log_focal, pitch_rad, roll_rad]), _of_angles(joint.covariance_33, pitch_rad)


def _of_angles(covariance_33: np.ndarray, pitch_rad: float) -> np.ndarray:
    """The covariance of (log focal, pitch, roll) by that of log focal and the tangent directions."""
    to_angles_33 = to_angles(pitch_rad)
    covariance_33 = to_angles_33 @ covariance_33 @ to_angles_33.T
    return (covariance_33 + covariance_33.T) / 2  # the information may have been in float32


def to_angles(pitch_rad: float) -> np.ndarray:
    """What (3, 3) makes (log focal, pitch, roll) of log focal and the tangent directions, at a pitch: those are a roll,
    shortened by the pitch, and a pitch."""
    return np.array([[1, 0, 0], [0, 0, 1], [0, 1 / max(np.cos(pitch_rad), 1e-3), 0]])
