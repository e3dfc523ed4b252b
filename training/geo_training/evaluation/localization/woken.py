"""A folder of scenes that is asked for each frame as if the robot had just been switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geo_perception.geometry import Camera
from geo_perception.localization.result import Localization

if TYPE_CHECKING:
    from geo_perception.localization.scene_set import MultiSceneLocalizer


class Woken:
    """Localizes each image on its own: what it answers does not depend on those before."""

    def __init__(self, localizer: MultiSceneLocalizer):
        self._localizer = localizer

    def warm_up(self) -> None:
        self._localizer.warm_up()

    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """Where the camera was, and in which scene, as `MultiSceneLocalizer.estimate` says it of a first frame."""
        self._localizer.forget()
        return self._localizer.estimate(image_rgb, camera, seed)
