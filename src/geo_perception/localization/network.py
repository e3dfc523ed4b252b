"""The per-scene head: from frozen features to one heatmap per landmark.

After "Faster training of the Scene Landmark Detection for Camera Localization" (stacked dilated convolutions and skips
on frozen features, a 1x1 convolution to L maps). What differs: features of several strides are projected and summed
instead of one dilated stride-8 map, and each landmark's map is a distribution over all cells plus "not visible".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import nn

CELL_PX = 8  # size of a heatmap cell in network pixels


@dataclass(frozen=True)
class HeadConfig:
    """Everything needed to build a head again."""

    landmarks: int
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    width: int = 192
    dilations: tuple[int, ...] = (1, 2, 4, 1)

    def to_header(self) -> dict:
        return asdict(self)

    @classmethod
    def from_header(cls, fields: dict) -> HeadConfig:
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return cls(**lists)


class _Block(nn.Module):
    """A dilated 3x3 convolution between two 1x1 ones, and a skip. The narrow middle is what makes it cheap."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        # A multiple of 16: with other widths the CPU's bfloat16 convolutions gave gradients that were not numbers.
        inner = 16 * max(1, round(width / 48))
        self.reduce = nn.Conv2d(width, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.spread = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.expand = nn.Conv2d(inner, width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        y_bchw = F.relu(self.norm1(self.reduce(x_bchw)))
        y_bchw = F.relu(self.norm2(self.spread(y_bchw)))
        return F.relu(x_bchw + self.norm3(self.expand(y_bchw)))


class LandmarkHead(nn.Module):
    """Feature maps at several strides to landmark logits (B, L, H / 8, W / 8) and "not visible" logits (L,)."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.config = config
        self.fold = [max(1, CELL_PX // stride) for stride in config.strides]
        self.project = nn.ModuleList(
            nn.Conv2d(channels * fold**2, config.width, 1, bias=False)
            for channels, fold in zip(config.channels, self.fold, strict=True)
        )
        self.norm = nn.BatchNorm2d(config.width)
        self.blocks = nn.Sequential(*(_Block(config.width, dilation) for dilation in config.dilations))
        self.heatmap = nn.Conv2d(config.width, config.landmarks, 1)
        self.invisible_l = nn.Parameter(torch.full((config.landmarks,), 4.0))

    def forward(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Feature maps in the order of `config.strides`, finer than a cell or coarser, all of one image batch."""
        total_bchw = None
        for fold, project, map_bchw in zip(self.fold, self.project, features, strict=True):
            # Finer maps keep their detail as channels of the cell; coarser ones are spread over their cells.
            projected = project(F.pixel_unshuffle(map_bchw, fold) if fold > 1 else map_bchw)
            if total_bchw is None:
                total_bchw = projected
            elif projected.shape[-2:] != total_bchw.shape[-2:]:
                size = total_bchw.shape[-2:]
                total_bchw = total_bchw + F.interpolate(projected, size=size, mode="bilinear", align_corners=False)
            else:
                total_bchw = total_bchw + projected
        logits_blhw = self.heatmap(self.blocks(F.relu(self.norm(total_bchw))))
        return logits_blhw, self.invisible_l


@dataclass(frozen=True)
class Peaks:
    """The best place of each landmark in each image, in network pixels."""

    pixels_bl2: torch.Tensor
    score_bl: torch.Tensor  # probability that the landmark is visible, within the window around the peak
    spread_px_bl: torch.Tensor  # standard deviation within the window


def find_peaks(logits_blhw: torch.Tensor, invisible_l: torch.Tensor, radius_cells: int = 2) -> Peaks:
    """Each landmark's distribution over cells and "not visible", read in a window around its highest cell.

    An expectation over the whole map would land between two peaks; the window holds one.
    """
    B, L, H, W = logits_blhw.shape
    logits_bln = logits_blhw.float().flatten(2)
    log_total_bl1 = torch.logaddexp(logits_bln.logsumexp(dim=2), invisible_l.float().expand(B, L))[..., None]
    best_bl = logits_bln.argmax(dim=2)
    steps = torch.arange(-radius_cells, radius_cells + 1, device=logits_blhw.device)
    rows_blk = (best_bl // W)[..., None] + steps.repeat_interleave(len(steps))
    columns_blk = (best_bl % W)[..., None] + steps.repeat(len(steps))
    inside_blk = (rows_blk >= 0) & (rows_blk < H) & (columns_blk >= 0) & (columns_blk < W)
    index_blk = rows_blk.clamp(0, H - 1) * W + columns_blk.clamp(0, W - 1)
    weight_blk = (logits_bln.gather(2, index_blk) - log_total_bl1).exp() * inside_blk
    score_bl = weight_blk.sum(dim=2)
    share_blk = weight_blk / score_bl.clamp_min(1e-30)[..., None]
    mean_x_bl = (share_blk * columns_blk).sum(dim=2)
    mean_y_bl = (share_blk * rows_blk).sum(dim=2)
    variance_bl = (
        share_blk * ((columns_blk - mean_x_bl[..., None]) ** 2 + (rows_blk - mean_y_bl[..., None]) ** 2)
    ).sum(dim=2)
    pixels_bl2 = (torch.stack([mean_x_bl, mean_y_bl], dim=-1) + 0.5) * CELL_PX - 0.5
    return Peaks(pixels_bl2, score_bl, (variance_bl / 2).sqrt() * CELL_PX)
