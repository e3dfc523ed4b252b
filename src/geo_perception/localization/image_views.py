"""One image as a scene's network sees it: undistorted, at one focal length and at half of it, and the maps of both."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.graph import SceneGraph
from geo_perception.localization.look import LEVELS, ImageLevels, LevelView
from geo_perception.localization.network import Peaks
from geo_perception.localization.network_view import SIDE_MULTIPLE_PX, network_camera_at
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.image import Resampler, image_problem
from geo_perception.runtime.memory import memory_shortage


class UnusableError(Exception):
    """An image or a camera with which nothing can be done, and why."""


class ImageViewer:
    """Looks at images by one network, a scene's own or a backbone that several scenes share, through a pinhole of
    `focal_px`."""

    def __init__(self, network: FrozenNetwork, focal_px: float):
        self.network, self.focal_px = network, focal_px
        self._resamplers: dict[tuple[Camera, int], Resampler] = {}

    def camera(self, camera: Camera) -> Camera:
        """The pinhole that the network looks through, with the field of view of the camera that took the image."""
        return network_camera_at(camera, self.focal_px)

    def levels(self, image_hw3: np.ndarray, camera: Camera) -> tuple[Camera, ImageLevels]:
        """The camera of an image of this size, and the image as the network sees it, for one map. Raises
        UnusableError."""
        problem = image_problem(image_hw3, SIDE_MULTIPLE_PX)
        if problem:
            raise UnusableError(problem)
        height_px, width_px = image_hw3.shape[:2]
        try:
            camera = camera.fitted(width_px, height_px)
            resamplers = [self._resampler_of(camera, level) for level in range(LEVELS)]
            view_hw3 = resamplers[0].image(image_hw3)
        except (InputError, cv2.error) as error:
            if memory_shortage(error):
                raise
            raise UnusableError(f"its camera cannot be used: {error}") from error

        def view_of(level: int) -> LevelView:
            seen_hw3 = resamplers[level].image(image_hw3) if level else view_hw3
            return LevelView(resamplers[level].target, seen_hw3, *self.look_at(seen_hw3))

        return camera, ImageLevels(view_of)

    def look_at(self, view_hw3: np.ndarray) -> tuple[list[torch.Tensor], Peaks | None]:
        """The backbone's maps of an image, and the landmarks' places where they come with them."""
        found, graph = self.network(view_hw3), self.network.folded
        return graph.read(found) if isinstance(graph, SceneGraph) else (found, None)

    def _resampler_of(self, camera: Camera, level: int) -> Resampler:
        """What makes the image of a level: at the focal length, at half of it, and so on."""
        if (camera, level) not in self._resamplers:
            if len(self._resamplers) > 8 * LEVELS:  # a camera whose K changes with every frame must not fill the memory
                self._resamplers.clear()
            target = network_camera_at(camera, self.focal_px / 2**level)
            self._resamplers[camera, level] = Resampler(camera, target)
        return self._resamplers[camera, level]
