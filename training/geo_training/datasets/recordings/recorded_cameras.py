"""The cameras of images that arrive one by one: undistorted once, or guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.source import guessed_camera, read_K
from geo_training.datasets.scene import SceneWriter
from geo_training.datasets.undistort import Undistorter, straightened


class RecordedCameras:
    """Adds cameras to the dataset as images need them."""

    def __init__(self, writer: SceneWriter):
        self._writer = writer
        self._known: dict[tuple, tuple[Undistorter, str]] = {}
        self.guessed = False

    def undistorted(
        self, image_rgb: np.ndarray, camera: Camera | None, rectified_lens: Camera | None = None
    ) -> tuple[np.ndarray, str]:
        """The image as it is stored, and the id of its camera, which is for images of this size; None has it guessed.

        `rectified_lens` is the lens that an image was taken with that came without its distortion: it is only kept.
        Raises InputError when the distortion of the camera leaves nothing.
        """
        height_px, width_px = image_rgb.shape[:2]
        key = camera, rectified_lens, width_px, height_px
        if key not in self._known:
            undistorter = Undistorter(guessed_camera(width_px, height_px) if camera is None else camera)
            lens = undistorter.recorded if rectified_lens is None else straightened(rectified_lens)
            camera_id = self._writer.add_camera(
                undistorter.target,
                known=camera is not None,
                recorded=None if lens.model == "pinhole" else lens,
                rectified=rectified_lens is not None,
            )
            self._known[key] = undistorter, camera_id
            self.guessed |= camera is None
        undistorter, camera_id = self._known[key]
        return undistorter.image(image_rgb), camera_id


def parse_K(text: str) -> np.ndarray:
    """A 3x3 K from `fx,fy,cx,cy`, or from a text file that holds these four or the nine numbers. Raises InputError."""
    try:
        fx, fy, cx, cy = (float(word) for word in text.replace(",", " ").split())
    except ValueError:
        if not Path(text).is_file():
            raise InputError(f"--K {text} is neither four numbers nor a file; give fx,fy,cx,cy in pixels") from None
        return read_K(Path(text))
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        raise InputError(f"--K {text} has no positive focal length; give fx,fy,cx,cy in pixels")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def camera_with_K(K_33: np.ndarray, image_rgb: np.ndarray) -> Camera:
    """The pinhole with this K for images of this size. Raises InputError when its centre lies outside the image."""
    height_px, width_px = image_rgb.shape[:2]
    camera = Camera.from_K(K_33, width_px, height_px)
    if not camera.contains(np.array([[camera.cx_px, camera.cy_px]])).all():
        raise InputError(
            f"--K has its centre at ({camera.cx_px:g}, {camera.cy_px:g}), outside the images of {width_px} x "
            f"{height_px}; give the K of these images"
        )
    return camera
