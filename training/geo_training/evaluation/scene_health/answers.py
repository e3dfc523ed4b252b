"""Whether a landmark answers where it should be, told without a threshold on its score.

A detector's score falls with the light, and differs from landmark to landmark. So each is compared with itself: with
what it says, in the same image, at the places of the other landmarks. Of a landmark that is not there its own place is
one like these, and it is the best of them as often as chance has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

from geo_perception.localization.network import CELL_PX

HIT_RANK = 0.05  # a landmark answers where at most this share of the other places looks as much like it: so does chance
APART_PX = 40.0  # of places that are compared
_MIN_OTHERS = 10


@dataclass(frozen=True)
class Answers:
    """Of L landmarks: `told_l` those whose place was asked, `rank_l` the share of other places that look at least as
    much like it (NaN where not asked), `pixels_l2` where near its place it is found best."""

    told_l: np.ndarray
    rank_l: np.ndarray
    pixels_l2: np.ndarray

    @property
    def hit_l(self) -> np.ndarray:
        return self.told_l & (np.nan_to_num(self.rank_l, nan=1.0) <= HIT_RANK)


def answers_at(logits_lhw: torch.Tensor, predicted_l2: np.ndarray, asked_l: np.ndarray) -> Answers:
    """What the landmarks' maps (L, h, w) say at their predicted network pixels, of those that are `asked_l`."""
    L, height, width = logits_lhw.shape
    told_l, rank_l = np.zeros(L, bool), np.full(L, np.nan)
    pixels_l2 = np.full((L, 2), np.nan)
    index = np.flatnonzero(asked_l & np.isfinite(predicted_l2).all(axis=1))
    if len(index) <= _MIN_OTHERS:
        return Answers(told_l, rank_l, pixels_l2)
    cells_k2 = np.rint((predicted_l2[index] + 0.5) / CELL_PX - 0.5).astype(int)
    column_k = torch.from_numpy(cells_k2[:, 0].clip(0, width - 1))
    row_k = torch.from_numpy(cells_k2[:, 1].clip(0, height - 1))
    maps_khw = logits_lhw[torch.from_numpy(index)].float().cpu()
    near_khw = F.max_pool2d(maps_khw[None], 3, 1, 1)[0]
    said_kk = near_khw[:, row_k, column_k].numpy()  # each landmark's map at each place
    apart_kk = np.linalg.norm(predicted_l2[index, None] - predicted_l2[None, index], axis=2) > APART_PX
    own_k = np.diag(said_kk)
    others_k = apart_kk.sum(axis=1)
    better_k = (apart_kk & (said_kk >= own_k[:, None])).sum(axis=1)
    known_k = others_k >= _MIN_OTHERS
    told_l[index[known_k]] = True
    rank_l[index[known_k]] = (better_k / np.maximum(others_k, 1))[known_k]
    pixels_l2[index] = _best_near(maps_khw, row_k, column_k)
    return Answers(told_l, rank_l, pixels_l2)


def _best_near(maps_khw: torch.Tensor, row_k: torch.Tensor, column_k: torch.Tensor) -> np.ndarray:
    """Pixels (K, 2): the expectation over the three by three cells around the best of those beside each place."""
    K = len(maps_khw)
    padded_khw = F.pad(maps_khw, (2, 2, 2, 2), value=-torch.inf)
    steps = torch.arange(5)
    window_k55 = padded_khw[torch.arange(K)[:, None, None], row_k[:, None, None] + steps[:, None],
                            column_k[:, None, None] + steps]  # fmt: skip
    best_k = window_k55[:, 1:4, 1:4].flatten(1).argmax(dim=1)
    at_row_k, at_column_k = best_k // 3, best_k % 3  # of the three by three in whose middle the best cell is
    three = torch.arange(3)
    around_k33 = window_k55[torch.arange(K)[:, None, None], at_row_k[:, None, None] + three[:, None],
                            at_column_k[:, None, None] + three]  # fmt: skip
    weight_k33 = around_k33.flatten(1).softmax(dim=1).view(K, 3, 3)
    row = (weight_k33.sum(dim=2) * (three - 1.0)).sum(dim=1) + row_k + at_row_k - 1
    column = (weight_k33.sum(dim=1) * (three - 1.0)).sum(dim=1) + column_k + at_column_k - 1
    return (torch.stack([column, row], dim=1).double().numpy() + 0.5) * CELL_PX - 0.5
