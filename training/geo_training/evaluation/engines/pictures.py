"""Images on which engines are compared: those of a folder, or of a rendered room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.pictures import IMAGE_SUFFIXES
from geo_training.storage.images import read_rgb
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import render
from geo_training.synthetic.room import Room

COUNT = 8
_CAMERA = Camera(320, 240, 240.0, 240.0, 159.5, 119.5)
_EYE_M = 1.4


def images_of_folder(folder: Path, count: int = COUNT) -> list[np.ndarray]:
    """Up to `count` images (RGB uint8) of a folder and those below it, spread evenly. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not there; give a folder of images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no images; give a folder that does")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    return [read_rgb(paths[index]) for index in chosen]


def rendered_images(count: int = COUNT, seed: int = 0) -> list[np.ndarray]:
    """Views of a rendered room (RGB uint8), each in another direction."""
    room = Room.generate(seed)
    lighting, images = Lighting.daylight(room), []
    for index in range(count):
        yaw, pitch, roll = np.radians([360.0 * index / count, 12.0 * np.sin(index), 6.0 * np.cos(2 * index)])
        T_world_camera = camera_pose(np.array([0.0, 0.0, _EYE_M]), yaw, pitch, roll)
        images.append(render(room, _CAMERA, T_world_camera, lighting, 1, with_depth=False).image_rgb)
    return images
