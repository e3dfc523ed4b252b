"""Detectors of new landmarks in a head that stays as it is: only their own rows are solved.

A head's maps are one row a landmark on maps that all share, and what it says of one landmark does not depend on the
rows of the others. So new landmarks take the rows of those that are gone, and the old ones' answers stay the same to
the last bit: nothing has to be held by distillation, since nothing that is shared moves. A row is that of linear
discriminant analysis on the shared maps, as in `closed_form.py`: w = S^-1 (m_l - m), b = -(m_l + m) w / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geo_perception.localization.network import CELL_PX, FINE_PX, LandmarkHead, fine_window
from geo_training.localization.closed_form import Covariance, PlainView, cell_centres, features_at, not_visible
from geo_training.mapping.landmark_set import SEEN

NEVER = -50.0  # bias of a row that never finds anything
_CELL_STEP = 3
_MIN_SEEN = 2  # views, without which a landmark gets no row
_NOT_VISIBLE_VIEWS = 24


@dataclass(frozen=True)
class _Shared:
    """What the rows stand on: the maps (1, C, h, w) of all parts side by side, and the fine map where there is one."""

    coarse_bchw: torch.Tensor
    fine_bdhw: torch.Tensor | None


@torch.no_grad()
def solve_rows(head: LandmarkHead, slots_k: np.ndarray, views: Sequence[PlainView]) -> np.ndarray:
    """Solves the rows `slots_k` of the head, whose views say where the K new landmarks are (`pixels_l2`, `state_l` of K
    each). Every other row stays as it is. Returns which of the K got a row (bool): the others are never found.

    Raises ValueError where the slots are not as many as the landmarks of the views.
    """
    if any(len(view.state_l) != len(slots_k) for view in views):
        raise ValueError("slots and landmarks differ in number")
    device = head.invisible_l.device
    K, everything = len(slots_k), Covariance()
    sums_kc, fine_sums_kd, count_k, fine_all = None, None, np.zeros(K), Covariance()
    for view in views:
        shared = _shared_maps(head, view, device)
        height, width = shared.coarse_bchw.shape[-2:]
        centres_n2 = cell_centres(height * CELL_PX, width * CELL_PX, CELL_PX, _CELL_STEP)
        everything.add(features_at([shared.coarse_bchw], [CELL_PX], centres_n2))
        seen = np.flatnonzero(view.state_l == SEEN)
        if len(seen) == 0:
            continue
        pixels_n2 = torch.from_numpy(np.asarray(view.pixels_l2[seen], np.float64))
        sampled_nc = features_at([shared.coarse_bchw], [CELL_PX], pixels_n2).double()
        if sums_kc is None:
            sums_kc = torch.zeros(K, sampled_nc.shape[1], dtype=torch.float64)
        sums_kc[seen] += sampled_nc
        count_k[seen] += 1
        if shared.fine_bdhw is not None:
            fine_all.add(_around(shared.fine_bdhw, pixels_n2))
            fine_nd = features_at([shared.fine_bdhw], [FINE_PX], pixels_n2).double()
            if fine_sums_kd is None:
                fine_sums_kd = torch.zeros(K, fine_nd.shape[1], dtype=torch.float64)
            fine_sums_kd[seen] += fine_nd
    known_k = count_k >= _MIN_SEEN
    silence(head, slots_k)
    if sums_kc is None or not known_k.any():
        return np.zeros(K, bool)
    slots = torch.from_numpy(slots_k[known_k]).to(device)
    count_n1 = torch.from_numpy(count_k[known_k])[:, None]
    weight_nc, bias_n = _discriminant(sums_kc[known_k] / count_n1, everything)
    start = 0
    for convolution in _row_layers(head):
        channels = convolution.weight.shape[1]
        part_nc = weight_nc[:, start : start + channels, None, None]
        convolution.weight[slots] = part_nc.to(convolution.weight)
        convolution.bias[slots] = bias_n.to(convolution.bias) if start == 0 else 0.0
        start += channels
    if fine_sums_kd is not None:
        fine_nd, _ = _discriminant(fine_sums_kd[known_k] / count_n1, fine_all)
        head.fine_landmark_ld[slots] = fine_nd.to(head.fine_landmark_ld)
    _fill_not_visible(head, slots_k, known_k, views)
    return known_k


@torch.no_grad()
def silence(head: LandmarkHead, slots_k: np.ndarray) -> None:
    """Landmarks in these rows are never found any more."""
    slots = torch.from_numpy(np.asarray(slots_k, np.int64))
    for number, convolution in enumerate(_row_layers(head)):
        convolution.weight[slots] = 0.0
        convolution.bias[slots] = NEVER if number == 0 else 0.0


def _row_layers(head: LandmarkHead) -> list[torch.nn.Conv2d]:
    """The convolutions that have a row a landmark, in the order of `_shared_maps`."""
    layers = [head.heatmap] if head.has_learned else []
    return layers + ([head.linear_heatmap] if head.has_linear else [])


def _shared_maps(head: LandmarkHead, view: PlainView, device: torch.device) -> _Shared:
    features = [feature.to(device, torch.float32) for feature in view.features]
    maps, fine_bdhw = [], None
    if head.has_learned:
        trunk_bchw = head.trunk(features)
        maps.append(trunk_bchw)
        fine_bdhw = head.fine(features, trunk_bchw) if head.has_fine else None
    if head.has_linear:
        maps.append(head.descriptors(features))
    return _Shared(torch.cat(maps, dim=1).cpu(), None if fine_bdhw is None else fine_bdhw.cpu())


def _around(fine_bdhw: torch.Tensor, pixels_n2: torch.Tensor) -> torch.Tensor:
    """The fine features of the cells in which a landmark is looked for again (N, D)."""
    rows_nk, columns_nk = fine_window(pixels_n2)
    cells_n2 = torch.stack([columns_nk.flatten(), rows_nk.flatten()], dim=1)
    return features_at([fine_bdhw], [FINE_PX], (cells_n2 + 0.5) * FINE_PX - 0.5)


def _discriminant(means_nc: torch.Tensor, everything: Covariance) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (N, C) and biases (N,) of the detectors of means (N, C) among all cells."""
    mean_c, whitening_cc = everything.mean_c, everything.whitening()
    white_nc = (means_nc - mean_c) @ whitening_cc
    weight_nc = white_nc @ whitening_cc
    return weight_nc, -(weight_nc @ mean_c) - 0.5 * white_nc.square().sum(dim=1)


def _fill_not_visible(head: LandmarkHead, slots_k: np.ndarray, known_k: np.ndarray, views: Sequence[PlainView]) -> None:
    """ "Not visible" of the new landmarks alone, by some of the views."""
    slots = torch.from_numpy(slots_k[known_k]).to(head.invisible_l.device)
    chosen = [views[n] for n in np.unique(np.linspace(0, len(views) - 1, _NOT_VISIBLE_VIEWS).round().astype(int))]
    own = [PlainView(view.features, view.pixels_l2[known_k], view.state_l[known_k]) for view in chosen]
    head.invisible_l[slots] = not_visible(head, own, slots)
