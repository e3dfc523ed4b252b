"""From detected landmarks to a pose and its covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import poselib

from geo_perception.geometry import Camera, make_pose, so3_exp

MIN_POINTS = 4
_HUBER = 1.5  # residuals beyond this many sigmas pull with constant force
_REFINEMENT_STEPS = 20
_CONVERGED = 1e-6  # of the cost: then the pose is exact to a thousandth of its standard deviation


@dataclass(frozen=True)
class PoseOptions:
    """How a pose is searched. Pixels are those of the camera that the detections are given in."""

    max_error_px: float = 12.0
    # Samples in the order of the scores find few right landmarks among many wrong ones. Where the wrong ones score
    # best (a moved poster, a door that is there twice) only samples of all detections find the pose: there must always
    # be many of those after the ranked ones.
    ranked_iterations: int = 200
    min_iterations: int = 1000
    max_iterations: int = 5000
    max_error_sigmas: float = 4.0


@dataclass(frozen=True)
class PoseSolution:
    """A pose, which points agree with it, and how sure it is.

    `covariance_66` has the order and the convention of `Localization.covariance_66`.
    """

    T_map_camera: np.ndarray
    inlier_n: np.ndarray
    residual_px_n: np.ndarray
    covariance_66: np.ndarray
    noise_scale: float  # how much larger the inliers' residuals are than their stated sigma


def solve_pose(
    pixels_n2: np.ndarray,
    points_map_n3: np.ndarray,
    score_n: np.ndarray,
    sigma_px_n: np.ndarray,
    camera: Camera,
    options: PoseOptions | None = None,
    seed: int = 0,
) -> PoseSolution | None:
    """The camera's pose from N detections in a pinhole `camera`; None when no four of them agree.

    PoseLib searches (P3P, local optimization; first PROSAC in the order of the scores, then RANSAC among all); the
    inliers are then refined with Huber weights of the residuals in units of their own sigma. The covariance is the
    inverse information of that refinement, scaled by the residuals where these are larger than stated.
    """
    options = options or PoseOptions()
    order_n = np.argsort(-score_n, kind="stable")
    pixels_n2, points_map_n3 = (
        np.asarray(pixels_n2, np.float64)[order_n],
        np.asarray(points_map_n3, np.float64)[order_n],
    )
    sigma_px_n = np.asarray(sigma_px_n, np.float64)[order_n]
    if len(order_n) < MIN_POINTS:
        return None
    pinhole = {"model": "PINHOLE", "width": camera.width_px, "height": camera.height_px,
               "params": [camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px]}  # fmt: skip
    ranked = min(options.ranked_iterations, options.max_iterations // 2)
    search = {"max_reproj_error": options.max_error_px, "progressive_sampling": True, "seed": seed,
              "max_prosac_iterations": ranked, "min_iterations": options.min_iterations,
              "max_iterations": options.max_iterations}  # fmt: skip
    pose, info = poselib.estimate_absolute_pose(pixels_n2, points_map_n3, pinhole, search, {"loss_type": "CAUCHY"})
    inlier_n = np.asarray(info["inliers"], bool)
    if inlier_n.sum() < MIN_POINTS or not np.isfinite(pose.t).all():
        return None
    R_map_camera = pose.R.T
    T_map_camera = make_pose(R_map_camera, -R_map_camera @ pose.t)
    solution = refine_solution(T_map_camera, pixels_n2, points_map_n3, sigma_px_n, camera, options, inlier_n)
    if solution is None:
        return None
    back_n = np.empty_like(order_n)
    back_n[order_n] = np.arange(len(order_n))
    return replace(solution, inlier_n=solution.inlier_n[back_n], residual_px_n=solution.residual_px_n[back_n])


def refine_solution(
    T_map_camera: np.ndarray,
    pixels_n2: np.ndarray,
    points_map_n3: np.ndarray,
    sigma_px_n: np.ndarray,
    camera: Camera,
    options: PoseOptions | None = None,
    inlier_n: np.ndarray | None = None,
) -> PoseSolution | None:
    """The pose near `T_map_camera` on which the points agree, with its covariance; None when it has none.

    Begins with the points in `inlier_n`, or with all that are near their projections; then twice with those that agree.
    """
    options = options or PoseOptions()
    if inlier_n is None:
        inlier_n = reprojection_px(T_map_camera, pixels_n2, points_map_n3, camera) <= options.max_error_px
    residual_px_n = np.full(len(pixels_n2), np.inf)
    if inlier_n.sum() < MIN_POINTS:
        return None
    for _ in range(2):  # once with the search's inliers, once with those of the refined pose
        T_map_camera, information_66 = refine_pose(
            T_map_camera, pixels_n2[inlier_n], points_map_n3[inlier_n], sigma_px_n[inlier_n], camera
        )
        residual_px_n = reprojection_px(T_map_camera, pixels_n2, points_map_n3, camera)
        limit_px_n = np.minimum(options.max_error_px, options.max_error_sigmas * sigma_px_n)
        agreeing_n = residual_px_n <= np.maximum(limit_px_n, 1.0)
        if agreeing_n.sum() < MIN_POINTS or np.array_equal(agreeing_n, inlier_n):
            break
        inlier_n = agreeing_n
    noise_scale = _noise_scale(residual_px_n[inlier_n] / sigma_px_n[inlier_n])
    covariance_66 = _invert_information(information_66) * max(1.0, noise_scale) ** 2
    if not np.isfinite(covariance_66).all():
        return None
    return PoseSolution(T_map_camera, inlier_n, residual_px_n, covariance_66, noise_scale)


def reprojection_px(T_map_camera: np.ndarray, pixels_n2, points_map_n3, camera: Camera) -> np.ndarray:
    """Distance in pixels (N,) of each point's projection from its detection; infinite behind the camera."""
    points_camera_n3 = (points_map_n3 - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    distance_px_n = np.linalg.norm(camera.project(points_camera_n3) - pixels_n2, axis=1)
    return np.where(np.isfinite(distance_px_n), distance_px_n, np.inf)


def refine_pose(T_map_camera, pixels_n2, points_map_n3, sigma_px_n, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt on Huber-weighted residuals. Returns the pose and its 6x6 information.

    The step is (dt, dr) in the map's axes: t <- t + dt, R <- Exp(dr) R.
    """
    damping = 1e-4
    T = T_map_camera
    cost, H_66, g_6 = _normal_equations(T, pixels_n2, points_map_n3, sigma_px_n, camera)
    for _ in range(_REFINEMENT_STEPS):
        try:
            step_6 = -np.linalg.solve(H_66 + damping * np.diag(np.diag(H_66) + 1e-12), g_6)
        except np.linalg.LinAlgError:
            break
        candidate = make_pose(so3_exp(step_6[3:]) @ T[:3, :3], T[:3, 3] + step_6[:3])
        new_cost, new_H_66, new_g_6 = _normal_equations(candidate, pixels_n2, points_map_n3, sigma_px_n, camera)
        if new_cost < cost:
            converged = cost - new_cost < _CONVERGED * cost
            T, cost, H_66, g_6 = candidate, new_cost, new_H_66, new_g_6
            damping = max(damping / 10, 1e-10)
            if converged:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    return T, H_66


def _normal_equations(T, pixels_n2, points_map_n3, sigma_px_n, camera: Camera):
    """Huber cost, J^T W J and J^T W r of the reprojection residuals in sigmas."""
    R_map_camera = T[:3, :3]
    offset_n3 = points_map_n3 - T[:3, 3]
    x_n, y_n, z_n = (offset_n3 @ R_map_camera).T
    z_n = np.where(z_n > 1e-6, z_n, 1e-6)
    fx_n, fy_n = camera.fx_px / (z_n * sigma_px_n), camera.fy_px / (z_n * sigma_px_n)
    # Rows of all u, then of all v.
    residual_2n = np.stack(
        [
            fx_n * x_n + (camera.cx_px - pixels_n2[:, 0]) / sigma_px_n,
            fy_n * y_n + (camera.cy_px - pixels_n2[:, 1]) / sigma_px_n,
        ]
    )
    size_n = np.hypot(*residual_2n)
    weight_n = _HUBER / np.maximum(size_n, _HUBER)
    # What a residual gains by a shift of the point in the camera's axes, then in the map's.
    gain_2n3 = np.zeros((2, len(z_n), 3))
    gain_2n3[0, :, 0], gain_2n3[0, :, 2] = fx_n, -fx_n * x_n / z_n
    gain_2n3[1, :, 1], gain_2n3[1, :, 2] = fy_n, -fy_n * y_n / z_n
    gain_m3 = gain_2n3.reshape(-1, 3) @ R_map_camera.T
    J_m6 = np.empty((len(gain_m3), 6))
    np.negative(gain_m3, out=J_m6[:, :3])
    # The cross product of gain and offset; numpy's takes longer than all the rest.
    gx_2n, gy_2n, gz_2n = gain_m3.reshape(2, -1, 3).transpose(2, 0, 1)
    ox_n, oy_n, oz_n = offset_n3.T
    turning_2n3 = J_m6.reshape(2, -1, 6)[:, :, 3:]
    turning_2n3[:, :, 0] = gy_2n * oz_n - gz_2n * oy_n
    turning_2n3[:, :, 1] = gz_2n * ox_n - gx_2n * oz_n
    turning_2n3[:, :, 2] = gx_2n * oy_n - gy_2n * ox_n
    weighted_m6 = J_m6 * np.concatenate([weight_n, weight_n])[:, None]
    cost = float(np.where(size_n > _HUBER, _HUBER * (2 * size_n - _HUBER), size_n**2).sum())
    return cost, weighted_m6.T @ J_m6, weighted_m6.T @ residual_2n.ravel()


def _noise_scale(residual_sigmas_n: np.ndarray) -> float:
    """Robust scale of 2D residuals: their median over that of a Rayleigh distribution, with lost degrees put back."""
    n = len(residual_sigmas_n)
    lost = np.sqrt(2 * n / max(2 * n - 6, 1))
    return float(np.median(residual_sigmas_n) / np.sqrt(2 * np.log(2)) * lost)


def _invert_information(H_66: np.ndarray) -> np.ndarray:
    """The inverse, through the eigenvalues of the scaled matrix, so that a weak direction becomes large, not wrong."""
    scale_6 = np.sqrt(np.maximum(np.diag(H_66), 1e-12))
    values_6, vectors_66 = np.linalg.eigh(H_66 / np.outer(scale_6, scale_6))
    inverse_66 = (vectors_66 / np.maximum(values_6, 1e-9)) @ vectors_66.T
    return inverse_66 / np.outer(scale_6, scale_6)
