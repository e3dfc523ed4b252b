"""The K of the command line: for images of one size, as they are shown."""

from __future__ import annotations

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.recordings.recorded_cameras import camera_with_K


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
        return camera_with_K(self._K_33, image_rgb)
