"""Gives a coarse depth map the edges of its image: every pixel takes one of the depths around it.

A decoder that learned little smears an edge over many pixels, and the depths in between are those of no surface. Here a
small U-Net sees the image, the coarse map and the decoder's features, and says for each pixel how likely it has which
depth: that of a pixel of the coarse map near or farther away, or one of a few that it names itself. Learned with the
expected error of that choice (`choice_loss` of the training), which a mean of two surfaces does not lower, it chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

# Where a candidate's depth is looked up, in pixels of the map: all around up to 8, and in eight directions at 16.
_NEAR_PX, REACH_PX = (-8, -4, 0, 4, 8), 16
_FAR_PX = (-REACH_PX, 0, REACH_PX)
OFFSETS_PX = (
    (0, 0),
    *((dy, dx) for dy in _NEAR_PX for dx in _NEAR_PX if dy or dx),
    *((dy, dx) for dy in _FAR_PX for dx in _FAR_PX if dy or dx),
)
_OWN_STEPS = (-0.3, 0.3)  # the depths a pixel names itself begin at this much (log) from the coarse one
_FIRST_LOGIT = 4.0  # of the pixel's own coarse depth: an untrained network changes next to nothing
_DETAIL_PX = 9  # side of the square whose mean is taken from the coarse map to show its details
_DETAIL_GAIN = 4.0
_REGION_PX = 65  # side of the squares that keep the mean of the coarse map
_DECIDED = 4.0  # outside training the logits are multiplied by it: a choice rather than a mean
_GROUPS = 8


@dataclass(frozen=True)
class DepthChoice:
    """What each pixel may be, as the logarithm of its disparity (B, K, H, W), and how likely: weights of sum 1."""

    log_bkhw: torch.Tensor
    weight_bkhw: torch.Tensor

    def mean_b1hw(self) -> torch.Tensor:
        """The weighted mean."""
        return (self.weight_bkhw * self.log_bkhw).sum(1, keepdim=True)

    def sharpened_b1hw(self) -> torch.Tensor:
        """The coarse map as the weighted mean has it, less what that changes in whole regions."""
        return _within_regions(self.mean_b1hw(), self.log_bkhw[:, :1])


class EdgeSharpener(nn.Module):
    """`features` are the channels of the decoder at half of the image's resolution; `width` is a multiple of 8."""

    def __init__(self, features: int, width: int):
        super().__init__()
        wide, count = 2 * width, len(OFFSETS_PX) + 2 * len(_OWN_STEPS)
        self.at_entry = _block(4 * 5 + features, width)
        self.at_half = nn.Sequential(_block(width, wide, stride=2), _block(wide, wide))
        self.at_quarter = nn.Sequential(_block(wide, wide, stride=2), _block(wide, wide))
        self.leave_quarter = _block(2 * wide, wide)
        self.leave_half = _block(wide + width, wide)
        self.choose = nn.Conv2d(wide, 4 * count, 1)  # for the four pixels of each place
        nn.init.zeros_(self.choose.weight)
        bias = torch.zeros(count, 4)
        bias[0] = _FIRST_LOGIT
        bias[-len(_OWN_STEPS) :] = torch.tensor(_OWN_STEPS)[:, None]
        self.choose.bias.data.copy_(bias.flatten())

    def forward(self, image_b3hw: torch.Tensor, log_b1hw: torch.Tensor, features_bchw: torch.Tensor) -> DepthChoice:
        """`image_b3hw` normalized, `log_b1hw` the logarithm of the coarse disparity; sides are multiples of 8."""
        named = F.pixel_shuffle(self._named(image_b3hw, log_b1hw, features_bchw), 2)
        logit_bkhw, step_bchw = named[:, : -len(_OWN_STEPS)], named[:, -len(_OWN_STEPS) :]
        weight_bkhw = torch.softmax(self._sharpness * logit_bkhw, 1)
        return DepthChoice(torch.cat([_shifted(log_b1hw), log_b1hw + step_bchw], 1), weight_bkhw)

    def sharpened_b1hw(
        self, image_b3hw: torch.Tensor, log_b1hw: torch.Tensor, features_bchw: torch.Tensor
    ) -> torch.Tensor:
        """`DepthChoice.sharpened_b1hw` of what `forward` gives, in a third of its time: all candidates stay as they
        come, four pixels in a place at half of the resolution, and only their mean is brought to the whole one."""
        named = self._named(image_b3hw, log_b1hw, features_bchw)
        batch, _, height, width = named.shape
        named_bc4hw = named.view(batch, -1, 4, height, width)
        logit_bk4hw, step_bc4hw = named_bc4hw[:, : -len(_OWN_STEPS)], named_bc4hw[:, -len(_OWN_STEPS) :]
        weight_bk4hw = torch.softmax(self._sharpness * logit_bk4hw, 1)
        around_b4hw = F.pixel_unshuffle(_padded(log_b1hw, REACH_PX), 2)  # all offsets are even
        mean_b4hw = (weight_bk4hw[:, len(OFFSETS_PX) :] * step_bc4hw).sum(1)
        own_b4hw = weight_bk4hw[:, len(OFFSETS_PX) :].sum(1)
        for k, (dy, dx) in enumerate(OFFSETS_PX):
            top, left = (REACH_PX + dy) // 2, (REACH_PX + dx) // 2
            weight_b4hw = weight_bk4hw[:, k] + own_b4hw if (dy, dx) == (0, 0) else weight_bk4hw[:, k]
            mean_b4hw = mean_b4hw + weight_b4hw * around_b4hw[:, :, top : top + height, left : left + width]
        return _within_regions(F.pixel_shuffle(mean_b4hw, 2), log_b1hw)

    @property
    def _sharpness(self) -> float:
        return 1.0 if self.training else _DECIDED

    def _named(self, image_b3hw: torch.Tensor, log_b1hw: torch.Tensor, features_bchw: torch.Tensor) -> torch.Tensor:
        """Of each place at half of the resolution, for the four pixels in it, the logit of every candidate and the
        steps of those that it names itself."""
        relative_b1hw = log_b1hw - log_b1hw.mean((2, 3), keepdim=True)
        around_b1hw = F.avg_pool2d(_padded(relative_b1hw, _DETAIL_PX // 2), _DETAIL_PX, 1)
        seen = torch.cat([image_b3hw, relative_b1hw, _DETAIL_GAIN * (relative_b1hw - around_b1hw)], 1)
        x1 = self.at_entry(torch.cat([F.pixel_unshuffle(seen, 2), features_bchw], 1))
        x2 = self.at_half(x1)
        x3 = self.leave_quarter(torch.cat([_doubled(self.at_quarter(x2)), x2], 1))
        named = self.choose(self.leave_half(torch.cat([_doubled(x3), x1], 1)))
        return named.to(torch.float32, memory_format=torch.contiguous_format)


def _shifted(log_b1hw: torch.Tensor) -> torch.Tensor:
    """The map at each of OFFSETS_PX from every pixel (B, K, H, W), that of the rim beyond it."""
    height, width = log_b1hw.shape[-2:]
    padded = _padded(log_b1hw, REACH_PX)
    return torch.cat(
        [
            padded[:, :, REACH_PX + dy : REACH_PX + dy + height, REACH_PX + dx : REACH_PX + dx + width]
            for dy, dx in OFFSETS_PX
        ],
        1,
    )


def _within_regions(sharp_b1hw: torch.Tensor, coarse_b1hw: torch.Tensor) -> torch.Tensor:
    """A map less what it changes in whole regions: those are the coarse map's to say, which learned from far more than
    edges, and in places unlike those that the sharpener knows it errs by regions first."""
    return sharp_b1hw - _of_regions(sharp_b1hw - coarse_b1hw)


def _of_regions(x_b1hw: torch.Tensor) -> torch.Tensor:
    """The mean of the square about each pixel, as far as the map goes."""
    half = _REGION_PX // 2
    rows_b1hw = F.avg_pool2d(x_b1hw, (_REGION_PX, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows_b1hw, (1, _REGION_PX), 1, (0, half), count_include_pad=False)


def _padded(x_bchw: torch.Tensor, side_px: int) -> torch.Tensor:
    return F.pad(x_bchw, (side_px,) * 4, mode="replicate")


def _doubled(x_bchw: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x_bchw, scale_factor=2, mode="nearest")


def _block(before: int, channels: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, channels, 3, padding=1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, channels), nn.ELU(inplace=True))
