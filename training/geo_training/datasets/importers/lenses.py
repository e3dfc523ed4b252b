"""The lens of a transforms.json: the camera models that its writers know, by name, and nothing guessed from a name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

# Name -> our model. The coefficients stand in the file under their own names; what is missing is zero.
_PERSPECTIVE = "plumb_bob"
MODELS = {
    "SIMPLE_PINHOLE": _PERSPECTIVE,
    "PINHOLE": _PERSPECTIVE,
    "PERSPECTIVE": _PERSPECTIVE,
    "SIMPLE_RADIAL": _PERSPECTIVE,
    "RADIAL": _PERSPECTIVE,
    "OPENCV": _PERSPECTIVE,
    "FULL_OPENCV": "rational_polynomial",
    "SIMPLE_RADIAL_FISHEYE": "equidistant",
    "RADIAL_FISHEYE": "equidistant",
    "OPENCV_FISHEYE": "equidistant",
    "FISHEYE": "equidistant",
}
# Lenses that files of instant-ngp describe by keys of their own.
_FOREIGN_KEYS = ("ftheta_p0", "ftheta_p1", "latlong", "equirectangular", "lens_mode")
_NUMBERS = ("w", "h", "fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "cx", "cy")
# A view from here on is no perspective camera's: a number between this and pi may as well be degrees.
_WIDEST_RAD = np.deg2rad(150.0)


def camera_of(fields: Mapping, size: tuple[int, int], where: str, notes: set[str]) -> Camera | None:
    """The camera that a frame's fields describe; `size` (width, height) is the image's, where they do not say one.
    None where they say no focal length. Adds to `notes` what was read in an unusual way.

    Principal points are COLMAP's (the centre of the top-left pixel is (0.5, 0.5)) and are moved to ours. Raises
    InputError when the model is not known, or a number cannot be one.
    """
    model = _model(fields, where)
    try:
        width_px, height_px = (int(fields.get(key) or side) for key, side in zip("wh", size, strict=True))
        if any(isinstance(fields.get(key), bool) for key in _NUMBERS):
            raise TypeError
        focals = [
            float(fields[key]) if fields.get(key) is not None else _focal(fields, angle, side, model, where, notes)
            for key, angle, side in (("fl_x", "camera_angle_x", width_px), ("fl_y", "camera_angle_y", height_px))
        ]
        known = [focal for focal in focals if focal is not None]
        if not known:
            return None
        fx, fy = (known[0] if focal is None else focal for focal in focals)
        cx, cy = (float(fields[key]) if fields.get(key) is not None else side / 2
                  for key, side in (("cx", width_px), ("cy", height_px)))  # fmt: skip
        k1, k2, k3, k4, k5, k6, p1, p2 = (
            float(fields.get(key) or 0) for key in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
        )
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: an intrinsic (w, h, fl_x, cx, k1, ...) is not a number; mend it") from None
    if model == "equidistant":
        distortion, foreign = (k1, k2, k3, k4), {"p1": p1, "p2": p2, "k5": k5, "k6": k6}
    elif model == "rational_polynomial":
        distortion, foreign = (k1, k2, p1, p2, k3, k4, k5, k6), {}
    else:
        distortion, foreign = (k1, k2, p1, p2, k3), {"k4": k4, "k5": k5, "k6": k6}
    for key, value in foreign.items():
        if value:
            raise InputError(
                f"{where}: {key} is {value:g}, which a lens of this model does not have; undistort the images first"
            )
    try:
        return Camera.from_K([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]], width_px, height_px, model, distortion)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _model(fields: Mapping, where: str) -> str:
    named, fisheye = fields.get("camera_model"), fields.get("is_fisheye", False)
    for key in _FOREIGN_KEYS:
        if fields.get(key):
            raise InputError(f"{where}: the lens of '{key}' is not known; make perspective images of it first")
    if not isinstance(fisheye, (bool, int)):
        raise InputError(f"{where}: is_fisheye is {fisheye!r}; write true or false")
    if named is None:
        return "equidistant" if fisheye else _PERSPECTIVE
    model = MODELS.get(named.strip().upper()) if isinstance(named, str) else None
    if model is None:
        raise InputError(
            f"{where}: the camera model {named!r} is not known; known are {', '.join(MODELS)}; make perspective images "
            "of it first"
        )
    if fisheye and model != "equidistant":
        raise InputError(f"{where}: camera_model {named} and is_fisheye contradict each other; keep the one that holds")
    return model


def _focal(fields: Mapping, key: str, side_px: int, model: str, where: str, notes: set[str]) -> float | None:
    """Half the side by the tangent of half the angle. An angle of more than pi can only be in degrees."""
    if fields.get(key) is None:
        return None
    angle = angle_rad = float(fields[key])
    if model == "equidistant":
        raise InputError(f"{where}: {key} gives no focal length of a fisheye; give fl_x and fl_y")
    if np.pi < angle < 180:
        angle_rad = float(np.deg2rad(angle))
        notes.add(f"{key} is {angle:g}: more than pi, so it was read as degrees.")
    if not 0 < angle_rad < np.pi:
        raise InputError(f"{where}: {key} is {angle:g}, no field of view; give radians below pi, or fl_x")
    if angle == angle_rad > _WIDEST_RAD:
        raise InputError(
            f"{where}: {key} is {angle:g}, which is {np.rad2deg(angle):.0f} degrees or, in degrees, a telescope; give "
            "fl_x in pixels instead"
        )
    return side_px / 2 / float(np.tan(angle_rad / 2))
