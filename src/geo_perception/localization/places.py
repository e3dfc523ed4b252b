"""Which landmarks are seen together: parts of a scene in which to look for a pose when the whole is too confusing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_LOW_SCORE = 0.01  # below it a detection tells next to nothing
_USUAL_COUNT = 30.0  # landmarks; a place that shows many would else collect the votes of many false detections


def places_by_votes(visible_kl: np.ndarray, score_l: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The `count` places of K for which the landmarks' scores (L,) speak most, each as the landmarks (L,) bool that are
    seen there and have at least a low score. `visible_kl` says which landmarks each place shows."""
    weight_l = np.log1p(score_l / _LOW_SCORE)
    votes_k = visible_kl @ weight_l / np.sqrt(visible_kl.sum(axis=1) + _USUAL_COUNT)
    for place in np.argsort(-votes_k, kind="stable")[:count]:
        yield visible_kl[place] & (score_l >= _LOW_SCORE)


def group_views(visible_fl: np.ndarray, limit: int = 255) -> np.ndarray:
    """The places (K, L) of F views by the landmarks that each sees: views that share most of theirs are one place,
    which shows what any of them sees. Fewer, larger places where there would be more than `limit`."""
    count_f = visible_fl.sum(axis=1)
    visible_fl = visible_fl[count_f > 0]
    if len(visible_fl) == 0:
        return visible_fl
    shared_ff = visible_fl.astype(np.float32) @ visible_fl.T.astype(np.float32)
    count_f = visible_fl.sum(axis=1)
    overlap_ff = shared_ff / np.maximum(count_f[:, None] + count_f[None] - shared_ff, 1)
    for alike in (0.5, 0.4, 0.3, 0.2, 0.1):
        middles: list[int] = []
        for view in range(len(visible_fl)):
            if not middles or overlap_ff[view, middles].max() < alike:
                middles.append(view)
        if len(middles) <= limit:
            return np.stack([visible_fl[overlap_ff[middle] >= alike].any(axis=0) for middle in middles])
    # Views that have next to nothing in common: neighbours of the recordings are a place.
    return np.stack([views_nl.any(axis=0) for views_nl in np.array_split(visible_fl, limit)])
