"""Images through a lens that bends."""

import cv2
import numpy as np
from drawn_room import room
from geo_training.calibration.data.crops import CropSpec

from geo_perception.geometry import Camera


def through(lens: Camera, spec: CropSpec, yaw_rad: float) -> np.ndarray:
    """The drawn room as a lens would take it: each of its pixels is asked of a wide pinhole. `spec` says how it is
    turned."""
    size_px, focal_px = (3 * lens.width_px, 3 * lens.height_px), lens.fx_px
    wide = Camera(*size_px, focal_px, focal_px, (size_px[0] - 1) / 2, (size_px[1] - 1) / 2)
    wide_hw3 = room(CropSpec(*size_px, focal_px, spec.pitch_rad, spec.roll_rad, 0.0), yaw_rad)
    columns_hw, rows_hw = np.meshgrid(np.arange(lens.width_px), np.arange(lens.height_px))
    bearings_n3 = lens.bearings(np.stack([columns_hw, rows_hw], axis=-1).reshape(-1, 2).astype(float))
    map_hw2 = wide.project(bearings_n3).reshape(lens.height_px, lens.width_px, 2).astype(np.float32)
    return cv2.remap(wide_hw3, map_hw2, None, cv2.INTER_LINEAR)
