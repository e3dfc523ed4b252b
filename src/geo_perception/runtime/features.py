"""What a frozen network sees in single images, as fast as a device gives it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import nn

from geo_perception.runtime.device import half_autocast
from geo_perception.runtime.engine import OpenVinoEngine, make_engine
from geo_perception.runtime.folding import fold_normalization


class FrozenFeatures:
    """Feature maps of single images: normalizations folded, channels last, in half precision where that is faster; on a
    CPU by OpenVINO, where it is installed and the network is known by a `checksum`.

    Works on a copy of `backbone` (images (1, 3, H, W) to a list of maps), which stays as it is: its weights are what
    is saved, and what is known by its checksum.
    """

    def __init__(self, backbone: nn.Module, device: torch.device):
        self._device = device
        # An image comes with its channels last; weights of another layout take twice as long on a CPU.
        self._network = fold_normalization(backbone).to(device).to(memory_format=torch.channels_last)
        checksum = getattr(backbone, "checksum", None)
        self._checksum = checksum if isinstance(checksum, str) and device.type == "cpu" else None

    @torch.no_grad()
    def __call__(self, image_hw3: np.ndarray) -> list[torch.Tensor]:
        """The maps (1, C, H / stride, W / stride) of an image (H, W, 3) of 0 to 255, on the device."""
        image_b3hw = torch.from_numpy(np.ascontiguousarray(image_hw3)).to(self._device).permute(2, 0, 1)[None].float()
        if self._engine is not None:
            return self._engine(image_b3hw)
        with half_autocast(self._device):
            return self._network(image_b3hw)

    @property
    def engine(self) -> str:
        """By what the maps are made: torch or openvino."""
        return "torch" if self._engine is None else "openvino"

    @cached_property
    def _engine(self) -> OpenVinoEngine | None:
        """Made with the first image, since it takes a second."""
        return None if self._checksum is None else make_engine(self._network, self._checksum)
