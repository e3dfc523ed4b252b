"""An image with exact depth that is easy to say: a floor, two walls, and a box before one of them."""

from __future__ import annotations

import cv2
import numpy as np

SIZE_HW = (72, 96)


def drawn_planes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (H, W) float32 in metres, the RGB image, and relative depth that is wrong by a factor of its own on every
    surface and blurred over their edges, as a network's is."""
    height, width = SIZE_HW
    y_hw, x_hw = np.indices(SIZE_HW).astype(np.float64)
    x_hw, y_hw = (x_hw - width / 2) / width, (y_hw - height / 2) / width
    surfaces = np.stack(
        [
            np.full(SIZE_HW, 1 / 4.0),  # the wall ahead
            0.25 + 0.5 * x_hw,  # the wall to the right
            0.2 + 0.8 * y_hw,  # the floor
        ]
    )
    owner_hw = surfaces.argmax(axis=0)
    depth_hw = 1 / surfaces.max(axis=0)
    owner_hw[20:44, 14:34], depth_hw[20:44, 14:34] = 3, 2.0
    colours = np.array([[200, 190, 170], [120, 140, 190], [150, 100, 60], [60, 160, 70]], np.uint8)
    noise_hw3 = np.random.default_rng(0).integers(-4, 5, (height, width, 3))
    image_hw3 = np.clip(colours[owner_hw].astype(int) + noise_hw3, 0, 255).astype(np.uint8)
    wrong_hw = np.array([0.30, 0.36, 0.27, 0.33])[owner_hw]
    relative_hw = cv2.GaussianBlur((depth_hw * wrong_hw).astype(np.float32), (0, 0), 1.5)
    return depth_hw.astype(np.float32), image_hw3, relative_hw
