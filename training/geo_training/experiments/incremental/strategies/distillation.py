"""Strategies that distil from the old network: LwF (Li and Hoiem 2017), iCaRL (Rebuffi et al. 2017) and LUCIR (Hou et
al. 2019), each for a regression."""

from __future__ import annotations

import numpy as np
import torch

from geo_training.calibration.data.crop_data import CropSet
from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.base import ReplaySet, Strategy
from geo_training.experiments.incremental.strategies.exemplars import choose_exemplars


class LwF(Strategy):
    """Equation 3: L(y_n, o) + lambda_0 L(o_old, o), both smooth L1; o_old is what the old network says of the image.

    With a gate, an output is distilled only where the old network is not clearly wrong: |o_old - y_n| <= gate. The
    paper has none.
    """

    name = "lwf"
    distils = True

    @property
    def loss_weights(self):
        return {"new": 1.0, "old": self.options.lambda_old}

    def losses(self, prediction, batch):
        weights_b3 = None
        if self.options.gate is not None:
            weights_b3 = ((batch.old.outputs_b3 - batch.targets_b3).abs() <= self.options.gate).float()
        return {
            "new": smooth_l1(prediction.outputs_b3, batch.targets_b3),
            "old": smooth_l1(prediction.outputs_b3, batch.old.outputs_b3, weights_b3),
        }


class ICaRL(LwF):
    """Equation 3 on the new data and the exemplars together. Without exemplars it is LwF."""

    name = "icarl"
    keeps_exemplars = True

    def replay_set(self, context):
        rows = choose_exemplars(context, self.options)
        new = CropSet.all_of(context.new)
        return ReplaySet(new + CropSet(((context.old, np.asarray(rows)),)), rows)


class Lucir(ICaRL):
    """L(y, o) + lambda L_dist with L_dist = 1 - <f*, f>, f* and f the normalized features of the old network and the
    new one, summed over the batch as in equation 4. Exemplars as in iCaRL; outputs are not distilled.

    The margin ranking loss of the original has no meaning without classes; the paper leaves it out, too.
    """

    name = "lucir"
    cosine = True

    @property
    def loss_weights(self):
        return {"new": 1.0, "features": self.options.lambda_features}

    def losses(self, prediction, batch):
        cosine_b = torch.nn.functional.cosine_similarity(batch.old.features_bc, prediction.features_bc, dim=1)
        return {"new": smooth_l1(prediction.outputs_b3, batch.targets_b3), "features": (1 - cosine_b).sum()}
