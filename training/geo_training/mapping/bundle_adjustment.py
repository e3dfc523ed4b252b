"""A bundle adjustment of poses, points and guessed cameras, robust, with priors of absolute and of relative poses.

COLMAP's own knows priors of absolute positions only. Levenberg-Marquardt with the points eliminated (Schur complement),
as Triggs et al., "Bundle Adjustment - A Modern Synthesis" (1999), describe it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse

from geo_perception.geometry import invert_pose, make_pose, skew, so3_exp, so3_log

MAX_ITERATIONS = 30
CONVERGED = 1e-4  # relative change of the cost
# Cauchy: an error of so many sigmas counts half of what it would. Priors have six components, an observation two.
HALF_AT_SIGMAS, PRIOR_HALF_AT_SIGMAS = 2.5, 5.0
NO_DEPTH = 1e-6


@dataclass(frozen=True)
class Observations:
    """Which frame (M,) sees which point (M,) by which camera (M,), and where: pixels (M, 2) from the centre.

    `weight` is below 1 where errors are shared by several observations.
    """

    frame_m: np.ndarray
    point_m: np.ndarray
    camera_m: np.ndarray
    pixels_m2: np.ndarray
    weight: float = 1.0


@dataclass(frozen=True)
class Bundle:
    """What is adjusted: poses (F, 4, 4), points (P, 3), and of each camera focal length in pixels and radial distortion
    of second order (C, 2). Only cameras that are `free_c` (C,) change."""

    T_world_camera_f44: np.ndarray
    points_p3: np.ndarray
    lens_c2: np.ndarray
    free_c: np.ndarray

    def moved(self, step_f6: np.ndarray, step_p3: np.ndarray, step_c2: np.ndarray) -> Bundle:
        """After a step of the poses along and about their own axes, of the points, and of the cameras: the logarithm of
        the focal length, and the distortion."""
        step_f44 = np.stack([make_pose(so3_exp(step_6[3:]), step_6[:3]) for step_6 in step_f6])
        lens_c2 = np.c_[self.lens_c2[:, 0] * np.exp(step_c2[:, 0]), self.lens_c2[:, 1] + step_c2[:, 1]]
        return Bundle(self.T_world_camera_f44 @ step_f44, self.points_p3 + step_p3, lens_c2, self.free_c)

    def reprojection_errors(self, seen: Observations) -> np.ndarray:
        """(M,) pixels; infinite behind the camera."""
        return np.linalg.norm(self.residuals(self.local(seen), seen), axis=1)

    def local(self, seen: Observations) -> np.ndarray:
        """The points (M, 3) as the cameras see them."""
        T_m44 = self.T_world_camera_f44[seen.frame_m]
        return np.einsum("mji,mj->mi", T_m44[:, :3, :3], self.points_p3[seen.point_m] - T_m44[:, :3, 3])

    def residuals(self, local_m3: np.ndarray, seen: Observations) -> np.ndarray:
        """(M, 2) pixels; infinite behind the camera."""
        ahead_m = local_m3[:, 2] > NO_DEPTH
        xy_m2 = local_m3[:, :2] / np.where(ahead_m, local_m3[:, 2], 1.0)[:, None]
        focal_px_m, radial_m = self.lens_c2[seen.camera_m].T
        factor_m = focal_px_m * (1 + radial_m * (xy_m2**2).sum(axis=1))
        return np.where(ahead_m[:, None], factor_m[:, None] * xy_m2 - seen.pixels_m2, np.inf)


@dataclass(frozen=True)
class PosePriors:
    """Measured poses T_a_b (K, 4, 4) of frame b (K,) seen from frame a (K,), or from the world where a is -1.

    Deviations of each component: along the axes of b (K,), about them in radians (K,). `weight_k` is below 1 where
    errors are shared by several priors.
    """

    a_k: np.ndarray
    b_k: np.ndarray
    T_a_b_k44: np.ndarray
    sigma_k: np.ndarray
    sigma_rad_k: np.ndarray
    weight_k: np.ndarray

    def errors(self, T_world_camera_f44: np.ndarray) -> np.ndarray:
        """(K, 6): translation, then rotation, of b where it was measured to be to where it is, along the axes of b as
        measured."""
        error_k44 = invert_pose(self.T_a_b_k44) @ self._relative(T_world_camera_f44)
        return np.c_[error_k44[:, :3, 3], so3_log(error_k44[:, :3, :3])]

    def _relative(self, T_world_camera_f44: np.ndarray) -> np.ndarray:
        T_a_world_k44 = np.where((self.a_k < 0)[:, None, None], np.eye(4), invert_pose(T_world_camera_f44)[self.a_k])
        return T_a_world_k44 @ T_world_camera_f44[self.b_k]

    def _whitened(self, T_world_camera_f44: np.ndarray) -> np.ndarray:
        scale_k6 = np.repeat(np.c_[self.sigma_k, self.sigma_rad_k], 3, axis=1)
        return self.errors(T_world_camera_f44) / scale_k6

    def cost(self, T_world_camera_f44: np.ndarray) -> float:
        square_k = (self._whitened(T_world_camera_f44) ** 2).sum(axis=1)
        return float((self.weight_k * _cauchy(square_k, PRIOR_HALF_AT_SIGMAS)[0]).sum())

    def normal_equations(self, T_world_camera_f44: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The Hessian (F, 6, F, 6) and the gradient (F, 6) by steps of the poses along and about their own axes."""
        count = len(T_world_camera_f44)
        T_k44 = self._relative(T_world_camera_f44)
        R_measured_k33 = np.swapaxes(self.T_a_b_k44[:, :3, :3], 1, 2)
        jacobian_b_k66, jacobian_a_k66 = np.zeros((2, len(self.b_k), 6, 6))
        jacobian_b_k66[:, :3, :3] = R_measured_k33 @ T_k44[:, :3, :3]
        jacobian_b_k66[:, 3:, 3:] = np.eye(3)
        jacobian_a_k66[:, :3, :3] = -R_measured_k33
        jacobian_a_k66[:, :3, 3:] = R_measured_k33 @ skew(T_k44[:, :3, 3])
        jacobian_a_k66[:, 3:, 3:] = -np.swapaxes(T_k44[:, :3, :3], 1, 2)
        jacobian_a_k66[self.a_k < 0] = 0
        scale_k6 = np.repeat(np.c_[self.sigma_k, self.sigma_rad_k], 3, axis=1)
        error_k6 = self._whitened(T_world_camera_f44)
        weight_k = self.weight_k * _cauchy((error_k6**2).sum(axis=1), PRIOR_HALF_AT_SIGMAS)[1]
        hessian_f6f6, gradient_f6 = np.zeros((count, 6, count, 6)), np.zeros((count, 6))
        parts = [(np.maximum(self.a_k, 0), jacobian_a_k66 / scale_k6[:, :, None])]
        parts.append((self.b_k, jacobian_b_k66 / scale_k6[:, :, None]))
        for row_k, left_k66 in parts:
            np.add.at(gradient_f6, row_k, np.einsum("k,kri,kr->ki", weight_k, left_k66, error_k6))
            for column_k, right_k66 in parts:
                block_k66 = np.einsum("k,kri,krj->kij", weight_k, left_k66, right_k66)
                np.add.at(hessian_f6f6.transpose(0, 2, 1, 3), (row_k, column_k), block_k66)
        return hessian_f6f6, gradient_f6


def adjust(bundle: Bundle, seen: Observations, priors: PosePriors, sigma_px: float) -> Bundle:
    """The bundle that observations of deviation `sigma_px` and priors together make most likely.

    Every frame needs a prior or points, and some prior the world (else there is no single answer).
    """
    damping, cost = 1e-4, _cost(bundle, seen, priors, sigma_px)
    for _ in range(MAX_ITERATIONS):
        system, before = _Reduced.of(bundle, seen, priors, sigma_px), cost
        while damping < 1e8:
            with contextlib.suppress(np.linalg.LinAlgError):  # not positive definite by rounding: damped more
                candidate = bundle.moved(*system.solve(damping))
                tried = _cost(candidate, seen, priors, sigma_px)
                if tried < cost:
                    bundle, cost, damping = candidate, tried, max(damping / 10, 1e-8)
                    break
            damping *= 10
        if not before - cost > CONVERGED * before:
            break
    return bundle


def _cauchy(square_n: np.ndarray, half_at: float) -> tuple[np.ndarray, np.ndarray]:
    """Cost and weight of squared whitened errors."""
    return half_at**2 * np.log1p(square_n / half_at**2), 1 / (1 + square_n / half_at**2)


def _cost(bundle: Bundle, seen: Observations, priors: PosePriors, sigma_px: float) -> float:
    error_m2 = bundle.residuals(bundle.local(seen), seen) / sigma_px
    # A point behind a camera costs as much as one a million sigmas off, so that a few do not stop the adjustment.
    square_m = np.minimum((error_m2**2).sum(axis=1), 1e12)
    return seen.weight * float(_cauchy(square_m, HALF_AT_SIGMAS)[0].sum()) + priors.cost(bundle.T_world_camera_f44)


@dataclass(frozen=True)
class _Reduced:
    """The normal equations: of the poses and cameras (6B, 6B), of each point (P, 3, 3), and their coupling (K, 6, 3),
    by block and point.

    A camera is a block beside those of the frames, of whose six rows it needs two (and none where it stays).
    """

    blocks: np.ndarray
    points_p33: np.ndarray
    coupling_k63: np.ndarray
    block_k: np.ndarray
    point_k: np.ndarray
    gradient_b6: np.ndarray
    gradient_p3: np.ndarray
    frames: int

    @classmethod
    def of(cls, bundle: Bundle, seen: Observations, priors: PosePriors, sigma_px: float) -> _Reduced:
        frames, points, cameras = map(len, (bundle.T_world_camera_f44, bundle.points_p3, bundle.lens_c2))
        local_m3 = bundle.local(seen)
        error_m2 = bundle.residuals(local_m3, seen) / sigma_px
        ahead_m = np.isfinite(error_m2[:, 0])
        error_m2 = np.where(ahead_m[:, None], error_m2, 0.0)
        root_m = np.sqrt(seen.weight * ahead_m * _cauchy((error_m2**2).sum(axis=1), HALF_AT_SIGMAS)[1])
        error_m2 = error_m2 * root_m[:, None]
        pose_m26, point_m23, camera_m26 = _jacobians(bundle, seen, local_m3, ahead_m, root_m / sigma_px)
        hessian, gradient = np.zeros((frames + cameras, 6, frames + cameras, 6)), np.zeros((frames + cameras, 6))
        own, own_gradient = priors.normal_equations(bundle.T_world_camera_f44)
        hessian[:frames, :, :frames, :], gradient[:frames] = own, own_gradient
        parts = [(seen.frame_m, pose_m26)]
        if bundle.free_c.any():
            parts.append((frames + seen.camera_m, camera_m26))
        for row_m, left_m26 in parts:
            gradient += _sum_by(row_m, np.einsum("mri,mr->mi", left_m26, error_m2), frames + cameras)
            for column_m, right_m26 in parts:
                key_m = row_m * (frames + cameras) + column_m
                keys, key_m = np.unique(key_m, return_inverse=True)
                added_k66 = _sum_by(key_m, np.swapaxes(left_m26, 1, 2) @ right_m26, len(keys))
                hessian[keys // (frames + cameras), :, keys % (frames + cameras), :] += added_k66
        couplings = []
        for row_m, left_m26 in parts:
            keys, key_m = np.unique(row_m * points + seen.point_m, return_inverse=True)
            coupling_k63 = _sum_by(key_m, np.swapaxes(left_m26, 1, 2) @ point_m23, len(keys))
            couplings.append((coupling_k63, keys // points, keys % points))
        # What no camera needs stands still.
        needed_c6 = bundle.free_c[:, None] & (np.arange(6) < 2)
        camera, row = np.nonzero(~needed_c6)
        hessian[frames + camera, row, frames + camera, row] = 1.0
        point_m32 = np.swapaxes(point_m23, 1, 2)
        return cls(
            hessian.reshape(6 * (frames + cameras), -1),
            _sum_by(seen.point_m, point_m32 @ point_m23, points),
            np.concatenate([coupling_k63 for coupling_k63, _, _ in couplings]),
            np.concatenate([block_k for _, block_k, _ in couplings]),
            np.concatenate([point_k for _, _, point_k in couplings]),
            gradient,
            _sum_by(seen.point_m, np.einsum("mri,mr->mi", point_m23, error_m2), points),
            frames,
        )

    def solve(self, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The damped step of the poses (F, 6), the points (P, 3) and the cameras (C, 2)."""
        count, points = len(self.gradient_b6), len(self.gradient_p3)
        diagonal_p3 = np.einsum("pii->pi", self.points_p33)
        points_p33 = self.points_p33 + np.eye(3) * (damping * diagonal_p3 + 1e-9 * (1 + diagonal_p3.max()))[:, None, :]
        inverse_p33 = np.linalg.inv(np.linalg.cholesky(points_p33))  # L^-1, and V^-1 = L^-T L^-1
        half_k63 = self.coupling_k63 @ np.swapaxes(inverse_p33, 1, 2)[self.point_k]
        starts = np.searchsorted(self.block_k, np.arange(count + 1))
        shape = (6 * count, 3 * points)
        half = scipy.sparse.bsr_matrix((half_k63, self.point_k, starts), shape=shape, blocksize=(6, 3))
        reduced = self.blocks - (half @ half.T).toarray()
        reduced[np.diag_indices_from(reduced)] += damping * np.diag(self.blocks)
        whitened_p3 = np.einsum("pij,pj->pi", inverse_p33, self.gradient_p3)
        right = half @ whitened_p3.ravel() - self.gradient_b6.ravel()
        step_b6 = scipy.linalg.cho_solve(scipy.linalg.cho_factor(reduced), right).reshape(count, 6)
        pulled_p3 = whitened_p3 + (half.T @ step_b6.ravel()).reshape(points, 3)
        step_p3 = -np.einsum("pji,pj->pi", inverse_p33, pulled_p3)
        return step_b6[: self.frames], step_p3, step_b6[self.frames :, :2]


def _jacobians(
    bundle: Bundle, seen: Observations, local_m3: np.ndarray, ahead_m: np.ndarray, scale_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives, times `scale_m`, of the residuals by poses (M, 2, 6), points (M, 2, 3) and cameras (M, 2, 6)."""
    z_m = np.where(ahead_m, local_m3[:, 2], 1.0)
    xy_m2 = local_m3[:, :2] / z_m[:, None]
    focal_px_m, radial_m = bundle.lens_c2[seen.camera_m].T
    square_m = (xy_m2**2).sum(axis=1)
    bend_m = 1 + radial_m * square_m
    plane_m22 = bend_m[:, None, None] * np.eye(2) + 2 * radial_m[:, None, None] * xy_m2[:, :, None] * xy_m2[:, None, :]
    onto_m23 = np.concatenate([np.broadcast_to(np.eye(2), (len(z_m), 2, 2)), -xy_m2[:, :, None]], axis=2)
    local_m23 = (scale_m * focal_px_m / z_m)[:, None, None] * (plane_m22 @ onto_m23)
    pose_m26 = np.concatenate([-local_m23, local_m23 @ skew(local_m3)], axis=2)
    point_m23 = local_m23 @ np.swapaxes(bundle.T_world_camera_f44[seen.frame_m, :3, :3], 1, 2)
    camera_m26 = np.zeros_like(pose_m26)
    free_m = bundle.free_c[seen.camera_m]
    camera_m26[:, :, 0] = (free_m * scale_m * focal_px_m * bend_m)[:, None] * xy_m2
    camera_m26[:, :, 1] = (free_m * scale_m * focal_px_m * square_m)[:, None] * xy_m2
    return pose_m26, point_m23, camera_m26


def _sum_by(index_m: np.ndarray, value_m: np.ndarray, count: int) -> np.ndarray:
    """Sums of values (M, ...) by index (M,), (count, ...)."""
    which = scipy.sparse.csr_matrix((np.ones(len(index_m)), (index_m, np.arange(len(index_m)))), (count, len(index_m)))
    return (which @ value_m.reshape(len(index_m), -1)).reshape(count, *value_m.shape[1:])
