"""The cameras of images that arrive one by one: undistorted once, given by --K, or guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.importers.source import guessed_camera, read_K
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.undistort import Undistorter, without_negligible_distortion


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
            lens = undistorter.recorded if rectified_lens is None else without_negligible_distortion(rectified_lens)
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


class GivenK:
    """Gives the camera of each image, and refuses images of a second size: one K cannot be of both."""

    def __init__(self, K_33: np.ndarray):
        self._K_33 = K_33
        self._size: tuple[int, int] | None = None

    def camera(self, image_rgb: np.ndarray, source: str) -> Camera:
        """The camera of an image (H, W, 3). Raises InputError where K cannot be of it, or was used for another size."""
        size = image_rgb.shape[1], image_rgb.shape[0]
        self._size = self._size or size
        if size != self._size:
            raise InputError(
                f"--K is for images of one size, but those before are {self._size[0]} x {self._size[1]} and those of "
                f"{source} {size[0]} x {size[1]}; import them into datasets of their own"
            )
        camera = Camera.from_K(self._K_33, *size)
        if not camera.contains(np.array([[camera.cx_px, camera.cy_px]])).all():
            raise InputError(
                f"--K has its centre at ({camera.cx_px:g}, {camera.cy_px:g}), outside the images of {size[0]} x "
                f"{size[1]}; give the K of these images"
            )
        return camera
