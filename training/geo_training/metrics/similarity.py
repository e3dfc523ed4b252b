"""Similarities of point sets: a scale, a rotation and a shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Similarity:
    """x_b = scale R x_a + t."""

    scale: float
    R_33: np.ndarray
    t_3: np.ndarray

    def points(self, points_n3: np.ndarray) -> np.ndarray:
        """Points (N, 3) of frame a in frame b."""
        return self.scale * points_n3 @ self.R_33.T + self.t_3

    def poses(self, T_a_camera_n44: np.ndarray) -> np.ndarray:
        """Camera poses (N, 4, 4) of frame a in frame b."""
        T_n44 = np.array(T_a_camera_n44, np.float64)
        T_n44[:, :3, 3] = self.points(T_a_camera_n44[:, :3, 3])
        T_n44[:, :3, :3] = self.R_33 @ T_a_camera_n44[:, :3, :3]
        return T_n44


def umeyama(a_n3: np.ndarray, b_n3: np.ndarray) -> Similarity:
    """The least-squares similarity from points a to points b (Umeyama 1991)."""
    centre_a, centre_b = a_n3.mean(axis=0), b_n3.mean(axis=0)
    a_n3, b_n3 = a_n3 - centre_a, b_n3 - centre_b
    R_33, gain = nearest_rotation(b_n3.T @ a_n3)
    scale = gain / (a_n3**2).sum()
    return Similarity(float(scale), R_33, centre_b - scale * R_33 @ centre_a)


def nearest_rotation(M_33: np.ndarray) -> tuple[np.ndarray, float]:
    """The rotation R with the greatest trace(R^T M), and that trace."""
    U, D, Vt = np.linalg.svd(M_33)
    sign_3 = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    return (U * sign_3) @ Vt, float(D @ sign_3)
