"""What a frozen network sees in single images, as fast as a device gives it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from geo_perception.runtime.device import half_autocast
from geo_perception.runtime.folding import fold_normalization


class FrozenFeatures:
    """Feature maps of single images: normalizations folded, channels last, in half precision where that is faster.

    Works on a copy of `backbone` (images (1, 3, H, W) to a list of maps), which stays as it is: its weights are what
    is saved, and what is known by its checksum.
    """

    def __init__(self, backbone: nn.Module, device: torch.device):
        self._device = device
        # An image comes with its channels last; weights of another layout take twice as long on a CPU.
        self._network = fold_normalization(backbone).to(device).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, image_hw3: np.ndarray) -> list[torch.Tensor]:
        """The maps (1, C, H / stride, W / stride) of an image (H, W, 3) of 0 to 255, on the device."""
        image_b3hw = torch.from_numpy(np.ascontiguousarray(image_hw3)).to(self._device).permute(2, 0, 1)[None].float()
        with half_autocast(self._device):
            return self._network(image_b3hw)
