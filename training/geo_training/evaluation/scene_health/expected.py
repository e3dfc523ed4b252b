"""From where a scene knows that its landmarks are seen."""

from __future__ import annotations

import numpy as np

from geo_perception.localization.places import Places

MAX_TURN_RAD, RANGE_FACTOR = 0.4, 1.7  # a landmark is as visible as from a mapping view within these of it


class Visibility:
    """Which of L landmarks should be seen from a pose: those that a mapping view showed from about the same direction
    and distance, so that nothing stands before them as far as the map knows. Without mapping views all are expected."""

    def __init__(self, points_l3: np.ndarray, visible_kl: np.ndarray | None, centres_k3: np.ndarray | None):
        self._points_l3 = points_l3
        self._visible_kl = visible_kl
        if visible_kl is not None and centres_k3 is not None:
            rays_kl3 = centres_k3[:, None] - points_l3[None]
            self._range_kl = np.maximum(np.linalg.norm(rays_kl3, axis=2), 1e-9)
            self._ray_kl3 = rays_kl3 / self._range_kl[..., None]

    @classmethod
    def of_places(cls, points_l3: np.ndarray, places: Places | None) -> Visibility:
        if places is None or len(places) == 0:
            return cls(points_l3, None, None)
        return cls(points_l3, places.visible_kl, places.T_map_camera_k44[:, :3, 3])

    def expected(self, centre_3: np.ndarray) -> np.ndarray:
        """Which landmarks (L,) should be visible from a camera's place, in whatever direction it looks."""
        if self._visible_kl is None:
            return np.ones(len(self._points_l3), bool)
        ray_l3 = centre_3 - self._points_l3
        range_l = np.maximum(np.linalg.norm(ray_l3, axis=1), 1e-9)
        cosine_kl = (self._ray_kl3 * (ray_l3 / range_l[:, None])).sum(axis=2)
        ratio_kl = range_l / self._range_kl
        near_kl = (cosine_kl >= np.cos(MAX_TURN_RAD)) & (ratio_kl <= RANGE_FACTOR) & (ratio_kl >= 1 / RANGE_FACTOR)
        return (near_kl & self._visible_kl).any(axis=0)
