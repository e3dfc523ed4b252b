"""What a calibrator answers for every image, and the file of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_training.console import track
from geo_training.evaluation.calibration.set import CalibrationQuery
from geo_training.evaluation.predictions import Predictions, PredictionsFormat, predict, warm_up


class Estimator(Protocol):
    """What is measured: anything that tells a camera from one image."""

    def estimate(self, image_hw3: np.ndarray) -> Calibration: ...


def predict_queries(estimator: Estimator, queries: Sequence[CalibrationQuery]) -> Predictions[Calibration]:
    """What the calibrator says of every query, in order."""
    warm_up(estimator)
    return Predictions([predict(q.name, estimator.estimate, q.load()) for q in track(queries, "calibrating")])


def _restored(fields: dict[str, Any]) -> Calibration:
    covariance_33 = None if fields["covariance_33"] is None else np.array(fields["covariance_33"], float)
    return Calibration(**fields | {"verdict": CalibrationVerdict(fields["verdict"]), "covariance_33": covariance_33})


FORMAT = PredictionsFormat("calibration", _restored)
