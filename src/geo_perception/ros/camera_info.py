"""sensor_msgs/CameraInfo to `Camera` and back (REP 104), with the field names of ROS 2 and of ROS 1."""

from __future__ import annotations

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

# Names that drivers use for the models of REP 104.
_MODEL_NAMES = {
    "": "", "none": "", "pinhole": "",
    "plumb_bob": "plumb_bob", "radtan": "plumb_bob", "radial-tangential": "plumb_bob",
    "rational_polynomial": "rational_polynomial", "equidistant": "equidistant", "fisheye": "equidistant",
    "kannala_brandt": "equidistant", "kannala_brandt4": "equidistant",
}  # fmt: skip


class UncalibratedCamera(InputError):  # noqa: N818  a state of the camera more than an error
    """The CameraInfo says that its camera is not calibrated: K is zero."""


def camera_from_info(info, rectified: bool = False) -> Camera:
    """The camera of the images that come with this CameraInfo, in their pixels: ROI and binning are applied.

    A `rectified` image comes with the CameraInfo of the raw lens: its camera is the left 3x3 part of P, a pinhole (the
    fourth column is a stereo baseline). Where P is zero it is K without D; see `lacks_projection`.

    A model without coefficients, or with coefficients of zero, is a pinhole (an equidistant lens without coefficients
    has four zeros). Raises UncalibratedCamera for a K of zeros, InputError for a size of zero, an unknown model,
    numbers in what is used that are not finite, or a region outside the sensor.
    """
    try:
        width, height = int(info.width), int(info.height)
        roi, binning_x, binning_y = info.roi, int(info.binning_x) or 1, int(info.binning_y) or 1
        left, top, roi_width, roi_height = (int(getattr(roi, f)) for f in ("x_offset", "y_offset", "width", "height"))
        if rectified:
            model, distortion = "pinhole", ()
            K_33 = _matrix(info, "k", 3, "nine") if lacks_projection(info) else _matrix(info, "p", 4, "twelve")[:, :3]
        else:
            K_33 = _matrix(info, "k", 3, "nine")
            model, distortion = _lens(info)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a CameraInfo message: {error}; give the topic of a sensor_msgs/CameraInfo") from None
    if not K_33[:2, :2].any():
        raise UncalibratedCamera(
            "camera is uncalibrated: CameraInfo holds a K of zeros; calibrate the camera, or give its K"
        )
    camera = Camera.from_K(K_33, width, height, model, distortion)
    # All zeros means the full sensor. The offsets are in pixels of the sensor, before binning.
    if roi_width or roi_height or left or top:
        roi_width, roi_height = roi_width or width - left, roi_height or height - top
        if min(left, top) < 0 or left + roi_width > width or top + roi_height > height:
            raise InputError(
                f"CameraInfo has a region of {roi_width} x {roi_height} at ({left}, {top}) outside its sensor of "
                f"{width} x {height}; check the camera driver"
            )
        camera = camera.cropped(left, top, roi_width, roi_height)
    if binning_x != 1 or binning_y != 1:
        if min(binning_x, binning_y) < 1 or binning_x > camera.width_px or binning_y > camera.height_px:
            raise InputError(f"CameraInfo has a binning of {binning_x} x {binning_y}; check the camera driver")
        # Rows and columns that do not fill a bin are not read out.
        width, height = camera.width_px // binning_x, camera.height_px // binning_y
        camera = camera.cropped(0, 0, width * binning_x, height * binning_y).resized(width, height)
    return camera


def info_fields(camera: Camera) -> dict:
    """The fields of a CameraInfo that describe `camera`, by their ROS 2 names; R is the identity and P is K."""
    K_33 = camera.K
    P_34 = np.concatenate([K_33, np.zeros((3, 1))], axis=1)
    pinhole = camera.model == "pinhole"
    return {
        "height": camera.height_px,
        "width": camera.width_px,
        "distortion_model": "plumb_bob" if pinhole else camera.model,
        "d": np.zeros(5) if pinhole else np.asarray(camera.distortion, np.float64),
        "k": K_33.reshape(-1),
        "r": np.eye(3).reshape(-1),
        "p": P_34.reshape(-1),
        "binning_x": 0,
        "binning_y": 0,
    }


def lacks_projection(info) -> bool:
    """Whether P, which holds for rectified images, was left at zero."""
    return not _matrix(info, "p", 4, "twelve")[:2, :3].any()


def has_lens(info) -> bool:
    """Whether D (or a fisheye's model) says that the raw images are distorted."""
    return any(_field(info, "d")) or _MODEL_NAMES.get(str(info.distortion_model).lower()) == "equidistant"


def _matrix(info, name: str, columns: int, count: str) -> np.ndarray:
    """K (3, 3), or P (3, 4)."""
    values_n = np.array(_field(info, name), np.float64).reshape(-1)
    if len(values_n) != 3 * columns or not np.isfinite(values_n).all():
        raise InputError(
            f"CameraInfo holds a {name.upper()} that is not {count} finite numbers; check the camera driver"
        )
    return values_n.reshape(3, columns)


def _lens(info) -> tuple[str, tuple[float, ...]]:
    distortion, name = [float(d) for d in _field(info, "d")], str(info.distortion_model)
    if not np.isfinite(distortion).all():
        raise InputError("CameraInfo holds a D with numbers that are not finite; calibrate the camera again")
    if name.lower() not in _MODEL_NAMES:
        raise InputError(
            f"distortion model {name[:40]!r} is not known; use plumb_bob, rational_polynomial or equidistant"
        )
    return _model_and_distortion(_MODEL_NAMES[name.lower()], distortion)


def _field(info, name: str):
    """A field by its ROS 2 name, or by that of ROS 1, which writes them large."""
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.upper())


def _model_and_distortion(model: str, distortion: list[float]) -> tuple[str, tuple[float, ...]]:
    """The house's model name and a number of coefficients that it takes."""
    if model == "equidistant":
        # Drivers pad to five; the fifth is not part of the model.
        if len(distortion) > 4 and not any(distortion[4:]):
            distortion = distortion[:4]
        return model, tuple(distortion or [0.0] * 4)
    if not any(distortion):
        return "pinhole", ()
    if not model or (model == "plumb_bob" and len(distortion) in (8, 12, 14)):
        # REP 104 leaves no doubt from five coefficients on; some drivers send eight under the older name.
        model = "plumb_bob" if len(distortion) <= 5 else "rational_polynomial"
    if model == "plumb_bob" and 0 < len(distortion) < 4:
        distortion = distortion + [0.0] * (4 - len(distortion))
    if model == "rational_polynomial" and len(distortion) in (4, 5):
        model = "plumb_bob"
    return model, tuple(distortion)
