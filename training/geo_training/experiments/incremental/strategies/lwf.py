"""Learning without forgetting (Li and Hoiem 2017), with the paper's loss."""

from __future__ import annotations

from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.base import Strategy


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
