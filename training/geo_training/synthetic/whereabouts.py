"""Which thing of a rendered room a point lies on."""

from __future__ import annotations

import numpy as np

from geo_training.synthetic.rearranging import SHELL
from geo_training.synthetic.room import Room

SHELL_SLACK_M = 0.025  # a picture hangs two centimetres before its wall: what is this near to both lies on the picture


def instances_at(room: Room, points_n3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The instance (N,) on whose surface each point lies, or nearest to it, and how far it is from it in metres (N,).
    Floor, walls and ceiling come after what stands before them."""
    best_n, distance_n = np.zeros(len(points_n3), int), np.full(len(points_n3), np.inf)
    instance_n, away_n = best_n.copy(), distance_n.copy()
    for quad in room.quads:
        away = _distance(points_n3, quad)
        handicap = SHELL_SLACK_M if room.instances[quad.instance] in SHELL else 0.0
        nearer_n = away + handicap < distance_n
        distance_n[nearer_n], away_n[nearer_n] = away[nearer_n] + handicap, away[nearer_n]
        instance_n[nearer_n] = quad.instance
    return instance_n, away_n


def _distance(points_n3: np.ndarray, quad) -> np.ndarray:
    """From points (N, 3) to a parallelogram."""
    edges_23 = np.stack([quad.right_3, quad.down_3])
    offset_n3 = points_n3 - quad.corner_3
    share_n2 = np.clip(offset_n3 @ np.linalg.pinv(edges_23), 0, 1)
    return np.linalg.norm(offset_n3 - share_n2 @ edges_23, axis=1)
