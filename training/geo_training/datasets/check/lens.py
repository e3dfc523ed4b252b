"""Whether the distortion of the lens was taken out of images once: not twice, as of those that came rectified, and
not never.

Two views of one scene agree on an epipolar geometry only in pixels of a pinhole. Matches are moved to where they would
lie if the images were stored otherwise, and the two are compared. Where poses are known, they give the epipolar
geometry; else a fundamental matrix is fitted, which needs no K but follows a mild distortion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from geo_perception.geometry import Camera, invert_pose, sampson_distance
from geo_training.datasets.check.findings import Finding, Severity
from geo_training.datasets.check.pairs import FrameMatcher, PairOptions, moving_pairs
from geo_training.datasets.matching import Matches, epipolar_px, fit_fundamental, putative_matches
from geo_training.datasets.scene import Frame, SceneDataset, recorded_lens
from geo_training.datasets.undistort import undistort_pixels

PAIRS_LEAST, MATCHES_LEAST = 6, 40
PAIRS = PairOptions(20, (1, 2, 4, 8), 0.06, 2 * MATCHES_LEAST)
DISTORTED_SHARE = 0.006  # a lens that moves no pixel by this share of the width cannot be told
LIMIT_SHARE = 0.004  # of the width: what is further off says nothing more
# The logarithm of how much smaller the squared distances are, of the pairs' mean, and in its standard errors.
CLEARLY, CLEARLY_SIGMA = 0.15, 3.0
# The focal length of a rectified picture is not that of its lens, so it is searched, as given and as moved alike.
_FOCAL_FACTORS = (1.0, *np.geomspace(0.55, 1.8, 32))

Pair = tuple[np.ndarray | None, Matches]  # T_b_a where it is known, putative matches


def check_lens(dataset: SceneDataset, frames: list[Frame]) -> list[Finding]:
    """Findings about the readable `frames` of each camera whose lens is known."""
    findings = []
    for camera_id in sorted({frame.camera_id for frame in frames}):
        lens, rectified = recorded_lens(dataset.root, camera_id)
        camera = dataset.cameras[camera_id]
        if lens is None or _largest_shift_px(lens) < DISTORTED_SHARE * lens.width_px:
            continue
        pairs = _pairs([frame for frame in frames if frame.camera_id == camera_id], dataset)
        moved = partial(undistort_pixels, lens) if rectified else distorted_by(lens, camera)
        gain, sigma = compare(pairs, camera, moved)
        if gain < CLEARLY or gain < CLEARLY_SIGMA * sigma:
            continue
        values = {"gain": gain, "sigma": sigma, "pairs": len(pairs)}
        if rectified:
            message = f"the images of {camera_id} came as rectified, but still show the distortion of their lens"
            remedy = "make the dataset again with --rectified false"
        else:
            message = f"the distortion of the lens was taken out of images of {camera_id} that did not have it any more"
            remedy = "they were rectified before: make the dataset again with --rectified true"
        findings.append(Finding("lens", Severity.ERROR, message, remedy, values=values))
    return findings


def distorted_by(lens: Camera, stored: Camera) -> Callable[[np.ndarray], np.ndarray]:
    """Pixels (N, 2) of images that were undistorted to `stored`, to where they lay before."""
    return lambda pixels_n2: lens.project(stored.bearings(pixels_n2))


def compare(pairs: list[Pair], camera: Camera, move: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """By how much the pairs agree better in pixels that are moved: the mean over the pairs of the logarithm of squared
    distances as given over those moved, and its standard error. (0, inf) where too few pairs tell."""
    limit_px = LIMIT_SHARE * camera.width_px
    gains = []
    as_given = [_distances(pairs, camera, lambda pixels_n2: pixels_n2, factor) for factor in _FOCAL_FACTORS]
    as_moved = [_distances(pairs, camera, move, factor) for factor in _FOCAL_FACTORS]
    given, moved = (min(each, key=lambda some: _cost(some, limit_px)) for each in (as_given, as_moved))
    for given_n, moved_n in zip(given, moved, strict=True):
        inlier_n = np.fmin(given_n, moved_n) < limit_px  # one of the two explains it, so it is no wrong match
        if inlier_n.sum() >= MATCHES_LEAST:
            costs = (np.mean(np.fmin(each[inlier_n], limit_px) ** 2) for each in (given_n, moved_n))
            gains.append(float(np.subtract(*np.log(np.fromiter(costs, float) + 1e-9))))
    if len(gains) < PAIRS_LEAST:
        return 0.0, float("inf")
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def _distances(pairs: list[Pair], camera: Camera, move, factor: float) -> list[np.ndarray]:
    """The distances (N,) of the matches of each pair from their epipolar lines, in pixels."""
    scaled = replace(camera, fx_px=camera.fx_px * factor, fy_px=camera.fy_px * factor)
    found = []
    for T_b_a, matches in pairs:
        a_n2, b_n2 = move(matches.pixels_a_n2), move(matches.pixels_b_n2)
        # Moved pixels that lie closer together would be closer to any line.
        zoom = _spread(matches.pixels_a_n2, matches.pixels_b_n2) / max(_spread(a_n2, b_n2), 1e-9)
        if T_b_a is not None:
            centre_2 = np.array([camera.cx_px, camera.cy_px])
            a_n2, b_n2 = (centre_2 + zoom * (pixels_n2 - move(centre_2[None])) for pixels_n2 in (a_n2, b_n2))
            found.append(epipolar_px(T_b_a, scaled, scaled, Matches("a", "b", a_n2, b_n2)))
            continue
        known_n = np.isfinite(a_n2).all(axis=1) & np.isfinite(b_n2).all(axis=1)
        distances_n = np.full(len(a_n2), np.nan)
        F, _ = fit_fundamental(zoom * a_n2[known_n], zoom * b_n2[known_n]) if factor == 1.0 else (None, None)
        if F is not None:
            distances_n[known_n] = sampson_distance(F, zoom * a_n2[known_n], zoom * b_n2[known_n])
        found.append(distances_n)
    return found


def _cost(distances: list[np.ndarray], limit_px: float) -> float:
    return float(sum(np.fmin(np.nan_to_num(each, nan=limit_px), limit_px).sum() for each in distances))


def _spread(*pixels: np.ndarray) -> float:
    return float(np.sqrt(sum(np.nanvar(pixels_n2, axis=0).sum() for pixels_n2 in pixels)))


def _largest_shift_px(lens: Camera) -> float:
    """How far the lens moves a pixel at most, from where a pinhole with its K would have it."""
    rim_n2 = np.array([(x, y) for x in np.linspace(0, lens.width_px - 1, 9) for y in (0, lens.height_px - 1)])
    return float(np.nanmax(np.linalg.norm(undistort_pixels(lens, rim_n2) - rim_n2, axis=1)))


def _pairs(frames: list[Frame], dataset: SceneDataset) -> list[Pair]:
    pairs = []
    matcher = FrameMatcher(dataset, putative_matches)
    for a, b, matches in moving_pairs(frames, dataset, matcher, PAIRS, "comparing the lens with images"):
        posed = a.T_world_camera is not None and b.T_world_camera is not None
        pairs.append((invert_pose(b.T_world_camera) @ a.T_world_camera if posed else None, matches))
    return pairs
