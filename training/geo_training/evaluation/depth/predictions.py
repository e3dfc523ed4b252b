"""What depth and motion are estimated of every image, and the file of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.console import track
from geo_training.evaluation.depth.odometry import MotionEstimator, follow_camera
from geo_training.evaluation.depth.set import DepthQuery
from geo_training.evaluation.predictions import Predictions, PredictionsFormat, predict, warm_up


class Estimator(Protocol):
    """What is measured: anything that tells relative depth from one image."""

    def estimate(self, image_hw3: np.ndarray, camera: Camera | None) -> RelativeDepth: ...


def predict_queries(
    estimator: Estimator, queries: Sequence[DepthQuery], motion: MotionEstimator | None = None
) -> Predictions[RelativeDepth]:
    """What the estimator says of every query with true depth, in order, and the paths of those with true poses.

    Raises InputError when there is nothing to measure.
    """
    deep = with_depth(queries)
    if not deep and motion is None:
        raise InputError("no image has true depth; give a dataset with depth/, or --odometry to measure ego-motion")
    if deep:
        warm_up(estimator)
    answers = []
    for query in track(deep, "estimating depth"):
        answer = predict(query.name, estimator.estimate, query.load_image(), query.camera)
        answers.append(replace(answer, result=replace(answer.result, view_hw3=None)))
    return Predictions(answers, [] if motion is None else follow_camera(motion, queries))


def with_depth(queries: Sequence[DepthQuery]) -> list[DepthQuery]:
    """The queries with true depth."""
    return [query for query in queries if query.load_depth_m is not None]


def _restored(fields: dict[str, Any]) -> RelativeDepth:
    camera = fields["camera"]
    if camera is not None:
        camera = Camera(**camera | {"distortion": tuple(camera["distortion"])})
    result = RelativeDepth(**fields | {"verdict": DepthVerdict(fields["verdict"]), "camera": camera})
    if result.estimated and result.depth_hw is None:
        raise ValueError
    return result


# The maps are kept as float32, as they come: rounded, pixels would change sides at the thresholds of the metrics.
FORMAT = PredictionsFormat("depth", _restored, ("depth_hw", "sigma_hw"))
