"""What the calibration network sees of an image."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.geometry import Camera
from geo_perception.runtime import image
from geo_perception.runtime.image import Resampler

SIDE_MULTIPLE_PX = 32
NETWORK_AREA_PX = 224 * 224
MAX_ASPECT = 3.0  # beyond, the ends of the longer side are not looked at


def network_size(width_px: int, height_px: int) -> tuple[int, int]:
    """(width, height) at which the network looks at an image of this size."""
    return image.network_size(width_px, height_px, NETWORK_AREA_PX, SIDE_MULTIPLE_PX, MAX_ASPECT)


def network_view(image_hw3: np.ndarray) -> tuple[np.ndarray, float]:
    """The image resized alike in both directions to cover `network_size`, its middle cut out; and the factor of the
    resize. Both leave the principal point in the centre, so that f = f_view / factor exactly."""
    height_px, width_px = image_hw3.shape[:2]
    view_w_px, view_h_px = network_size(width_px, height_px)
    factor = max(view_w_px / width_px, view_h_px / height_px)
    # A pinhole with its principal point in the centre, seen as one of another size: no rounding to whole pixels.
    camera = Camera(width_px, height_px, 1.0, 1.0, (width_px - 1) / 2, (height_px - 1) / 2)
    target = Camera(view_w_px, view_h_px, factor, factor, (view_w_px - 1) / 2, (view_h_px - 1) / 2)
    return Resampler(camera, target).image(image_hw3, cv2.BORDER_REPLICATE), float(factor)
