"""Whether depth edges stand where object edges stand, and how sharp they are.

The seven usual metrics hardly see edges: few pixels lie on them. And a dense photometric loss blurs them. So edges are
found in the true and in the predicted depth by one rule and compared like detections:

- An edge is where depth jumps by more than a ratio between the two neighbours of a pixel. A ratio has no scale, so an
  estimate of unknown scale can be scored. Several ratios are used, and the score is the mean over them: a transition
  that is smeared over many pixels passes only the small ones.
- A surface seen at a low angle also changes depth fast, without an edge. Its inverse depth is linear in the image, so
  such pixels are told from edges in the truth, and what is predicted there is neither right nor wrong. The same holds
  for pixels without true depth, and, where object masks are given, for jumps that are no border of an object.
- A predicted edge is right within TOLERANCE_PX of a true one, a true one found within as much of a predicted one; the
  score is F1 of the two shares. Edges are not thinned: one that is smeared into a wide band is wrong at its rims.

All at one size, the longer side EVALUATION_PX, so that metrics of different cameras can be compared. It is somewhat
smaller than what small networks see: at a larger one all of them are blurred alike and score near 0. Lidar that leaves
most pixels empty has no edges: NaN. A depth camera leaves the rims of objects empty: where a pixel within TOLERANCE_PX
is known, its depth is taken, which moves an edge no farther than what is still right.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from geo_training.metrics.depth import resize_depth

RATIOS = (1.1, 1.15, 1.2, 1.3, 1.5)
EVALUATION_PX = 192
TOLERANCE_PX = 1
LEAST_KNOWN = 0.3  # share of pixels with true depth; projected lidar has 0.05, a depth camera 0.5 and more
LEAST_EDGES_PX = 20  # true edge pixels, below which a share of them says nothing
_WIDTH_RATIO = 1.15  # of the true edges whose width is measured
_WIDTH_REACH_PX = 8
_LEAST_RISE = np.log(1.05)  # of the prediction across a true edge, below which there is no transition to measure
_METRICS = ("edge", "edge_precision", "edge_recall", "edge_width_px")


def edge_metrics(
    true_hw: np.ndarray, predicted_hw: np.ndarray, instances_hw: np.ndarray | None = None
) -> dict[str, float]:
    """`edge` (mean F1 over RATIOS), `edge_precision`, `edge_recall` and `edge_width_px` of one image.

    Depths (H, W) are along z in any unit, 0 or NaN where unknown. `instances_hw` holds object ids, 0 for none: only
    depth edges at their borders count then. `edge_width_px` is the median width of the predicted transition across the
    true edges (1 is a hard step), at the size of evaluation. All NaN where the truth is too sparse or has no edge.
    """
    height_px, width_px = evaluation_size(*true_hw.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        true_hw = cv2.resize(true_hw.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_NEAREST)
        true_hw = np.where(np.isfinite(true_hw) & (true_hw > 0), true_hw, np.float32(np.nan))
        if np.isfinite(true_hw).mean() < LEAST_KNOWN:
            return dict.fromkeys(_METRICS, float("nan"))
        true_hw = _fill_rims(true_hw)
        jump_2hw, steep_2hw = _jumps(true_hw)
        predicted_hw = resize_depth(predicted_hw, height_px, width_px)
        found_hw = np.nanmax(np.nan_to_num(_log_jumps(predicted_hw)), axis=0)
    border_hw = None if instances_hw is None else _borders(instances_hw, height_px, width_px)
    known_hw = ~_grow(~np.isfinite(jump_2hw).all(0))
    scores = []
    for ratio in RATIOS:
        over_2hw = np.nan_to_num(jump_2hw) > np.log(ratio)
        true_edge_hw = (over_2hw & ~steep_2hw).any(0)
        if border_hw is not None:
            true_edge_hw &= border_hw
        if true_edge_hw.sum() >= LEAST_EDGES_PX:
            ignored_hw = _grow(over_2hw.any(0) & ~true_edge_hw) | ~known_hw
            scores.append(_compare(true_edge_hw, found_hw > np.log(ratio), ignored_hw))
    if not scores:
        return dict.fromkeys(_METRICS, float("nan"))
    f1, precision, recall = np.mean(scores, axis=0)
    wide_2hw = (np.nan_to_num(jump_2hw) > np.log(_WIDTH_RATIO)) & ~steep_2hw
    if border_hw is not None:
        wide_2hw &= border_hw
    edge_width_px = _transition_width(wide_2hw, true_hw, predicted_hw)
    return dict(zip(_METRICS, (float(f1), float(precision), float(recall), edge_width_px), strict=True))


def depth_edges(depth_hw: np.ndarray, ratio: float) -> np.ndarray:
    """Where depth (H, W, in any unit, NaN where unknown) jumps by more than a ratio between the two neighbours of a
    pixel, and it is not the slope of a surface (bool): the pixels on both sides of an edge."""
    with np.errstate(divide="ignore", invalid="ignore"):
        jump_2hw, steep_2hw = _jumps(depth_hw)
    return ((np.nan_to_num(jump_2hw) > np.log(ratio)) & ~steep_2hw).any(0)


def evaluation_size(height_px: int, width_px: int) -> tuple[int, int]:
    """(height, width) at which edges are compared: the longer side EVALUATION_PX, nothing is enlarged."""
    scale = min(1.0, EVALUATION_PX / max(height_px, width_px))
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def _fill_rims(true_hw: np.ndarray) -> np.ndarray:
    """The depth of the nearest known pixel, where one is within TOLERANCE_PX (diagonally too) of an unknown one."""
    unknown_hw = ~np.isfinite(true_hw)
    distance_hw, nearest_2hw = distance_transform_edt(unknown_hw, return_indices=True)
    return np.where(distance_hw < 1.5 * TOLERANCE_PX, true_hw[tuple(nearest_2hw)], np.float32(np.nan))


def _log_jumps(depth_hw: np.ndarray) -> np.ndarray:
    """|log depth ratio| of the two neighbours of each pixel, (2, H, W): left and right, above and below. NaN where a
    neighbour is unknown, 0 at the border of the image, where there is none."""
    log_hw = np.log(depth_hw)
    jump_2hw = np.zeros((2, *depth_hw.shape), np.float32)
    jump_2hw[0, :, 1:-1] = np.abs(log_hw[:, 2:] - log_hw[:, :-2])
    jump_2hw[1, 1:-1] = np.abs(log_hw[2:] - log_hw[:-2])
    return jump_2hw


def _jumps(true_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_log_jumps`, and where they are the slope of a surface: inverse depth changes as much on both sides (bool)."""
    disparity_hw = 1 / true_hw
    steep_2hw = np.zeros((2, *true_hw.shape), bool)
    for axis in (0, 1):
        line_hw = disparity_hw if axis == 0 else disparity_hw.T
        step_hw = np.full_like(line_hw, np.nan)
        step_hw[:, 1:-1] = np.abs(line_hw[:, 2:] - line_hw[:, :-2])
        before_hw, after_hw = np.full_like(step_hw, np.nan), np.full_like(step_hw, np.nan)
        before_hw[:, 2:], after_hw[:, :-2] = step_hw[:, :-2], step_hw[:, 2:]
        slope_hw = np.fmin(before_hw, after_hw)
        steep_hw = 2 * slope_hw > step_hw  # false where the slope is unknown
        steep_2hw[axis] = steep_hw if axis == 0 else steep_hw.T
    return _log_jumps(true_hw), steep_2hw


def _borders(instances_hw: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Pixels (bool) within one of where an object id changes, at the size of evaluation."""
    ids_hw = cv2.resize(instances_hw.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    changes_hw = np.zeros(ids_hw.shape, bool)
    changes_hw[:, 1:] |= ids_hw[:, 1:] != ids_hw[:, :-1]
    changes_hw[1:] |= ids_hw[1:] != ids_hw[:-1]
    return _grow(changes_hw)


def _grow(mask_hw: np.ndarray) -> np.ndarray:
    """The mask (bool) with everything within `TOLERANCE_PX`, diagonally too."""
    side_px = 2 * TOLERANCE_PX + 1
    return cv2.dilate(mask_hw.astype(np.uint8), np.ones((side_px, side_px), np.uint8)).astype(bool)


def _compare(true_hw: np.ndarray, found_hw: np.ndarray, ignored_hw: np.ndarray) -> tuple[float, float, float]:
    """F1, precision and recall of edges. A prediction that is ignored can find a true edge and is never wrong."""
    counted_hw = found_hw & ~(ignored_hw & ~_grow(true_hw))
    right, counted = (counted_hw & _grow(true_hw)).sum(), counted_hw.sum()
    recall = float((true_hw & _grow(found_hw)).sum() / true_hw.sum())
    precision = float(right / counted) if counted else 0.0
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


def _transition_width(edges_2hw: np.ndarray, true_hw: np.ndarray, predicted_hw: np.ndarray) -> float:
    """The median over the edges of rise over steepest step of the logarithm of predicted depth across them (pixels);
    NaN where the prediction has no rise of their direction at any."""
    widths = []
    for axis in (0, 1):
        true_line_hw, line_hw, edges_hw = (
            values if axis == 0 else values.T for values in (np.log(true_hw), np.log(predicted_hw), edges_2hw[axis])
        )
        rows_e, columns_e = np.nonzero(edges_hw)
        inside_e = (columns_e >= _WIDTH_REACH_PX) & (columns_e < line_hw.shape[1] - _WIDTH_REACH_PX)
        rows_e, columns_e = rows_e[inside_e], columns_e[inside_e]
        offsets = np.arange(-_WIDTH_REACH_PX, _WIDTH_REACH_PX + 1)
        profile_ep = line_hw[rows_e[:, None], columns_e[:, None] + offsets]
        sign_e = np.sign(true_line_hw[rows_e, columns_e + 1] - true_line_hw[rows_e, columns_e - 1])
        rise_e = sign_e * (profile_ep[:, -1] - profile_ep[:, 0])
        steepest_e = (sign_e[:, None] * np.diff(profile_ep, axis=1)).max(axis=1, initial=-np.inf)
        usable_e = rise_e > _LEAST_RISE  # also false for what is not a number
        widths.append(rise_e[usable_e] / steepest_e[usable_e])
    width_n = np.concatenate(widths)
    return float(np.median(width_n)) if len(width_n) else float("nan")
