"""DispNet as SfMLearner has it (Zhou et al. 2017): disparity at four scales from one image.

Seven pairs of convolutions, the first of each with stride 2, then as many up-convolutions with the encoder's maps
beside them. disparity = 10 sigmoid + 0.01.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.depth.output import DepthOutput

DISPARITY_RANGE, LEAST_DISPARITY = 10.0, 0.01
ENCODER = ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3))  # channels, kernel
DECODER = (512, 512, 256, 128, 64, 32, 16)  # coarsest first
SCALES = 4


class DispNet(nn.Module):
    """31.6 million parameters; the sides of the image may be anything from 128 pixels on."""

    focal_normalized = False

    def __init__(self):
        super().__init__()
        before, down = 3, []
        for channels, kernel in ENCODER:
            down.append(
                nn.Sequential(_convolution(before, channels, kernel, 2), _convolution(channels, channels, kernel))
            )
            before = channels
        self.down = nn.ModuleList(down)
        up, merge, predict = [], [], []
        for index, channels in enumerate(DECODER):
            skip = ENCODER[-2 - index][0] if index < len(ENCODER) - 1 else 0
            coarser = 1 if index > len(DECODER) - SCALES else 0  # the disparity of the scale before
            up.append(nn.Sequential(nn.ConvTranspose2d(before, channels, 3, 2, 1, 1), nn.ReLU(inplace=True)))
            merge.append(_convolution(channels + skip + coarser, channels, 3))
            predict.append(nn.Conv2d(channels, 1, 3, padding=1) if index >= len(DECODER) - SCALES else nn.Identity())
            before = channels
        self.up, self.merge, self.predict = nn.ModuleList(up), nn.ModuleList(merge), nn.ModuleList(predict)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image_b3hw: torch.Tensor) -> DepthOutput:
        """RGB in 0..1, which is shifted to -1..1 as in the paper's code."""
        x = image_b3hw * 2 - 1
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        disparities: list[torch.Tensor] = []
        for index, (up, merge, predict) in enumerate(zip(self.up, self.merge, self.predict, strict=True)):
            finer = skips[-2 - index] if index < len(skips) - 1 else None
            size = finer.shape[-2:] if finer is not None else image_b3hw.shape[-2:]
            parts = [up(x)[..., : size[0], : size[1]]]  # an odd side was rounded up on the way down
            if finer is not None:
                parts.append(finer)
            if disparities:
                parts.append(F.interpolate(disparities[-1], size=size, mode="bilinear", align_corners=False))
            x = merge(torch.cat(parts, 1))
            if not isinstance(predict, nn.Identity):
                disparities.append(DISPARITY_RANGE * torch.sigmoid(predict(x).float()) + LEAST_DISPARITY)
        return DepthOutput(disparities[::-1])

    def config_dict(self) -> dict:
        """What `make_depth_network` takes to make this network again."""
        return {"architecture": "dispnet"}


def _convolution(before: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, channels, kernel, stride, kernel // 2), nn.ReLU(inplace=True))
