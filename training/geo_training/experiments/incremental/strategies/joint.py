"""Joint training: the upper bound, for which nothing is ever deleted."""

from __future__ import annotations

from geo_training.calibration.data.crop_data import CropSet
from geo_training.experiments.incremental.strategies.base import Material
from geo_training.experiments.incremental.strategies.finetune import Finetune


class Joint(Finetune):
    """L(y, o) on all old and all new data, from the old network on."""

    name = "joint"

    def material(self, situation):
        return Material(CropSet.all_of(situation.old) + CropSet.all_of(situation.new))
