"""How a camera stands against gravity: pitch, roll, the up-vector, the horizon, the field of view.

Optical frame: x right, y down, z forward. Pitch is the elevation of the optical axis above the horizon, positive
looking up. Roll is the rotation about the optical axis, positive when the left end of the horizon lies lower in the
image. With `up` the unit vector against gravity in the optical frame:

    up = (-sin(roll) cos(pitch), -cos(roll) cos(pitch), sin(pitch))
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

Angle = TypeVar("Angle", float, np.ndarray)


def up_from_attitude(pitch_rad: ArrayLike, roll_rad: ArrayLike) -> np.ndarray:
    """Unit vectors (..., 3) against gravity in the optical frame, from pitch and roll of any equal shape."""
    pitch_rad, roll_rad = np.asarray(pitch_rad, np.float64), np.asarray(roll_rad, np.float64)
    level = np.cos(pitch_rad)
    return np.stack([-np.sin(roll_rad) * level, -np.cos(roll_rad) * level, np.sin(pitch_rad)], axis=-1)


def attitude_from_up(up_3: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Pitch and roll, each (...), of up-vectors (..., 3) of any length. The inverse of `up_from_attitude`.

    Looking straight up or down the roll has no meaning; it is then 0.
    """
    x, y, z = np.moveaxis(np.asarray(up_3, np.float64), -1, 0)
    level = np.hypot(x, y)
    roll_rad = np.where(level > 1e-12, np.arctan2(-x, -y), 0.0)
    return np.arctan2(z, level), roll_rad


def rotation_gravity_camera(pitch_rad: float, roll_rad: float) -> np.ndarray:
    """R (3, 3) from the optical frame to a level frame with the same heading: x forward, y left, z up (REP 103).

    R = M Rx(pitch) Rz(roll), where M turns optical axes into body axes.
    """
    cp, sp, cr, sr = np.cos(pitch_rad), np.sin(pitch_rad), np.cos(roll_rad), np.sin(roll_rad)
    tilt_33 = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_33 = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    axes_33 = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    return axes_33 @ tilt_33 @ turn_33


def fov_rad(extent_px: ArrayLike, focal_px: ArrayLike) -> np.ndarray:
    """The angle that `extent_px` pixels around the principal point are seen under: 2 atan(extent / 2 f)."""
    return 2 * np.arctan(np.asarray(extent_px, np.float64) / (2 * np.asarray(focal_px, np.float64)))


def focal_px_from_fov(extent_px: ArrayLike, angle_rad: ArrayLike) -> np.ndarray:
    """The focal length that sees `extent_px` under `angle_rad`. The inverse of `fov_rad`."""
    return np.asarray(extent_px, np.float64) / (2 * np.tan(np.asarray(angle_rad, np.float64) / 2))


def horizon_midpoint(focal_px: ArrayLike, height_px: ArrayLike, pitch_rad: ArrayLike) -> np.ndarray:
    """Where the horizon crosses the image's rolled vertical axis, the top of the image being 1 and the bottom -1:
    -2 (f / H) tan(pitch) (Ould Amer et al., equation 2, with its sign made explicit)."""
    return -2 * np.asarray(focal_px) / height_px * np.tan(pitch_rad)


def horizon_line(focal_px: float, cx_px: float, cy_px: float, pitch_rad: float, roll_rad: float) -> np.ndarray:
    """The line (a, b, c), a x + b y + c = 0 in pixels, (a, b) of unit length and pointing up, that the horizon makes.

    a x + b y + c is the distance of a pixel above the horizon. Looking straight up or down, the line lies infinitely
    far away and its entries are not finite.
    """
    x, y, z = up_from_attitude(pitch_rad, roll_rad)
    level = np.hypot(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b, c = x / level, y / level, focal_px * z / level
    return np.array([a, b, c - a * cx_px - b * cy_px])


def wrap_rad(angle_rad: Angle) -> Angle:
    """The same angle, or angles of any shape, in [-pi, pi)."""
    return (angle_rad + np.pi) % (2 * np.pi) - np.pi
