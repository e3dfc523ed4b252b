"""What mapping views look like, in some hundred bytes each: by it the scenes of a folder are proposed.

Views are described by places of the backbone's maps, which a localization makes anyway, and a scene keeps what stands
for all places of its views. A frame speaks for the scenes in which its own places are found most alike, as in "Local
Naive Bayes Nearest Neighbor for Image Classification" (algorithm 2: what a nearest neighbour has over the background),
with a scene for a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

from geo_perception.runtime.device import half_precision

RECIPE = 1  # of the descriptors; those by another one are not compared
CHANNELS, PLACES = 160, 12  # of a descriptor, and descriptors that a scene keeps for a mapping view
MAX_VIEWS = 100  # for which a scene keeps any
_MAX_ASKED = 128  # places of a frame that are looked for
_SIDE = 3  # cells of the coarsest map that make a place
_CODE_SIGMAS, _HALF = 2.5, 7.5  # what four bits reach to either side of the mean, and half of their steps
_FLOOR = 1e-3  # of the largest variance, below which a direction is not enlarged any further
_ROUNDS = 3  # of k-means; more change next to nothing


def describe_frame(maps: Sequence[torch.Tensor]) -> np.ndarray:
    """Descriptors (N, CHANNELS) of the places of an image, by the backbone's maps (1, C, H, W) of it, finest first."""
    found_nc = _places(maps, 1)
    chosen = np.linspace(0, len(found_nc) - 1, min(len(found_nc), _MAX_ASKED)).round().astype(int)
    return found_nc[chosen]


def describe_view(maps: Sequence[torch.Tensor]) -> np.ndarray:
    """Descriptors (N, CHANNELS) of the places of a mapping view, every other one of each row and column: neighbours
    share two thirds of their cells."""
    return _places(maps, 2)


def _places(maps: Sequence[torch.Tensor], step: int) -> np.ndarray:
    """Mean and deviation of every map over some cells of the coarsest one, projected at random, which keeps angles: the
    fine maps tell one picture on a wall from another, the coarse ones what hangs there, in any light."""
    height, width = min((map_bchw.shape[-2:] for map_bchw in maps), key=lambda hw: hw[0] * hw[1])
    side = min(_SIDE, height, width)
    parts_nc = []
    for map_bchw in maps:
        values_bchw = map_bchw.float().contiguous(memory_format=torch.channels_last)  # pooled in a quarter of the time
        moments_b2chw = torch.cat([values_bchw, values_bchw.square()], dim=1)
        moments_n2c = F.avg_pool2d(F.adaptive_avg_pool2d(moments_b2chw, (height, width)), side, step)[0].flatten(1).T
        mean_nc, square_nc = moments_n2c.chunk(2, dim=1)
        parts_nc += [F.normalize(mean_nc, dim=1), F.normalize((square_nc - mean_nc**2).clamp_min(0).sqrt(), dim=1)]
    found_nc = torch.cat(parts_nc, dim=1).cpu()
    return (found_nc @ _projection(found_nc.shape[1])).numpy()


class _Whitening:
    """By descriptors (N, CHANNELS): directions in which all of them differ alike count no more than others."""

    def __init__(self, values_nc: np.ndarray):
        self._mean_c = torch.from_numpy(values_nc.mean(axis=0))
        variance_c, axes_cc = np.linalg.eigh(np.cov(values_nc.T))
        scale_c = np.sqrt(np.maximum(variance_c, _FLOOR * variance_c.max() + 1e-12))
        self._whitening_cc = torch.from_numpy((axes_cc / scale_c).astype(np.float32))

    def unit(self, values_nc: np.ndarray) -> torch.Tensor:
        """Whitened, of length one."""
        # By torch: threads of numpy's own products would be in the way of those of the next one.
        return F.normalize((torch.from_numpy(values_nc) - self._mean_c) @ self._whitening_cc, dim=1)


def _representatives(told_nc: np.ndarray, count: int) -> np.ndarray:
    """What stands for the descriptors (N, CHANNELS): `count` means of those that are alike once they are whitened.

    K-means of their directions that begins with those farthest from each other, so that the wall in every view takes
    no more room than a picture in a few.
    """
    if len(told_nc) <= count:
        return np.resize(told_nc, (count, CHANNELS))
    unit_nc = _Whitening(told_nc).unit(told_nc)
    centres_kc = torch.empty(count, CHANNELS)
    centres_kc[0] = unit_nc[0]
    alike_n = unit_nc @ centres_kc[0]
    for n in range(1, count):
        centres_kc[n] = unit_nc[alike_n.argmin()]
        alike_n = torch.maximum(alike_n, unit_nc @ centres_kc[n])
    for _ in range(_ROUNDS):
        nearest_n = (unit_nc @ centres_kc.T).argmax(dim=1)
        centres_kc = F.normalize(torch.zeros_like(centres_kc).index_add_(0, nearest_n, unit_nc), dim=1)
    members_k = torch.bincount(nearest_n, minlength=count)
    sums_kc = torch.zeros_like(centres_kc).index_add_(0, nearest_n, torch.from_numpy(told_nc))
    means_kc = (sums_kc / members_k[:, None])[members_k > 0]
    return np.resize(means_kc.numpy(), (count, CHANNELS))


@lru_cache(maxsize=4)
def _projection(channels: int) -> torch.Tensor:
    """A fixed one (C, CHANNELS), by the old generator, since its stream never changes: what was projected years ago is
    compared with what is today."""
    drawn_cd = np.random.RandomState(RECIPE).normal(size=(channels, CHANNELS)) / np.sqrt(CHANNELS)
    return torch.from_numpy(drawn_cd.astype(np.float32))


@dataclass(frozen=True)
class ViewDescriptors:
    """What stands for the places of V mapping views, in four bits a number, two to a byte: `codes_vnk` (V, PLACES,
    CHANNELS / 2) uint8, steps of `scale_c` about `mean_c` (CHANNELS,)."""

    codes_vnk: np.ndarray
    mean_c: np.ndarray
    scale_c: np.ndarray

    def __len__(self) -> int:
        return len(self.codes_vnk)

    @property
    def bytes_per_view(self) -> int:
        return self.codes_vnk[0].nbytes

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.to_tensors().values())

    @classmethod
    def of(cls, described: Sequence[np.ndarray]) -> ViewDescriptors | None:
        """Of what `describe_view` says of each view, PLACES for a view, at most MAX_VIEWS times as many. None without a
        view."""
        if not len(described):
            return None
        views = min(len(described), MAX_VIEWS)
        told_nc = np.concatenate(described).astype(np.float32)
        values_vnc = _representatives(told_nc, views * PLACES).reshape(views, PLACES, CHANNELS)
        mean_c = values_vnc.mean(axis=(0, 1))
        scale_c = _CODE_SIGMAS / _HALF * values_vnc.std(axis=(0, 1)) + 1e-12
        codes_vnc = np.round((values_vnc - mean_c) / scale_c + _HALF).clip(0, 2 * _HALF).astype(np.uint8)
        packed_vnk = codes_vnc[..., ::2] | codes_vnc[..., 1::2] << 4
        return cls(packed_vnk, mean_c.astype(np.float32), scale_c.astype(np.float32))

    def with_more(self, described: Sequence[np.ndarray]) -> ViewDescriptors:
        """These as they are, and what stands for further views by what `describe_view` says of them; what stands for
        all of them where they would be more than MAX_VIEWS."""
        parts = [self, ViewDescriptors.of(described)]
        kept = [values_kc for part in parts if part for values_kc in np.split(part.values_nc, len(part))]
        both = ViewDescriptors.of(kept)
        assert both is not None
        return both

    @property
    def values_nc(self) -> np.ndarray:
        """All of them (V * PLACES, CHANNELS), nearly as they were before they were coded."""
        codes_nkt = np.stack([self.codes_vnk & 15, self.codes_vnk >> 4], axis=-1)
        codes_nc = codes_nkt.reshape(-1, CHANNELS).astype(np.float32)
        return (codes_nc - np.float32(_HALF)) * self.scale_c + self.mean_c

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file; `from_tensors` gives them back."""
        return {_NAME: self.codes_vnk, "views.mean_c": self.mean_c, "views.scale_c": self.scale_c}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> ViewDescriptors | None:
        """The descriptors in a file's tensors; None where it has none by this recipe. Raises KeyError or ValueError
        where parts of them are missing or do not fit together."""
        if _NAME not in tensors:
            return None
        found = cls(tensors[_NAME], tensors["views.mean_c"], tensors["views.scale_c"])
        fits = found.codes_vnk.dtype == np.uint8 and found.codes_vnk.shape[1:] == (PLACES, CHANNELS // 2)
        if not fits or not len(found) or found.mean_c.shape != (CHANNELS,) or found.scale_c.shape != (CHANNELS,):
            raise ValueError(_NAME)
        return found


_NAME = f"views.recipe{RECIPE}_vnk"


class ViewIndex:
    """The views of several scenes, whitened together: what all rooms have in common does not tell them apart. Scenes
    that have none are kept in mind, and never proposed."""

    def __init__(self, views: Mapping[str, ViewDescriptors | None]):
        described = {name: one.values_nc for name, one in views.items() if one is not None}
        self._names, self._without = list(described), [name for name in views if name not in described]
        if not described:
            return
        self._whitening = _Whitening(np.concatenate(list(described.values())))
        # As one block, since one product is made sooner than many: scenes with fewer views have some of them twice.
        most = max(len(values_nc) for values_nc in described.values())
        filled = [np.resize(values_nc, (most, CHANNELS)) for values_nc in described.values()]
        # In half precision the product takes a sixth of the time, and the same scenes come first.
        self._dtype = half_precision(torch.device("cpu")) or torch.float32
        self._scenes_snc = torch.stack([self._whitening.unit(values_nc) for values_nc in filled]).to(self._dtype)

    def rank(self, described_nc: np.ndarray) -> list[tuple[str, float]]:
        """All scenes with their share, 0 to 1, of what the places (N, CHANNELS) of a frame say for any, the highest
        first; those that have no views last, with NaN."""
        without = [(name, float("nan")) for name in self._without]
        if not self._names:
            return without
        asked_nc = self._whitening.unit(described_nc).to(self._dtype)
        scenes, most, _ = self._scenes_snc.shape
        alike_ns = (asked_nc @ self._scenes_snc.flatten(0, 1).T).float().view(-1, scenes, most).amax(dim=2)
        votes_s = torch.ones(1)
        if len(self._names) > 1:  # each place speaks for one scene, by how much more alike it is there than in the next
            best_n2, scene_n2 = alike_ns.topk(2, dim=1)
            votes_s = torch.zeros(len(self._names)).index_add_(0, scene_n2[:, 0], best_n2[:, 0] - best_n2[:, 1])
        share_s = (votes_s / votes_s.sum().clamp_min(1e-9)).numpy()
        return [(self._names[n], float(share_s[n])) for n in np.argsort(-share_s, kind="stable")] + without
