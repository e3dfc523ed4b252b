"""How good depth is once the true depths of a few points are known, as a robot knows those of its landmarks."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace

import cv2
import numpy as np

from geo_perception.depth.completion import complete
from geo_perception.depth.result import RelativeDepth
from geo_training.evaluation.depth.set import DepthQuery
from geo_training.metrics.completion import NINE_TENTHS
from geo_training.metrics.depth import METRICS, DepthProtocol, counted_pixels, evaluate_image, resize_depth

NOISE = 0.01  # standard deviation of the logarithm of a point's depth
FIELD_KEYS = (*(f"field_{name}" for name in METRICS), "field_coverage_90")


def measure_field(
    query: DepthQuery, result: RelativeDepth, true_hw: np.ndarray, protocol: DepthProtocol, points: int
) -> dict[str, float]:
    """The seven figures of the map as completed by so many true depths, at random pixels that count, in metres; and the
    share of pixels whose true depth is inside the stated 90 % interval; and `field_ms`, what completing took. Empty
    where fewer pixels have true depth.

    Which pixels are told, and their errors, depends on the query's name alone.
    """
    known_n2 = np.argwhere(protocol.mask(true_hw))
    if len(known_n2) < points or result.depth_hw is None:
        return {}
    rng = np.random.default_rng(zlib.crc32(query.name.encode()))
    row_n, column_n = known_n2[rng.choice(len(known_n2), points, replace=False)].T
    depth_m_n = true_hw[row_n, column_n] * np.exp(NOISE * rng.standard_normal(points))
    height, width = result.depth_hw.shape
    to_map_2 = np.array([width / true_hw.shape[1], height / true_hw.shape[0]])
    pixels_n2 = (np.column_stack([column_n, row_n]) + 0.5) * to_map_2 - 0.5
    # Answers that were kept in a file come without their image.
    view_hw3 = cv2.resize(query.load_image(), (width, height), interpolation=cv2.INTER_AREA)
    started_s = time.perf_counter()
    completed = complete(replace(result, view_hw3=view_hw3), pixels_n2, depth_m_n, NOISE)
    taken_ms = 1e3 * (time.perf_counter() - started_s)
    if completed is None:
        return {}
    predicted_hw = resize_depth(completed.depth_hw, *true_hw.shape)
    found = evaluate_image(true_hw, predicted_hw, protocol, 1.0)
    mask_hw, true_n, predicted_n = counted_pixels(true_hw, predicted_hw, protocol, 1.0)
    sigma_n = cv2.resize(completed.sigma_hw, true_hw.shape[::-1], interpolation=cv2.INTER_LINEAR)[mask_hw]
    inside_n = np.abs(np.log(predicted_n / true_n)) <= NINE_TENTHS * sigma_n
    coverage = float(inside_n.mean()) if inside_n.size else float("nan")
    row = {f"field_{name}": found[name] for name in METRICS}
    return row | {"field_coverage_90": coverage, "field_ms": taken_ms}
