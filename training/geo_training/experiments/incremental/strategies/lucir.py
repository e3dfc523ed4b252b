"""LUCIR (Hou et al. 2019) for a regression: a cosine layer, and features that must not turn."""

from __future__ import annotations

import torch

from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.icarl import ICaRL


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
