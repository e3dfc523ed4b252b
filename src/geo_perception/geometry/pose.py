"""Rigid poses as 4x4 float64 arrays. `T_a_b` maps points of frame b into frame a; metres and radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation, Slerp

from geo_perception.errors import InputError

QUATERNION_TOLERANCE = 0.1  # of the norm: two decimals a number, and float16, are still rotations
ROTATION_TOLERANCE = 0.02  # of the products of columns: two decimals a number
_MAX_TRANSLATION = 1e12  # metres or a map's own unit; beyond, a double steps by more than a tenth of a millimetre


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


def checked_quaternion(q_xyzw: ArrayLike) -> np.ndarray:
    """The unit quaternion (4,) that `q_xyzw`, in ROS order (x, y, z, w), is but for rounding.

    Raises InputError when it is not four finite numbers of norm 1 within `QUATERNION_TOLERANCE`: zeros are what a
    message holds that nobody filled in, and a norm far from 1 says that the four numbers are something else.
    """
    q_xyzw = _numbers(q_xyzw)
    # The largest number is looked at first, so that a norm is never taken of numbers whose squares overflow.
    usable = q_xyzw.shape == (4,) and np.isfinite(q_xyzw).all() and np.abs(q_xyzw).max() <= 1 + QUATERNION_TOLERANCE
    norm = float(np.linalg.norm(q_xyzw)) if usable else np.nan
    if not abs(norm - 1) <= QUATERNION_TOLERANCE:
        raise InputError(
            f"the quaternion {q_xyzw.tolist()} is no rotation; give x, y, z, w whose squares add up to 1 "
            f"(a norm from {1 - QUATERNION_TOLERANCE:g} to {1 + QUATERNION_TOLERANCE:g} is normalized)"
        )
    return q_xyzw / norm


def checked_rotation(R_33: ArrayLike) -> np.ndarray:
    """The rotation (3, 3) nearest to `R_33`, which is one but for rounding.

    Raises InputError when it is not nine finite numbers whose columns are orthonormal within `ROTATION_TOLERANCE` and
    right-handed: a scaled, mirrored or sheared block is no rotation, and nothing tells which one was meant.
    """
    R_33 = _numbers(R_33)
    usable = R_33.shape == (3, 3) and np.isfinite(R_33).all() and np.abs(R_33).max() <= 1 + ROTATION_TOLERANCE
    if not usable or np.abs(R_33.T @ R_33 - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(R_33) < 0:
        raise InputError(
            f"{R_33.tolist()} is no rotation but scaled, mirrored or broken; give 3 x 3 numbers whose columns have "
            "length 1 and stand square on each other"
        )
    u_33, _, vt_33 = np.linalg.svd(R_33)
    return u_33 @ vt_33


def pose_from_quaternion(t_3: ArrayLike, q_xyzw: ArrayLike) -> np.ndarray:
    """The pose from a translation and a quaternion in ROS order (x, y, z, w), checked by `checked_quaternion`.

    Raises InputError when these are no pose: also a translation that is not three finite numbers of a size that
    geometry can be done with.
    """
    t_3 = _numbers(t_3)
    if not (t_3.shape == (3,) and np.isfinite(t_3).all() and np.abs(t_3).max() <= _MAX_TRANSLATION):
        raise InputError(f"not a pose: translation {t_3.tolist()}; give three finite numbers")
    try:
        return make_pose(Rotation.from_quat(checked_quaternion(q_xyzw)).as_matrix(), t_3)
    except InputError as error:
        raise InputError(f"not a pose: {error}") from None


def _numbers(values: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{values!r} is not an array of numbers; give numbers") from None


def pose_to_quaternion(T_a_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translation (3,) and unit quaternion (4,) in ROS order (x, y, z, w), with w >= 0."""
    q_xyzw = Rotation.from_matrix(T_a_b[:3, :3]).as_quat()
    return T_a_b[:3, 3].copy(), q_xyzw if q_xyzw[3] >= 0 else -q_xyzw


def skew(vectors_n3: np.ndarray) -> np.ndarray:
    """The matrices (..., 3, 3) of the cross products with vectors (..., 3): skew(a) @ b = a x b."""
    vectors_n3 = np.asarray(vectors_n3, np.float64)
    half_n33 = np.zeros((*vectors_n3.shape, 3))
    half_n33[..., 2, 1], half_n33[..., 0, 2], half_n33[..., 1, 0] = np.moveaxis(vectors_n3, -1, 0)
    return half_n33 - np.swapaxes(half_n33, -1, -2)


def so3_exp(omega_3: np.ndarray) -> np.ndarray:
    """Rotation matrix of a rotation vector in radians, or matrices (N, 3, 3) of several (N, 3)."""
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
