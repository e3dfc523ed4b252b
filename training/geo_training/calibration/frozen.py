"""A backbone that does not learn, and the small network on its maps that does: what two cores can train in minutes.

What the backbone says of an image is computed once. Averaged over a few cells it is some kilobytes, and still says what
stands where: an average over the whole image would not tell a picture from the same one turned upside down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime.backbone import Backbone, create_backbone, timm_features
from geo_training.config import Strict


class FrozenConfig(Strict):
    """Which of the backbone's maps is kept of an image, and what learns on it."""

    stride_px: int = Field(16, ge=4, le=32, description="of the map")
    grid: int = Field(4, ge=1, le=16, description="cells across and down, over each of which the map is averaged")
    hidden: int = Field(256, ge=1, description="units of each of the two layers that learn")
    dropout: float = Field(0.2, ge=0, lt=1)

    def inputs(self, backbone: str) -> int:
        """How many numbers are kept of an image, with timm's network of that name. Raises InputError as `index_in`."""
        network = _drawn(backbone)
        return network.channels[self.index_in(network)] * self.grid**2

    def index_in(self, network: Backbone) -> int:
        """Which of the backbone's maps it is. Raises InputError where none has that stride."""
        if self.stride_px not in network.strides:
            strides = ", ".join(map(str, network.strides))
            raise InputError(f"frozen.stride_px is {self.stride_px}, but the backbone has maps at {strides}; take one")
        return network.strides.index(self.stride_px)

    def trunk(self, inputs: int) -> nn.Sequential:
        """What learns, from (B, inputs) to features (B, hidden)."""
        layers: list[nn.Module] = [nn.LayerNorm(inputs)]
        for size in (inputs, self.hidden):
            layers += [nn.Dropout(self.dropout), nn.Linear(size, self.hidden), nn.LayerNorm(self.hidden), nn.GELU()]
        return nn.Sequential(*layers)


class FrozenMaps:
    """The frozen part: timm's network of that name, with weights as `create_backbone` finds them, or drawn with a fixed
    seed where `drawn` is set. Raises InputError as `create_backbone` does."""

    def __init__(self, backbone: str, config: FrozenConfig, weights: Path | None = None, drawn: bool = False,
                 device: torch.device | None = None):  # fmt: skip
        self.config, self._device = config, device or torch.device("cpu")
        network = _drawn(backbone) if drawn else create_backbone(backbone, weights)
        self._index = config.index_in(network)
        self.inputs = network.channels[self._index] * config.grid**2
        self._network = network.eval().to(self._device)

    @torch.no_grad()
    def encode(self, images_bhw3: np.ndarray) -> np.ndarray:
        """RGB uint8 (B, H, W, 3) to float16 (B, inputs)."""
        image_b3hw = torch.from_numpy(images_bhw3).to(self._device).permute(0, 3, 1, 2).float()
        cells_bcgg = nn.functional.adaptive_avg_pool2d(self._network(image_b3hw)[self._index], self.config.grid)
        return cells_bcgg.flatten(1).half().cpu().numpy()


def _drawn(backbone: str) -> Backbone:
    """The network with weights that are always the same random ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Backbone(backbone, {backbone: timm_features(backbone)})
