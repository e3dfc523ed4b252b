"""What mapping views look like, in some hundred bytes each: by it the scenes of a folder are proposed.

A view is described by some places of the backbone's coarsest map, which a localization makes anyway. A frame speaks for
the scenes in which its own places are found most alike, as in "Local Naive Bayes Nearest Neighbor for Image
Classification" (algorithm 2: what a nearest neighbour has over the background), with a scene for a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name

RECIPE = 1  # of the descriptors; those by another one are not compared
CHANNELS, PLACES = 64, 12  # of a descriptor, and descriptors of a mapping view
MAX_VIEWS = 100  # that a scene carries, spread over its recording
_MAX_ASKED = 96  # places of a frame that are looked for
_SIDE = 3  # cells of the map that make a place


def describe_frame(maps: Sequence[torch.Tensor]) -> np.ndarray:
    """Descriptors (N, CHANNELS) of the places of an image, by the backbone's maps (1, C, H, W) of it, finest first."""
    found_nc = _places(maps, 1)
    chosen = np.linspace(0, len(found_nc) - 1, min(len(found_nc), _MAX_ASKED)).round().astype(int)
    return found_nc[chosen]


def describe_view(maps: Sequence[torch.Tensor], number: int) -> np.ndarray:
    """Descriptors (PLACES, CHANNELS) of a mapping view. Its `number` draws which places, since neighbours show the
    same ones."""
    found_nc = _places(maps, 2)
    rng = np.random.default_rng(number)
    return found_nc[rng.choice(len(found_nc), PLACES, replace=len(found_nc) < PLACES)]


def _places(maps: Sequence[torch.Tensor], step: int) -> np.ndarray:
    """Means over some cells of the last map, of unit length, projected at random, which keeps angles."""
    map_bchw = maps[-1].float()
    side = min(_SIDE, *map_bchw.shape[-2:])
    cells_nc = F.avg_pool2d(map_bchw, side, step)[0].flatten(1).T
    # The old generator, since its stream never changes: what was projected years ago is compared with this.
    projection_cd = np.random.RandomState(RECIPE).normal(size=(cells_nc.shape[1], CHANNELS))
    projection = torch.from_numpy(projection_cd.astype(np.float32)).to(cells_nc.device)
    return (F.normalize(cells_nc, dim=1) @ projection).cpu().numpy()


@dataclass(frozen=True)
class ViewDescriptors:
    """Descriptors (V, PLACES, CHANNELS) int8 of V mapping views, those of a scene up to a common factor."""

    descriptors_vnc: np.ndarray

    def __len__(self) -> int:
        return len(self.descriptors_vnc)

    @property
    def bytes_per_view(self) -> int:
        return self.descriptors_vnc[0].nbytes

    @classmethod
    def of(cls, described_vnc: Sequence[np.ndarray]) -> ViewDescriptors | None:
        """Of what `describe_view` says of views in the order in which they were taken; some of the whole recording
        where there are more than MAX_VIEWS. None without a view."""
        if not len(described_vnc):
            return None
        chosen = np.linspace(0, len(described_vnc) - 1, min(len(described_vnc), MAX_VIEWS)).round().astype(int)
        values_vnc = np.stack([described_vnc[n] for n in chosen])
        return cls(np.round(values_vnc / (_LARGEST / 127)).clip(-127, 127).astype(np.int8))

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file; `from_tensors` gives them back."""
        return {_NAME: self.descriptors_vnc}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> ViewDescriptors | None:
        """The descriptors in a file's tensors; None where it has none by this recipe. Raises ValueError where they are
        none."""
        if _NAME not in tensors:
            return None
        descriptors_vnc = tensors[_NAME]
        if (
            descriptors_vnc.dtype != np.int8
            or descriptors_vnc.shape[1:] != (PLACES, CHANNELS)
            or not len(tensors[_NAME])
        ):
            raise ValueError(_NAME)
        return cls(descriptors_vnc)

    @property
    def values_nc(self) -> np.ndarray:
        """All of them (V * PLACES, CHANNELS), as `describe_view` gave them."""
        return self.descriptors_vnc.reshape(-1, CHANNELS).astype(np.float32) * (_LARGEST / 127)


_NAME = f"views.recipe{RECIPE}_vnc"
_LARGEST = 4.0  # of a unit vector's projections, which are normal with a deviation of 1


class ViewIndex:
    """The views of several scenes, whitened together: what all rooms have in common does not tell them apart. Scenes
    that have none are kept in mind, and never proposed."""

    def __init__(self, views: Mapping[str, ViewDescriptors | None]):
        described = {name: one.values_nc for name, one in views.items() if one is not None}
        self._names, self._without = list(described), [name for name in views if name not in described]
        if not described:
            return
        all_nc = np.concatenate(list(described.values()))
        self._mean_c = all_nc.mean(axis=0)
        variance_c, axes_cc = np.linalg.eigh(np.cov(all_nc.T))
        self._whitening_cc = (axes_cc / np.sqrt(np.maximum(variance_c, 1e-4 * variance_c.max() + 1e-12))).astype(
            np.float32
        )
        self._scenes = [self._whitened(values_nc) for values_nc in described.values()]

    def rank(self, described_nc: np.ndarray) -> list[tuple[str, float]]:
        """All scenes with their share, 0 to 1, of what the places (N, CHANNELS) of a frame say for any, the highest
        first; those that have no views last, with NaN."""
        without = [(name, float("nan")) for name in self._without]
        if not self._names:
            return without
        asked_nc = self._whitened(described_nc)
        alike_ns = torch.stack([(asked_nc @ scene_mc.T).amax(dim=1) for scene_mc in self._scenes], dim=1)
        votes_s = torch.ones(1)
        if len(self._names) > 1:  # each place speaks for one scene, by how much more alike it is there than in the next
            best_n2, scene_n2 = alike_ns.topk(2, dim=1)
            votes_s = torch.zeros(len(self._names)).index_add_(0, scene_n2[:, 0], best_n2[:, 0] - best_n2[:, 1])
        share_s = (votes_s / votes_s.sum().clamp_min(1e-9)).numpy()
        return [(self._names[n], float(share_s[n])) for n in np.argsort(-share_s, kind="stable")] + without

    def _whitened(self, values_nc: np.ndarray) -> torch.Tensor:
        return F.normalize(torch.from_numpy((values_nc - self._mean_c) @ self._whitening_cc), dim=1)
