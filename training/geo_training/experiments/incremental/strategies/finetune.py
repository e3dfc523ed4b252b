"""Finetuning: equation 3 with lambda_0 = 0."""

from __future__ import annotations

from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.base import Strategy


class Finetune(Strategy):
    """L(y_n, o_n) on the new data. Nothing guards what was learned before."""

    name = "finetune"

    def losses(self, prediction, batch):
        return {"new": smooth_l1(prediction.outputs_b3, batch.targets_b3)}
