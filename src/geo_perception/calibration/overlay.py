"""A calibration drawn on its image: where it sees the horizon, and between which lines it surely lies."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.calibration.result import Calibration
from geo_perception.drawing import drawing_scale, write_caption
from geo_perception.geometry import horizon_line

HORIZON_RGB = (40, 220, 90)
UNTRUSTED_RGB = (235, 160, 40)
SIGMA_90 = 1.645  # 90 % of a normal distribution lie within so many standard deviations


def draw_calibration(image_hw3: np.ndarray, calibration: Calibration, caption: str | None = None) -> np.ndarray:
    """A copy of the image (RGB uint8, H x W x 3) with the horizon, thin lines between which it lies with 90 %
    certainty, and one line of text; without a `caption`, the verdict and the values.

    A horizon outside the image is an arrow that points to it. Green means trusted.
    """
    canvas = np.ascontiguousarray(image_hw3).copy()
    color = HORIZON_RGB if calibration.trusted else UNTRUSTED_RGB
    thickness_px = max(round(2 * drawing_scale(canvas)), 1)
    values = calibration.focal_px, calibration.pitch_rad, calibration.roll_rad
    if np.isfinite(values).all():
        for shift_rad in _pitch_bounds(calibration):
            draw_horizon(canvas, *values, color, max(thickness_px // 2, 1), shift_rad)
        if not draw_horizon(canvas, *values, color, thickness_px):
            _draw_arrow(canvas, calibration.pitch_rad, calibration.roll_rad, color, thickness_px)
    write_caption(canvas, describe(calibration) if caption is None else caption)
    return canvas


def draw_horizon(
    canvas_hw3: np.ndarray, focal_px: float, pitch_rad: float, roll_rad: float, color_rgb: tuple[int, int, int],
    thickness_px: int = 1, shift_rad: float = 0.0,
) -> bool:  # fmt: skip
    """Draws the horizon of a camera with its principal point in the image's centre, `shift_rad` of elevation above it.
    False when it does not cross the image."""
    height_px, width_px = canvas_hw3.shape[:2]
    pitch_rad = pitch_rad - shift_rad
    if abs(pitch_rad) >= np.pi / 2:
        return False
    a, b, c = horizon_line(focal_px, (width_px - 1) / 2, (height_px - 1) / 2, pitch_rad, roll_rad)
    if not np.isfinite((a, b, c)).all():
        return False
    ends = _cut(a, b, c, width_px, height_px)
    if ends is None:
        return False
    first, second = (tuple(round(float(value)) for value in end_2) for end_2 in ends)
    cv2.line(canvas_hw3, first, second, color_rgb, thickness_px, cv2.LINE_AA)
    return True


def describe(calibration: Calibration) -> str:
    """The verdict and the values in one line."""
    if not np.isfinite(calibration.focal_px):
        return f"{calibration.verdict.value}: {calibration.detail}" if calibration.detail else calibration.verdict.value
    label = f"f {calibration.focal_px:.0f} px, view {np.degrees(calibration.vfov_rad):.1f} deg high"
    for name, value_rad, sigma_rad in (
        ("pitch", calibration.pitch_rad, calibration.sigma_pitch_rad),
        ("roll", calibration.roll_rad, calibration.sigma_roll_rad),
    ):
        label += f", {name} {np.degrees(value_rad):.1f}"
        label += f" +- {SIGMA_90 * np.degrees(sigma_rad):.1f} deg" if np.isfinite(sigma_rad) else " deg"
    return label if calibration.trusted else f"{calibration.verdict.value}: {label}"


def _pitch_bounds(calibration: Calibration) -> tuple[float, ...]:
    sigma_rad = calibration.sigma_pitch_rad
    return (-SIGMA_90 * sigma_rad, SIGMA_90 * sigma_rad) if np.isfinite(sigma_rad) else ()


def _cut(a: float, b: float, c: float, width_px: int, height_px: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The two ends of the line a x + b y + c = 0 within the image; None when it misses the image."""
    corners_42 = np.array([[0, 0], [width_px - 1, 0], [width_px - 1, height_px - 1], [0, height_px - 1]], np.float64)
    above_4 = corners_42 @ [a, b] + c
    crossings = []
    for index in range(4):
        start, end = above_4[index], above_4[(index + 1) % 4]
        if (start < 0) != (end < 0):
            share = start / (start - end)
            crossings.append(corners_42[index] + share * (corners_42[(index + 1) % 4] - corners_42[index]))
    return (crossings[0], crossings[1]) if len(crossings) == 2 else None


def _draw_arrow(
    canvas: np.ndarray, pitch_rad: float, roll_rad: float, color_rgb: tuple[int, int, int], thickness_px: int
) -> None:
    height_px, width_px = canvas.shape[:2]
    # Up in the image is (-sin roll, -cos roll); looking down, the horizon lies that way, looking up the other.
    toward_2 = np.array([-np.sin(roll_rad), -np.cos(roll_rad)]) * (-1.0 if pitch_rad > 0 else 1.0)
    center_2 = np.array([(width_px - 1) / 2, (height_px - 1) / 2])
    tip_2 = center_2 + 0.35 * min(height_px, width_px) * toward_2
    start, tip = (tuple(round(float(value)) for value in point_2) for point_2 in (center_2, tip_2))
    cv2.arrowedLine(canvas, start, tip, color_rgb, thickness_px, cv2.LINE_AA, tipLength=0.2)
