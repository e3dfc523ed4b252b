"""Pictures of single images with the true and the estimated horizon, and which images to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from geo_training.metrics.calibration import CalibrationOutcome, TrueCamera, horizon_in_image
from geo_training.report.pictures import canvas_pixel, resized_canvas

TRUE_RGB, ESTIMATED_RGB = (40, 205, 95), (255, 140, 20)
_LONGEST_PX, _LINE_PX = 480, 3
_NOWHERE_PX = 1e9  # to a horizon that is seen from straight above
_SHOWN_ANGLES = ("roll", "pitch", "fov")


def error_scores(outcomes: Sequence[CalibrationOutcome]) -> np.ndarray:
    """One number for each image, (N,), to order them by: the largest of its errors of roll, pitch and field of view,
    each divided by the median of its kind; infinite without an answer."""
    errors_n3 = np.array([[outcome.errors_deg[name] for name in _SHOWN_ANGLES] for outcome in outcomes]).reshape(-1, 3)
    answered_n3 = errors_n3[np.isfinite(errors_n3).all(axis=1)]
    usual_3 = np.median(answered_n3, axis=0) if len(answered_n3) else np.ones(3)
    return (errors_n3 / np.where(usual_3 > 0, usual_3, 1.0)).max(axis=1)


def chosen_frames(outcomes: Sequence[CalibrationOutcome], count: int = 6) -> dict[str, list[CalibrationOutcome]]:
    """`best`, `typical` (about the median) and `worst` images, at most `count` of each and no image twice.

    The worst come first among the worst; images without an answer are at most half of them.
    """
    scores_n = error_scores(outcomes)
    order = [outcomes[i] for i in np.argsort(scores_n, kind="stable")]
    answered, missed = [o for o in order if o.answered], [o for o in order if not o.answered]
    missed = missed[: max(count // 2, count - len(answered))]
    each = min(count, max(1, len(answered) // 3))
    best, rest = answered[:each], answered[each:]
    worst = rest[::-1][: min(count - len(missed), max(each, len(rest) - each))]
    middle = rest[: len(rest) - len(worst)]
    start = max(0, min(len(answered) // 2 - each - each // 2, len(middle) - each))
    return {"best": best, "typical": middle[start : start + each], "worst": worst + missed}


def draw_horizons(image_hw3: np.ndarray, outcome: CalibrationOutcome, longest_px: int = _LONGEST_PX) -> np.ndarray:
    """The image, its longer side `longest_px`, with the true horizon in green and the estimated one in orange. One that
    does not cross the image is an arrow from the centre towards it."""
    canvas, scale = resized_canvas(image_hw3, longest_px)
    cameras = [(outcome.truth, TRUE_RGB)] + ([(outcome.estimated, ESTIMATED_RGB)] if outcome.answered else [])
    for camera, color in cameras:
        draw, ends = (cv2.line, horizon_ends(camera)) if horizon_in_image(camera) else (cv2.arrowedLine, _arrow(camera))
        if ends is not None:
            draw(canvas, *(canvas_pixel(end_2, scale) for end_2 in ends), color, _LINE_PX, cv2.LINE_AA)
    return canvas


def horizon_ends(camera: TrueCamera) -> tuple[np.ndarray, np.ndarray]:
    """Two points (pixels) on a horizon that crosses the image, so far apart that the line between them crosses all of
    it."""
    a, b, c = camera.horizon_3
    center_2, reach_px = _center(camera), float(np.hypot(camera.width_px, camera.height_px))
    nearest_2 = center_2 - (np.array([a, b]) @ center_2 + c) * np.array([a, b])
    along_2 = np.array([-b, a])
    return nearest_2 - reach_px * along_2, nearest_2 + reach_px * along_2


def _arrow(camera: TrueCamera) -> tuple[np.ndarray, np.ndarray] | None:
    """From the image's centre towards the horizon; None looking straight up or down, where that is nowhere."""
    a, b, c = camera.horizon_3
    center_2 = _center(camera)
    above_px = np.array([a, b]) @ center_2 + c
    if not abs(above_px) < _NOWHERE_PX:  # also not a number
        return None
    length_px = 0.3 * min(camera.width_px, camera.height_px)
    return center_2, center_2 - np.sign(above_px) * length_px * np.array([a, b])


def _center(camera: TrueCamera) -> np.ndarray:
    return np.array([(camera.width_px - 1) / 2, (camera.height_px - 1) / 2])
