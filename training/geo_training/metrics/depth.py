"""How good depth is: the seven metrics of Eigen et al. (2014), by the protocol that later papers agreed on.

An image is compared at the size of its true depth. The estimate's disparity, not its depth, is resized; it is inverted,
brought to metres, clipped to the range that counts, and compared where the truth is known and in range. Metrics are
means over images. Three ways to bring it to metres are told apart, since a robot has no truth to scale by:

  median     each image by its own factor: median true depth over median estimated depth
  one_scale  all images by one factor: the median of theirs
  unscaled   as it comes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from geo_perception.depth.result import CONFIDENT_RATIO
from geo_perception.errors import InputError
from geo_training.metrics.pose import percentile

METRICS = ("abs_rel", "sq_rel", "rms", "log_rms", "d1", "d2", "d3")
# What stands behind the name of a metric for each scaling.
SCALINGS = {"median": "", "one_scale": "_one_scale", "unscaled": "_unscaled"}
CROPS = ("garg", "none")
_GARG_ROWS, _GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)
_RESIZE_KNOWN = 0.999  # of the weight of a resized pixel, that must come from known ones


@dataclass(frozen=True)
class DepthProtocol:
    """Which pixels count: true depth between `min_m` and `cap_m` (neither included), inside the crop.

    `garg` is the crop of Garg et al. (2016): the part of a KITTI image that lidar reaches.
    """

    name: str
    cap_m: float
    min_m: float = 1e-3
    crop: Literal["garg", "none"] = "none"

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise InputError(f"there is no crop '{self.crop}'; choose {' or '.join(CROPS)}")
        if not 0 < self.min_m < self.cap_m:
            raise InputError(f"depth cannot count from {self.min_m:g} to {self.cap_m:g} m; give a cap above the least")

    def mask(self, true_hw: np.ndarray) -> np.ndarray:
        """The pixels that count, bool (H, W). `true_hw` is in metres, 0 or NaN where unknown."""
        with np.errstate(invalid="ignore"):
            mask_hw = (true_hw > self.min_m) & (true_hw < self.cap_m)
        if self.crop == "garg":
            height_px, width_px = true_hw.shape
            inside_hw = np.zeros_like(mask_hw)
            rows = slice(*(int(share * height_px) for share in _GARG_ROWS))
            inside_hw[rows, slice(*(int(share * width_px) for share in _GARG_COLUMNS))] = True
            mask_hw &= inside_hw
        return mask_hw


PRESETS = {"kitti": DepthProtocol("kitti", 80.0, crop="garg"), "indoor": DepthProtocol("indoor", 10.0)}


def choose_protocol(preset: str, crop: str | None = None, cap_m: float | None = None) -> DepthProtocol:
    """A preset, with what is given laid over it. Raises InputError for what cannot be."""
    if preset not in PRESETS:
        raise InputError(f"there is no preset '{preset}'; choose {' or '.join(PRESETS)}")
    changes: dict[str, Any] = {"crop": crop, "cap_m": cap_m}
    return replace(PRESETS[preset], **{key: value for key, value in changes.items() if value is not None})


def resize_depth(depth_hw: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Depth at another size, float32, made by resizing its inverse bilinearly; NaN where any of it is unknown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        disparity_hw = (1 / np.asarray(depth_hw, np.float32)).astype(np.float32)
    known_hw = np.isfinite(disparity_hw) & (disparity_hw > 0)
    size_px = (width_px, height_px)
    resized_hw = cv2.resize(np.where(known_hw, disparity_hw, np.float32(0)), size_px, interpolation=cv2.INTER_LINEAR)
    if not known_hw.all():
        share_hw = cv2.resize(known_hw.astype(np.float32), size_px, interpolation=cv2.INTER_LINEAR)
        resized_hw = np.where(share_hw > _RESIZE_KNOWN, resized_hw, np.float32(np.nan))
    with np.errstate(divide="ignore"):
        return (1 / resized_hw).astype(np.float32)


def median_scale(true_hw: np.ndarray, predicted_hw: np.ndarray, protocol: DepthProtocol) -> float:
    """Median true over median predicted depth, where both are known and count; NaN where that is nowhere."""
    mask_hw = protocol.mask(true_hw) & np.isfinite(predicted_hw)
    if not mask_hw.any():
        return float("nan")
    return float(np.median(true_hw[mask_hw]) / np.median(predicted_hw[mask_hw]))


def counted_pixels(
    true_hw: np.ndarray, predicted_hw: np.ndarray, protocol: DepthProtocol, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels are compared (bool, H x W), their true depth and the predicted one, scaled and clipped (N,), metres.

    Both depths have the same size; a pixel without a prediction is not compared.
    """
    mask_hw = protocol.mask(true_hw) & np.isfinite(predicted_hw)
    predicted_n = np.clip(scale * predicted_hw[mask_hw].astype(np.float64), protocol.min_m, protocol.cap_m)
    return mask_hw, true_hw[mask_hw].astype(np.float64), predicted_n


def evaluate_image(
    true_hw: np.ndarray, predicted_hw: np.ndarray, protocol: DepthProtocol, scale: float | None = None
) -> dict[str, float]:
    """The seven metrics of one image; `scale`, by which the prediction was multiplied; `coverage`, the share of the
    pixels that count that have a prediction.

    Both depths are (H, W), along z, 0 or NaN where unknown; a prediction of another size is resized. Without a `scale`
    it is the median's. All NaN where no pixel can be compared. `sq_rel` and `rms` are in metres.
    """
    if predicted_hw.shape != true_hw.shape:
        predicted_hw = resize_depth(predicted_hw, *true_hw.shape)
    scale = median_scale(true_hw, predicted_hw, protocol) if scale is None else float(scale)
    mask_hw, true_n, predicted_n = counted_pixels(true_hw, predicted_hw, protocol, scale)
    wanted = int(protocol.mask(true_hw).sum())
    scale_and_coverage = {"scale": scale, "coverage": mask_hw.sum() / wanted if wanted else float("nan")}
    if len(true_n) == 0:
        return {name: float("nan") for name in METRICS} | scale_and_coverage
    ratio_n = np.maximum(true_n / predicted_n, predicted_n / true_n)
    error_n = predicted_n - true_n
    return {
        "abs_rel": float(np.mean(np.abs(error_n) / true_n)),
        "sq_rel": float(np.mean(error_n**2 / true_n)),
        "rms": float(np.sqrt(np.mean(error_n**2))),
        "log_rms": float(np.sqrt(np.mean(np.log(predicted_n / true_n) ** 2))),
        **{f"d{power}": float(np.mean(ratio_n < CONFIDENT_RATIO**power)) for power in (1, 2, 3)},
        **scale_and_coverage,
    }


def summarize(rows: Sequence[dict[str, float]], keys: Sequence[str] = METRICS, ending: str = "") -> dict[str, float]:
    """The mean over images of each metric in `keys`, named with `ending`; an image whose metric is NaN is left out, and
    a metric that no image has is NaN."""
    return {f"{key}{ending}": mean_of(row.get(key, float("nan")) for row in rows) for key in keys}


def scale_metrics(scales: Sequence[float]) -> dict[str, float]:
    """The `one_scale` factor, and how far the images disagree about it: `scale_spread`, the standard deviation of the
    factors of the images divided by their median."""
    values = np.array([scale for scale in scales if np.isfinite(scale)], np.float64)
    median = percentile(values, 50)
    return {"scale": median, "scale_spread": float(values.std() / median) if len(values) else float("nan")}


def distance_sums(
    true_hw: np.ndarray, predicted_hw: np.ndarray, protocol: DepthProtocol, scale: float, edges_m: np.ndarray
) -> np.ndarray:
    """For each bin of true distance (B, 3): pixels, the sum of their relative errors, and how many are within
    CONFIDENT_RATIO. Those of several images add up."""
    _, true_n, predicted_n = counted_pixels(true_hw, predicted_hw, protocol, scale)
    right_n = np.maximum(true_n / predicted_n, predicted_n / true_n) < CONFIDENT_RATIO
    weights = (np.ones_like(true_n), np.abs(predicted_n - true_n) / true_n, right_n.astype(np.float64))
    return np.stack([np.histogram(true_n, edges_m, weights=weight_n)[0] for weight_n in weights], 1)


def mean_of(values: Iterable[float]) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
