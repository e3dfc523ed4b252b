"""iCaRL (Rebuffi et al. 2017) for a regression: exemplars of the old domain are replayed, all is distilled."""

from __future__ import annotations

import numpy as np

from geo_training.calibration.data.crop_data import CropSet
from geo_training.experiments.incremental.strategies.base import Material
from geo_training.experiments.incremental.strategies.exemplars import choose_exemplars
from geo_training.experiments.incremental.strategies.lwf import LwF


class ICaRL(LwF):
    """Equation 3 on the new data and the exemplars together. Without exemplars it is LwF."""

    name = "icarl"
    keeps_exemplars = True

    def material(self, situation):
        rows = choose_exemplars(situation, self.options)
        new = CropSet.all_of(situation.new)
        return Material(new + CropSet(((situation.old, np.asarray(rows)),)), rows)
