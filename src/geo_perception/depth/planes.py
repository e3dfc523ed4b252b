"""The planes of a depth image: a room is made of few, and a plane goes on where depth was not measured.

In inverse depth a plane is affine over the image, 1 / z = a x + b y + c, whatever the camera; so planes are found one
after the other by RANSAC (Fischler and Bolles 1981) among three points that lie near each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

_REFITS = 2
_DEGENERATE = 1e-7  # of a determinant: three points on a line


@dataclass(frozen=True)
class PlaneOptions:
    """`tolerance` is how far the logarithm of a point's depth may be off its plane, `least_share` what share of the
    points a plane must hold, and how many at least. `reach` are the numbers of nearest points of which the second and
    third of a trial are drawn."""

    tolerance: float = 0.01
    planes: int = 16
    points: int = 5000
    trials: int = 300
    least_share: float = 0.01
    least_points: int = 20
    reach: tuple[int, ...] = (24, 64, 160)


def image_plane_terms(height: int, width: int) -> np.ndarray:
    """(x, y, 1) of every pixel (H, W, 3), in shares of the width from the middle."""
    terms_hw3 = np.ones((height, width, 3))
    terms_hw3[..., 0] = (np.arange(width) - width / 2) / width
    terms_hw3[..., 1] = ((np.arange(height) - height / 2) / width)[:, None]
    return terms_hw3


def find_planes(
    terms_n3: np.ndarray,
    depth_n: np.ndarray,
    options: PlaneOptions,
    rng: np.random.Generator,
    alike_nn: np.ndarray | None = None,
) -> np.ndarray:
    """The planes (P, 3) of points with these terms and depths, the largest first: `terms @ plane` is inverse depth.

    Where `alike_nn` is given, a point counts on a plane as much as it is like the one that the plane was drawn about:
    what lies in a row by chance is not one surface.
    """
    if len(depth_n) > options.points:
        chosen = rng.choice(len(depth_n), options.points, replace=False)
        terms_n3, depth_n = terms_n3[chosen], depth_n[chosen]
        alike_nn = None if alike_nn is None else alike_nn[np.ix_(chosen, chosen)]
    least = max(options.least_points, options.least_share * len(depth_n))
    left_n = np.arange(len(depth_n))
    planes: list[np.ndarray] = []
    while len(planes) < options.planes and len(left_n) >= least:
        alike_mm = None if alike_nn is None else alike_nn[np.ix_(left_n, left_n)]
        found = _best_plane(terms_n3[left_n], depth_n[left_n], options, rng, alike_mm)
        if found is None:
            break
        plane_3, inside_m = found
        if inside_m.sum() < least:
            break
        planes.append(plane_3)
        left_n = left_n[~inside_m]
    return np.array(planes).reshape(-1, 3)


def _best_plane(
    terms_m3: np.ndarray,
    depth_m: np.ndarray,
    options: PlaneOptions,
    rng: np.random.Generator,
    alike_mm: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """The plane with most points of these, and which (M,) those are."""
    reach_t = np.minimum(rng.choice(options.reach, options.trials), len(depth_m))
    seed_t = rng.integers(len(depth_m), size=options.trials)
    tree = cKDTree(terms_m3[:, :2])
    _, near_tk = tree.query(terms_m3[seed_t, :2], k=min(max(options.reach), len(depth_m)))
    others_t2 = rng.integers(0, reach_t[:, None], size=(options.trials, 2))
    corners_t3 = np.column_stack([seed_t, np.take_along_axis(near_tk, others_t2, axis=1)])
    corner_terms_t33 = terms_m3[corners_t3]
    corners_t3 = corners_t3[np.abs(np.linalg.det(corner_terms_t33)) > _DEGENERATE]
    if not len(corners_t3):
        return None
    plane_t3 = np.linalg.solve(terms_m3[corners_t3], 1 / depth_m[corners_t3][..., None])[..., 0]
    inside_mt = np.abs((terms_m3 @ plane_t3.T) * depth_m[:, None] - 1) < options.tolerance
    counted_mt = inside_mt if alike_mm is None else inside_mt * alike_mm[:, corners_t3[:, 0]]
    best = int(counted_mt.sum(axis=0).argmax())
    plane_3, inside_m = plane_t3[best], inside_mt[:, best]
    for _ in range(_REFITS):
        if inside_m.sum() < 3:
            return None
        # An error of depth is a share of it, so each equation is multiplied by the depth.
        weighted_k3 = terms_m3[inside_m] * depth_m[inside_m, None]
        plane_3 = np.linalg.lstsq(weighted_k3, np.ones(len(weighted_k3)), rcond=None)[0]
        inside_m = np.abs((terms_m3 @ plane_3) * depth_m - 1) < options.tolerance
    return plane_3, inside_m
