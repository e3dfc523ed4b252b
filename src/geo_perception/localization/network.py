"""The per-scene head: from frozen features to one heatmap per landmark.

After "Faster training of the Scene Landmark Detection for Camera Localization" (stacked dilated convolutions and skips
on frozen features, a 1x1 convolution to L maps). What differs: features of several strides are projected and summed
instead of one dilated stride-8 map, each landmark's map is a distribution over all cells plus "not visible", and its
place is then read again in a small window of a map twice as fine.

Beside the learned part there may be a linear one: a projection of the frozen features to one descriptor map, and a
linear detector a landmark on it. It needs no training (it is filled in closed form), and training begins from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import nn

from geo_perception.runtime.folding import fold_into

CELL_PX = 8  # size of a heatmap cell in network pixels
FINE_PX = 4  # the same of the fine map
FINE_RADIUS = 4  # fine cells around a peak in which its place is looked for again
FINE_MIN_SCORE = 0.005  # of a peak; where one scores less, it is not looked for again, since nothing goes by it


@dataclass(frozen=True)
class HeadConfig:
    """Everything needed to build a head again."""

    landmarks: int
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    width: int = 192  # of the learned part; 0 leaves it out
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    fine_width: int = 48  # 0: no fine map; it also needs features of stride 4 and a learned part
    linear_width: int = 0  # channels of the linear part's descriptor map; 0 leaves it out

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


class HeadMaps(NamedTuple):
    """What the head makes of an image: landmark logits (B, L, H / 8, W / 8), "not visible" logits (L,), and fine
    features (B, D, H / 4, W / 4), or None without a fine map."""

    logits_blhw: torch.Tensor
    invisible_l: torch.Tensor
    fine_bdhw: torch.Tensor | None


class LandmarkHead(nn.Module):
    """Feature maps at several strides to the maps in which landmarks are found."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.config = config
        self.fold = [max(1, CELL_PX // stride) for stride in config.strides]
        self.invisible_l = nn.Parameter(torch.full((config.landmarks,), 4.0))
        self.has_learned, self.has_linear = config.width > 0, config.linear_width > 0
        self.has_fine = self.has_learned and config.fine_width > 0 and FINE_PX in config.strides
        if self.has_learned:
            self.project = nn.ModuleList(
                nn.Conv2d(channels * fold**2, config.width, 1, bias=False)
                for channels, fold in zip(config.channels, self.fold, strict=True)
            )
            self.norm = nn.BatchNorm2d(config.width)
            self.blocks = nn.Sequential(*(_Block(config.width, dilation) for dilation in config.dilations))
            self.heatmap = nn.Conv2d(config.width, config.landmarks, 1)
        if self.has_linear:
            self.linear_project = nn.ModuleList(
                nn.Conv2d(channels, config.linear_width, 1, bias=index == 0)
                for index, channels in enumerate(config.channels)
            )
            self.linear_heatmap = nn.Conv2d(config.linear_width, config.landmarks, 1)
        if self.has_fine:
            channels = sum(c for c, stride in zip(config.channels, config.strides, strict=True) if stride == FINE_PX)
            self.fine_detail = nn.Conv2d(channels, config.fine_width, 1, bias=False)
            self.fine_context = nn.Conv2d(config.width, config.fine_width, 1, bias=False)
            self.fine_norm = nn.BatchNorm2d(config.fine_width)
            self.fine_mix = nn.Conv2d(config.fine_width, config.fine_width, 3, padding=1)
            self.fine_landmark_ld = nn.Parameter(torch.randn(config.landmarks, config.fine_width) * 0.2)

    def forward(self, features: list[torch.Tensor], landmarks: torch.Tensor | None = None) -> HeadMaps:
        """Feature maps in the order of `config.strides`, finer than a cell or coarser, all of one image batch.

        With `landmarks` (indices, (K,)) only theirs are made: a training step need not look at all of them.
        """
        parts, fine_bdhw = [], None
        if self.has_learned:
            trunk_bchw = self.trunk(features)
            parts.append((self.heatmap, trunk_bchw))
            if self.has_fine:
                fine_bdhw = self.fine(features, trunk_bchw)
        if self.has_linear:
            parts.append((self.linear_heatmap, self.descriptors(features)))
        logits_blhw = _landmark_maps(parts, landmarks)
        return HeadMaps(logits_blhw, self.invisible_l if landmarks is None else self.invisible_l[landmarks], fine_bdhw)

    def trunk(self, features: list[torch.Tensor]) -> torch.Tensor:
        """The learned part's map (B, width, H / 8, W / 8)."""
        # Finer maps keep their detail as channels of the cell.
        cells = [F.pixel_unshuffle(m, fold) if fold > 1 else m for fold, m in zip(self.fold, features, strict=True)]
        return self.blocks(F.relu(self.norm(self._projected_sum(self.project, cells))))

    def fine(self, features: list[torch.Tensor], trunk_bchw: torch.Tensor) -> torch.Tensor:
        """The fine map (B, D, H / 4, W / 4)."""
        finest = [f for f, stride in zip(features, self.config.strides, strict=True) if stride == FINE_PX]
        detail_bdhw = self.fine_detail(finest[0] if len(finest) == 1 else torch.cat(finest, dim=1))
        context_bdhw = _brought_to(self.fine_context(trunk_bchw), detail_bdhw.shape[-2:])
        return self.fine_mix(F.relu(self.fine_norm(detail_bdhw + context_bdhw)))

    def descriptors(self, features: list[torch.Tensor]) -> torch.Tensor:
        """The linear part's map: finer features are averaged over their cells."""
        cells = [F.avg_pool2d(m, fold) if fold > 1 else m for fold, m in zip(self.fold, features, strict=True)]
        return self._projected_sum(self.linear_project, cells)

    def _projected_sum(self, projections: nn.ModuleList, cells: list[torch.Tensor]) -> torch.Tensor:
        """The sum of the projected maps of cells or coarser; coarser ones are spread over their cells."""
        size = max(cells, key=lambda map_bchw: map_bchw.shape[-1]).shape[-2:]
        parts = [_brought_to(p(map_bchw), size) for p, map_bchw in zip(projections, cells, strict=True)]
        return reduce(torch.add, parts)

    def fold_own_normalization(self) -> None:
        """For `fold_normalization`: what is normalized here are sums of convolutions, some of them interpolated, which
        keeps a factor and, in the first of each sum, which is not, an offset."""
        if self.has_learned:
            fold_into(self.project, self.norm)
            self.norm = nn.Identity()
        if self.has_fine:
            fold_into([self.fine_detail, self.fine_context], self.fine_norm)
            self.fine_norm = nn.Identity()

    def fine_logits(self, fine_bdhw, image_m, landmark_m, rows_mk, columns_mk) -> torch.Tensor:
        """How well each fine cell (rows and columns (M, K)) of image `image_m` looks like landmark `landmark_m`:
        (M, K), minus infinity outside the map."""
        _, _, H, W = fine_bdhw.shape
        inside_mk = (rows_mk >= 0) & (rows_mk < H) & (columns_mk >= 0) & (columns_mk < W)
        index_mk = rows_mk.clamp(0, H - 1) * W + columns_mk.clamp(0, W - 1)
        cells_bnd = fine_bdhw.float().flatten(2).transpose(1, 2)
        looks_mkd = cells_bnd[image_m[:, None], index_mk]
        logits_mk = torch.einsum("mkd,md->mk", looks_mkd, self.fine_landmark_ld[landmark_m].float())
        return logits_mk.masked_fill(~inside_mk, -torch.inf)

    @torch.no_grad()
    def find(self, maps: HeadMaps) -> Peaks:
        """Each landmark's best place, read in the coarse map and then, where there is one, in the fine map."""
        return self.refined(find_peaks(maps.logits_blhw, maps.invisible_l), maps.fine_bdhw)

    @torch.no_grad()
    def refined(self, peaks: Peaks, fine_bdhw: torch.Tensor | None) -> Peaks:
        """Peaks of the coarse map, read again in the fine map (B, D, H / 4, W / 4) where there is one."""
        if fine_bdhw is None:
            return peaks
        image_m, landmark_m = (peaks.score_bl >= FINE_MIN_SCORE).nonzero(as_tuple=True)
        rows_mk, columns_mk = fine_window(peaks.pixels_bl2[image_m, landmark_m])
        logits_mk = self.fine_logits(fine_bdhw, image_m, landmark_m, rows_mk, columns_mk)
        # As in the coarse map: the expectation around the best cell, not over two peaks.
        best_m1 = logits_mk.argmax(dim=1, keepdim=True)
        near_mk = ((rows_mk - rows_mk.gather(1, best_m1)).abs() <= 2) & (
            (columns_mk - columns_mk.gather(1, best_m1)).abs() <= 2
        )
        weight_mk = logits_mk.masked_fill(~near_mk, -torch.inf).softmax(dim=1)
        cell_m2 = torch.stack([(weight_mk * columns_mk).sum(dim=1), (weight_mk * rows_mk).sum(dim=1)], dim=1)
        pixels_bl2 = peaks.pixels_bl2.clone()
        pixels_bl2[image_m, landmark_m] = (cell_m2 + 0.5) * FINE_PX - 0.5
        return Peaks(pixels_bl2, peaks.score_bl, peaks.spread_px_bl)


def _landmark_maps(parts: list[tuple[nn.Conv2d, torch.Tensor]], landmarks: torch.Tensor | None) -> torch.Tensor:
    """The sum of 1x1 convolutions, each of its own map, to one map a landmark, or to those of some landmarks.

    As one product of matrices the cells of a landmark lie together in memory, however the maps lie: peaks are found
    several times as fast.
    """
    weight_lc = torch.cat([convolution.weight[:, :, 0, 0] for convolution, _ in parts], dim=1)
    bias_l = reduce(torch.add, [convolution.bias for convolution, _ in parts])
    if landmarks is not None:
        weight_lc, bias_l = weight_lc[landmarks], bias_l[landmarks]
    map_bchw = torch.cat([map_bchw for _, map_bchw in parts], dim=1)
    if torch.jit.is_tracing():  # engines are faster in convolutions, and have a layout of their own
        return F.conv2d(map_bchw, weight_lc[:, :, None, None], bias_l)
    B, _, H, W = map_bchw.shape
    logits_bln = torch.baddbmm(bias_l[:, None], weight_lc.expand(B, -1, -1), map_bchw.flatten(2))
    return logits_bln.view(B, -1, H, W)


def _brought_to(map_bchw: torch.Tensor, size) -> torch.Tensor:
    if map_bchw.shape[-2:] == torch.Size(size):
        return map_bchw
    return F.interpolate(map_bchw, size=tuple(size), mode="bilinear", align_corners=False)


def fine_window(pixels_m2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns (M, K) of the fine cells around network pixels (M, 2)."""
    centre_m2 = ((pixels_m2.float() + 0.5) / FINE_PX - 0.5).round().long()
    steps = torch.arange(-FINE_RADIUS, FINE_RADIUS + 1, device=pixels_m2.device)
    return centre_m2[:, 1:] + steps.repeat_interleave(len(steps)), centre_m2[:, :1] + steps.repeat(len(steps))


def _highest(logits_bln: torch.Tensor) -> torch.Tensor:
    """Index of the highest cell (B, L, 1)."""
    if not torch.jit.is_tracing():
        return logits_bln.argmax(dim=2, keepdim=True)
    # Engines sort for an argmax, which takes longer than everything before it.
    index_n = torch.arange(logits_bln.shape[2], device=logits_bln.device, dtype=torch.float32)
    is_highest_bln = logits_bln >= logits_bln.amax(dim=2, keepdim=True)
    return (is_highest_bln * index_n).amax(dim=2, keepdim=True).long()


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
    H, W = logits_blhw.shape[-2:]
    logits_bln = logits_blhw.float().flatten(2)
    best_bl1 = _highest(logits_bln)
    # A softmax is made in one pass, a logsumexp in several; and the one tells the other.
    share_bln = logits_bln.softmax(dim=2)
    log_total_bl1 = logits_bln.gather(2, best_bl1) - share_bln.gather(2, best_bl1).log()
    visible_bl1 = (log_total_bl1 - invisible_l.float()[:, None]).sigmoid()
    steps = torch.arange(-radius_cells, radius_cells + 1, device=logits_blhw.device)
    rows_blk = best_bl1 // W + steps.repeat_interleave(len(steps))
    columns_blk = best_bl1 % W + steps.repeat(len(steps))
    inside_blk = (rows_blk >= 0) & (rows_blk < H) & (columns_blk >= 0) & (columns_blk < W)
    index_blk = rows_blk.clamp(0, H - 1) * W + columns_blk.clamp(0, W - 1)
    weight_blk = share_bln.gather(2, index_blk) * visible_bl1 * inside_blk
    score_bl = weight_blk.sum(dim=2)
    share_blk = weight_blk / score_bl.clamp_min(1e-30)[..., None]
    mean_x_bl = (share_blk * columns_blk).sum(dim=2)
    mean_y_bl = (share_blk * rows_blk).sum(dim=2)
    variance_bl = (
        share_blk * ((columns_blk - mean_x_bl[..., None]) ** 2 + (rows_blk - mean_y_bl[..., None]) ** 2)
    ).sum(dim=2)
    pixels_bl2 = (torch.stack([mean_x_bl, mean_y_bl], dim=-1) + 0.5) * CELL_PX - 0.5
    return Peaks(pixels_bl2, score_bl, (variance_bl / 2).sqrt() * CELL_PX)
