"""BiC (Wu et al. 2019) for a regression: after distillation with exemplars, each output's bias is taken back."""

from __future__ import annotations

import numpy as np
import torch

from geo_perception.errors import InputError
from geo_training.calibration.data.crop_data import CropSet
from geo_training.calibration.paper import smooth_l1
from geo_training.experiments.incremental.strategies.base import ReplaySet
from geo_training.experiments.incremental.strategies.distillation import LwF
from geo_training.experiments.incremental.strategies.exemplars import choose_exemplars


class BiC(LwF):
    """Stage 1: equation 3 on the new data and the exemplars. Stage 2: the network is frozen, and q_k = alpha_k o_k +
    beta_k is fitted by L(q, y) on crops that stage 1 never saw, as many old as new.

    The old ones come out of the exemplars, since nothing else is left of the old domain: the old network has learned
    from them, the adapted one has not.
    """

    name = "bic"
    keeps_exemplars = True

    def replay_set(self, context):
        rows = choose_exemplars(context, self.options)
        count = min(max(round(self.options.validation_share * len(rows)), 2), len(context.new) - 1)
        if count >= len(rows):
            raise InputError(f"BiC has {len(rows)} exemplars and needs more to hold some out; raise exemplar_share")
        held_old = context.rng.choice(rows, count, replace=False)
        held_new = context.rng.choice(len(context.new), count, replace=False)
        kept_old = np.setdiff1d(rows, held_old)
        kept_new = np.setdiff1d(np.arange(len(context.new)), held_new)
        return ReplaySet(
            CropSet(((context.new, kept_new), (context.old, kept_old))),
            kept_old,
            CropSet(((context.old, held_old), (context.new, held_new))),
        )

    def finish(self, network, replay_set, predict):
        outputs_n3, targets_n3 = predict(replay_set.balanced), replay_set.balanced.targets_n3
        network.correct_outputs(*fit_correction(outputs_n3, targets_n3))


def fit_correction(outputs_n3: np.ndarray, targets_n3: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha and beta, float64 (3,), that minimize equation 4 of alpha o + beta against the targets; the loss is convex.

    Raises InputError when an output is the same for all: no slope can be told.
    """
    outputs_n3, targets_n3 = (torch.as_tensor(np.asarray(a), dtype=torch.float64) for a in (outputs_n3, targets_n3))
    mean_3, spread_3 = outputs_n3.mean(dim=0), outputs_n3.std(dim=0)
    if not bool((spread_3 > 1e-9).all()):
        raise InputError("BiC cannot correct an output that is the same for every image; train longer first")
    # In units of the outputs' own spread the problem is well scaled, and few steps end it.
    standard_n3 = (outputs_n3 - mean_3) / spread_3
    slope_3, offset_3 = spread_3.clone().requires_grad_(True), mean_3.clone().requires_grad_(True)  # q = o
    search = torch.optim.LBFGS(
        [slope_3, offset_3], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = smooth_l1(slope_3 * standard_n3 + offset_3, targets_n3) / len(targets_n3)
        value.backward()
        return value

    search.step(loss)
    alpha_3 = slope_3.detach() / spread_3
    return alpha_3, offset_3.detach() - alpha_3 * mean_3
