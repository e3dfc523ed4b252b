"""A room of bricks as a line drawing, seen by a camera that is known."""

import cv2
import numpy as np
from geo_training.calibration.data.crops import CropSpec

from geo_perception.geometry import rotation_gravity_camera


def room(spec: CropSpec, yaw_rad: float = 0.5) -> np.ndarray:
    """The edges of bricks on the walls, floor and ceiling of a box, seen from inside."""
    turn_33 = np.array([[np.cos(yaw_rad), -np.sin(yaw_rad), 0], [np.sin(yaw_rad), np.cos(yaw_rad), 0], [0, 0, 1.0]])
    R_world_camera = turn_33 @ rotation_gravity_camera(spec.pitch_rad, spec.roll_rad)
    image_hw3 = np.full((spec.height_px, spec.width_px, 3), 190, np.uint8)
    half_3, ends = np.array([4.0, 3.0, 1.5]), []
    for axis in range(3):
        other = [k for k in range(3) if k != axis]
        for fixed, moving in (other, other[::-1]):
            for side in (-1, 1):
                for place in np.linspace(-half_3[moving], half_3[moving], 7):
                    for start in np.linspace(-half_3[axis], half_3[axis] * 0.8, 9):
                        point_3 = np.zeros(3)
                        point_3[fixed], point_3[moving], point_3[axis] = side * half_3[fixed], place, start
                        end_3 = point_3.copy()
                        end_3[axis] += 0.15 * half_3[axis]
                        ends.append((point_3, end_3))
    for pair in ends:
        camera_23 = np.array(pair) @ R_world_camera
        if (camera_23[:, 2] > 0.3).all():
            pixels_22 = np.rint(8 * spec.camera.project(camera_23)).astype(int)
            if np.abs(pixels_22).max() < 8 * 4000:
                cv2.line(image_hw3, *map(tuple, pixels_22.tolist()), (40, 50, 60), 2, cv2.LINE_AA, 3)
    return image_hw3
