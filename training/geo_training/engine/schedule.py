"""Learning-rate schedules, and the rate of a pretrained backbone."""

from __future__ import annotations

import math

from torch import nn

STEP_AT, STEP_FACTOR = 0.75, 0.1
HALVINGS = 5  # equal parts of a training, each at half the rate of the one before


def schedule_factor(schedule: str, share: float, warm_up: float) -> float:
    """The factor of the learning rate after `share` of the steps: a linear warm-up, then a cosine to zero for the
    schedule "cosine", a tenth in the last quarter for "step", half as much in each of five parts as in the one before
    for "halving", else 1."""
    if share < warm_up:
        return (share + 1e-3) / (warm_up + 1e-3)
    if schedule == "step" and share >= STEP_AT:
        return STEP_FACTOR
    if schedule == "halving":
        return 0.5 ** min(int(share * HALVINGS), HALVINGS - 1)
    if schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


class Plateau:
    """Lowers the rate when a figure stops falling, as torch's ReduceLROnPlateau does with its defaults.

    `scale` is the factor to apply. It is multiplied by `factor` at the first of more than `patience` figures in a row
    that are not lower than the lowest by one part in ten thousand; then counting begins anew.
    """

    THRESHOLD = 1e-4

    def __init__(self, factor: float, patience: int):
        self.factor, self.patience = factor, patience
        self.scale, self.best, self.stale = 1.0, math.inf, 0

    def step(self, figure: float) -> None:
        """Takes the next figure. One that is not a number is no improvement."""
        if figure < self.best * (1 - self.THRESHOLD):
            self.best, self.stale = figure, 0
        else:
            self.stale += 1
        if self.stale > self.patience:
            self.scale *= self.factor
            self.stale = 0

    def state(self) -> dict:
        """What `restore` takes, as JSON."""
        best = self.best if math.isfinite(self.best) else None  # JSON has no infinity
        return {"scale": self.scale, "best": best, "stale": self.stale}

    def restore(self, state: dict) -> None:
        """Goes on where `state` was; an empty one changes nothing."""
        if state:
            self.scale, self.stale = state["scale"], state["stale"]
            self.best = math.inf if state["best"] is None else state["best"]


def backbone_groups(network: nn.Module, backbone: nn.Module | None, rate: float) -> list[tuple[list, float]]:
    """For `Task.parameter_groups`: a pretrained backbone learns by `rate` of the learning rate, the rest by all of it.
    Frozen parameters are in no group."""
    pretrained = {id(parameter) for parameter in backbone.parameters()} if backbone is not None else set()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    slow = [parameter for parameter in learning if id(parameter) in pretrained]
    fresh = [parameter for parameter in learning if id(parameter) not in pretrained]
    return [(slow, rate), (fresh, 1.0)] if slow else [(fresh, 1.0)]
