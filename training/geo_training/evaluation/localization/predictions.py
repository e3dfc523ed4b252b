"""What a localizer answers for every frame, and the file of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from geo_perception.geometry import Camera
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_training.console import track
from geo_training.evaluation.localization.set import Query
from geo_training.evaluation.predictions import Predictions, PredictionsFormat, predict, warm_up


class Estimator(Protocol):
    """What is measured: anything that localizes one image."""

    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization: ...


def predict_queries(estimator: Estimator, queries: Sequence[Query], seed: int = 0) -> Predictions[Localization]:
    """Localizes every query, in order, with the same seed for each: the same input gives the same answer."""
    warm_up(estimator)
    return Predictions(
        [predict(q.name, estimator.estimate, q.load(), q.camera, seed=seed) for q in track(queries, "localizing")]
    )


def _restored(fields: dict[str, Any]) -> Localization:
    found = fields["detections"]
    detections = Detections(
        np.array(found["landmark_n"], int),
        np.array(found["pixels_n2"], float).reshape(-1, 2),
        np.array(found["points_map_n3"], float).reshape(-1, 3),
        np.array(found["score_n"], float),
        np.array(found["sigma_px_n"], float),
        np.array(found["inlier_n"], bool),
    )
    arrays = {
        name: None if fields[name] is None else np.array(fields[name], float)
        for name in ("T_map_camera", "covariance_66")
    }
    return Localization(**fields | arrays | {"verdict": Verdict(fields["verdict"]), "detections": detections})


FORMAT = PredictionsFormat("localization", _restored)
