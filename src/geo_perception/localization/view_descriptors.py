"""What a mapping view looks like as a whole, in some hundred bytes: by it the scenes of a folder are proposed.

The backbone's coarsest map, which a localization makes anyway, is pooled by generalized means ("Fine-tuning CNN Image
Retrieval with No Human Annotation", equation 3: (mean of x^p)^(1/p)). Descriptors are compared after whitening by those
of all scenes that they are compared with: what all rooms have in common does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

RECIPE = 1  # of `describe_view`; descriptors by another one are not compared
MAX_VIEWS = 400  # that a scene carries
_POWER = 3.0
_SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity: there are fewer views than channels


def describe_view(maps: Sequence[torch.Tensor]) -> np.ndarray:
    """The descriptor (D,) of unit length, float32, of an image by the backbone's maps (1, C, H, W) of it, finest
    first."""
    pooled_d = maps[-1].float().clamp_min(0).pow(_POWER).mean(dim=(2, 3))[0].pow(1 / _POWER)
    return (pooled_d / pooled_d.norm().clamp_min(1e-9)).cpu().numpy()


@dataclass(frozen=True)
class ViewDescriptors:
    """Descriptors (V, D) int8 of V mapping views, each up to a factor."""

    descriptors_vd: np.ndarray

    def __len__(self) -> int:
        return len(self.descriptors_vd)

    @classmethod
    def of(cls, described_vd: Sequence[np.ndarray]) -> ViewDescriptors | None:
        """Of the descriptors (D,) of views in the order in which they were taken; every n-th where there are more than
        MAX_VIEWS. None without a view."""
        if not len(described_vd):
            return None
        chosen = np.linspace(0, len(described_vd) - 1, min(len(described_vd), MAX_VIEWS)).round().astype(int)
        values_vd = np.stack([described_vd[n] for n in chosen])
        largest_v1 = np.abs(values_vd).max(axis=1, keepdims=True)
        return cls(np.round(values_vd / np.maximum(largest_v1, 1e-9) * 127).astype(np.int8))

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a weights file; `from_tensors` gives them back."""
        return {_NAME: self.descriptors_vd}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> ViewDescriptors | None:
        """The descriptors in a file's tensors; None where it has none by this recipe. Raises ValueError where they are
        none."""
        if _NAME not in tensors:
            return None
        descriptors_vd = tensors[_NAME]
        if descriptors_vd.ndim != 2 or descriptors_vd.dtype != np.int8 or not descriptors_vd.size:
            raise ValueError(_NAME)
        return cls(descriptors_vd)


_NAME = f"views.recipe{RECIPE}_vd"


class ViewIndex:
    """The views of several scenes, whitened together. Scenes that have none are kept in mind, and never proposed."""

    def __init__(self, views: Mapping[str, ViewDescriptors | None]):
        described = {name: one.descriptors_vd for name, one in views.items() if one is not None}
        self._without = [name for name in views if name not in described]
        self._names = list(described)
        if not described:
            return
        unit_vd = _unit(np.concatenate(list(described.values())).astype(np.float32))
        starts = np.cumsum([0, *(len(one) for one in described.values())])
        self._starts_s = starts[:-1]
        self._mean_d = unit_vd.mean(axis=0)
        centred_vd = unit_vd - self._mean_d
        variance_d, axes_dd = np.linalg.eigh(centred_vd.T @ centred_vd / len(centred_vd))
        variance_d = np.maximum(variance_d, 0)
        floor = _SHRINKAGE * float(variance_d.max()) + 1e-12
        self._whitening_dd = (axes_dd / np.sqrt(variance_d + floor)).astype(np.float32)
        self._views_vd = self._whitened(unit_vd)

    def rank(self, described_d: np.ndarray) -> list[tuple[str, float]]:
        """All scenes with the cosine similarity of the view of each that is most alike, the highest first; those that
        have no views last, with NaN."""
        without = [(name, float("nan")) for name in self._without]
        if not self._names:
            return without
        similarity_v = self._views_vd @ self._whitened(_unit(described_d[None]))[0]
        best_s = np.maximum.reduceat(similarity_v, self._starts_s)
        return [(self._names[n], float(best_s[n])) for n in np.argsort(-best_s, kind="stable")] + without

    def _whitened(self, unit_vd: np.ndarray) -> np.ndarray:
        return _unit((unit_vd - self._mean_d) @ self._whitening_dd)


def _unit(values_vd: np.ndarray) -> np.ndarray:
    return values_vd / np.maximum(np.linalg.norm(values_vd, axis=1, keepdims=True), 1e-9)
