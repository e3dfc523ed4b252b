"""What a live depth node published, against the true depth of the dataset that the recording was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.point_cloud import point_cloud_array
from geo_training.datasets.scene import Frame, SceneDataset

NODE = "depth_node"
MAX_DEPTH_M = 10.0  # truth further away is not compared, as for indoor sets (docs/depth.md)
NEAR_SHARE = 0.04  # of the map's width: pixels this near to a landmark are "near landmarks"
SIGMAS_90 = 1.645
WITHIN = 1.25


@dataclass
class DepthRun:
    """What came of the depth node by image stamp in nanoseconds: metres and the deviations of their logarithm (H, W),
    how confident it is, and the pixels (N, 2) of the landmarks of an image, as shares of its width and height."""

    depth_m: dict[int, np.ndarray] = field(default_factory=dict)
    sigma: dict[int, np.ndarray] = field(default_factory=dict)
    confidence: dict[int, np.ndarray] = field(default_factory=dict)
    landmarks: dict[int, np.ndarray] = field(default_factory=dict)
    received_s: dict[int, float] = field(default_factory=dict)


class DepthTruth:
    """The true depth of a recording's images: those of the frames with their stamps, all moved by one
    time, as `geo-train dataset to-bag` does.

    Raises InputError when the dataset has not a frame with depth for every stamp.
    """

    def __init__(self, root: Path, stamps_ns: list[int]):
        self._dataset = SceneDataset(root)
        by_stamp = {frame.stamp_ns: frame for frame in self._dataset.frames}
        first = min(stamps_ns, default=0)
        shifts = [0, *(first - stamp for stamp in sorted(by_stamp) if stamp < first)]
        shift = next((s for s in shifts if all(stamp - s in by_stamp for stamp in stamps_ns)), None)
        if shift is None:
            raise InputError(
                f"the images of the recording are not those of {root}; give the dataset that it was made from with "
                "`geo-train dataset to-bag`"
            )
        self._frames: dict[int, Frame] = {stamp: by_stamp[stamp - shift] for stamp in stamps_ns}
        if not any(self._dataset.has_depth(frame) for frame in self._frames.values()):
            raise InputError(f"{root} has no true depth; import one that has")

    def at(self, stamp: int, size_px: tuple[int, int]) -> np.ndarray:
        """Metres along z (H, W) at this (width, height), NaN where they are not known."""
        frame = self._frames[stamp]
        if not self._dataset.has_depth(frame):
            return np.full(size_px[::-1], np.nan)
        true_m_hw = cv2.resize(self._dataset.depth_m(frame), size_px, interpolation=cv2.INTER_NEAREST)
        return np.where((true_m_hw > 0) & (true_m_hw <= MAX_DEPTH_M), true_m_hw, np.nan)


def image_numbers(message) -> np.ndarray:
    """The values (H, W) of a message in 32FC1."""
    return np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width)


def landmark_shares(message, camera_size_px: tuple[int, int]) -> tuple[int, np.ndarray]:
    """The stamp of matched landmarks, and where they are (N, 2), as shares of the image's width and height."""
    points_n = point_cloud_array(message)
    pixels_n2 = np.stack([points_n["u"], points_n["v"]], axis=1).astype(np.float64)
    return stamp_ns(message.header.stamp), (pixels_n2 + 0.5) / camera_size_px


def depth_metrics(run: DepthRun, truth: DepthTruth, published_s: Mapping[int, float]) -> dict[str, float]:
    """Of the images with these stamps, published at these times of the steady clock. `depth_frames` are those whose
    metres came. Errors are |metres / truth - 1| of their pixels: `depth_error_median` of all,
    `depth_error_localized_median` of images that landmarks were matched in, `depth_error_landmarks_median` of pixels
    near landmarks; `depth_abs_rel` and `depth_within_25` of all. `depth_coverage_90` is the share of pixels whose truth
    lies in the stated 90 % interval, `depth_confidence` the mean stated probability of being within 25 %. Frames count
    alike in all of them."""
    rows: list[dict[str, float]] = []
    for stamp in sorted(set(published_s) & set(run.depth_m)):
        depth_m_hw = run.depth_m[stamp]
        size_px = depth_m_hw.shape[1], depth_m_hw.shape[0]
        true_m_hw = truth.at(stamp, size_px)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio_hw = depth_m_hw / true_m_hw
        known_hw = np.isfinite(ratio_hw) & (ratio_hw > 0)
        if not known_hw.any():
            continue
        error_n = np.abs(ratio_hw[known_hw] - 1)
        off_n = np.abs(np.log(ratio_hw[known_hw]))
        row = {
            "error_median": float(np.median(error_n)),
            "abs_rel": float(error_n.mean()),
            "within_25": float((off_n <= np.log(WITHIN)).mean()),
            "share": float(known_hw.sum() / max(np.isfinite(true_m_hw).sum(), 1)),
        }
        if stamp in run.sigma:
            row["coverage_90"] = float((off_n <= SIGMAS_90 * run.sigma[stamp][known_hw]).mean())
            row["sigma_median"] = float(np.median(run.sigma[stamp][known_hw]))
        if stamp in run.confidence:
            row["confidence"] = float(run.confidence[stamp][known_hw].mean())
        if len(run.landmarks.get(stamp, ())):
            row["error_localized_median"] = row["error_median"]
            near_hw = _near(run.landmarks[stamp] * size_px - 0.5, size_px) & known_hw
            if near_hw.any():
                row["error_landmarks_median"] = float(np.median(np.abs(ratio_hw[near_hw] - 1)))
        rows.append(row)
    names = (
        "error_median", "error_localized_median", "error_landmarks_median", "abs_rel", "within_25", "confidence",
        "coverage_90", "sigma_median", "share",
    )  # fmt: skip
    metrics: dict[str, float] = {"depth_frames": len(rows), "depth_frames_share": len(rows) / max(len(published_s), 1)}
    for name in names:
        values = [row[name] for row in rows if name in row]
        metrics[f"depth_{name}"] = float(np.mean(values)) if values else float("nan")
    taken_ms = [1e3 * (run.received_s[stamp] - published_s[stamp]) for stamp in set(published_s) & set(run.received_s)]
    for percent in (50, 99):
        quantile_ms = float(np.percentile(taken_ms, percent)) if taken_ms else float("nan")
        metrics[f"depth_latency_p{percent}_ms"] = quantile_ms
    metrics["depth_localized_frames"] = sum("error_localized_median" in row for row in rows)
    return metrics


def depth_sentence(metrics: dict[str, float]) -> str:
    """The figures in a line."""
    return (
        f"metres in {metrics['depth_frames']:.0f} frames ({metrics['depth_frames_share']:.0%}): off by "
        f"{metrics['depth_error_median']:.1%} (median pixel; {metrics['depth_error_localized_median']:.1%} in the "
        f"{metrics['depth_localized_frames']:.0f} with landmarks, {metrics['depth_error_landmarks_median']:.1%} near "
        f"these), {metrics['depth_within_25']:.0%} within 25 % where {metrics['depth_confidence']:.0%} are stated, "
        f"truth in the stated 90 % interval for {metrics['depth_coverage_90']:.0%}"
    )


def _near(pixels_n2: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Which pixels (H, W) are near to any of these."""
    far_hw = np.full(size_px[::-1], 255, np.uint8)
    for x, y in np.rint(pixels_n2).astype(int):
        if 0 <= x < size_px[0] and 0 <= y < size_px[1]:
            far_hw[y, x] = 0
    if (far_hw > 0).all():
        return np.zeros(far_hw.shape, bool)
    distance_hw = cv2.distanceTransform(far_hw, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance_hw <= NEAR_SHARE * size_px[0]
