"""The scale of a depth map from a known motion, by odometry or by poses of the camera: the camera moved a known way, so
points that it saw before can be triangulated in metres.

Corners of the view are followed back (Lucas and Kanade) into an earlier one that lies far enough away. With the motion
T_past_now known, a point at depth z of the ray x projects to z R x + t: along one line. What was found off that line
moves by itself or was followed wrongly; where on the line it lies gives z.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.depth.metric_points import MetricPoints
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import ScaleMeasurement
from geo_perception.depth.sparse_scale import measure_scale
from geo_perception.errors import InputError
from geo_perception.filtering.feature_tracker import find_corners, track_features
from geo_perception.geometry import Camera, invert_pose, rotation_angle_rad

MAX_FOCAL_CHANGE = 0.02  # more than this is another zoom
MIN_CORNERS = 12
MIN_FITTING = 0.5  # more than this share of the corners that moved must fit the motion by odometry
MIN_BASELINE_SIGMAS = 5.0  # of the poses; nothing is measured over a shorter way
MAX_TURN_SHARE = 0.05  # of the parallax, that the rotations' uncertainty should at most be
_FARTHER = 4.0  # but not for more than so many times the usual parallax: there corners are lost
_BORDER_PX = 3.0


@dataclass(frozen=True)
class MotionOptions:
    """When two views are compared, and how far odometry and tracks are believed."""

    min_baseline_m: float = 0.04  # the camera stands when it has moved less
    max_turn_rad: float = 0.6  # views turned further from each other are not compared
    views: int = 12  # how many earlier ones are kept, at least `min_baseline_m` apart
    max_age_s: float = 10.0  # odometry drifts; older views are forgotten
    wanted_parallax_px: float = 12.0  # the earlier view is chosen for this, of the median corner
    min_parallax_px: float = 3.0  # a corner that moved less, the turn taken out, measures nothing
    track_sigma_px: float = 0.4
    corner_sigma: float = 0.1  # of log depth: corners like to lie where things end, on one or the other
    max_epipolar_px: float = 1.5
    max_corners: int = 300
    # What a motion is uncertain by, beside what its poses say of themselves.
    baseline_sigma: float = 0.02  # of the distance, as a share
    turn_sigma_rad: float = 0.002  # of the rotation

    def __post_init__(self):
        if self.views < 1 or self.max_corners < MIN_CORNERS:
            raise InputError(
                f"{self.views} views and {self.max_corners} corners; give at least 1 view and {MIN_CORNERS} corners"
            )
        positive = (
            self.min_baseline_m, self.max_turn_rad, self.max_age_s, self.wanted_parallax_px, self.min_parallax_px,
            self.track_sigma_px, self.max_epipolar_px,
        )  # fmt: skip
        if min(positive) <= 0 or min(self.baseline_sigma, self.turn_sigma_rad) < 0:
            raise InputError(
                "a distance, angle, time or deviation of the motion options is negative; give positive ones"
            )


@dataclass(frozen=True)
class _View:
    grey_hw: np.ndarray
    camera: Camera
    T_odom_camera: np.ndarray
    stamp_s: float
    sigma_m: float
    sigma_rad: float


class MotionScale:
    """Takes depth maps with the pose of their camera, and measures the scale where the camera has moved enough.
    `source` is who tells the poses.

    Another image size, another zoom or a stamp that goes back forgets the earlier views.
    """

    def __init__(self, options: MotionOptions | None = None, source: str = "odometry"):
        self.options, self._source = options or MotionOptions(), source
        self.reset()

    def reset(self) -> None:
        """Forgets the earlier views."""
        self._views: deque[_View] = deque(maxlen=self.options.views)

    def add(
        self, depth: RelativeDepth, T_odom_camera: np.ndarray, stamp_s: float, sigma_m: float = 0.0,
        sigma_rad: float = 0.0,
    ) -> ScaleMeasurement | None:  # fmt: skip
        """The scale of this map, from its view and an earlier one. `T_odom_camera` (4, 4) is the pose of the optical
        frame in any frame that stands still, in metres; `sigma_m` and `sigma_rad` its standard deviations along each
        axis, as far as poses err independently.

        None without a map, its camera or its view, where a number of the pose is not finite, and as long as the camera
        stands, only turns, or sees too little that can be followed. Raises InputError for a pose or view of another
        shape.
        """
        T_odom_camera = np.asarray(T_odom_camera, np.float64)
        if T_odom_camera.shape != (4, 4):
            raise InputError(f"a camera pose of shape {T_odom_camera.shape}; give T_odom_camera as 4 x 4")
        if not depth.estimated or depth.depth_hw is None or depth.camera is None or depth.view_hw3 is None:
            return None
        if depth.view_hw3.shape[:2] != depth.depth_hw.shape:
            raise InputError(
                f"a view of {depth.view_hw3.shape[:2]} pixels with a depth map of {depth.depth_hw.shape}; "
                "give the view that the map belongs to"
            )
        if not (np.isfinite(T_odom_camera).all() and np.isfinite(stamp_s)):
            return None
        grey_hw = cv2.cvtColor(depth.view_hw3, cv2.COLOR_RGB2GRAY)
        now = _View(grey_hw, depth.camera, T_odom_camera, float(stamp_s), float(sigma_m), float(sigma_rad))
        self._forget(now)
        found = self._measure(now, depth)
        if not self._views or _baseline_m(self._views[-1], now) >= self._least_m(self._views[-1], now):
            self._views.append(now)
        return found

    def _forget(self, now: _View) -> None:
        if self._views and (_other_camera(self._views[-1].camera, now.camera) or now.stamp_s < self._views[-1].stamp_s):
            self.reset()
        while self._views and now.stamp_s - self._views[0].stamp_s > self.options.max_age_s:
            self._views.popleft()

    def _measure(self, now: _View, depth: RelativeDepth) -> ScaleMeasurement | None:
        views = sorted((view for view in self._views if self._comparable(view, now)), key=lambda v: _baseline_m(v, now))
        if not views:
            return None
        corners_n2 = find_corners(now.grey_hw, self.options.max_corners, 5)
        if len(corners_n2) < MIN_CORNERS:
            return None
        # The nearest view is easy to follow into; its parallax shows which of the others has the wanted one.
        pair = _Pair(views[0], now, corners_n2, self.options)
        usual_px = self.options.wanted_parallax_px
        wanted_px = float(np.clip(pair.turn_px / MAX_TURN_SHARE, usual_px, _FARTHER * usual_px))
        if pair.parallax_px < wanted_px and len(views) > 1:
            ratio = wanted_px / max(pair.parallax_px, 0.1)
            wanted_m = ratio * _baseline_m(views[0], now)
            other = min(views[1:], key=lambda view: abs(np.log(_baseline_m(view, now) / wanted_m)))
            further = _Pair(other, now, corners_n2, self.options)
            pair = further if further.parallax_px > pair.parallax_px else pair
        return pair.scale(depth, self._source)

    def _least_m(self, first: _View, second: _View) -> float:
        """The way between two views that measures anything."""
        return max(self.options.min_baseline_m, MIN_BASELINE_SIGMAS * float(np.hypot(first.sigma_m, second.sigma_m)))

    def _comparable(self, view: _View, now: _View) -> bool:
        turn_rad = rotation_angle_rad(view.T_odom_camera[:3, :3], now.T_odom_camera[:3, :3])
        return _baseline_m(view, now) >= self._least_m(view, now) and turn_rad <= self.options.max_turn_rad


class _Pair:
    """The corners of a view, (N, 2), followed into an earlier one. `parallax_px` is how far the median corner moved
    beyond what the turn explains; 0 where too few could be followed. `turn_px` is by how much the uncertain turn may
    move them."""

    def __init__(self, past: _View, now: _View, corners_n2: np.ndarray, options: MotionOptions):
        self._past, self._options = past, options
        T_past_now = invert_pose(past.T_odom_camera) @ now.T_odom_camera
        self._t_3 = T_past_now[:3, 3]
        told_rad, told_m = np.hypot(past.sigma_rad, now.sigma_rad), np.hypot(past.sigma_m, now.sigma_m)
        self._told_px = past.camera.fx_px * float(told_rad)
        self.turn_px = past.camera.fx_px * float(np.hypot(told_rad, options.turn_sigma_rad))
        self._baseline_sigma = float(np.hypot(options.baseline_sigma, told_m / np.linalg.norm(self._t_3)))
        turned_n3 = np.column_stack([now.camera.normalize(corners_n2), np.ones(len(corners_n2))]) @ T_past_now[:3, :3].T
        ahead_n = turned_n3[:, 2] > 0.1
        corners_n2, turned_n3 = corners_n2[ahead_n], turned_n3[ahead_n]
        far_n2 = past.camera.project(turned_n3)  # where they would lie if they were infinitely far away
        found_n2, kept_n = track_features(now.grey_hw, past.grey_hw, corners_n2, far_n2)
        found_n2 = found_n2.astype(np.float64)
        high_2 = np.array(past.grey_hw.shape[::-1]) - 1 - _BORDER_PX
        kept_n &= ((found_n2 >= _BORDER_PX) & (found_n2 <= high_2)).all(axis=1)
        self._now_n2, self._turned_n3 = corners_n2[kept_n], turned_n3[kept_n]
        self._far_n2, self._found_n2 = far_n2[kept_n], found_n2[kept_n]
        enough = len(self._now_n2) >= MIN_CORNERS
        self.parallax_px = float(np.median(self._moved_n)) if enough else 0.0

    @property
    def _moved_n(self) -> np.ndarray:
        return np.linalg.norm(self._found_n2 - self._far_n2, axis=1)

    def scale(self, depth: RelativeDepth, source: str) -> ScaleMeasurement | None:
        options = self._options
        if self.parallax_px < options.min_parallax_px:
            return None
        depth_m_n, per_log_px_n, fits_n = self._triangulate()
        good_n, moved_n = np.isfinite(depth_m_n), self._moved_n
        # A wrong motion fits some corners by chance, and those then agree on a scale.
        if good_n.sum() < MIN_CORNERS or fits_n[moved_n >= options.min_parallax_px].mean() <= MIN_FITTING:
            return None
        per_log_px_n = per_log_px_n[good_n]
        # Errors of the motion move all points alike: the way by its share, a turn by pixels of parallax.
        shared_n2 = np.column_stack([np.full(len(per_log_px_n), self._baseline_sigma), self.turn_px / per_log_px_n])
        sigma_n = np.hypot(options.track_sigma_px / per_log_px_n, options.corner_sigma)
        points = MetricPoints(source, self._now_n2[good_n].astype(np.float64), depth_m_n[good_n], sigma_n, shared_n2)
        return measure_scale(depth, points, MIN_CORNERS)

    def _triangulate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth in the view of now (N,), metres, NaN where there is none; how many pixels (N,) the corner would move
        were it e times as far; whether it (N,) was found where the motion allows it."""
        camera, options = self._past.camera, self._options
        focal_2, centre_2 = np.array([camera.fx_px, camera.fy_px]), np.array([camera.cx_px, camera.cy_px])
        turned_n3, t_3 = self._turned_n3, self._t_3
        # In homogeneous pixels of the past view a point is z a + b.
        a_n3 = np.column_stack([turned_n3[:, :2] * focal_2 + turned_n3[:, 2:] * centre_2, turned_n3[:, 2]])
        b_3 = np.append(t_3[:2] * focal_2 + t_3[2] * centre_2, t_3[2])
        with np.errstate(invalid="ignore", divide="ignore"):
            line_n3 = np.cross(a_n3, b_3)
            line_n3 /= np.linalg.norm(line_n3[:, :2], axis=1, keepdims=True)
            off_px_n = (self._found_n2 * line_n3[:, :2]).sum(axis=1) + line_n3[:, 2]
            on_n2 = self._found_n2 - off_px_n[:, None] * line_n3[:, :2]
            # z (a_xy - a_z p) = b_z p - b_xy, both along the line.
            left_n2 = a_n3[:, :2] - a_n3[:, 2:] * on_n2
            right_n2 = b_3[2] * on_n2 - b_3[:2]
            z_n = (left_n2 * right_n2).sum(axis=1) / (left_n2**2).sum(axis=1)
            past_z_n = z_n * a_n3[:, 2] + b_3[2]
            per_log_px_n = z_n * np.linalg.norm(a_n3[:, :2] - a_n3[:, 2:] * on_n2, axis=1) / past_z_n
            fits_n = (z_n > 0) & (past_z_n > 0) & (np.abs(off_px_n) <= options.max_epipolar_px + self._told_px)
            good_n = fits_n & (per_log_px_n >= options.min_parallax_px)
        return np.where(good_n, z_n, np.nan), per_log_px_n, fits_n


def _baseline_m(first: _View, second: _View) -> float:
    return float(np.linalg.norm(first.T_odom_camera[:3, 3] - second.T_odom_camera[:3, 3]))


def _other_camera(before: Camera, now: Camera) -> bool:
    if (before.width_px, before.height_px) != (now.width_px, now.height_px):
        return True
    ratios = np.array([now.fx_px / before.fx_px, now.fy_px / before.fy_px])
    return bool((np.abs(np.log(ratios)) > MAX_FOCAL_CHANGE).any())
