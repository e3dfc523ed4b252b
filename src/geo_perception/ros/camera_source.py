"""Which camera took an image: from the CameraInfo that belongs to it, or from parameters."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info, has_lens, lacks_projection

_KEPT = 30


class NoCamera(InputError):  # noqa: N818  a state of the input more than an error
    """There is no CameraInfo for this image yet, or none that is fresh."""


class OtherCamera(InputError):  # noqa: N818
    """The CameraInfo is of another camera than the image."""


@dataclass(frozen=True)
class ImageCamera:
    """The camera of an image, for its size in pixels, and what is inconsistent about it: sentences by kind."""

    camera: Camera
    inconsistencies: dict[str, str] = field(default_factory=dict)


class CameraSource:
    """Keeps the last CameraInfo messages and finds the one of an image. May be called from any thread.

    `fixed` is a camera given by parameters; it wins over every message. `rectified` says that the images are, so that P
    of a CameraInfo holds for them.
    """

    def __init__(self, fixed: Camera | None = None, rectified: bool = False):
        self.fixed, self.rectified = fixed, rectified
        self._lock = threading.Lock()
        self._infos: deque[tuple[int, float, object]] = deque(maxlen=_KEPT)
        self._latched: tuple[int, object] | None = None

    def add(self, info, stamp_ns: int, received_s: float, latched: bool = False) -> None:
        """Takes in a CameraInfo. A `latched` one, which its publisher keeps for late comers, holds until the next."""
        with self._lock:
            if latched:
                self._latched = stamp_ns, info
            else:
                self._infos.append((stamp_ns, received_s, info))

    def clear(self, now_ns: int | None = None, published_once: bool = False) -> None:
        """Forgets all messages that will come again, or those with a stamp after `now_ns`: what is left of a time that
        was rewound. One that does not come again is kept: a latched one, and with `published_once` the newest."""
        with self._lock:
            if published_once and self._infos:
                stamp_ns, _, info = self._infos[-1]
                self._latched = stamp_ns, info
            kept = [] if now_ns is None else [entry for entry in self._infos if entry[0] <= now_ns]
            self._infos = deque(kept, maxlen=_KEPT)

    def ready(self) -> bool:
        """Whether any camera is known, good or bad."""
        return self.fixed is not None or bool(self._infos) or self._latched is not None

    def info_at(self, stamp_ns: int, received_s: float, max_age_s: float):
        """The CameraInfo of the image with this stamp, received at this time of the steady clock: the one with the same
        stamp, else the newest one, which must not have come more than `max_age_s` before the image (0: any), else the
        latched one.

        Raises NoCamera.
        """
        with self._lock:
            for stamp, _, info in reversed(self._infos):
                if stamp == stamp_ns:
                    return info
            age_s = received_s - self._infos[-1][1] if self._infos else float("inf")
            if self._infos and (max_age_s <= 0 or age_s <= max_age_s):
                return self._infos[-1][2]
            if self._latched is not None:
                return self._latched[1]
        if age_s == float("inf"):
            raise NoCamera("no CameraInfo has come; remap camera_info, or give the parameters camera.k")
        raise NoCamera(
            f"the newest CameraInfo came {age_s:.1f} s before the image; if it is published only once, set "
            "camera_info_max_age_s to 0"
        )

    def find(
        self, stamp_ns: int, received_s: float, max_age_s: float, frame_id: str, width_px: int, height_px: int
    ) -> ImageCamera:
        """The camera of an image with this stamp, frame and size.

        Raises NoCamera, and what `camera_of_image` raises.
        """
        if self.fixed is not None:
            return _fitted(self.fixed, width_px, height_px, {})
        info = self.info_at(stamp_ns, received_s, max_age_s)
        return camera_of_image(info, self.rectified, frame_id, width_px, height_px)


def camera_of_image(info, rectified: bool, frame_id: str, width_px: int, height_px: int) -> ImageCamera:
    """The camera that a CameraInfo gives an image of this frame and size; `rectified` says that the image is.

    Frame ids that differ are noted where the sizes are the same: many drivers are sloppy. Where the sizes differ, too,
    the CameraInfo is another camera's. Raises UncalibratedCamera, OtherCamera, SizeMismatch, or InputError for a
    CameraInfo that makes no sense.
    """
    camera, inconsistencies = camera_from_info(info, rectified), {}
    theirs, ours = bare_frame(info.header.frame_id), bare_frame(frame_id)
    if theirs and ours and theirs != ours:
        if (camera.width_px, camera.height_px) != (width_px, height_px):
            raise OtherCamera(
                f"the CameraInfo is of frame '{theirs}' and {camera.width_px} x {camera.height_px} pixels, the image "
                f"of frame '{ours}' and {width_px} x {height_px}: it is another camera's; give this camera's CameraInfo"
            )
        inconsistencies["frame"] = (
            f"the CameraInfo is of frame '{theirs}', the images of '{ours}'; they are taken as one camera's"
        )
    if rectified and has_lens(info) and lacks_projection(info):
        inconsistencies["projection"] = (
            "the images are rectified, and P of their CameraInfo is zero: K is taken without D; calibrate the camera"
        )
    return _fitted(camera, width_px, height_px, inconsistencies)


def bare_frame(frame_id: str) -> str:
    """A frame id without the leading slash that ROS 1 wrote."""
    return str(frame_id).strip().lstrip("/")


def _fitted(camera: Camera, width_px: int, height_px: int, inconsistencies: dict[str, str]) -> ImageCamera:
    if (camera.width_px, camera.height_px) != (width_px, height_px):
        inconsistencies["size"] = (
            f"the CameraInfo is for {camera.width_px} x {camera.height_px} pixels and the images are {width_px} x "
            f"{height_px}; K is scaled"
        )
    return ImageCamera(camera.fitted(width_px, height_px), inconsistencies)


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
