"""Where half precision does not pay."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn


def strided_depthwise_in_float32(network: nn.Module) -> nn.Module:
    """Keeps the strided depthwise convolutions of `network` out of autocast, in place.

    On a CPU their bfloat16 backward pass takes 5 to 20 times as long as the float32 one (torch 2.15: 202 against 9 ms
    for 672 channels of 19 x 15), and a whole training step a third longer.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and max(module.stride) > 1:
            module.__class__ = _in_float32(type(module))
    return network


def single_pixels_in_float32(network: nn.Module) -> nn.Module:
    """Keeps strided convolutions whose input has a single pixel out of autocast, in place.

    On a CPU the bfloat16 gradient of their weights is whatever lay in memory (torch 2.15, 3 x 3, stride 2).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1 and max(module.kernel_size) > 1:
            module.__class__ = _in_float32(type(module), single_pixels_only=True)
    return network


@lru_cache(maxsize=16)
def _in_float32(kind: type[nn.Conv2d], single_pixels_only: bool = False) -> type[nn.Conv2d]:
    class InFloat32(kind):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if single_pixels_only and x.shape[-2:] != (1, 1):
                return super().forward(x)
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(x.float())

    return InFloat32
