"""The depth network: a small pretrained backbone, a decoder up to full resolution, disparity at four scales.

A second head gives the uncertainty of the logarithm of the depth. It reads the decoder and does not change it. Where
the network has a sharpener, the finest disparity is what that makes of the decoder's.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.depth.dispnet import DispNet
from geo_perception.depth.output import DepthOutput
from geo_perception.depth.sharpener import EdgeSharpener
from geo_perception.errors import InputError
from geo_perception.runtime import DEFAULT_BACKBONE
from geo_perception.runtime.backbone import hold_normalization, timm_features
from geo_perception.runtime.weights import RenamedModules

SCALES = 4
_STRIDES = (32, 16, 8, 4, 2)
_GROUPS = 8
_MAX_LOG = 7.0  # disparities from 1/1000 to 1000 of the first guess


@dataclass(frozen=True)
class DepthNetworkConfig:
    """`widths` are the decoder's channels at strides 16, 8, 4, 2 and 1, `sharpener_width` those of the sharpener at its
    finest, a multiple of 8; 0 for none."""

    backbone: str = DEFAULT_BACKBONE
    widths: tuple[int, ...] = (128, 96, 64, 32, 16)
    sharpener_width: int = 0


class DepthNetwork(RenamedModules, nn.Module):
    """Any timm network that gives features at strides 2 to 32. Sides are multiples of 32 pixels.

    Its disparity is that of a camera with a focal length of CANONICAL_FOCAL_PX (estimator.py): what a wider view shows
    in fewer pixels is not farther away.
    """

    focal_normalized = True
    former_names: ClassVar = {"doubt": "uncertainty"}

    def __init__(self, config: DepthNetworkConfig | None = None):
        import timm

        super().__init__()
        self.config = config or DepthNetworkConfig()
        self.backbone = timm_features(self.config.backbone)
        picture = timm.get_pretrained_cfg(self.config.backbone)
        self.register_buffer("mean_1311", torch.tensor(picture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std_1311", torch.tensor(picture.std).view(1, 3, 1, 1), persistent=False)
        info = zip(self.backbone.feature_info.reduction(), self.backbone.feature_info.channels(), strict=True)
        at_stride = {stride: (index, channels) for index, (stride, channels) in enumerate(info)}
        missing = [stride for stride in _STRIDES if stride not in at_stride]
        if missing:
            raise InputError(f"backbone '{self.config.backbone}' has no features at stride {missing[0]}; use another")
        self._order = [at_stride[stride][0] for stride in _STRIDES]
        channels = [at_stride[stride][1] for stride in _STRIDES]
        widths = self.config.widths
        before = [channels[0], *widths[:-1]]
        self.reduce = nn.ModuleList(_block(b, w) for b, w in zip(before, widths, strict=True))
        skips = [*channels[1:], 0]
        self.merge = nn.ModuleList(_block(w + s, w) for w, s in zip(widths, skips, strict=True))
        self.predict = nn.ModuleList(nn.Conv2d(w, 1, 3, padding=1) for w in widths[-SCALES:])
        self.uncertainty = nn.Sequential(_block(widths[-2] + widths[-3], 32), nn.Conv2d(32, 1, 1))
        self.sharpener = EdgeSharpener(widths[-2], self.config.sharpener_width) if self.config.sharpener_width else None
        for layer in self.predict:
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.predict[0].bias, -1.0)  # 2.7 units away
        nn.init.zeros_(self.uncertainty[-1].weight)
        nn.init.constant_(self.uncertainty[-1].bias, -1.5)

    def train(self, mode: bool = True) -> DepthNetwork:
        """The backbone's normalization statistics stay those of its pretraining: batches here are small and alike."""
        super().train(mode)
        hold_normalization(self.backbone)
        return self

    def forward(self, image_b3hw: torch.Tensor) -> DepthOutput:
        """RGB in 0..1, any float dtype."""
        normalized_b3hw = (image_b3hw - self.mean_1311) / self.std_1311
        maps = self.backbone(normalized_b3hw)
        skips = [maps[index] for index in self._order]
        x, logs, states = skips[0], [], []
        for index, (reduce, merge) in enumerate(zip(self.reduce, self.merge, strict=True)):
            x = F.interpolate(reduce(x), scale_factor=2, mode="nearest")
            x = merge(torch.cat([x, skips[index + 1]], 1) if index + 1 < len(skips) else x)
            if index >= len(self.reduce) - SCALES:
                # Half precision would leave depth in steps of half a percent, and surfaces without a direction.
                with torch.autocast(x.device.type, enabled=False):
                    log_b1hw = self.predict[index - len(self.reduce) + SCALES](x.float())
                    if logs:  # each scale only says what is finer than the one before
                        log_b1hw = log_b1hw + F.interpolate(
                            logs[-1], size=log_b1hw.shape[-2:], mode="bilinear", align_corners=False
                        )
                logs.append(log_b1hw)
            if index in (len(self.reduce) - 3, len(self.reduce) - 2):
                states.append(x)
        coarse = F.interpolate(states[0], size=states[1].shape[-2:], mode="bilinear", align_corners=False)
        log_sigma = self.uncertainty(torch.cat([coarse, states[1]], 1).detach()).float().clamp(-5.0, 3.0)
        log_sigma = F.interpolate(log_sigma, size=image_b3hw.shape[-2:], mode="bilinear", align_corners=False)
        choice = None
        if self.sharpener is not None:
            asked = normalized_b3hw, logs[-1], states[1]
            if self.training:  # whose loss is of the choice itself
                choice = self.sharpener(*asked)
                logs[-1] = choice.sharpened_b1hw()
            else:
                logs[-1] = self.sharpener.sharpened_b1hw(*asked)
        disparities = [torch.exp(log_b1hw.clamp(-_MAX_LOG, _MAX_LOG)) for log_b1hw in reversed(logs)]
        return DepthOutput(disparities, log_sigma, choice)

    def config_dict(self) -> dict:
        """What `make_depth_network` takes to make this network again."""
        return {"architecture": "encoder_decoder", **asdict(self.config)}


def make_depth_network(config: dict) -> DepthNetwork | DispNet:
    """The network of a `config_dict`, its weights drawn at random. Raises InputError for an unknown architecture."""
    rest = {key: value for key, value in config.items() if key != "architecture"}
    if config.get("architecture") == "dispnet" and not rest:
        return DispNet()
    if config.get("architecture") == "encoder_decoder":
        widths = {"widths": tuple(rest["widths"])} if "widths" in rest else {}
        return DepthNetwork(DepthNetworkConfig(**{**rest, **widths}))
    raise InputError(f"depth network {config} is not known; use dispnet or encoder_decoder")


def _block(before: int, channels: int) -> nn.Sequential:
    normalized = nn.GroupNorm(math.gcd(_GROUPS, channels), channels)
    return nn.Sequential(nn.Conv2d(before, channels, 3, padding=1), normalized, nn.ELU(inplace=True))
