"""One optimizer step per batch: gradient scaling and clipping; skipped as a whole where it is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.nn.utils import clip_grad_norm_

from geo_perception.errors import InputError

# Left out in a row, beyond those by which a scaler finds its scale.
MAX_SKIPPED_IN_A_ROW = 10


class OptimizerStep:
    """Takes the steps of a training, and counts in `skipped` those that it left out; `loss` is that of the last batch,
    over all processes.

    A step is left out when its loss or its gradient is not finite: weights, moments and the networks' buffers (running
    means of a normalization) then stay as they were before the batch. Half precision in float16 comes with a scaler,
    which leaves out overflowed gradients by itself and lowers its scale; it must hear of every one.
    """

    def __init__(
        self, network: torch.nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator, gradient_norm: float
    ):
        self._network, self._optimizer, self._accelerator = network, optimizer, accelerator
        self._gradient_norm = gradient_norm
        self._kept = [buffer.detach().clone() for buffer in network.buffers()]
        self.skipped, self.loss = 0, 0.0
        self._in_a_row = self._hopeless = 0

    def remember(self) -> None:
        """To be called before the network sees a batch."""
        _copy(self._network.buffers(), self._kept)

    def take(self, loss: torch.Tensor) -> bool:
        """Whether the step was taken; raises InputError when too many in a row could not be."""
        self.loss = float(self._accelerator.gather(loss.detach().reshape(1)).mean())
        finite = math.isfinite(self.loss)
        self._accelerator.backward(loss)  # whatever the loss: the other processes wait for it
        taken = finite and self._took()
        self._optimizer.zero_grad(set_to_none=True)
        if taken:
            self._in_a_row = self._hopeless = 0
        else:
            _copy(self._kept, self._network.buffers())
            self._count("gradient" if finite else "loss")
        return taken

    def _took(self) -> bool:
        scaler = self._accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self._optimizer.optimizer)  # what is shortened is the gradient, not the scaler's multiple
        finite = bool(torch.isfinite(clip_grad_norm_(self._network.parameters(), self._gradient_norm)))
        if finite or scaler is not None:
            self._optimizer.step()
        return finite and not self._optimizer.step_was_skipped

    def _count(self, what: str) -> None:
        self.skipped += 1
        self._in_a_row += 1
        scaler = self._accelerator.scaler
        # Above 1 a scale is still on its way down, and an overflow says nothing of the network.
        if what == "loss" or scaler is None or scaler.get_scale() <= 1:
            self._hopeless += 1
        if self._hopeless > MAX_SKIPPED_IN_A_ROW:
            raise InputError(
                f"training diverged: {self._in_a_row} steps in a row gave no finite {what}; lower learning_rate, or "
                "use another device"
            )


@torch.no_grad()
def _copy(tensors: Iterable[torch.Tensor], into: Iterable[torch.Tensor]) -> None:
    for tensor, place in zip(tensors, into, strict=True):
        place.copy_(tensor)
