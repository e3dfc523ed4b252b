"""Rigid poses as 4x4 float64 arrays. `T_a_b` maps points of frame b into frame a; metres and radians."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from geo_perception.errors import InputError


def make_pose(R_33: np.ndarray, t_3: np.ndarray) -> np.ndarray:
    """The 4x4 pose with rotation `R_33` and translation `t_3`."""
    T = np.eye(4)
    T[:3, :3] = R_33
    T[:3, 3] = t_3
    return T


def invert_pose(T_a_b: np.ndarray) -> np.ndarray:
    """`T_b_a`. Works on a stack of poses, shape (..., 4, 4)."""
    T_b_a = np.zeros_like(T_a_b, dtype=np.float64)
    R_b_a = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    T_b_a[..., :3, :3] = R_b_a
    T_b_a[..., :3, 3] = -np.einsum("...ij,...j->...i", R_b_a, T_a_b[..., :3, 3])
    T_b_a[..., 3, 3] = 1.0
    return T_b_a


def pose_from_quaternion(t_3, q_xyzw) -> np.ndarray:
    """The pose from a translation and a quaternion in ROS order (x, y, z, w), of any non-zero norm.

    Raises InputError when a number is not finite or the quaternion is zero.
    """
    t_3, q_xyzw = np.asarray(t_3, np.float64), np.asarray(q_xyzw, np.float64)
    if not (np.isfinite(t_3).all() and np.isfinite(q_xyzw).all() and np.linalg.norm(q_xyzw) > 1e-6):
        raise InputError(
            f"not a pose: translation {t_3.tolist()}, quaternion {q_xyzw.tolist()}; give finite numbers and a "
            "quaternion (x, y, z, w) that is not zero"
        )
    return make_pose(Rotation.from_quat(q_xyzw).as_matrix(), t_3)


def pose_to_quaternion(T_a_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translation (3,) and unit quaternion (4,) in ROS order (x, y, z, w), with w >= 0."""
    q_xyzw = Rotation.from_matrix(T_a_b[:3, :3]).as_quat()
    return T_a_b[:3, 3].copy(), q_xyzw if q_xyzw[3] >= 0 else -q_xyzw


def so3_exp(omega_3: np.ndarray) -> np.ndarray:
    """Rotation matrix of a rotation vector in radians."""
    return Rotation.from_rotvec(omega_3).as_matrix()


def so3_log(R_33: np.ndarray) -> np.ndarray:
    """Rotation vector in radians of a rotation matrix."""
    return Rotation.from_matrix(R_33).as_rotvec()


def rotation_angle_rad(R_a: np.ndarray, R_b: np.ndarray) -> float:
    """The angle between two rotations, exact for small angles too."""
    return float(np.linalg.norm(so3_log(np.swapaxes(R_a, -1, -2) @ R_b)))


def pose_error(T_true: np.ndarray, T_estimated: np.ndarray) -> tuple[float, float]:
    """Distance between the two origins in metres, angle between the two rotations in radians."""
    distance_m = float(np.linalg.norm(T_true[:3, 3] - T_estimated[:3, 3]))
    return distance_m, rotation_angle_rad(T_true[:3, :3], T_estimated[:3, :3])


def interpolate_pose(stamps_s: np.ndarray, T_n44: np.ndarray, stamp_s: float, max_gap_s: float) -> np.ndarray | None:
    """The pose at `stamp_s` between its two neighbours: linear in translation, slerp in rotation.

    `stamps_s` ascends. None where the stamp lies outside the poses, or where its neighbours are more than `max_gap_s`
    apart (a pose that is not known is not made up).
    """
    after = int(np.searchsorted(stamps_s, stamp_s))
    if after < len(stamps_s) and stamps_s[after] == stamp_s:
        return T_n44[after].copy()
    if after == 0 or after == len(stamps_s) or stamps_s[after] - stamps_s[after - 1] > max_gap_s:
        return None
    pair = slice(after - 1, after + 1)
    share = (stamp_s - stamps_s[after - 1]) / (stamps_s[after] - stamps_s[after - 1])
    R_33 = Slerp([0.0, 1.0], Rotation.from_matrix(T_n44[pair, :3, :3]))(share).as_matrix()
    return make_pose(R_33, (1 - share) * T_n44[after - 1, :3, 3] + share * T_n44[after, :3, 3])
