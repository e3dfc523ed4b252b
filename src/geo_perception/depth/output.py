"""What a depth network gives, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from geo_perception.depth.sharpener import DepthChoice


@dataclass(frozen=True)
class DepthOutput:
    """`disparity`: inverse depth (B, 1, h, w) in a unit of the network's own, the finest of the image's size first,
    each next one of half the sides. `log_sigma_b1hw`: of the finest; None where the network has no uncertainty.
    `choice`: of what the finest was made; None where the network does not choose."""

    disparity: list[torch.Tensor]
    log_sigma_b1hw: torch.Tensor | None = None
    choice: DepthChoice | None = None
