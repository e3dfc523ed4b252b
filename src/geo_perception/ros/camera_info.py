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


def camera_from_info(info) -> Camera:
    """The camera of the images that come with this CameraInfo, in their pixels: ROI and binning are applied.

    A model without coefficients, or with coefficients of zero, is a pinhole (an equidistant lens without coefficients
    has four zeros). Raises InputError for a K of zeros ("not calibrated"), a size of zero, an unknown model, numbers
    that are not finite, or a region outside the sensor.
    """
    try:
        K_9 = np.array(_field(info, "k", "K"), np.float64).reshape(-1)
        distortion = [float(d) for d in _field(info, "d", "D")]
        width, height = int(info.width), int(info.height)
        name = str(info.distortion_model)
        roi, binning_x, binning_y = info.roi, int(info.binning_x) or 1, int(info.binning_y) or 1
        left, top, roi_width, roi_height = (int(getattr(roi, f)) for f in ("x_offset", "y_offset", "width", "height"))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a CameraInfo message: {error}; give the topic of a sensor_msgs/CameraInfo") from None
    if len(K_9) != 9 or not np.isfinite(K_9).all():
        raise InputError("CameraInfo holds a K that is not nine finite numbers; check the camera driver")
    K_33 = K_9.reshape(3, 3)
    if not K_33[:2, :2].any():
        raise InputError("camera is uncalibrated: CameraInfo holds a K of zeros; calibrate the camera, or give its K")
    if name.lower() not in _MODEL_NAMES:
        raise InputError(
            f"distortion model {name[:40]!r} is not known; use plumb_bob, rational_polynomial or equidistant"
        )
    model, distortion = _model_and_distortion(_MODEL_NAMES[name.lower()], distortion)
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


def _field(info, ros2_name: str, ros1_name: str):
    return getattr(info, ros2_name) if hasattr(info, ros2_name) else getattr(info, ros1_name)


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
