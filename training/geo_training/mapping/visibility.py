"""Which frame sees which point: from the tracks, from the geometry, and from depth where the dataset has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose
from geo_training.mapping.landmark_set import HIDDEN, SEEN, UNKNOWN
from geo_training.mapping.scene_map import SceneMap

BORDER_PX = 4.0  # nearer to the edge than this a point is in view, but not known to be seen
DEPTH_SHARE = 0.03  # depth agrees within this share of itself ...
DEPTH_FLOOR_M = 0.03  # ... or within this, whichever is more
WINDOW_PX = 3  # half the window of depth pixels that is looked at
RATIO_AGREES = 1.25  # times or by the median ratio of depth and map
MAX_TURN_RAD = 1.2  # seen from further around than this, a point is not believed to be seen by depth alone


def project_all(
    points_world_n3: np.ndarray, T_world_camera_f44: np.ndarray, cameras: list[Camera]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact projections (F, N, 2) in pixels, NaN where not in front, and depths along z (F, N)."""
    T_camera_world_f44 = invert_pose(T_world_camera_f44)
    pixels_fn2 = np.full((len(cameras), len(points_world_n3), 2), np.nan)
    depth_fn = np.empty((len(cameras), len(points_world_n3)))
    for index, camera in enumerate(cameras):
        local_n3 = points_world_n3 @ T_camera_world_f44[index, :3, :3].T + T_camera_world_f44[index, :3, 3]
        pixels_fn2[index] = _project_in_reach(camera, local_n3)
        depth_fn[index] = local_n3[:, 2]
    return pixels_fn2, depth_fn


def _project_in_reach(camera: Camera, local_n3: np.ndarray) -> np.ndarray:
    """Projections, NaN also where the lens polynomial folds far outside the image back into it."""
    pixels_n2 = camera.project(local_n3)
    if camera.model in ("plumb_bob", "rational_polynomial"):
        corners_n2 = np.array(
            [[0, 0], [camera.width_px, 0], [0, camera.height_px], [camera.width_px, camera.height_px]]
        )
        reach = 1.3 * np.linalg.norm(camera.normalize(corners_n2), axis=1).max()
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond_n = np.linalg.norm(local_n3[:, :2], axis=1) > reach * local_n3[:, 2]
        pixels_n2[beyond_n] = np.nan
    return pixels_n2


@dataclass(frozen=True)
class Visibility:
    """`state_fl` int8: +1 seen, 0 in view and nothing known, -1 outside the image, behind the camera, or behind a
    surface. `pixels_fl2` float32 exact projections, NaN where not in front. `agreement_l`: of a point's own track, the
    share of frames in which measured depth puts a surface where the point is; NaN without depth there."""

    state_fl: np.ndarray
    pixels_fl2: np.ndarray
    agreement_l: np.ndarray


def three_states(
    scene: SceneMap,
    point_index_l: np.ndarray,
    depth_of: Callable[[str], np.ndarray | None] | None = None,
    depth_floor: float = DEPTH_FLOOR_M,
) -> Visibility:
    """Who sees some of the map's points (their indices), in all its frames.

    A point is seen in the frames of its track, and where measured depth says that nothing stands before it. `depth_of`
    gives a frame's depth (H, W) in the unit of the map, 0 where unknown, or None; `depth_floor` is the least
    disagreement in that unit that counts as one.
    """
    names = scene.frame_names
    T_f44 = np.stack([scene.T_world_camera[name] for name in names])
    cameras = [scene.cameras[name] for name in names]
    points_l3 = scene.points_world_n3[point_index_l]
    pixels_fl2, depth_fl = project_all(points_l3, T_f44, cameras)
    state_fl = np.full(depth_fl.shape, HIDDEN, np.int8)
    tracked_fl = _tracked(scene, point_index_l) & np.isfinite(pixels_fl2).all(axis=2)
    turn_fl = _turn_from_tracks(points_l3, T_f44[:, :3, 3], tracked_fl)
    agrees_with, measured_in = np.zeros(len(point_index_l)), np.zeros(len(point_index_l))
    for index, (name, camera) in enumerate(zip(names, cameras, strict=True)):
        inside_l = camera.contains(pixels_fl2[index])
        state_fl[index, inside_l] = UNKNOWN
        depth_hw = depth_of(name) if depth_of is not None else None
        if depth_hw is None:
            continue
        known_l = inside_l & camera.contains(pixels_fl2[index], BORDER_PX) & (turn_fl[index] < MAX_TURN_RAD)
        agrees_l, behind_l, measured_l = compare_depth(
            depth_hw, camera, pixels_fl2[index], depth_fl[index], inside_l, depth_floor
        )
        state_fl[index, known_l & agrees_l] = SEEN
        state_fl[index, behind_l] = HIDDEN
        agrees_with += tracked_fl[index] & agrees_l
        measured_in += tracked_fl[index] & measured_l
    state_fl[tracked_fl] = SEEN
    agreement_l = np.where(measured_in > 0, agrees_with / np.maximum(measured_in, 1), np.nan)
    return Visibility(state_fl, pixels_fl2.astype(np.float32), agreement_l)


def compare_depth(
    depth_hw: np.ndarray,
    camera: Camera,
    pixels_n2: np.ndarray,
    depth_n: np.ndarray,
    inside_n: np.ndarray,
    floor: float = DEPTH_FLOOR_M,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured depth against points at `pixels_n2` and depth `depth_n`, where `inside_n`: three bool arrays (N,).

    Whether it agrees somewhere in a small window; whether every measured depth there lies clearly before the point;
    whether there is any. The depth image may be of another size than the camera's.
    """
    agrees_n, behind_n, measured_n = (np.zeros(len(depth_n), bool) for _ in range(3))
    chosen = np.flatnonzero(inside_n)
    if len(chosen) == 0:
        return agrees_n, behind_n, measured_n
    height, width = depth_hw.shape
    scale_2 = np.array([width / camera.width_px, height / camera.height_px])
    centre_m2 = np.rint((pixels_n2[chosen] + 0.5) * scale_2 - 0.5).astype(int)
    reach = np.arange(-WINDOW_PX, WINDOW_PX + 1)
    du, dv = (offsets.ravel() for offsets in np.meshgrid(reach, reach))
    u_mw = np.clip(centre_m2[:, :1] + du, 0, width - 1)
    v_mw = np.clip(centre_m2[:, 1:] + dv, 0, height - 1)
    window_mw = depth_hw[v_mw, u_mw]
    known_mw = window_mw > 0
    expected_m1 = depth_n[chosen, None]
    tolerance_m1 = np.maximum(floor, DEPTH_SHARE * expected_m1)
    measured_n[chosen] = known_mw.any(axis=1)
    agrees_n[chosen] = (known_mw & (np.abs(window_mw - expected_m1) <= tolerance_m1)).any(axis=1)
    nearer_mw = window_mw < expected_m1 - 2 * tolerance_m1
    behind_n[chosen] = measured_n[chosen] & (nearer_mw | ~known_mw).all(axis=1)
    return agrees_n, behind_n, measured_n


def depth_ratio(scene: SceneMap, depth_of: Callable[[str], np.ndarray | None], max_frames: int = 40) -> float | None:
    """How many units of the depth images one unit of the map is: the median over the tracks of some frames, or None
    where too little depth falls on the tracks. 1 for a metric map.

    Raises InputError for a map of unknown scale when most observations tell another ratio than the median.
    """
    ratios = []
    names = scene.frame_names
    for index in range(0, len(names), max(1, len(names) // max_frames)):
        depth_hw = depth_of(names[index])
        rows = scene.tracks.frame_m == index
        if depth_hw is None or not rows.any():
            continue
        camera = scene.cameras[names[index]]
        T_camera_world = invert_pose(scene.T_world_camera[names[index]])
        z_m = scene.points_world_n3[scene.tracks.point_m[rows]] @ T_camera_world[2, :3] + T_camera_world[2, 3]
        size_2 = np.array([depth_hw.shape[1], depth_hw.shape[0]])
        uv_m2 = (scene.tracks.pixels_m2[rows] + 0.5) * size_2 / [camera.width_px, camera.height_px] - 0.5
        u_m, v_m = np.clip(np.rint(uv_m2).astype(int), 0, size_2 - 1).T
        measured_m = depth_hw[v_m, u_m]
        good_m = (measured_m > 0) & (z_m > 0)
        ratios.append(measured_m[good_m] / z_m[good_m])
    ratios_m = np.concatenate(ratios) if ratios else np.zeros(0)
    if len(ratios_m) < 50:
        return None
    ratio = float(np.median(ratios_m))
    agree = float(np.mean(np.abs(np.log(ratios_m / ratio)) <= np.log(RATIO_AGREES)))
    if not scene.metric and agree < 0.5:
        raise InputError(
            f"measured depth contradicts the map: only {agree:.0%} of {len(ratios_m)} observations tell one ratio "
            "between them; run `geo-train dataset check`, or remove the dataset's depth folder"
        )
    return ratio


def _tracked(scene: SceneMap, point_index_l: np.ndarray) -> np.ndarray:
    column_n = np.full(len(scene.points_world_n3), -1)
    column_n[point_index_l] = np.arange(len(point_index_l))
    column_m = column_n[scene.tracks.point_m]
    tracked_fl = np.zeros((len(scene.frame_names), len(point_index_l)), bool)
    tracked_fl[scene.tracks.frame_m[column_m >= 0], column_m[column_m >= 0]] = True
    return tracked_fl


def _turn_from_tracks(points_l3: np.ndarray, centres_f3: np.ndarray, tracked_fl: np.ndarray) -> np.ndarray:
    """Angle (F, L) between the direction from which a frame looks at a point and the mean direction of its track;
    0 for a point without a track."""
    rays_fl3 = centres_f3[:, None] - points_l3[None]
    rays_fl3 /= np.maximum(np.linalg.norm(rays_fl3, axis=2, keepdims=True), 1e-12)
    mean_l3 = np.einsum("fl,flk->lk", tracked_fl.astype(float), rays_fl3)
    mean_l3 /= np.maximum(np.linalg.norm(mean_l3, axis=1, keepdims=True), 1e-12)
    turn_fl = np.arccos(np.clip(np.einsum("flk,lk->fl", rays_fl3, mean_l3), -1, 1))
    return np.where(tracked_fl.any(axis=0), turn_fl, 0.0)
