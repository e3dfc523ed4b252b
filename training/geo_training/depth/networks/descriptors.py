"""Descriptors that are learned together with depth, instead of SIFT's (the keypoint paper's future work).

Camera motion has to be known: were descriptor, depth and motion all free, they could agree on anything. Keypoints are
still SIFT's. A keypoint of the target is compared with the source where it lands there.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

CHANNELS = 32
_WIDTH = 48


class DescriptorNetwork(nn.Module):
    """From images in 0 to 1 (B, 3, H, W) to descriptors (B, 32, H, W) with an L2 norm of 1, one for every pixel.

    Surroundings of about 30 pixels are seen at half the size, which is where the work is; what a pixel itself looks
    like is added at full size, so that places stay sharp.
    """

    def __init__(self, channels: int = CHANNELS):
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 3, padding=1, padding_mode="replicate")
        self.wide = nn.Sequential(
            _block(3, _WIDTH, kernel=5, stride=2), _block(_WIDTH, _WIDTH), _block(_WIDTH, _WIDTH, dilation=2),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, padding_mode="replicate"),
        )  # fmt: skip
        self.mix = nn.Sequential(nn.ReLU(), nn.Conv2d(16 + _WIDTH, channels, 1))

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        centred = 2 * image_b3hw - 1
        fine, wide = self.fine(centred), self.wide(centred)
        wide = F.interpolate(wide, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        descriptors_bchw = self.mix(torch.cat([fine, wide.to(fine.dtype)], 1))
        # Half precision has too few digits for a norm.
        return F.normalize(descriptors_bchw.to(torch.promote_types(descriptors_bchw.dtype, torch.float32)), dim=1)


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, padding_mode="replicate")
    return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.ReLU())
