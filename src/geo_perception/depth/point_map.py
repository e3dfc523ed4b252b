"""Depth from a map of points that are known up to a factor and a shift along z, as MoGe gives them.

Wang et al., "MoGe: Unlocking Accurate Monocular Geometry Estimation for Open-Domain Images with Optimal Training
Supervision" (CVPR 2025) and "MoGe-2" (2025): a pixel on the ray (x, y, 1) shows the point (X, Y, Z) up to a factor, so
that X = x (Z + t) and Y = y (Z + t) with one t for the image. Both are linear in t, and the camera gives x and y.
"""

from __future__ import annotations

import numpy as np

from geo_perception.geometry import Camera

_ROUNDS = 20
_CLOSE = 1e-5  # of the depth: what changes less is found
_LEAST_DEPTH = 1e-3  # of the median: nearer points would decide alone
_FEWEST, _ENOUGH = 8, 10000  # points


def depth_of_points(points_hw3: np.ndarray, valid_hw: np.ndarray | None, camera: Camera | None) -> np.ndarray:
    """Depth up to a factor, float32 (H, W), NaN where a point is not valid or not in front of the camera.

    `camera` is the pinhole of these pixels. Without one the focal length is found with the shift, for square pixels and
    a principal point in the middle.
    """
    height_px, width_px = points_hw3.shape[:2]
    valid_hw = np.isfinite(points_hw3).all(-1) & (valid_hw if valid_hw is not None else True)
    x_hw, y_hw = np.meshgrid(np.arange(width_px, dtype=np.float64), np.arange(height_px, dtype=np.float64))
    if camera is not None:
        rays_hw2 = np.stack([(x_hw - camera.cx_px) / camera.fx_px, (y_hw - camera.cy_px) / camera.fy_px], -1)
    else:
        rays_hw2 = np.stack([x_hw - (width_px - 1) / 2, y_hw - (height_px - 1) / 2], -1) / max(width_px, height_px)
    step = max(1, int(valid_hw.sum()) // _ENOUGH)
    shift = shift_along_z(points_hw3[valid_hw][::step], rays_hw2[valid_hw][::step], focal_known=camera is not None)
    depth_hw = points_hw3[..., 2].astype(np.float64) + shift
    return np.where(valid_hw & (depth_hw > 0), depth_hw, np.nan).astype(np.float32)


def shift_along_z(points_n3: np.ndarray, rays_n2: np.ndarray, focal_known: bool = True) -> float:
    """The t for which the points (N, 3) lie on the rays (x, y, 1) of `rays_n2` (N, 2); NaN where they do not tell.

    Least squares of the distance on the plane z = 1, by iterated weights: linear residuals over the depth found before,
    and less of what is off by more than most (Cauchy). With `focal_known` False the rays are known up to one factor.
    """
    points_n3, rays_n2 = np.asarray(points_n3, np.float64), np.asarray(rays_n2, np.float64)
    if len(points_n3) < _FEWEST:
        return float("nan")
    lateral_n2, z_n = points_n3[:, :2], points_n3[:, 2]
    weight_n = np.ones(len(z_n))
    shift = focal = np.nan
    for _ in range(_ROUNDS):
        before = shift
        focal, shift = _solved(lateral_n2, z_n, rays_n2, weight_n, focal_known)
        if not np.isfinite(shift):
            return float("nan")
        depth_n = z_n + shift
        typical = float(np.median(np.abs(depth_n)))
        if abs(shift - before) <= _CLOSE * typical:
            break
        depth_n = np.maximum(depth_n, _LEAST_DEPTH * typical)
        off_n = np.linalg.norm(focal * lateral_n2 / depth_n[:, None] - rays_n2, axis=1)
        doubtful = 2.0 * float(np.median(off_n)) + 1e-9
        weight_n = 1 / (depth_n / max(typical, 1e-12)) ** 2 / (1 + (off_n / doubtful) ** 2)
    return float(shift)


def _solved(
    lateral_n2: np.ndarray, z_n: np.ndarray, rays_n2: np.ndarray, weight_n: np.ndarray, focal_known: bool
) -> tuple[float, float]:
    """Focal length (1 where it is known) and shift that minimize sum w |f (X, Y) - (x, y) (Z + t)|^2."""
    rr = float(np.sum(weight_n * (rays_n2**2).sum(1)))
    rz = float(np.sum(weight_n * z_n * (rays_n2**2).sum(1)))
    rp = float(np.sum(weight_n * (rays_n2 * lateral_n2).sum(1)))
    if focal_known:
        return 1.0, (rp - rz) / rr if rr > 0 else np.nan
    pp = float(np.sum(weight_n * (lateral_n2**2).sum(1)))
    pz = float(np.sum(weight_n * z_n * (rays_n2 * lateral_n2).sum(1)))
    determinant = rr * pp - rp**2
    if determinant <= 1e-9 * rr * pp:
        return np.nan, np.nan
    return (rr * pz - rp * rz) / determinant, (rp * pz - pp * rz) / determinant
