"""Metric depth everywhere from true depths of a few points and a dense relative map.

A network is wrong by more than one factor: whole surfaces come out too near or too far. The logarithm of the
correction is taken for a Gaussian process over where a pixel is, how far the network has it and what colour it is
(Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2): what is near, alike and at the
same relative depth is wrong alike, and a correction does not leak over an edge of depth. So every pixel gets a depth
and how sure it is; away from all points that is as sure as one factor would be. Where points lie on planes, the planes
have their say, too (`plane_corrections.py`).

Points may be wrong. Each is either right, within what the others and its own deviation say, or anywhere; how likely it
is right is found by leaving it out (ibid., chapter 5.4.2), over and over until that stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.special import erf

from geo_perception.depth.plane_corrections import PlaneCorrectionOptions, PlaneCorrections
from geo_perception.depth.result import CONFIDENT_RATIO, RelativeDepth
from geo_perception.depth.scale import Scale
from geo_perception.depth.sparse_scale import ANYWHERE, checked_points, consensus, sample_map
from geo_perception.errors import InputError

_AT_ONCE = 1024  # places whose covariances stay in the processor's cache
_BLOCK_PX = 2  # sides of the blocks for which a correction is computed
_EDGE_LOG = 0.03  # a pixel whose log depth is so far off its block's has a correction of its own
_LEAST_RIGHT = 1e-3
_FIRST_WIDENING = 3.0  # of the process, before it is known which points are wrong


@dataclass(frozen=True)
class CorrectionKernel:
    """One scale on which corrections are alike: `sigma` (of the log of depth), and by what they stop to be: a
    distance as a share of the map's width, a difference in the logarithm of relative depth, and one in colour (CIE Lab,
    0..1)."""

    sigma: float
    width_share: float
    log_depth: float
    colour: float

    def of(self, first_na: np.ndarray, second_mb: np.ndarray) -> np.ndarray:
        """The covariance (N, M) of the corrections at places with these features (Matern, once differentiable)."""
        scale_6 = np.sqrt(3.0) / np.array([self.width_share] * 2 + [self.log_depth] + [self.colour] * 3)
        first, second = first_na * scale_6.astype(first_na.dtype), second_mb * scale_6.astype(second_mb.dtype)
        # In place, since this is most of all that completion takes.
        distance_nm = first @ (-2 * second.T)
        distance_nm += (first**2).sum(axis=1)[:, None]
        distance_nm += (second**2).sum(axis=1)
        np.sqrt(np.maximum(distance_nm, 0, out=distance_nm), out=distance_nm)
        shared_nm = np.exp(-distance_nm)
        distance_nm += 1
        distance_nm *= first.dtype.type(self.sigma**2)
        return np.multiply(shared_nm, distance_nm, out=shared_nm)


@dataclass(frozen=True)
class CompletionOptions:
    """How networks are wrong. The kernels are the likeliest ones (marginal likelihood) for frames of a real office and
    a rendered house with the reference weights."""

    kernels: tuple[CorrectionKernel, ...] = (
        CorrectionKernel(0.099, 0.089, 0.108, 0.079),
        CorrectionKernel(0.229, 0.281, 0.330, 0.504),
    )
    scale_sigma: float = 1.0  # of the log of the factor, where nobody says it
    pixel_sigma: float = 0.01  # of a pixel's own log depth, unlike its neighbours'
    wrong: float = 0.1  # share of wrong points, before any is looked at
    max_points: int = 240  # the cost grows with their number times that of the pixels
    passes: int = 12
    planes: PlaneCorrectionOptions | None = field(default_factory=PlaneCorrectionOptions)  # None: no planes

    def __post_init__(self) -> None:
        if not self.kernels or min(self.scale_sigma, self.pixel_sigma, self.max_points, self.passes) <= 0:
            raise InputError("completion needs kernels, and positive deviations, points and passes")
        if not 0 < self.wrong < 1:
            raise InputError(f"wrong is {self.wrong:g}; give a share of the points between 0 and 1")

    def covariance(self, first_na: np.ndarray, second_mb: np.ndarray) -> np.ndarray:
        shared_nm = self.kernels[0].of(first_na, second_mb)
        for kernel in self.kernels[1:]:
            shared_nm += kernel.of(first_na, second_mb)
        return shared_nm

    @property
    def variance(self) -> float:
        """Of the correction at any one place, beside that of the factor."""
        return sum(kernel.sigma**2 for kernel in self.kernels)


@dataclass(frozen=True)
class CompletedDepth:
    """Metres along z (H, W) float32, NaN where the map has none; the standard deviation (H, W) of their logarithm; and
    of the N points given, how likely each is right (0 for those that could not be used)."""

    depth_hw: np.ndarray
    sigma_hw: np.ndarray
    right_n: np.ndarray

    @property
    def confidence_hw(self) -> np.ndarray:
        """The probability (float32, H x W) that a depth is within CONFIDENT_RATIO of the truth, if the logarithm of its
        error is normal; NaN where there is no depth."""
        return erf(np.log(CONFIDENT_RATIO) / (np.sqrt(2) * self.sigma_hw)).astype(np.float32)


def complete(
    depth: RelativeDepth, pixels_n2: np.ndarray, depth_m_n: np.ndarray, sigma_n: np.ndarray | float,
    scale: Scale | None = None, options: CompletionOptions | None = None, shared_nk: np.ndarray | None = None,
) -> CompletedDepth | None:  # fmt: skip
    """The relative map in metres, by points at `pixels_n2` of the map whose depth along z is `depth_m_n` (metres).

    `sigma_n` is the standard deviation of the logarithm of each true depth, one number or (N,), as far as points err
    independently; `shared_nk` (N, K) what K errors that they have in common are to each (`MetricPoints`). `scale` is
    what is known of the factor beside the points. None without a map, and where there is neither a scale nor a point
    that can be used. Raises InputError when the arrays do not fit each other.
    """
    options = options or CompletionOptions()
    pixels_n2, depth_m_n, sigma_n = checked_points(pixels_n2, depth_m_n, sigma_n)
    shared_nk = np.zeros((len(depth_m_n), 0)) if shared_nk is None else np.asarray(shared_nk, np.float64)
    if shared_nk.ndim != 2 or len(shared_nk) != len(depth_m_n):
        raise InputError(f"{len(depth_m_n)} points share errors of shape {shared_nk.shape}; give a row for every point")
    if not depth.estimated or depth.depth_hw is None:
        return None
    relative_n, _ = sample_map(depth, pixels_n2)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_n = np.log(np.where(depth_m_n > 0, depth_m_n, np.nan) / relative_n)
    told_n = np.isfinite(sigma_n) & (sigma_n >= 0) & np.isfinite(shared_nk).all(axis=1)
    usable = np.flatnonzero(np.isfinite(log_n) & told_n)
    if scale is None and not len(usable):
        return None
    chosen = usable[:: max(-(-len(usable) // options.max_points), 1)]
    field = _Field(_features_of_map(depth), options)
    centre, factor_sigma = _factor(log_n[chosen], sigma_n[chosen], scale, options)
    right_n = np.zeros(len(depth_m_n))
    if len(chosen):
        at_n2 = np.rint(pixels_n2[chosen]).astype(int)
        right_n[chosen] = field.fit(at_n2, log_n[chosen] - centre, sigma_n[chosen], factor_sigma, shared_nk[chosen])
    correction_hw, variance_hw = field.everywhere(factor_sigma)
    depth_hw = (depth.depth_hw * np.exp(centre + correction_hw)).astype(np.float32)
    sigma_hw = np.sqrt(variance_hw + options.pixel_sigma**2).astype(np.float32)
    return CompletedDepth(depth_hw, np.where(np.isfinite(depth_hw), sigma_hw, np.nan), right_n)


def _factor(
    log_n: np.ndarray, sigma_n: np.ndarray, scale: Scale | None, options: CompletionOptions
) -> tuple[float, float]:
    """Log of the factor about which corrections are small, and its standard deviation."""
    if scale is not None:
        return float(np.log(scale.factor)), scale.sigma
    spread_n = np.sqrt(sigma_n**2 + options.variance)
    return consensus(log_n, spread_n)[0] if len(log_n) > 2 else float(np.median(log_n)), options.scale_sigma


def _features_of_map(depth: RelativeDepth) -> np.ndarray:
    """What tells how alike two pixels are wrong (H, W, 6) float32: place, log of relative depth, colour."""
    assert depth.depth_hw is not None
    height, width = depth.depth_hw.shape
    features_hw6 = np.zeros((height, width, 6), np.float32)
    features_hw6[..., 0] = np.arange(width, dtype=np.float32) / width
    features_hw6[..., 1] = (np.arange(height, dtype=np.float32) / width)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        features_hw6[..., 2] = np.log(depth.depth_hw)
    if depth.view_hw3 is not None:
        view_hw3 = depth.view_hw3
        if view_hw3.shape[:2] != (height, width):
            view_hw3 = cv2.resize(view_hw3, (width, height), interpolation=cv2.INTER_AREA)
        smooth_hw3 = cv2.GaussianBlur(view_hw3, (0, 0), 1.5)
        features_hw6[..., 3:] = cv2.cvtColor(smooth_hw3, cv2.COLOR_RGB2LAB) / np.float32(255)
    return features_hw6


class _Field:
    """The process over one map."""

    def __init__(self, features_hw6: np.ndarray, options: CompletionOptions):
        self._features_hw6, self._options = features_hw6, options
        self._at_n6 = np.zeros((0, 6), np.float32)
        self._weights_n, self._whitened_nn = np.zeros(0), np.zeros((0, 0))
        self._planes: PlaneCorrections | None = None

    def fit(
        self, at_n2: np.ndarray, log_n: np.ndarray, sigma_n: np.ndarray, factor_sigma: float, shared_nk: np.ndarray
    ) -> np.ndarray:
        """Takes log corrections at pixels (N, 2), and says how likely each is right."""
        options = self._options
        height, width = self._features_hw6.shape[:2]
        x_n, y_n = np.clip(at_n2, 0, [width - 1, height - 1]).T
        self._at_n6 = self._features_hw6[y_n, x_n]
        at_n6 = self._at_n6.astype(np.float64)
        smooth_nn = options.covariance(at_n6, at_n6) + factor_sigma**2 + shared_nk @ shared_nk.T
        noise_n = sigma_n**2 + options.pixel_sigma**2
        right_n, wrong = np.ones(len(log_n)), options.wrong
        # Each point begins as one that only has to agree with its neighbours roughly; else wrong ones would bend the
        # field to themselves before they are known.
        widening_p = np.geomspace(_FIRST_WIDENING, 1.0, options.passes)
        for widening in widening_p:
            own_n = noise_n + (widening - 1) * options.variance / 4
            variance_n = own_n / np.maximum(right_n, _LEAST_RIGHT)
            inverse_nn = np.linalg.inv(smooth_nn + np.diag(variance_n))
            left_out_n = 1 / np.diag(inverse_nn)  # variance of a point given the others, with its own noise
            off_n = (inverse_nn @ log_n) * left_out_n
            spread_n = np.maximum(left_out_n - variance_n + own_n, noise_n)
            likely_n = np.exp(-0.5 * off_n**2 / spread_n) / np.sqrt(2 * np.pi * spread_n)
            right_n = (1 - wrong) * likely_n / ((1 - wrong) * likely_n + wrong / ANYWHERE)
            wrong = float(np.clip((1 - right_n).mean(), 0.01, 0.6))
        variance_n = noise_n / np.maximum(right_n, _LEAST_RIGHT)
        lower_nn = np.linalg.cholesky(smooth_nn + np.diag(variance_n))
        self._whitened_nn = np.linalg.inv(lower_nn)
        self._weights_n = self._whitened_nn.T @ (self._whitened_nn @ log_n)
        if options.planes is not None:
            inverse_nn = self._whitened_nn.T @ self._whitened_nn
            left_out_n = self._weights_n / np.diag(inverse_nn)
            field_nn = options.covariance(at_n6, at_n6)
            told_nn = self._whitened_nn @ (field_nn + factor_sigma**2)
            variance_n = np.maximum(options.variance + factor_sigma**2 - (told_nn**2).sum(axis=0), 0)
            alike_n = shared_nk @ (shared_nk.T @ self._weights_n)  # the error that points have in common
            log_depth_n = log_n - alike_n + at_n6[:, 2]
            self._planes = PlaneCorrections(
                at_n6, log_depth_n, left_out_n, variance_n, right_n, field_nn / options.variance, options.planes
            )
        return right_n

    def everywhere(self, factor_sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """The correction (H, W) of every pixel's log depth, and its variance."""
        height, width = self._features_hw6.shape[:2]
        prior = self._options.variance + factor_sigma**2
        if not len(self._at_n6):
            return np.zeros((height, width), np.float32), np.full((height, width), prior, np.float32)
        rows, columns = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
        centre = _BLOCK_PX // 2
        y_r = np.minimum(np.arange(rows) * _BLOCK_PX + centre, height - 1)
        x_c = np.minimum(np.arange(columns) * _BLOCK_PX + centre, width - 1)
        block_rc6 = self._features_hw6[y_r][:, x_c]
        found_rc2 = self._at(block_rc6.reshape(-1, 6), factor_sigma).reshape(rows, columns, 2)
        found_hw2 = found_rc2.repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)[:height, :width].copy()
        depth_hw = block_rc6[..., 2].repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)[:height, :width]
        with np.errstate(invalid="ignore"):
            own_hw = ~(np.abs(self._features_hw6[..., 2] - depth_hw) <= _EDGE_LOG)
        found_hw2[own_hw] = self._at(self._features_hw6[own_hw], factor_sigma)
        return found_hw2[..., 0], found_hw2[..., 1]

    def _at(self, features_m6: np.ndarray, factor_sigma: float) -> np.ndarray:
        """Correction and variance (M, 2) at places with these features."""
        prior = np.float32(self._options.variance + factor_sigma**2)
        whitened_nn, weights_n = self._whitened_nn.T.astype(np.float32), self._weights_n.astype(np.float32)
        found_m2 = np.empty((len(features_m6), 2), np.float32)
        for start in range(0, len(features_m6), _AT_ONCE):
            chunk = slice(start, start + _AT_ONCE)
            shared_kn = self._options.covariance(features_m6[chunk], self._at_n6)
            alike_kn = shared_kn / np.float32(self._options.variance) if self._planes else None
            shared_kn += np.float32(factor_sigma**2)
            told_kn = shared_kn @ whitened_nn
            correction_k = shared_kn @ weights_n
            variance_k = np.maximum(prior - np.einsum("kn,kn->k", told_kn, told_kn), 0)
            if self._planes:
                correction_k, variance_k = self._planes.applied(features_m6[chunk], correction_k, variance_k, alike_kn)
            found_m2[chunk, 0], found_m2[chunk, 1] = correction_k, variance_k
        return found_m2
