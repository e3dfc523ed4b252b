"""Epipolar geometry of two views: x_b^T F x_a = 0 for the two pixels of one point."""

from __future__ import annotations

import numpy as np

from geo_perception.geometry.pose import skew

_NO_GRADIENT = 1e-15


def essential_matrix(T_b_a: np.ndarray) -> np.ndarray:
    """E (3, 3) of a relative pose (4, 4), for coordinates on the plane z = 1: [t]x R."""
    return skew(T_b_a[:3, 3]) @ T_b_a[:3, :3]


def sampson_distance(F_33: np.ndarray, points_a_n2: np.ndarray, points_b_n2: np.ndarray) -> np.ndarray:
    """The first-order distance (N,) of matched points (N, 2) from what a fundamental matrix allows, in units of the
    points; with an essential matrix and points on the plane z = 1, on that plane (Hartley and Zisserman, 11.4.3)."""
    ones_n1 = np.ones((len(points_a_n2), 1))
    a_n3, b_n3 = np.hstack([points_a_n2, ones_n1]), np.hstack([points_b_n2, ones_n1])
    line_b_n3, line_a_n3 = a_n3 @ F_33.T, b_n3 @ F_33
    gradient_n = np.sqrt((line_b_n3[:, :2] ** 2).sum(axis=1) + (line_a_n3[:, :2] ** 2).sum(axis=1))
    return np.abs((b_n3 * line_b_n3).sum(axis=1)) / np.maximum(gradient_n, _NO_GRADIENT)
