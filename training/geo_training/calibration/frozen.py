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
from geo_perception.runtime.backbone import create_backbone, timm_features
from geo_training.config import Strict


class FrozenConfig(Strict):
    """Which of the backbone's maps are kept of an image, and what learns on them."""

    level: int = Field(3, ge=0, le=4, description="of the backbone's maps: 3 is the one at a stride of 16")
    grid: int = Field(4, ge=1, le=16, description="cells across and down, over each of which the map is averaged")
    hidden: int = Field(256, ge=1, description="units of each of the two layers that learn")
    dropout: float = Field(0.2, ge=0, lt=1)

    def inputs(self, backbone: str) -> int:
        """How many numbers are kept of an image, with timm's network of that name."""
        return self.inputs_of(timm_features(backbone))

    def inputs_of(self, network: nn.Module) -> int:
        """The same, with this feature network. Raises InputError where it has no such level."""
        channels = network.feature_info.channels()
        if self.level >= len(channels):
            raise InputError(
                f"frozen.level is {self.level}, but the backbone has maps 0 to {len(channels) - 1}; lower it"
            )
        return channels[self.level] * self.grid**2

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
        if drawn:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = timm_features(backbone)
        else:
            network = create_backbone(backbone, weights).network
        self.inputs = config.inputs_of(network)
        self._network = network.eval().requires_grad_(False).to(self._device)
        mean, std = image_statistics(backbone)
        self._mean_1311, self._std_1311 = mean.to(self._device), std.to(self._device)

    @torch.no_grad()
    def encode(self, images_bhw3: np.ndarray) -> np.ndarray:
        """RGB uint8 (B, H, W, 3) to float16 (B, inputs)."""
        image_b3hw = torch.from_numpy(images_bhw3).to(self._device).permute(0, 3, 1, 2).float()
        map_bchw = self._network((image_b3hw - self._mean_1311) / self._std_1311)[self.config.level]
        cells_bcgg = nn.functional.adaptive_avg_pool2d(map_bchw, self.config.grid)
        return cells_bcgg.flatten(1).half().cpu().numpy()


def image_statistics(backbone: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (1, 3, 1, 1) of RGB in 0..255 that a network of timm's is used to."""
    import timm

    config = timm.get_pretrained_cfg(backbone)
    return 255 * torch.tensor(config.mean).view(1, 3, 1, 1), 255 * torch.tensor(config.std).view(1, 3, 1, 1)
