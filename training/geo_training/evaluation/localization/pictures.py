"""Pictures of single frames: what was detected, what the pose agrees with, and where the landmarks truly are."""

from __future__ import annotations

import math

import cv2
import numpy as np

from geo_perception.geometry import invert_pose
from geo_training.evaluation.localization.summary import Evaluation
from geo_training.metrics.pose import FrameOutcome
from geo_training.report.pictures import canvas_pixel, resized_canvas

GOOD_RGB, BAD_RGB, FOUND_RGB, TRUE_RGB = (38, 190, 120), (225, 60, 60), (70, 190, 255), (255, 255, 255)
_LONGEST_PX = 640


def worst_frames(evaluation: Evaluation, count: int = 6) -> list[FrameOutcome]:
    """The frames to look at: the worst estimated poses, and beside them the frames without any (at most half).

    An error is measured against the middle threshold, so that centimetres and degrees can be compared.
    """
    limit = evaluation.length_unit.thresholds[2]
    truths = [o for o in evaluation.outcomes if o.T_true is not None]
    missed = [o for o in truths if not o.localized]
    if not truths:
        missed = [o for o in evaluation.outcomes if not o.localized]
    found = [o for o in truths if o.localized]
    found.sort(key=lambda o: max(o.error[0] / limit.distance, o.error[1] / limit.degrees), reverse=True)
    # Misses often come in a row: spread the pictures over them.
    missed_count = min(len(missed), max(count // 2, count - len(found)))
    step = len(missed) / missed_count if missed_count else 1.0
    return found[: count - missed_count] + [missed[math.floor(i * step)] for i in range(missed_count)]


def draw_detections(image_rgb: np.ndarray, outcome: FrameOutcome, longest_px: int = _LONGEST_PX) -> np.ndarray:
    """The image, its longer side `longest_px`, with circles where landmarks were detected (green: agrees with the pose,
    red: does not), a blue line to where the estimated pose sees the landmark, and a white dot where the true pose does.
    """
    canvas, scale = resized_canvas(image_rgb, longest_px)
    if outcome.localization is None or outcome.camera is None:
        return canvas
    found = outcome.localization.detections
    estimated_n2 = _projections(outcome, outcome.T_estimated)
    true_n2 = _projections(outcome, outcome.T_true)
    for index in range(len(found)):
        center = _corner(found.pixels_n2[index], scale)
        if center is None:
            continue
        color = GOOD_RGB if found.inlier_n[index] else BAD_RGB
        seen = _corner(estimated_n2[index], scale)
        if seen is not None and found.inlier_n[index]:
            cv2.line(canvas, center, seen, FOUND_RGB, 1, cv2.LINE_AA)
        cv2.circle(canvas, center, 5, color, 2, cv2.LINE_AA)
        truly = _corner(true_n2[index], scale)
        if truly is not None:
            cv2.circle(canvas, truly, 2, TRUE_RGB, -1, cv2.LINE_AA)
    return canvas


def _projections(outcome: FrameOutcome, T_map_camera: np.ndarray | None) -> np.ndarray:
    """Where a pose sees the detected landmarks, (N, 2) pixels; NaN where it does not, or where there is no pose."""
    points_n3 = outcome.localization.detections.points_map_n3
    if T_map_camera is None or len(points_n3) == 0:
        return np.full((len(points_n3), 2), np.nan)
    T_camera_map = invert_pose(T_map_camera)
    return outcome.camera.project(points_n3 @ T_camera_map[:3, :3].T + T_camera_map[:3, 3])


def _corner(pixel_2: np.ndarray, scale: float) -> tuple[int, int] | None:
    """A pixel of the image as a pixel of the canvas; None for one that is unknown or far outside."""
    if not np.isfinite(pixel_2).all() or np.abs(pixel_2).max() > 1e4:
        return None
    return canvas_pixel(pixel_2, scale)
