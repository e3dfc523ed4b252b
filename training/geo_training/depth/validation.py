"""How good depth is on frames that are kept back, while it trains; and how far its stated errors can be believed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from geo_perception.depth.estimator import DepthEstimator
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.teacher import Teacher
from geo_training.engine.uncertainty import fit_mean_scale
from geo_training.metrics.confidence import rank_correlation
from geo_training.metrics.depth import DepthProtocol, counted_pixels, evaluate_image, resize_depth

NEW_PLACES_MARGIN = 1.5  # on the stated errors: validation frames are nearer to what was learned than a robot's are
_PROTOCOL = DepthProtocol("validation", cap_m=np.inf)


def validation_frames(config: DepthTrainingConfig) -> list[tuple[SceneDataset, Frame]]:
    """Frames with depth of the split val (of test where a dataset has no val), spread evenly over the validation
    datasets; with a teacher those without depth, too."""
    found = []
    for folder in config.validation:
        dataset = SceneDataset(folder)
        held_out = dataset.of_split("val") or dataset.of_split("test")
        held_out = [frame for frame in held_out if config.teacher is not None or dataset.has_depth(frame)]
        count = min(max(config.validation_frames // len(config.validation), 1), len(held_out))
        found += [(dataset, held_out[index]) for index in np.linspace(0, len(held_out) - 1, count).round().astype(int)]
    return found


def validate(estimator: DepthEstimator, frames: Sequence[tuple[SceneDataset, Frame]]) -> dict[str, float]:
    """`val_abs_rel` and `val_d1` with each image's median scale, means over images; `sigma_ratio`: the mean over images
    of the mean of |log error| / stated scale, 1 where the statement is right; `sigma_rank`: the mean of Spearman's
    correlation of both, over the images that state one. An image without an answer counts as a flat map, as in
    `geo-eval depth`. Empty without frames."""
    rows, ratios, ranks = [], [], []
    for dataset, frame in frames:
        true_m = dataset.depth_m(frame)
        if true_m is None or not _PROTOCOL.mask(true_m).any():
            continue
        estimate = estimator.estimate(dataset.image(frame), dataset.camera(frame))
        depth_hw = np.ones(true_m.shape, np.float32)
        if estimate.estimated:
            depth_hw = resize_depth(estimate.depth_hw, *true_m.shape)
        row = evaluate_image(true_m, depth_hw, _PROTOCOL)
        rows.append((row["abs_rel"], row["d1"]))
        if estimate.estimated and estimate.sigma_hw is not None:
            known_hw, true_n, depth_n = counted_pixels(true_m, depth_hw, _PROTOCOL, row["scale"])
            sigma_n = cv2.resize(estimate.sigma_hw, true_m.shape[::-1], interpolation=cv2.INTER_LINEAR)[known_hw]
            error_n = np.abs(np.log(depth_n / true_n))
            ratios.append(np.mean(error_n / np.maximum(sigma_n, 1e-6)))
            ranks.append(rank_correlation(sigma_n, error_n))
    if not rows:
        return {}
    abs_rel, d1 = np.mean(rows, axis=0)
    metrics = {"val_abs_rel": float(abs_rel), "val_d1": float(d1)}
    if not ratios:
        return metrics
    return metrics | {"sigma_ratio": float(np.mean(ratios)), "sigma_rank": float(np.mean(np.nan_to_num(ranks)))}


def agreement_with(
    teacher: Teacher, estimator: DepthEstimator, frames: Sequence[tuple[SceneDataset, Frame]]
) -> dict[str, float]:
    """`val_teacher_abs_rel`: abs_rel with the teacher's depth for the truth and each image's median scale, a mean over
    images; of a teacher with an unknown shift that of inverse depth, aligned as its loss does (median and mean absolute
    deviation). An image without an answer counts as a flat map. Empty without frames."""
    errors = []
    for dataset, frame in frames:
        inverse_hw = teacher.inverse_depth(dataset, frame).astype(np.float32)
        known_hw = inverse_hw > 0
        if not known_hw.any():
            continue
        estimate = estimator.estimate(dataset.image(frame), dataset.camera(frame).without_distortion())
        depth_hw = np.ones(inverse_hw.shape, np.float32)
        if estimate.estimated:
            depth_hw = resize_depth(estimate.depth_hw, *inverse_hw.shape)
        if teacher.kind == "disparity":
            asked_n, own_n = inverse_hw[known_hw], 1 / depth_hw[known_hw]
            t, s = np.median(asked_n), np.median(own_n)
            spreads = [float(np.mean(np.abs(values_n - m))) for values_n, m in ((asked_n, t), (own_n, s))]
            aligned_n = t + (own_n - s) * spreads[0] / max(spreads[1], 1e-9)
            errors.append(np.mean(np.abs(aligned_n - asked_n) / asked_n))
        else:
            asked_hw = np.where(known_hw, 1 / np.where(known_hw, inverse_hw, 1), 0)
            errors.append(evaluate_image(asked_hw, depth_hw, _PROTOCOL)["abs_rel"])
    return {"val_teacher_abs_rel": float(np.mean(errors))} if errors else {}


def checked_sigma_scale(metrics: dict[str, float]) -> float | None:
    """The factor on the stated errors, with a margin; None where no validation frame showed that they rank errors: an
    error that was learned from the agreement of two views may be small just where both are wrong."""
    if metrics.get("sigma_rank", 0.0) <= 0:
        return None
    return fit_mean_scale(metrics["sigma_ratio"], NEW_PLACES_MARGIN)
