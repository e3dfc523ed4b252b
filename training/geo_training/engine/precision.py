"""Convolutions that stay in float32 where half precision does not pay, or is wrong."""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn


def strided_depthwise_in_float32(network: nn.Module) -> nn.Module:
    """Keeps the strided depthwise convolutions of `network` out of autocast, in place.

    On a CPU their bfloat16 backward pass takes 5 to 20 times as long as the float32 one (torch 2.15: 202 against 9 ms
    for 672 channels of 19 x 15), and a whole training step a third longer.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and max(module.stride) > 1:
            module.forward = MethodType(_forward_in_float32, module)
    return network


def single_pixels_in_float32(network: nn.Module) -> nn.Module:
    """Keeps strided convolutions whose input has a single pixel out of autocast, in place.

    On a CPU the bfloat16 gradient of their weights is whatever lay in memory (torch 2.15, 3 x 3, stride 2).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1 and max(module.kernel_size) > 1:
            module.forward = MethodType(_single_pixels_in_float32, module)
    return network


# Bound methods, so that a copy of the network calls its own; `type(module).forward` is the one of its class.
def _forward_in_float32(module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return type(module).forward(module, x.float())


def _single_pixels_in_float32(module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return _forward_in_float32(module, x) if x.shape[-2:] == (1, 1) else type(module).forward(module, x)
