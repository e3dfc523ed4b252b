"""A head without training: linear detectors of the landmarks on the frozen features, in closed form.

A landmark's detector is that of linear discriminant analysis between the features at its observations and those of
all cells: with the mean m and the covariance S of all cells and the mean m_l of a landmark's, w_l = S^-1 (m_l - m).
Whitened by S the landmarks' means span a small space; its principal directions are the descriptor map that all
detectors share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

from geo_perception.localization.network import CELL_PX, LandmarkHead
from geo_training.mapping.landmark_set import HIDDEN, SEEN

_RIDGE = 0.1  # of the mean variance of a channel, added to the covariance: observations are few
_CELL_STEP = 3  # of the cells of a frame so many are one counted
_HIDDEN_QUANTILE, _HIDDEN_MARGIN = 0.9, 1.0


@dataclass(frozen=True)
class PlainView:
    """What the closed form takes of a frame: the backbone's maps (1, C, H, W), and the landmarks' places and states."""

    features: list[torch.Tensor]
    pixels_l2: np.ndarray
    state_l: np.ndarray


class Covariance:
    """Running mean (C,) and covariance (C, C) of samples."""

    def __init__(self) -> None:
        self._count, self._sum_c, self._outer_cc = 0, None, None

    def add(self, samples_nc: torch.Tensor) -> None:
        samples_nc = samples_nc.float()
        outer_cc = (samples_nc.T @ samples_nc).double()
        sum_c = samples_nc.double().sum(dim=0)
        self._sum_c = sum_c if self._sum_c is None else self._sum_c + sum_c
        self._outer_cc = outer_cc if self._outer_cc is None else self._outer_cc + outer_cc
        self._count += len(samples_nc)

    @property
    def mean_c(self) -> torch.Tensor:
        return self._sum_c / self._count

    def whitening(self) -> torch.Tensor:
        """The symmetric root (C, C) of the inverse of the covariance with its ridge."""
        mean_c = self.mean_c
        covariance_cc = self._outer_cc / self._count - torch.outer(mean_c, mean_c)
        ridge = _RIDGE * covariance_cc.diagonal().mean()
        values_c, vectors_cc = torch.linalg.eigh(covariance_cc + ridge * torch.eye(len(mean_c), dtype=torch.float64))
        return (vectors_cc * values_c.clamp_min(1e-12).rsqrt()) @ vectors_cc.T


def features_at(maps: Sequence[torch.Tensor], strides: Sequence[int], pixels_n2: torch.Tensor) -> torch.Tensor:
    """The features (N, C) of maps (1, C_i, H / stride_i, ...) at network pixels (N, 2), one after the other."""
    parts = []
    for map_bchw, stride in zip(maps, strides, strict=True):
        size_2 = torch.tensor([map_bchw.shape[-1], map_bchw.shape[-2]], dtype=torch.float32)
        grid_n2 = (pixels_n2.float() + 0.5) / stride / size_2 * 2 - 1
        sampled = F.grid_sample(map_bchw.float().cpu(), grid_n2[None, None], padding_mode="border", align_corners=False)
        parts.append(sampled[0, :, 0].T)
    return torch.cat(parts, dim=1)


def cell_centres(height_px: int, width_px: int, cell_px: int, step: int = 1) -> torch.Tensor:
    """Pixels (N, 2) of the centres of every `step`-th cell of an image."""
    rows, columns = torch.meshgrid(torch.arange(height_px // cell_px), torch.arange(width_px // cell_px), indexing="ij")
    cells_n2 = torch.stack([columns.flatten(), rows.flatten()], dim=1)[::step]
    return (cells_n2 + 0.5) * cell_px - 0.5


class LinearStatistics:
    """Gathers, frame by frame, what the linear detectors of L landmarks need."""

    def __init__(self, landmarks: int, strides: Sequence[int]):
        self._pooled = [max(1, CELL_PX // stride) for stride in strides]
        self._strides = [max(stride, CELL_PX) for stride in strides]
        self._all = Covariance()
        self._sum_lc: torch.Tensor | None = None
        self._count_l = torch.zeros(landmarks, dtype=torch.float64)

    def add(self, view: PlainView) -> None:
        maps = [
            F.avg_pool2d(map_bchw.float(), fold) if fold > 1 else map_bchw
            for fold, map_bchw in zip(self._pooled, view.features, strict=True)
        ]
        height_px, width_px = (side * self._strides[0] for side in maps[0].shape[-2:])
        self._all.add(features_at(maps, self._strides, cell_centres(height_px, width_px, CELL_PX, _CELL_STEP)))
        seen = np.flatnonzero(view.state_l == SEEN)
        if len(seen) == 0:
            return
        sampled_nc = features_at(maps, self._strides, torch.from_numpy(view.pixels_l2[seen])).double()
        if self._sum_lc is None:
            self._sum_lc = torch.zeros(len(self._count_l), sampled_nc.shape[1], dtype=torch.float64)
        self._sum_lc[seen] += sampled_nc
        self._count_l[seen] += 1

    def fill(self, head: LandmarkHead) -> None:
        """Writes the linear part of `head`; its learned part, where it has one, gives nothing until it has learned.
        Landmarks that no frame showed are never found."""
        mean_c, whitening_cc = self._all.mean_c, self._all.whitening()
        known_l = self._count_l > 0
        means_lc = torch.zeros(len(known_l), len(mean_c), dtype=torch.float64)
        if self._sum_lc is not None:
            means_lc[known_l] = self._sum_lc[known_l] / self._count_l[known_l, None] - mean_c
        white_lc = means_lc @ whitening_cc
        width = head.config.linear_width
        _, _, directions_cc = torch.linalg.svd(white_lc[known_l], full_matrices=True)
        directions_dc = directions_cc[:width]
        detectors_ld = white_lc @ directions_dc.T
        projection_dc = directions_dc @ whitening_cc
        with torch.no_grad():
            start = 0
            for index, project in enumerate(head.linear_project):
                channels = project.weight.shape[1]
                project.weight.copy_(projection_dc[:, start : start + channels, None, None])
                if index == 0:
                    project.bias.copy_(-(projection_dc @ mean_c))
                start += channels
            head.linear_heatmap.weight.copy_(detectors_ld[:, :, None, None])
            head.linear_heatmap.bias.copy_(-0.5 * detectors_ld.square().sum(dim=1))
            head.linear_heatmap.bias[~known_l] = -50.0
            if head.has_learned:
                head.heatmap.weight.zero_()
                head.heatmap.bias.zero_()


@torch.no_grad()
def fill_not_visible(head: LandmarkHead, views: Sequence[PlainView]) -> None:
    """Sets the "not visible" logit of each landmark of an untrained `head` a little above what its map says, all cells
    together, in most views that cannot show it."""
    head.invisible_l.copy_(not_visible(head, views))


@torch.no_grad()
def not_visible(head: LandmarkHead, views: Sequence[PlainView], landmarks: torch.Tensor | None = None) -> torch.Tensor:
    """Those logits (L,), or of some `landmarks` (K,), which are then those of the views."""
    device = head.invisible_l.device
    totals_fl = torch.stack([
        head([f.to(device, torch.float32) for f in view.features], landmarks).logits_blhw[0].flatten(1).logsumexp(dim=1)
        for view in views
    ])  # fmt: skip
    hidden_fl = torch.from_numpy(np.stack([view.state_l == HIDDEN for view in views])).to(device)
    quantile_l = totals_fl.masked_fill(~hidden_fl, torch.nan).nanquantile(_HIDDEN_QUANTILE, dim=0)
    return torch.where(quantile_l.isnan(), totals_fl.amax(dim=0), quantile_l) + _HIDDEN_MARGIN
