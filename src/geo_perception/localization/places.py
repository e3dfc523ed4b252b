"""Which landmarks are seen together: parts of a scene in which to look for a pose when the whole is too confusing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LOW_SCORE = 0.01  # below it a detection tells next to nothing
_SAME = 0.5  # of the landmarks of the smaller place: with more in common two places are one
_USUAL_COUNT = 30.0  # landmarks; a place that shows many would else collect the votes of many false detections


@dataclass(frozen=True)
class Places:
    """K parts of a scene: `visible_kl` says which landmarks each shows, `T_map_camera_k44` from where it was seen."""

    visible_kl: np.ndarray
    T_map_camera_k44: np.ndarray

    def __len__(self) -> int:
        return len(self.visible_kl)

    def by_votes(self, score_l: np.ndarray, count: int) -> list[int]:
        """Up to `count` places, those first for which the landmarks' scores (L,) speak most; of places that show mostly
        the same only the best."""
        weight_l = np.log1p(score_l / _LOW_SCORE)
        shown_k = self.visible_kl.sum(axis=1)
        votes_k = self.visible_kl @ weight_l / np.sqrt(shown_k + _USUAL_COUNT)
        chosen: list[int] = []
        for place in np.argsort(-votes_k, kind="stable"):
            if len(chosen) >= count:
                break
            shared_c = (self.visible_kl[chosen] & self.visible_kl[place]).sum(axis=1)
            if (shared_c <= _SAME * np.minimum(shown_k[chosen], shown_k[place])).all():
                chosen.append(int(place))
        return chosen

    def shown(self, place: int, score_l: np.ndarray) -> np.ndarray:
        """The landmarks (L,) bool that this place shows and that have at least a low score."""
        return self.visible_kl[place] & (score_l >= _LOW_SCORE)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Compact arrays by name, for a weights file; `from_tensors` gives nearly the same back."""
        poses_k34 = self.T_map_camera_k44[:, :3].astype(np.float32)
        return {"places.visible_kl": np.packbits(self.visible_kl, axis=1), "places.poses_k34": poses_k34}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], landmarks: int) -> Places | None:
        """The places in a file's tensors; None where it has none. Raises KeyError or ValueError where parts of them are
        missing or do not fit together."""
        if "places.visible_kl" not in tensors:
            return None
        visible_kl = np.unpackbits(tensors["places.visible_kl"], axis=1, count=landmarks).astype(bool)
        T_map_camera_k44 = np.tile(np.eye(4), (len(visible_kl), 1, 1))
        T_map_camera_k44[:, :3] = tensors["places.poses_k34"]
        return cls(visible_kl, T_map_camera_k44)


def group_views(visible_fl: np.ndarray, T_map_camera_f44: np.ndarray, limit: int = 255) -> Places:
    """The places of F views by the landmarks that each sees: views that share most of theirs are one place, which shows
    what any of them sees, and is seen from where its first view was. Fewer, larger places where there would be more
    than `limit`."""
    seeing = np.flatnonzero(visible_fl.any(axis=1))
    visible_fl, T_map_camera_f44 = visible_fl[seeing], T_map_camera_f44[seeing]
    if len(seeing) == 0:
        return Places(visible_fl, T_map_camera_f44)
    shared_ff = visible_fl.astype(np.float32) @ visible_fl.T.astype(np.float32)
    count_f = visible_fl.sum(axis=1)
    overlap_ff = shared_ff / np.maximum(count_f[:, None] + count_f[None] - shared_ff, 1)
    for alike in (0.5, 0.4, 0.3, 0.2, 0.1):
        middles: list[int] = []
        for view in range(len(visible_fl)):
            if not middles or overlap_ff[view, middles].max() < alike:
                middles.append(view)
        if len(middles) <= limit:
            shown_kl = np.stack([visible_fl[overlap_ff[middle] >= alike].any(axis=0) for middle in middles])
            return Places(shown_kl, T_map_camera_f44[middles])
    # Views that have next to nothing in common: neighbours of the recordings are a place.
    parts = np.array_split(np.arange(len(visible_fl)), limit)
    shown_kl = np.stack([visible_fl[part].any(axis=0) for part in parts])
    return Places(shown_kl, T_map_camera_f44[[part[len(part) // 2] for part in parts]])
