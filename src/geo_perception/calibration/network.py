"""The calibration network: one small backbone, two answers.

The fields head says at every cell of 8 pixels which way is up and how high above the horizon the ray points, and how
sure it is; `solve` turns that into a camera. The direct head guesses the whole camera with a variance for each output.
The guess starts the solver, and is one more observation in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from geo_perception.calibration.fields import image_grid
from geo_perception.calibration.solve import Observations
from geo_perception.runtime import DEFAULT_BACKBONE
from geo_perception.runtime.backbone import freeze_stages, hold_normalization, timm_features
from geo_perception.runtime.weights import RenamedModules

STRIDE = 8
_LEVELS = (8, 16, 32)
_MAX_LOG_WEIGHT = 8.0


@dataclass(frozen=True)
class NetworkConfig:
    """`width` are the channels of the decoder, `context_layers` the layers of attention between the coarsest cells."""

    backbone: str = DEFAULT_BACKBONE
    width: int = 96
    context_width: int = 192
    context_layers: int = 2


@dataclass(frozen=True)
class NetworkOutput:
    """`fields_bn3`, `log_weights_bn2` (of up and of sin latitude) at the cells `xy_n2`; the direct head's guess:
    `log_focal_b`, `up_b3` (unit), `log_weight_b2` (of the log focal length, of up)."""

    xy_n2: torch.Tensor
    fields_bn3: torch.Tensor
    log_weights_bn2: torch.Tensor
    log_focal_b: torch.Tensor
    up_b3: torch.Tensor
    log_weight_b2: torch.Tensor

    def observations(self, correlation: torch.Tensor, fields: bool = True, direct: bool = True) -> Observations:
        """For the solver. Neighbouring cells err together: `correlation` (a logarithm) divides their weight.

        Without `fields` or without `direct`, those observations count next to nothing.
        """
        cells_bn2 = torch.exp(self.log_weights_bn2 - correlation) * (1.0 if fields else 1e-6)
        weight_b2 = torch.exp(self.log_weight_b2) * (1.0 if direct else 1e-6)
        return Observations(
            self.xy_n2, self.fields_bn3, cells_bn2[..., [0, 0, 1]], self.log_focal_b, self.up_b3, weight_b2
        )


class CalibrationNetwork(RenamedModules, nn.Module):
    """Any timm network that gives features at strides 8, 16 and 32, and the heads. Sides are multiples of 32 pixels."""

    former_names: ClassVar = {"enter": "stem", "place": "position_embedding", "smooth": "refine"}

    def __init__(self, config: NetworkConfig):
        import timm

        super().__init__()
        self.config = config
        self.backbone = timm_features(config.backbone)
        picture = timm.get_pretrained_cfg(config.backbone)
        self.register_buffer("mean_1311", torch.tensor(picture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std_1311", torch.tensor(picture.std).view(1, 3, 1, 1), persistent=False)
        info = zip(self.backbone.feature_info.reduction(), self.backbone.feature_info.channels(), strict=True)
        self._index = {stride: (i, channels) for i, (stride, channels) in enumerate(info) if stride in _LEVELS}
        coarse, width, deep = self._index[32][1], config.width, config.context_width
        self.stem = nn.Conv2d(coarse, deep, 1)
        self.position_embedding = nn.Sequential(nn.Linear(6, deep), nn.GELU(), nn.Linear(deep, deep))
        self.summary = nn.Parameter(torch.zeros(1, 1, deep))
        self.context = nn.ModuleList(_ContextLayer(deep) for _ in range(config.context_layers))
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in (deep, self._index[16][1], self._index[8][1]))
        self.refine = nn.ModuleList(_Block(width) for _ in range(3))
        self.fields = nn.Conv2d(width, 5, 1)
        self.direct = nn.Sequential(nn.LayerNorm(deep), nn.Linear(deep, deep), nn.GELU(), nn.Linear(deep, 6))
        self.correlation = nn.Parameter(torch.tensor(4.0))
        self.dropout = 0.0  # of whole maps of the backbone, in training
        self._start_plainly()

    def _start_plainly(self) -> None:
        """An upright, level camera of 60 degrees, and high uncertainty: training begins near what is common."""
        for layer in (self.fields, self.direct[-1]):
            nn.init.normal_(layer.weight, std=1e-3)
        self.fields.bias.data = torch.tensor([0.0, -1.0, 0.0, 2.0, 2.0])
        self.direct[-1].bias.data = torch.tensor([0.55, 0.0, -1.0, 0.0, 1.0, 1.0])

    def train(self, mode: bool = True) -> CalibrationNetwork:
        """The backbone's normalization statistics stay those of its pretraining: batches here are small and alike."""
        super().train(mode)
        hold_normalization(self.backbone)
        return self

    def freeze_stages(self, count: int) -> None:
        """The first `count` stages of the backbone no longer learn (see `runtime.backbone.freeze_stages`)."""
        freeze_stages(self.backbone, count)

    def forward(self, image_b3hw: torch.Tensor) -> NetworkOutput:
        """RGB in 0..255, any float dtype, sides multiples of 32."""
        height_px, width_px = image_b3hw.shape[-2:]
        maps = self.backbone((image_b3hw / 255.0 - self.mean_1311) / self.std_1311)
        fine, middle, coarse = (maps[self._index[stride][0]] for stride in _LEVELS)
        if self.training and self.dropout:
            fine, middle, coarse = (F.dropout2d(level, self.dropout) for level in (fine, middle, coarse))
        embedded = self.stem(coarse)
        batch, deep, rows, columns = embedded.shape
        cells_n2 = image_grid(height_px, width_px, 32, image_b3hw.device)
        tokens = embedded.flatten(2).transpose(1, 2) + self.position_embedding(_waves(cells_n2))[None]
        tokens = torch.cat([self.summary.expand(batch, -1, -1).to(tokens.dtype), tokens], 1)
        for layer in self.context:
            tokens = layer(tokens)
        deep_map = tokens[:, 1:].transpose(1, 2).reshape(batch, deep, rows, columns)
        x = self.refine[0](self.lateral[0](deep_map))
        for lateral, refine, finer in zip(self.lateral[1:], self.refine[1:], (middle, fine), strict=True):
            x = F.interpolate(x, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            x = refine(x + lateral(finer))
        raw_bn5 = self.fields(x).flatten(2).transpose(1, 2).float()
        raw_b6 = self.direct(tokens[:, 0]).float()
        up_bn2 = F.normalize(raw_bn5[..., :2], dim=-1, eps=1e-3)
        return NetworkOutput(
            image_grid(height_px, width_px, STRIDE, image_b3hw.device),
            torch.cat([up_bn2, raw_bn5[..., 2:3].clamp(-1.2, 1.2)], -1),
            raw_bn5[..., 3:].clamp(-4.0, _MAX_LOG_WEIGHT),
            raw_b6[:, 0],
            F.normalize(raw_b6[:, 1:4], dim=-1, eps=1e-3),
            raw_b6[:, 4:].clamp(-4.0, _MAX_LOG_WEIGHT),
        )

    def config_dict(self) -> dict:
        return asdict(self.config)


def _waves(xy_n2: torch.Tensor) -> torch.Tensor:
    """Where a cell lies, (N, 6): the place itself and two waves of it."""
    return torch.cat([xy_n2, torch.sin(2.0 * xy_n2), torch.cos(2.0 * xy_n2)], -1)


class _ContextLayer(nn.Module):
    """Attention between all coarse cells, then a small network on each: the focal length shows only in the whole."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = 6
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens_btc: torch.Tensor) -> torch.Tensor:
        batch, count, width = tokens_btc.shape
        packed = self.query_key_value(self.before(tokens_btc)).reshape(batch, count, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, width)
        tokens_btc = tokens_btc + self.out(seen)
        return tokens_btc + self.mix(self.between(tokens_btc))


class _Block(nn.Module):
    """Two 3x3 convolutions with a way around them."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(8, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.gelu(self.first(self.norm(x))))
