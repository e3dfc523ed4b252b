"""A depth network as one graph that any engine can run: an image in, the maps that are used out."""

from __future__ import annotations

import torch
from torch import nn

from geo_perception.depth.dispnet import DispNet
from geo_perception.depth.network import DepthNetwork

OUTPUTS = ("disparity", "log_sigma")


class DepthGraph(nn.Module):
    """RGB (1, 3, H, W) of 0 to 255 to the finest disparity (1, 1, H, W) and, where the network has it, the logarithm of
    the uncertainty (1, 1, H, W). `checksum`: of the weights; None where they may still change."""

    def __init__(self, network: DepthNetwork | DispNet, checksum: str | None = None):
        super().__init__()
        self.network, self.checksum = network, checksum

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        output = self.network(image_b3hw / 255.0)
        return [output.disparity[0], *([] if output.log_sigma_b1hw is None else [output.log_sigma_b1hw])]
