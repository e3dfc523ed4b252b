"""What a calibrator answers for every image, and the file of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_training.console import track
from geo_training.evaluation.calibration.set import CalibrationQuery
from geo_training.evaluation.predictions import Predictions, PredictionsFormat, predict, warm_up

if TYPE_CHECKING:
    from geo_perception.calibration.known import KnownCamera  # torch: seconds


class Estimator(Protocol):
    """What is measured: anything that tells a camera from one image."""

    def estimate(self, image_hw3: np.ndarray, known: KnownCamera | None = None) -> Calibration: ...


def predict_queries(estimator: Estimator, queries: Sequence[CalibrationQuery]) -> Predictions[Calibration]:
    """What the calibrator says of every query, in order."""
    warm_up(estimator)
    answers = []
    for query in track(queries, "calibrating"):
        answers.append(predict(query.name, estimator.estimate, query.load(), **_told(query)))
    return Predictions(answers)


def _told(query: CalibrationQuery) -> dict[str, KnownCamera]:
    return {} if query.known is None else {"known": query.known}


def _restored(fields: dict[str, Any]) -> Calibration:
    covariance_33 = None if fields["covariance_33"] is None else np.array(fields["covariance_33"], float)
    return Calibration(**fields | {"verdict": CalibrationVerdict(fields["verdict"]), "covariance_33": covariance_33})


FORMAT = PredictionsFormat("calibration", _restored)
