"""Pictures of single frames: the image, both depths, the error and the confidence, and which frames to look at."""

from __future__ import annotations

import cv2
import numpy as np

from geo_perception.depth.overlay import UNKNOWN_RGB, draw_depth
from geo_training.evaluation.depth.evaluate import DepthEvaluation
from geo_training.metrics.depth import median_scale, resize_depth

ERROR_LIMIT = 1.5  # the ratio of depths at which the colours of an error end
_WIDTH_PX = 360
_FAR_RGB, _RIGHT_RGB, _NEAR_RGB = (200, 50, 40), (245, 245, 245), (35, 95, 190)
_SPARSE_SHARE = 0.3  # of pixels with true depth; fewer are drawn as dots


def chosen_frames(evaluation: DepthEvaluation, each: int = 3) -> dict[str, list[str]]:
    """`best`, `typical` (about the median) and `worst` frames by abs_rel, at most `each` and none twice; those without
    an answer first among the worst."""
    ranked = [row for row in evaluation.rows if np.isfinite(row["abs_rel"])]
    ranked.sort(key=lambda row: (not evaluation.answers[row["name"]].result.estimated, row["abs_rel"]))
    names = [row["name"] for row in ranked]
    each = min(each, max(1, len(names) // 3))
    best, rest = names[:each], names[each:]
    worst, rest = rest[::-1][:each], rest[: max(0, len(rest) - each)]
    start = max(0, (len(rest) - each) // 2)
    return {"best": best, "typical": rest[start : start + each], "worst": worst}


def draw_frame(evaluation: DepthEvaluation, name: str) -> dict[str, np.ndarray]:
    """The pictures of one frame by name, RGB uint8 of one size: image, predicted, true, error, confidence; the
    predicted ones only where there is an answer.

    Predicted and true depth have the same colours, those of the true range. The error is that of the median-scaled
    depth: red is estimated too far, blue too near, white right.
    """
    answer = evaluation.answers[name]
    query, result, protocol = answer.query, answer.result, evaluation.options.protocol
    image_hw3, true_hw = query.load_image(), query.load_depth_m()
    size_px = _WIDTH_PX, max(1, round(_WIDTH_PX * image_hw3.shape[0] / image_hw3.shape[1]))
    true_hw = np.where(true_hw < protocol.cap_m, true_hw, 0).astype(np.float32)
    small_true_hw = shrink_known(true_hw, size_px)
    pictures = {"image": cv2.resize(image_hw3, size_px, interpolation=cv2.INTER_AREA)}
    if not result.estimated:
        return pictures | {"true": draw_depth(small_true_hw)}
    predicted_hw = resize_depth(result.depth_hw, size_px[1], size_px[0])
    scale = answer.scale if np.isfinite(answer.scale) else median_scale(small_true_hw, predicted_hw, protocol)
    predicted_hw = np.clip(scale * predicted_hw, protocol.min_m, protocol.cap_m)
    pictures |= dict(zip(("predicted", "true"), colour_depths(predicted_hw, small_true_hw), strict=True))
    pictures["error"] = draw_error(small_true_hw, predicted_hw)
    if result.confidence_hw is not None:
        pictures["confidence"] = draw_share(cv2.resize(result.confidence_hw, size_px))
    return pictures


def shrink_known(depth_hw: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """True depth (0 unknown) at (width, height): the nearest pixel; sparse depth as dots that can be seen, the nearest
    depth of those that fall together."""
    height_px, width_px = depth_hw.shape
    if (depth_hw > 0).mean() >= _SPARSE_SHARE:
        return cv2.resize(depth_hw, size_px, interpolation=cv2.INTER_NEAREST)
    y_n, x_n = np.nonzero(depth_hw > 0)
    near_hw = np.zeros((size_px[1], size_px[0]), np.float32)
    cells = (y_n * size_px[1] // height_px, x_n * size_px[0] // width_px)
    np.maximum.at(near_hw, cells, 1 / depth_hw[y_n, x_n])
    near_hw = cv2.dilate(near_hw, np.ones((2, 2), np.uint8))
    return np.divide(1, near_hw, out=np.zeros_like(near_hw), where=near_hw > 0)


def colour_depths(predicted_hw: np.ndarray, true_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both maps (one unit, one size) in the same colours: those of the true range."""
    known_hw = true_hw > 0
    if not known_hw.any():
        return draw_depth(predicted_hw), draw_depth(true_hw)
    low, high = np.percentile(true_hw[known_hw], (1, 99))
    # Side by side in one map, so that the colours are chosen once.
    both_hw = np.concatenate([np.clip(predicted_hw, low, high), np.where(known_hw, np.clip(true_hw, low, high), 0)], 1)
    drawn_hw3 = draw_depth(both_hw)
    return drawn_hw3[:, : predicted_hw.shape[1]], drawn_hw3[:, predicted_hw.shape[1] :]


def draw_error(true_hw: np.ndarray, predicted_hw: np.ndarray) -> np.ndarray:
    """Red where the prediction is too far, blue too near, white right, grey unknown; full colour at ERROR_LIMIT."""
    known_hw = (true_hw > 0) & np.isfinite(predicted_hw)
    share_hw = np.zeros(true_hw.shape)
    share_hw[known_hw] = np.clip(np.log(predicted_hw[known_hw] / true_hw[known_hw]) / np.log(ERROR_LIMIT), -1, 1)
    ends_hw3 = np.where(share_hw[..., None] > 0, np.array(_FAR_RGB), np.array(_NEAR_RGB))
    drawn_hw3 = _RIGHT_RGB + np.abs(share_hw[..., None]) * (ends_hw3 - _RIGHT_RGB)
    return np.where(known_hw[..., None], np.rint(drawn_hw3), UNKNOWN_RGB).astype(np.uint8)


def draw_share(share_hw: np.ndarray) -> np.ndarray:
    """A map of 0..1 in colours: dark is 0, yellow 1."""
    level_hw = np.rint(255 * np.clip(np.nan_to_num(share_hw), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(level_hw, cv2.COLORMAP_VIRIDIS)[..., ::-1])
