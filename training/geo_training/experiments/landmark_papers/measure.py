"""How well a localizer does on some frames, quickly enough to be asked on the way of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geo_training.evaluation.localization.evaluate import outcome_of
from geo_training.evaluation.localization.predictions import Estimator
from geo_training.evaluation.localization.set import Query
from geo_training.evaluation.predictions import predict
from geo_training.metrics.pose import LengthUnit, pose_metrics


def measure_frames(
    estimator: Estimator, queries: Sequence[Query], length_unit: LengthUnit, seed: int = 0
) -> dict[str, float]:
    """Figures of the poses as `geo-eval localization` has them, and `landmark_px`: the median error of the landmarks
    that were found where they are in view, in pixels of the images."""
    outcomes, errors_px = [], [np.zeros(0)]
    for query in queries:
        answer = predict(query.name, estimator.estimate, query.load(), query.camera, seed=seed)
        outcomes.append(outcome_of(query, answer))
        found = answer.result.detections
        offset_n3 = found.points_map_n3 - query.T_true[:3, 3]
        error_px_n = np.linalg.norm(query.camera.project(offset_n3 @ query.T_true[:3, :3]) - found.pixels_n2, axis=1)
        errors_px.append(error_px_n[np.isfinite(error_px_n)])
    error_px_m = np.concatenate(errors_px)
    px = float(np.median(error_px_m)) if len(error_px_m) else float("nan")
    return pose_metrics(outcomes, length_unit) | {"landmark_px": px}
