"""Our way to complete depth: what is near, alike in colour and at the same relative depth is on the same surface.

A pixel without depth looks at its nearest neighbours with depth, near by place, by colour and by relative depth. They
tell by what factor relative depth is wrong there; and where they lie on planes, the planes tell the depth itself, which
reaches farther into a hole than a factor does. Both are weighed by how well they agree.

How far off that is, the image tells itself: known depth is hidden in the shape of the image's own holes, mirrored, and
completed; the errors are those of the stated deviation, by how far away the neighbours are and how they contradict each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.spatial import cKDTree

from geo_perception.depth.planes import PlaneOptions, find_planes, image_plane_terms
from geo_perception.errors import InputError
from geo_training.mapping.fusion.error_model import ErrorModel
from geo_training.mapping.fusion.hide import HOLES, RANDOM, hide

_NEAREST = 1e-4  # joint distance of what is the same place
_FLATTEST = 1e-2  # the least inverse depth of a plane that counts, in the depth's unit
_OWN_SHARE = 0.02  # of the neighbours that the factor has even where all lie on planes
_SPARSE_SHARE = 0.05  # of pixels with depth: below it the image has points, not holes
_FOLDS = 5
_TEST_SHARES = 0.01, 0.6  # of known depth that a mirrored hole may hide
_STRAY_SIGMAS, _STRAY_LOG = 6.0, 0.2
_SAMPLE, _TEST_PIXELS, _SINGLE = 4000, 20_000, 12
_BEYOND = np.float32(1e6)  # any logarithm of a depth


class TooLittleDepthError(InputError):
    """An image has too few depths to complete from."""


@dataclass(frozen=True)
class SurfaceOptions:
    """How much a difference counts beside a distance of one image width: of the logarithm of relative depth, and of
    colour (CIE Lab, 0..1); `agreement` is how far plane and factor may be apart, as a logarithm, before the plane
    counts little. `known_sigma` is the error of the logarithm of the given depth."""

    neighbours: int = 8
    log_depth: float = 0.75
    colour: float = 0.8
    blur_px: float = 1.5
    power: float = 3.0
    agreement: float = 0.07
    known_sigma: float = 0.01
    planes: PlaneOptions = field(default_factory=PlaneOptions)
    seed: int = 0

    def __post_init__(self) -> None:
        positive = (self.neighbours, self.log_depth, self.colour, self.power, self.agreement, self.known_sigma)
        if min(positive) <= 0:
            raise InputError("neighbours, weights and deviations of a completion must be positive")


@dataclass(frozen=True)
class CompletedImage:
    """Depth (H, W) float32 of every pixel in the unit of what was given, and the standard deviation (H, W) of its
    logarithm; both NaN where relative depth is not known. `kept_hw` are the given depths that were believed."""

    depth_hw: np.ndarray
    sigma_hw: np.ndarray
    kept_hw: np.ndarray


def complete_by_surfaces(
    known_hw: np.ndarray, relative_hw: np.ndarray, image_hw3: np.ndarray, options: SurfaceOptions | None = None
) -> CompletedImage:
    """Completes depth (H, W), 0 where unknown, by relative depth (H, W) and the RGB image (H, W, 3) uint8.

    Given depths that contradict their surroundings by far are not believed. Raises InputError when the arrays do not
    fit each other, TooLittleDepthError where fewer than `neighbours` + 1 pixels have both depths.
    """
    options = options or SurfaceOptions()
    _check(known_hw, relative_hw, image_hw3)
    relative_hw = relative_hw.astype(np.float64)
    there_hw = np.isfinite(relative_hw) & (relative_hw > 0)
    with np.errstate(invalid="ignore"):
        given_hw = (known_hw > 0) & np.isfinite(known_hw) & there_hw
    if given_hw.sum() <= options.neighbours:
        raise TooLittleDepthError(
            f"only {given_hw.sum()} pixels have depth to complete from; more than {options.neighbours} are needed"
        )
    scene = _Scene(known_hw, relative_hw, there_hw, image_hw3, options)
    kept_hw = given_hw & ~scene.strays(given_hw)
    wanted_hw = there_hw & ~kept_hw
    depth_hw = np.full(known_hw.shape, np.nan, np.float32)
    sigma_hw = np.full(known_hw.shape, np.nan, np.float32)
    depth_hw[kept_hw], sigma_hw[kept_hw] = known_hw[kept_hw], options.known_sigma
    if wanted_hw.any():
        found = scene.predict(kept_hw, wanted_hw)
        depth_hw[wanted_hw] = np.exp(found.log_m)
        sigma_hw[wanted_hw] = scene.error_model(kept_hw).sigma(found.away_m, found.spread_m)
    return CompletedImage(depth_hw, sigma_hw, kept_hw)


@dataclass(frozen=True)
class _Prediction:
    """Of M pixels: the logarithm of depth, how far their neighbours contradict each other, and how far away (in
    pixels) the nearest known depth is."""

    log_m: np.ndarray
    spread_m: np.ndarray
    away_m: np.ndarray


class _Scene:
    """One image to complete."""

    def __init__(self, known_hw, relative_hw, there_hw, image_hw3, options: SurfaceOptions):
        self._options = options
        with np.errstate(invalid="ignore", divide="ignore"):
            self._log_relative_hw = np.where(there_hw, np.log(np.where(there_hw, relative_hw, 1.0)), 0.0)
            self._log_known_hw = np.log(np.where(known_hw > 0, known_hw, np.nan))
        self._features_hw6 = self._features(image_hw3)
        self._terms_hw3 = image_plane_terms(*known_hw.shape)

    def _features(self, image_hw3: np.ndarray) -> np.ndarray:
        options, (height, width) = self._options, self._log_relative_hw.shape
        smooth_hw3 = cv2.GaussianBlur(image_hw3, (0, 0), options.blur_px)
        features_hw6 = np.empty((height, width, 6), np.float32)
        features_hw6[..., 0] = np.arange(width) / width
        features_hw6[..., 1] = (np.arange(height) / width)[:, None]
        features_hw6[..., 2] = options.log_depth * self._log_relative_hw
        features_hw6[..., 3:] = options.colour * (cv2.cvtColor(smooth_hw3, cv2.COLOR_RGB2LAB) / np.float32(255))
        return features_hw6

    def strays(self, given_hw: np.ndarray) -> np.ndarray:
        """Given depths (H, W) bool that contradict their nearest neighbours by far more than others do."""
        factor_n = (self._log_known_hw - self._log_relative_hw)[given_hw]
        features_n6 = self._features_hw6[given_hw]
        rng = np.random.default_rng(self._options.seed)
        some_s = rng.choice(len(factor_n), min(len(factor_n), _SAMPLE), replace=False)
        # Inside a smooth surface nothing strays: only what differs from the pixels beside it is looked at.
        looked_n = np.flatnonzero(self._uneven(given_hw)[given_hw])
        tree = cKDTree(features_n6)
        off = {}
        for name, rows in (("usual", some_s), ("looked", looked_n)):
            _, near_rk = tree.query(features_n6[rows], k=self._options.neighbours + 1)
            off[name] = np.abs(factor_n[rows] - np.median(factor_n[near_rk[:, 1:]], axis=1))
        limit = max(_STRAY_LOG, _STRAY_SIGMAS * 1.4826 * float(np.median(off["usual"])))
        stray_n = np.zeros(len(factor_n), bool)
        stray_n[looked_n[off["looked"] > limit]] = True
        stray_hw = np.zeros(given_hw.shape, bool)
        stray_hw[given_hw] = stray_n
        return stray_hw

    def _uneven(self, given_hw: np.ndarray) -> np.ndarray:
        """Where given depth differs from that of a pixel beside it, or has none beside it; (H, W) bool."""
        window = np.ones((3, 3), np.uint8)
        log_hw = self._log_known_hw.astype(np.float32)
        highest_hw = cv2.dilate(np.where(given_hw, log_hw, -_BEYOND), window)
        lowest_hw = cv2.erode(np.where(given_hw, log_hw, _BEYOND), window)
        alone_hw = cv2.filter2D(given_hw.astype(np.float32), -1, window.astype(np.float32)) < 1.5
        return given_hw & (alone_hw | (highest_hw - lowest_hw > _STRAY_LOG))

    def predict(self, known_hw: np.ndarray, wanted_hw: np.ndarray) -> _Prediction:
        """Depth of the wanted pixels by that of the known ones."""
        options = self._options
        log_known_n, terms_n3 = self._log_known_hw[known_hw], self._terms_hw3[known_hw]
        factor_n = log_known_n - self._log_relative_hw[known_hw]
        count = min(options.neighbours, len(factor_n))
        distance_mk, near_mk = cKDTree(self._features_hw6[known_hw]).query(self._features_hw6[wanted_hw], k=count)
        weight_mk = np.maximum(distance_mk.reshape(-1, count), _NEAREST) ** -options.power
        near_mk = near_mk.reshape(-1, count)
        weight_mk /= weight_mk.sum(axis=1, keepdims=True)
        factor_mk = factor_n[near_mk]
        factor_m = (weight_mk * factor_mk).sum(axis=1)
        spread_m = np.sqrt((weight_mk * (factor_mk - factor_m[:, None]) ** 2).sum(axis=1))
        by_factor_m = self._log_relative_hw[wanted_hw] + factor_m
        planes_p3 = find_planes(terms_n3, np.exp(log_known_n), options.planes, np.random.default_rng(options.seed))
        log_m = self._with_planes(planes_p3, terms_n3, log_known_n, self._terms_hw3[wanted_hw], near_mk, weight_mk,
                                  by_factor_m)  # fmt: skip
        away_hw = cv2.distanceTransform((~known_hw).astype(np.uint8), cv2.DIST_L2, 3)
        return _Prediction(log_m, np.hypot(spread_m, log_m - by_factor_m), away_hw[wanted_hw])

    def _with_planes(
        self, planes_p3, terms_n3, log_known_n, terms_m3, near_mk, weight_mk, by_factor_m
    ) -> np.ndarray:  # fmt: skip
        """The logarithm of depth (M,) by the planes of the neighbours, where those lie on any."""
        if not len(planes_p3):
            return by_factor_m
        options = self._options
        off_np = log_known_n[:, None] + np.log(np.maximum(terms_n3 @ planes_p3.T, _FLATTEST))
        plane_n = np.abs(off_np).argmin(axis=1)
        off_n = np.take_along_axis(off_np, plane_n[:, None], axis=1)[:, 0]
        plane_n[np.abs(off_n) > 1.5 * options.planes.tolerance] = -1
        plane_mk, off_mk = plane_n[near_mk], off_n[near_mk]
        own_m = (weight_mk * (plane_mk == -1)).sum(axis=1) + _OWN_SHARE
        total_m, sum_m = own_m, own_m * by_factor_m
        for number, plane_3 in enumerate(planes_p3):
            on_mk = weight_mk * (plane_mk == number)
            weight_m = on_mk.sum(axis=1)
            rows = np.flatnonzero(weight_m)
            inverse_r = terms_m3[rows] @ plane_3
            ahead_r = inverse_r > _FLATTEST
            rows, inverse_r = rows[ahead_r], inverse_r[ahead_r]
            # The plane, and by how much the neighbours on it are off it: next to them depth joins on.
            log_r = (on_mk[rows] * off_mk[rows]).sum(axis=1) / weight_m[rows] - np.log(inverse_r)
            weight_r = weight_m[rows] * np.exp(-0.5 * ((log_r - by_factor_m[rows]) / options.agreement) ** 2)
            total_m[rows] += weight_r
            sum_m[rows] += weight_r * log_r
        return sum_m / total_m

    def error_model(self, known_hw: np.ndarray) -> ErrorModel:
        """How far off predictions are, found on known depth that is hidden for it."""
        errors, found = [], []
        for hidden_hw in self._tests(known_hw):
            asked_hw = _some_of(hidden_hw, _TEST_PIXELS, self._options.seed)
            one = self.predict(known_hw & ~hidden_hw, asked_hw)
            errors.append(np.abs(one.log_m - self._log_known_hw[asked_hw]))
            found.append(one)
        if not errors:
            return ErrorModel(np.zeros(0), np.zeros(0), np.zeros(0))
        return ErrorModel(
            np.concatenate(errors),
            np.concatenate([one.away_m for one in found]),
            np.concatenate([one.spread_m for one in found]),
        )

    def _tests(self, known_hw: np.ndarray) -> list[np.ndarray]:
        """What is hidden of known depth: the image's own holes, mirrored, and some pixels; of single points a fifth at
        a time, and all within some ellipses, since whole surfaces may have none."""
        rng = np.random.default_rng(self._options.seed)
        count = int(known_hw.sum())
        if known_hw.mean() >= _SPARSE_SHARE:
            low, high = _TEST_SHARES
            for mirrored_hw in (known_hw[:, ::-1], known_hw[::-1], known_hw[::-1, ::-1]):
                hidden_hw = known_hw & ~mirrored_hw
                if low <= hidden_hw.sum() / count <= high:
                    # Beside holes, single pixels tell how good the nearest are.
                    return [hidden_hw | _some_of(known_hw & ~hidden_hw, count // _SINGLE, self._options.seed)]
            return [hide(RANDOM, known_hw, [], rng)]
        if count < _FOLDS * 2:
            return []
        tests = []
        fold_n = rng.permutation(count) % _FOLDS
        for number in range(_FOLDS):
            hidden_hw = np.zeros(known_hw.shape, bool)
            hidden_hw[known_hw] = fold_n == number
            tests += [hidden_hw, hide(HOLES, known_hw, [], rng)]
        return [hidden_hw for hidden_hw in tests if 0 < hidden_hw.sum() < count - 1]


def _some_of(mask_hw: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` of the mask's pixels (H, W) bool."""
    rows_n = np.flatnonzero(mask_hw)
    if len(rows_n) <= count:
        return mask_hw
    chosen_hw = np.zeros(mask_hw.shape, bool)
    chosen_hw.flat[np.random.default_rng(seed).choice(rows_n, count, replace=False)] = True
    return chosen_hw


def _check(known_hw: np.ndarray, relative_hw: np.ndarray, image_hw3: np.ndarray) -> None:
    if known_hw.ndim != 2 or relative_hw.shape != known_hw.shape or image_hw3.shape != (*known_hw.shape, 3):
        raise InputError(
            f"depth of {known_hw.shape}, relative depth of {relative_hw.shape} and an image of {image_hw3.shape}; give "
            "all three in one size"
        )
    if image_hw3.dtype != np.uint8:
        raise InputError(f"an image of {image_hw3.dtype}; give RGB as uint8")
