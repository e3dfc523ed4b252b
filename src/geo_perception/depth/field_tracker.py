"""The field that corrects a depth map, by the points measured on it and by those of earlier maps that are still in
view. No ROS; everything here happens in one thread.

What was measured is a place in the world, whatever the network said of it then. So not corrections are carried, nor
pixels by optical flow, but points by their poses: a pixel with its depth becomes a point, and the known motion of the
camera since then tells where it is in the present map and how far away. What the motion is uncertain by, all carried
points have in common. A point that is hidden now disagrees with the present map and its neighbours there, and a wrong
motion makes most points disagree.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import block_diag

from geo_perception.depth.camera_poses import CameraPose
from geo_perception.depth.completion import CompletedDepth, CompletionOptions, complete
from geo_perception.depth.measurements import SeenDepth
from geo_perception.depth.metric_points import MetricPoints, spread
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import CLOCK_JUMP_S, Scale
from geo_perception.depth.sparse_scale import sample_map
from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose

KEPT_VIEWS = 60
MIN_CARRIED = 12  # of which a majority must agree, or the motion was wrong; fewer cannot vouch for each other
MIN_AGREEING = 0.5
GATE_SIGMA = 3.0  # of the network's own errors; a point further off the map is hidden, or wrong
CORNER_GATE_SIGMA = 2.0  # of points that were triangulated, of which more are wrong
_RIGHT, _WRONG = 0.5, 0.1
_NEAREST_M = 0.05

PosesAt = Callable[[int, float], "Sequence[CameraPose]"]


@dataclass(frozen=True)
class FieldOptions:
    """What is carried, and how uncertain that makes it."""

    max_points: int = 120  # completing a map takes as much longer
    max_age_s: float = 5.0
    max_ahead_s: float = 0.3  # the camera's motion is taken to go on for so long after its last pose
    age_sigma: float = 0.01  # of a point's log depth, by things that move, after a second; it grows with the root
    point_sigma: float = 0.01  # of any point, beside what its source says: it was not found exactly where it is
    max_shift_share: float = 0.015  # of the map's width; a point whose place is less certain is not carried
    max_sigma: float = 0.12  # of a point's log depth; one less certain says less than the map does
    distance_sigma: float = 0.02  # of a motion by odometry, which drifts: as a share of the distance
    turn_sigma_rad: float = 0.002  # and of its rotation
    completion: CompletionOptions = field(default_factory=CompletionOptions)

    def __post_init__(self) -> None:
        if self.max_points < 1 or min(self.max_age_s, self.max_ahead_s, self.max_shift_share) < 0:
            raise InputError("a field needs points, and times and shares of 0 or more; give such")


@dataclass(frozen=True)
class CompletedField:
    """A map in metres, and how many points of each source, and "carried", it was made from."""

    depth: CompletedDepth
    points: Counter[str]


@dataclass(eq=False)
class _View:
    """Points (N, 3) that were measured on one map, in the camera's frame then, and its poses in each world, as far as
    they are known."""

    stamp_ns: int
    camera_n3: np.ndarray
    points: MetricPoints
    carried: bool
    poses: dict[str, CameraPose] = field(default_factory=dict)

    def leave_out(self, wrong: np.ndarray) -> None:
        """Forgets the points with these indices."""
        kept = np.setdiff1d(np.arange(len(self.points)), wrong)
        self.camera_n3, self.points = self.camera_n3[kept], self.points.part(kept)


@dataclass(frozen=True)
class _Told:
    """Points in the present map: those with indices `at_n` of a view. `now_n3` is what errors of the present pose are
    to the logarithm of each depth, `hidden` how many more points of the view would be here but are far off the map."""

    view: _View
    at_n: np.ndarray
    points: MetricPoints
    now_n3: np.ndarray
    hidden: int = 0


class FieldTracker:
    """Keeps measured points and completes maps by them. `refused` counts the motions that most points contradicted."""

    def __init__(self, options: FieldOptions | None = None):
        self.options = options or FieldOptions()
        self.refused = 0
        self.reset()

    def reset(self) -> None:
        """Forgets all points."""
        self.refused = 0
        self._views: deque[_View] = deque(maxlen=KEPT_VIEWS)
        self._newest_ns: int | None = None

    def add(self, points: MetricPoints, seen: SeenDepth, carried: bool = True) -> None:
        """Keeps points that were measured on a map; they may come later than newer maps. Not `carried`: they count for
        that map only."""
        camera = seen.depth.camera
        if camera is None:
            return
        usable_n = np.isfinite(points.pixels_n2).all(axis=1) & np.isfinite(points.depth_m_n) & (points.depth_m_n > 0)
        usable_n &= np.isfinite(points.sigma_n) & np.isfinite(points.shared_nk).all(axis=1)
        points = points.part(usable_n)
        size_px = camera.width_px, camera.height_px
        points = points.part(spread(points.pixels_n2, points.sigma_n, size_px, self.options.max_points))
        rays_n3 = np.column_stack([camera.normalize(points.pixels_n2), np.ones(len(points))])
        self._views.append(_View(seen.stamp_ns, rays_n3 * points.depth_m_n[:, None], points, carried))

    def complete(self, seen: SeenDepth, scale: Scale, poses_at: PosesAt) -> CompletedField | None:
        """The map in metres. `scale` is what is known of its factor beside the points; without any point the map times
        that factor. None without a map.

        `poses_at(stamp_ns, max_ahead_s)` gives the camera's pose at a stamp in each world that knows it; the motion
        between two maps is taken of the first world that knows both. A map whose stamp lies clearly before that of the
        last one forgets all points.
        """
        if self._newest_ns is not None and (self._newest_ns - seen.stamp_ns) * 1e-9 > CLOCK_JUMP_S:
            self.reset()
        self._newest_ns = max(seen.stamp_ns, self._newest_ns or seen.stamp_ns)
        if not seen.depth.estimated or seen.depth.depth_hw is None:
            return None
        own = [self._measured(view, seen, scale) for view in self._views if view.stamp_ns == seen.stamp_ns]
        carried = self._carried(seen, scale, poses_at)
        found, rights = self._completed(seen.depth, scale, own + carried)
        agree_n = np.concatenate([*rights[len(own) :], np.zeros(0)])
        agree_n = agree_n[~np.isnan(agree_n)] >= _RIGHT
        hidden = sum(told.hidden for told in carried) * len(agree_n) / max(sum(len(told.at_n) for told in carried), 1)
        if carried and agree_n.sum() <= MIN_AGREEING * (len(agree_n) + hidden):
            self.refused += 1
            wrong = [told.view for told in carried]
            self._views = deque((view for view in self._views if view not in wrong), KEPT_VIEWS)
            carried = []
            found, rights = self._completed(seen.depth, scale, own)
        used: Counter[str] = Counter()
        for place, (told, right_n) in enumerate(zip(own + carried, rights, strict=True)):
            used["carried" if place >= len(own) else told.points.source] += int((right_n >= _RIGHT).sum())
            told.view.leave_out(told.at_n[right_n < _WRONG])
        return found and CompletedField(found, +used)

    def _measured(self, view: _View, seen: SeenDepth, scale: Scale) -> _Told:
        """The points that were measured on this very map."""
        relative_n, _ = sample_map(seen.depth, view.points.pixels_n2)
        at_n = np.flatnonzero(~self._is_far_off(view.points, relative_n, scale))
        return _Told(view, at_n, view.points.part(at_n), np.zeros((len(at_n), 3)))

    def _is_far_off(self, points: MetricPoints, relative_n: np.ndarray, scale: Scale) -> np.ndarray:
        """Whether points (N,) are further from the map than its own errors explain. False where it has no depth."""
        with np.errstate(invalid="ignore", divide="ignore"):
            off_n = np.abs(np.log(points.depth_m_n / relative_n) - np.log(scale.factor))
        variance_n = points.sigma_n**2 + (points.shared_nk**2).sum(axis=1)
        gate_sigma = CORNER_GATE_SIGMA if points.source in ("odometry", "camera_pose") else GATE_SIGMA
        return off_n > gate_sigma * np.sqrt(self.options.completion.variance + scale.sigma**2 + variance_n)

    def _carried(self, seen: SeenDepth, scale: Scale, poses_at: PosesAt) -> list[_Told]:
        """The points of other maps that are in the present view."""
        oldest_ns = seen.stamp_ns - round(self.options.max_age_s * 1e9)
        self._views = deque((view for view in self._views if view.stamp_ns >= oldest_ns), KEPT_VIEWS)
        others = [view for view in self._views if view.carried and view.stamp_ns < seen.stamp_ns and len(view.points)]
        poses = poses_at(seen.stamp_ns, self.options.max_ahead_s) if others and seen.depth.camera is not None else []
        if not poses:
            return []
        slope_hw = _slope(seen.depth)
        told = []
        for view in others:
            if not any(pose.world in view.poses for pose in poses):
                view.poses |= {pose.world: pose for pose in poses_at(view.stamp_ns, 0.0)}
            now = next((pose for pose in poses if pose.world in view.poses), None)
            if now is not None:
                told.append(self._brought(view, view.poses[now.world], now, seen, slope_hw, scale))
        enough = sum(len(points.at_n) + points.hidden for points in told) >= MIN_CARRIED
        return [points for points in told if len(points.at_n)] if enough else []

    def _brought(
        self, view: _View, then: CameraPose, now: CameraPose, seen: SeenDepth, slope_hw: np.ndarray, scale: Scale
    ) -> _Told:
        """The points of an earlier map as the present camera has them, those that it can see."""
        options, camera = self.options, seen.depth.camera
        assert camera is not None
        T_now_then = invert_pose(now.T_world_camera) @ then.T_world_camera
        now_n3 = view.camera_n3 @ T_now_then[:3, :3].T + T_now_then[:3, 3]
        at_n = np.flatnonzero(now_n3[:, 2] > _NEAREST_M)
        now_n3 = now_n3[at_n]
        z_n, points = now_n3[:, 2], view.points.part(at_n)
        pixels_n2 = camera.project(now_n3)
        relative_n, _ = sample_map(seen.depth, pixels_n2)
        drifts = now.source == "odometry"
        way_sigma_m = drifts * options.distance_sigma * float(np.linalg.norm(T_now_then[:3, 3]))
        turn_sigma_rad = drifts * options.turn_sigma_rad
        own_map = points.source == "landmarks" and now.source == "camera_pose"
        # Landmarks are where the map has them: an error of the pose they were seen from goes out with it again.
        then_m, then_rad = (0.0, 0.0) if own_map else (then.sigma_m, then.sigma_rad)
        then_n3 = _motion_errors(now_n3, np.hypot(then_m, way_sigma_m), np.hypot(then_rad, turn_sigma_rad))
        here_n3 = _motion_errors(now_n3, now.sigma_m, now.sigma_rad)
        shift_m = np.sqrt(then_m**2 + way_sigma_m**2 + now.sigma_m**2)
        shift_rad = np.sqrt(then_rad**2 + turn_sigma_rad**2 + now.sigma_rad**2)
        shift_px_n = camera.fx_px * np.hypot(shift_m / z_n, shift_rad)
        age_s = (seen.stamp_ns - view.stamp_ns) * 1e-9
        slope_n = _nearest(slope_hw, pixels_n2)
        sigma_n = np.sqrt(points.sigma_n**2 + options.age_sigma**2 * age_s + (slope_n * shift_px_n) ** 2)
        shared_nk = then_n3 if own_map else np.column_stack([points.shared_nk, then_n3])
        brought = MetricPoints(points.source, pixels_n2, z_n, sigma_n, shared_nk)
        placed_n = np.isfinite(relative_n) & (shift_px_n <= options.max_shift_share * camera.width_px)
        hidden_n = placed_n & self._is_far_off(brought, relative_n, scale)
        seen_n = placed_n & ~hidden_n
        return _Told(view, at_n[seen_n], brought.part(seen_n), here_n3[seen_n], int(hidden_n.sum()))

    def _completed(
        self, depth: RelativeDepth, scale: Scale, sets: list[_Told]
    ) -> tuple[CompletedDepth | None, list[np.ndarray]]:
        """The completed map, and how likely each point of each set is right; NaN for those that were not asked."""
        assert depth.depth_hw is not None
        options, parts = self.options, [told.points for told in sets]
        pixels_n2 = np.concatenate([np.zeros((0, 2)), *(points.pixels_n2 for points in parts)])
        depth_m_n = np.concatenate([np.zeros(0), *(points.depth_m_n for points in parts)])
        sigma_n = np.hypot(np.concatenate([np.zeros(0), *(points.sigma_n for points in parts)]), options.point_sigma)
        # The error of the present pose is one for all sets, the others are one for each.
        now_n3 = np.concatenate([np.zeros((0, 3)), *(told.now_n3 for told in sets)])
        shared_nk = np.column_stack([now_n3, block_diag(np.zeros((0, 0)), *(points.shared_nk for points in parts))])
        size_px = depth.depth_hw.shape[1], depth.depth_hw.shape[0]
        total_n = np.sqrt(sigma_n**2 + (shared_nk**2).sum(axis=1))
        certain = np.flatnonzero(total_n <= options.max_sigma)
        chosen = certain[spread(pixels_n2[certain], total_n[certain], size_px, options.max_points)]
        found = complete(
            depth, pixels_n2[chosen], depth_m_n[chosen], sigma_n[chosen], scale, options.completion, shared_nk[chosen]
        )
        right_n = np.full(len(depth_m_n), np.nan)
        if found is not None:
            right_n[chosen] = found.right_n
        return found, np.split(right_n, np.cumsum([len(points) for points in parts])[:-1]) if parts else []


def _motion_errors(camera_n3: np.ndarray, sigma_m: float, sigma_rad: float) -> np.ndarray:
    """What errors of the camera's place along z, and of its rotation about x and y, are to log depths (N, 3)."""
    x_n, y_n, z_n = camera_n3.T
    return np.column_stack([np.full(len(z_n), sigma_m), sigma_rad * y_n, sigma_rad * x_n]) / z_n[:, None]


def _slope(depth: RelativeDepth) -> np.ndarray:
    """By how much (H, W) the logarithm of a map's depth changes from a pixel to the next."""
    assert depth.depth_hw is not None
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.hypot(*np.gradient(np.log(depth.depth_hw))) if min(depth.depth_hw.shape) > 1 else depth.depth_hw * 0


def _nearest(values_hw: np.ndarray, pixels_n2: np.ndarray) -> np.ndarray:
    """The values (N,) of a map at the pixels nearest to these."""
    height, width = values_hw.shape
    x_n, y_n = np.clip(np.rint(np.nan_to_num(pixels_n2)), 0, [width - 1, height - 1]).astype(int).T
    return values_hw[y_n, x_n]
