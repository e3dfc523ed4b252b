"""The ground of a scene, on which its health is drawn from above."""

from __future__ import annotations

import numpy as np

from geo_perception.localization.scene import Scene


def ground_axes(scene: Scene) -> np.ndarray:
    """Right and forward on the ground: unit vectors (2, 3) in the map. Where gravity is not known, up is where the tops
    of the mapping views point on average; without those it is z."""
    gravity = scene.header.get("gravity_map")
    up_3 = np.array([0.0, 0.0, 1.0])
    if gravity:
        up_3 = -np.asarray(gravity, float)
    elif scene.places is not None and len(scene.places):
        up_3 = -scene.places.T_map_camera_k44[:, :3, 1].mean(axis=0)
    up_3 = up_3 / max(float(np.linalg.norm(up_3)), 1e-9)
    axis_3 = np.eye(3)[int(np.argmin(np.abs(up_3[:2])))]
    right_3 = axis_3 - up_3 * (axis_3 @ up_3)
    right_3 /= np.linalg.norm(right_3)
    return np.stack([right_3, np.cross(up_3, right_3)])
