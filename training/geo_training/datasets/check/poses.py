"""Poses that are missing, jump, or follow another convention than T_world_camera with x right, y down, z forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from geo_perception.geometry import Camera, invert_pose, make_pose, rotation_angle_rad
from geo_training.datasets.check.findings import Finding, Severity, about_frames, by_sequence, named
from geo_training.datasets.check.pairs import FrameMatcher, PairOptions, moving_pairs
from geo_training.datasets.matching import agreement, match, triangulated_depths
from geo_training.datasets.scene import Frame, SceneDataset

MISSING_SHARE = 0.3
# A step jumps when it is this many times faster than three quarters of all steps, and than its neighbours' median.
JUMP_OF_ALL, JUMP_OF_NEIGHBOURS, _NEIGHBOURS = 8.0, 6.0, 10
JUMP_LEAST_RAD = np.deg2rad(20.0)
MAX_JUMPS_VERIFIED = 12
MATCHES_LEAST = 30
PAIRS = PairOptions(12, (1, 2, 4, 8, 16), 0.04, MATCHES_LEAST)  # for the convention
PAIRS_LEAST = 3
LIMIT_SHARE = 0.008  # of the width: 5 px at 640, generous enough for poses of a few centimetres
# The poses as given are fine above GOOD; another convention is named when it reaches FITS and beats them by CLEARLY.
GOOD_AGREEMENT, FITS_AGREEMENT, CLEARLY = 0.5, 0.5, 0.25
K_LIMIT_SHARE = 0.003
K_FACTORS = (0.5, 2 / 3, 0.75, 4 / 3, 1.5, 2.0)
K_CLEARLY = 0.2
DEPTH_FACTOR = 1.25
DEPTH_AGREES = 1.5  # times or by the median ratio; most features must be nearer to it
DEPTH_ANGLE_RAD = np.deg2rad(1.5)

_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
# The optical axes in a robot's body frame (x forward, y left, z up), REP 103.
_BODY_OPTICAL = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))


def _w_first(T: np.ndarray) -> np.ndarray:
    """The pose if its quaternion was written w x y z, and read as x y z w."""
    w, x, y, z = Rotation.from_matrix(T[:3, :3]).as_quat()
    return make_pose(Rotation.from_quat([x, y, z, w]).as_matrix(), T[:3, 3])


# What the stored matrix may really be, and how T_world_camera follows from it.
CONVENTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "world to camera (T_camera_world)": invert_pose,
    "OpenGL camera axes (y up, z back)": lambda T: T @ _OPENGL,
    "world to camera with OpenGL camera axes": lambda T: invert_pose(T) @ _OPENGL,
    "body axes (x forward, y left, z up)": lambda T: T @ _BODY_OPTICAL,
    "world to body (x forward, y left, z up)": lambda T: invert_pose(T) @ _BODY_OPTICAL,
    "a transposed rotation with the camera's position": lambda T: make_pose(T[:3, :3].T, T[:3, 3]),
    "a quaternion in the order w x y z": _w_first,
}
AS_GIVEN = "T_world_camera as given"


def check_poses(dataset: SceneDataset, frames: list[Frame]) -> tuple[list[Finding], dict]:
    """Findings about the poses of readable `frames`, and values: the agreement of each convention."""
    posed = [frame for frame in frames if frame.T_world_camera is not None]
    if not posed:
        message = "no frame has a pose"
        return [Finding("no poses", Severity.NOTE, message, "map with `geo-train map --poses none`")], {}
    bare = [frame for frame in frames if frame.T_world_camera is None]
    remedy = "map with --poses prior, or check that the pose topic covers the recording"
    findings = about_frames("missing poses", bare, len(frames), MISSING_SHARE, "frames have no pose", remedy)
    matcher = FrameMatcher(dataset, match)
    pairs = moving_pairs(posed, dataset, matcher, PAIRS, "comparing poses with images")
    convention, values = _check_convention(pairs, dataset)
    findings += convention
    if not convention:
        findings += _check_K_by_poses(pairs, dataset) + _check_depth(pairs, dataset)
    findings += _check_jumps(posed, dataset, matcher)
    return findings, values


def _pair_agreement(
    pair, dataset: SceneDataset, turn=lambda T: T, K_factor: float = 1.0, limit_share=LIMIT_SHARE
) -> float:
    a, b, matches = pair
    camera_a, camera_b = (_scaled_K(dataset.camera(frame), K_factor) for frame in (a, b))
    T_b_a = invert_pose(turn(b.T_world_camera)) @ turn(a.T_world_camera)
    return agreement(T_b_a, camera_a, camera_b, matches, limit_share * camera_a.width_px)


def _scaled_K(camera: Camera, factor: float) -> Camera:
    values = (camera.fx_px, camera.fy_px, (camera.cx_px + 0.5), (camera.cy_px + 0.5))
    fx, fy, cx, cy = (value * factor for value in values)
    return replace(camera, fx_px=fx, fy_px=fy, cx_px=cx - 0.5, cy_px=cy - 0.5)


def _check_convention(pairs, dataset: SceneDataset) -> tuple[list[Finding], dict]:
    if len(pairs) < PAIRS_LEAST:
        message = f"only {len(pairs)} pairs of frames with poses show the same things: the poses were not compared"
        remedy = "record with more overlap between frames, or check the images"
        return [Finding("poses not compared", Severity.NOTE, message, remedy)], {}
    turns = {AS_GIVEN: lambda T: T, **CONVENTIONS}
    scores = {
        name: float(np.median([_pair_agreement(p, dataset, turn) for p in pairs])) for name, turn in turns.items()
    }
    values = {"pairs": len(pairs), "agreement": scores}
    given = scores[AS_GIVEN]
    best = max(CONVENTIONS, key=scores.__getitem__)
    if scores[best] >= FITS_AGREEMENT and scores[best] > given + CLEARLY:
        message = (
            f"the poses contradict the images ({given:.0%} of the feature matches agree); they fit as {best} "
            f"({scores[best]:.0%})"
        )
        remedy = f"the stored poses are {best}: convert them to T_world_camera and make the dataset again"
        return [Finding("pose convention", Severity.ERROR, message, remedy, values=values)], values
    if given < GOOD_AGREEMENT:
        message = f"only {given:.0%} of the feature matches agree with the poses, and no other convention fits better"
        remedy = "check K, and that images and poses have the same clock; or map with --poses none"
        severity = Severity.ERROR if given < GOOD_AGREEMENT / 2 else Severity.WARNING
        return [Finding("poses disagree", severity, message, remedy, values=values)], values
    return [], values


def _check_K_by_poses(pairs, dataset: SceneDataset) -> list[Finding]:
    """Whether the images fit the poses better with K scaled, as after a resize that forgot K."""

    def score(factor: float) -> float:
        return float(
            np.median([_pair_agreement(p, dataset, K_factor=factor, limit_share=K_LIMIT_SHARE) for p in pairs])
        )

    given, scores = score(1.0), {factor: score(factor) for factor in K_FACTORS}
    best = max(scores, key=scores.__getitem__)
    if scores[best] < given + K_CLEARLY:
        return []
    message = (
        f"K scaled by {best:.3g} fits images and poses better ({scores[best]:.0%} of the matches, not {given:.0%})"
    )
    remedy = "the images were resized without K: scale it, or give the images in their first size"
    return [Finding("K scale", Severity.WARNING, message, remedy, values={"factor": best})]


def _check_depth(pairs, dataset: SceneDataset) -> list[Finding]:
    """Whether depth images and poses have the same unit: depth against what two views triangulate."""
    ratios = []
    for a, b, matches in pairs:
        depth_m = dataset.depth_m(a)
        T_b_a = invert_pose(b.T_world_camera) @ a.T_world_camera
        if depth_m is None or np.linalg.norm(T_b_a[:3, 3]) < 1e-9:
            continue
        z_a, z_b, angle_n = triangulated_depths(T_b_a, dataset.camera(a), dataset.camera(b), matches)
        columns, rows = np.rint(matches.pixels_a_n2).astype(int).T
        measured = depth_m[np.clip(rows, 0, depth_m.shape[0] - 1), np.clip(columns, 0, depth_m.shape[1] - 1)]
        good = (z_a > 0) & (z_b > 0) & (measured > 0) & (angle_n > DEPTH_ANGLE_RAD)
        ratios += (measured[good] / z_a[good]).tolist()
    if len(ratios) < MATCHES_LEAST:
        return []
    factor = float(np.median(ratios))
    agree = float(np.mean(np.abs(np.log(np.array(ratios) / factor)) < np.log(DEPTH_AGREES)))
    if agree <= 0.5:
        message = f"depth and poses tell no common scale: {agree:.0%} of {len(ratios)} features are near the median"
        remedy = "check that depth and images were taken together, by one camera, and are upright alike"
        return [Finding("depth disagrees", Severity.WARNING, message, remedy, values={"agree": agree})]
    if 1 / DEPTH_FACTOR < factor < DEPTH_FACTOR:
        return []
    message = f"depth is {factor:.3g} times what the poses say (median of {len(ratios)} features)"
    remedy = "check the unit of the depth images (--depth-scale) and that of the poses"
    return [Finding("depth scale", Severity.WARNING, message, remedy, values={"factor": factor})]


def _check_jumps(frames: list[Frame], dataset: SceneDataset, matcher: FrameMatcher) -> list[Finding]:
    jumps = [pair for sequence in by_sequence(frames).values() for pair in find_jumps(sequence)]
    if not jumps:
        return []
    contradicted = []
    for a, b in jumps[:MAX_JUMPS_VERIFIED]:
        matches = matcher(a, b)
        if len(matches) >= MATCHES_LEAST and _pair_agreement((a, b, matches), dataset) < GOOD_AGREEMENT:
            contradicted.append((a, b))
    after = [b for _, b in contradicted or jumps]
    if contradicted:
        message = f"the poses jump {len(jumps)} times; at {len(contradicted)} the images show that the camera did not"
        remedy = "cut the recording there, or map with --poses none"
        return [Finding("jumping poses", Severity.ERROR, message, remedy, named(after))]
    message = f"the poses jump {len(jumps)} times (far faster than the rest of the recording)"
    remedy = "check the recording there; if it was cut, make each part its own sequence"
    return [Finding("jumping poses", Severity.WARNING, message, remedy, named(after))]


def find_jumps(frames: list[Frame]) -> list[tuple[Frame, Frame]]:
    """Neighbours of one sequence, in the order of time, between which the pose moves far faster than in the rest."""
    if len(frames) < 5:
        return []
    T = [frame.T_world_camera for frame in frames]
    elapsed_s = np.maximum(np.diff([frame.stamp_ns for frame in frames]) * 1e-9, 1e-9)
    moved = np.array([np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in pairwise(T)])
    turned_rad = np.array([rotation_angle_rad(a[:3, :3], b[:3, :3]) for a, b in pairwise(T)])
    jump_n = _stands_out(moved / elapsed_s) | (_stands_out(turned_rad / elapsed_s) & (turned_rad > JUMP_LEAST_RAD))
    return [(frames[index], frames[index + 1]) for index in np.flatnonzero(jump_n)]


def _stands_out(speed_n: np.ndarray) -> np.ndarray:
    usual = float(np.percentile(speed_n, 75))
    around = [speed_n[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1] for i in range(len(speed_n))]
    local_n = np.array([np.median(values) for values in around])
    return (speed_n > JUMP_OF_ALL * usual) & (speed_n > JUMP_OF_NEIGHBOURS * local_n) & (speed_n > 0)
