"""Which camera took an image: from the CameraInfo that belongs to it, or from parameters."""

from __future__ import annotations

import threading
from collections import deque

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info

_KEPT = 30


class NoCamera(InputError):  # noqa: N818  a state of the input more than an error
    """There is no CameraInfo for this image yet, or none that is fresh."""


class UncalibratedCamera(InputError):  # noqa: N818
    """The CameraInfo says that its camera is not calibrated: K is zero."""


class SizeMismatch(InputError):  # noqa: N818
    """The image has another shape than the camera."""


class CameraSource:
    """Keeps the last CameraInfo messages and finds the one of an image. May be called from any thread.

    `fixed` is a camera given by parameters; it wins over every message.
    """

    def __init__(self, fixed: Camera | None = None):
        self.fixed = fixed
        self._lock = threading.Lock()
        self._infos: deque[tuple[int, float, object]] = deque(maxlen=_KEPT)

    def add(self, info, stamp_ns: int, received_s: float) -> None:
        with self._lock:
            self._infos.append((stamp_ns, received_s, info))

    def clear(self, now_ns: int | None = None) -> None:
        """Forgets all messages, or those with a stamp after `now_ns`: what is left of a time that was rewound."""
        with self._lock:
            kept = [] if now_ns is None else [entry for entry in self._infos if entry[0] <= now_ns]
            self._infos = deque(kept, maxlen=_KEPT)

    def ready(self) -> bool:
        """Whether any camera is known, good or bad."""
        return self.fixed is not None or bool(self._infos)

    def find(self, stamp_ns: int, received_s: float, max_age_s: float) -> Camera:
        """The camera of the image with this stamp, received at this time of the steady clock: the CameraInfo with the
        same stamp, else the newest one, which must not have come more than `max_age_s` before the image (0: any).

        Raises NoCamera, UncalibratedCamera, or InputError for a CameraInfo that makes no sense.
        """
        if self.fixed is not None:
            return self.fixed
        with self._lock:
            if not self._infos:
                raise NoCamera("no CameraInfo has come; remap camera_info, or give the parameters camera.k")
            same = [info for stamp, _, info in self._infos if stamp == stamp_ns]
            newest_s, newest = self._infos[-1][1:]
        if same:
            return _convert(same[-1])
        age_s = received_s - newest_s
        if max_age_s > 0 and age_s > max_age_s:
            raise NoCamera(
                f"the newest CameraInfo came {age_s:.1f} s before the image; if it is published only once, set "
                "camera_info_max_age_s to 0"
            )
        return _convert(newest)


def _convert(info) -> Camera:
    k_9 = info.k if hasattr(info, "k") else info.K
    if not any(float(value) for value in k_9):
        raise UncalibratedCamera(
            "the CameraInfo's K is zero: the camera is uncalibrated; calibrate it, or give camera.k"
        )
    return camera_from_info(info)


def fit_to_image(camera: Camera, width_px: int, height_px: int) -> tuple[Camera, bool]:
    """The camera for an image of this size, and whether it had to be scaled.

    Raises SizeMismatch when the shapes differ by more than rounding: then the image was cropped, not resized.
    """
    if (camera.width_px, camera.height_px) == (width_px, height_px):
        return camera, False
    scale = width_px / camera.width_px
    if abs(camera.height_px * scale - height_px) > max(1.0, scale):
        raise SizeMismatch(
            f"the image is {width_px} x {height_px} and its camera {camera.width_px} x {camera.height_px} pixels, of "
            "another shape; publish the CameraInfo of this image"
        )
    return camera.resized(width_px, height_px), True


def camera_from_parameters(k_9, width_px: int, height_px: int, model: str, d) -> Camera | None:
    """The camera the `camera.*` parameters give; None when K is all zeros (then CameraInfo is used).

    Raises InputError when they contradict each other.
    """
    if not any(k_9):
        return None
    if width_px <= 0 or height_px <= 0:
        raise InputError("camera.k needs the size of its images; give camera.width_px and camera.height_px")
    distortion = tuple(d) if any(d) else ()
    if not distortion:
        model = "pinhole"
    elif model == "plumb_bob" and len(distortion) > 5 and not any(distortion[5:]):
        distortion = distortion[:5]
    return Camera.from_K(k_9, width_px, height_px, model, distortion)
