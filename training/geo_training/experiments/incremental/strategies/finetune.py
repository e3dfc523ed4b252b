"""Finetuning and joint training: the lower and the upper bound, without any guard against forgetting."""

from __future__ import annotations

from geo_training.calibration.data.crop_data import CropSet
from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.base import ReplaySet, Strategy


class Finetune(Strategy):
    """L(y_n, o_n) on the new data: equation 3 with lambda_0 = 0. Nothing guards what was learned before."""

    name = "finetune"

    def losses(self, prediction, batch):
        return {"new": smooth_l1(prediction.outputs_b3, batch.targets_b3)}


class Joint(Finetune):
    """L(y, o) on all old and all new data, from the old network on: the bound, for which nothing is ever deleted."""

    name = "joint"

    def replay_set(self, context):
        return ReplaySet(CropSet.all_of(context.old) + CropSet.all_of(context.new))
