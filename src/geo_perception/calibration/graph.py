"""The calibration network as one graph that any engine can run: an image in, everything the solver uses out."""

from __future__ import annotations

import torch
from torch import nn

from geo_perception.calibration.fields import image_grid
from geo_perception.calibration.network import STRIDE, CalibrationNetwork, NetworkOutput
from geo_perception.runtime.engine import relative_errors

OUTPUTS = ("fields", "log_weights", "log_focal", "up", "log_weight")


class CalibrationGraph(nn.Module):
    """RGB (1, 3, H, W) of 0 to 255 to the tensors of a `NetworkOutput` besides the cells, which the size tells.
    `checksum`: of the weights; None where they may still change."""

    def __init__(self, network: CalibrationNetwork, checksum: str | None = None):
        super().__init__()
        self.network, self.checksum = network, checksum

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        output = self.network(image_b3hw)
        return [getattr(output, f"{name}_{axes}") for name, axes in zip(OUTPUTS, ("bn3", "bn2", "b", "b3", "b2"),
                                                                       strict=True)]  # fmt: skip

    def errors(self, found: list[torch.Tensor], exact: list[torch.Tensor]) -> list[tuple[float, float]]:
        """Of both fields, and of the direct guess as a whole: each of its few numbers may be right by chance."""
        return relative_errors([*found[:2], _joined(found[2:])], [*exact[:2], _joined(exact[2:])])


def output_of(tensors: list[torch.Tensor], view_hw: tuple[int, int]) -> NetworkOutput:
    """What the network said of an image of this size."""
    return NetworkOutput(image_grid(*view_hw, STRIDE, tensors[0].device), *tensors)


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.float().flatten() for tensor in tensors])
