"""All measurements of the scale, brought together with the depth maps they belong to. No ROS.

What the robot measures comes with stamps of its own: landmarks later than their image, odometry before and after it, an
attitude about then. Everything here happens in one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from geo_perception.depth.ground_scale import scale_from_ground
from geo_perception.depth.motion_scale import MotionScale
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import CLOCK_JUMP_S, Scale, ScaleFilter, ScaleMeasurement, ScaleOptions
from geo_perception.depth.sparse_scale import pixels_to_map, scale_from_points
from geo_perception.geometry import Camera, interpolate_pose

KEPT_MAPS, KEPT_LANDMARKS, KEPT_ATTITUDES, KEPT_POSES = 10, 5, 30, 1000


@dataclass(frozen=True)
class Landmarks:
    """Points of one image with true depths: pixels (N, 2) of the image as it came, metres along z (N,), and what those
    are uncertain by, as a share (N,)."""

    stamp_ns: int
    pixels_n2: np.ndarray
    depth_m_n: np.ndarray
    sigma_n: np.ndarray


@dataclass(frozen=True)
class Attitude:
    """The unit vector (3,) against gravity in the camera's optical frame, and how uncertain its direction is."""

    stamp_ns: int
    up_3: np.ndarray
    sigma_rad: float


@dataclass(frozen=True)
class OdometryPose:
    """Where odometry says that the robot's base is. `base_frame` is the name of that frame, `source` tells odometries
    apart: poses of different ones are no motion."""

    stamp_ns: int
    T_odom_base: np.ndarray
    base_frame: str
    source: str = ""


@dataclass(frozen=True)
class TrackerOptions:
    """What is known of the robot besides messages, and how long messages hold."""

    scale: ScaleOptions = field(default_factory=ScaleOptions)
    camera_height_m: float = 0.0  # 0: not known
    camera_height_sigma_m: float = 0.02
    attitude_max_age_s: float = 2.0
    odometry_max_gap_s: float = 0.5
    measure_interval_s: float = 0.25  # between measurements by the floor, and by odometry, which take the most time
    zoom_tolerance: float = 0.05  # a focal length that changes by more than this share is another view of the world


@dataclass(frozen=True)
class SeenDepth:
    """A depth map with its stamp, and the camera of the image it was made from."""

    stamp_ns: int
    depth: RelativeDepth
    image_camera: Camera


class ScaleTracker:
    """Follows the scale. `options` may be changed at any time.

    `used` counts the measurements of each source that went in, `left_out` those that contradicted the others.
    """

    def __init__(self, options: TrackerOptions | None = None):
        self.options = options or TrackerOptions()
        self._filter, self._motion = ScaleFilter(self.options.scale), MotionScale()
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.used, self.left_out = Counter(), Counter()
        self.unmatched = 0  # landmarks whose image was not kept
        self.restarts, self.last_restart = 0, ""
        self._landmarks: deque[Landmarks] = deque(maxlen=KEPT_LANDMARKS)
        self._attitudes: deque[Attitude] = deque(maxlen=KEPT_ATTITUDES)
        self._poses: deque[OdometryPose] = deque(maxlen=KEPT_POSES)
        self._forget_maps()

    def add(self, measurement: Landmarks | Attitude | OdometryPose) -> None:
        """Keeps a measurement until its depth map is there. Odometry from before it jumped back in time, or of another
        frame, is forgotten."""
        if isinstance(measurement, Landmarks):
            if len(self._landmarks) == KEPT_LANDMARKS:
                self.unmatched += 1
            self._landmarks.append(measurement)
        elif isinstance(measurement, Attitude):
            self._attitudes.append(measurement)
        else:
            last = self._poses[-1] if self._poses else measurement
            if measurement.stamp_ns < last.stamp_ns or (measurement.base_frame, measurement.source) != (
                last.base_frame,
                last.source,
            ):
                self._poses.clear()
                self._motion.reset()
                self._to_pose.clear()
            if not self._poses or measurement.stamp_ns > self._poses[-1].stamp_ns:
                self._poses.append(measurement)

    def update(self, seen: SeenDepth, camera_on_base: Callable[[OdometryPose, int], np.ndarray | None]) -> None:
        """Measures the scale by all that is known when this map comes.

        `camera_on_base(pose, stamp_ns)` gives T_base_camera of the optical frame at a stamp, or None where it is not
        known. It is asked only when there is odometry.
        """
        self._filter.options = self.options.scale
        self._notice_zoom(seen.image_camera)
        self._newest_ns = seen.stamp_ns
        self._maps.append(seen)
        self._to_pose.append(seen)
        for landmarks in list(self._landmarks):
            own = next((kept for kept in self._maps if kept.stamp_ns == landmarks.stamp_ns), None)
            if own is not None:
                self._landmarks.remove(landmarks)
                self.measure(landmarks, own)
        self._measure_motion(camera_on_base)
        self._measure_ground(seen)

    def measure(self, landmarks: Landmarks, seen: SeenDepth) -> None:
        """Measures the scale by landmarks and the map of their image."""
        pixels_n2 = pixels_to_map(landmarks.pixels_n2, seen.image_camera, seen.depth)
        found = scale_from_points(seen.depth, pixels_n2, landmarks.depth_m_n, landmarks.sigma_n, "landmarks")
        if found is not None:
            # The landmarks of one image share the error of its pose.
            found = replace(found, sigma=float(np.hypot(found.sigma, np.nanmedian(landmarks.sigma_n))))
        self._fuse(found, seen.stamp_ns)

    def take_missed(self, stamps_ns: set[int]) -> Landmarks | None:
        """The newest landmarks whose image is older than the newest map and has no map, though it is one of these. They
        are taken out, and with them what is older; landmarks of images that are gone are counted and dropped."""
        missed = None
        for landmarks in reversed(list(self._landmarks)):
            if landmarks.stamp_ns > self._newest_ns:
                continue  # its image may still come
            if missed is None and landmarks.stamp_ns in stamps_ns:
                missed = landmarks
            else:
                self.unmatched += 1
            self._landmarks.remove(landmarks)
        return missed

    def scale(self, stamp_ns: int) -> Scale | None:
        """The scale at a stamp; None when there is none."""
        return self._filter.scale(stamp_ns * 1e-9)

    def _measure_motion(self, camera_on_base) -> None:
        """For each map whose odometry has come by now."""
        while self._to_pose and self._poses:
            seen = self._to_pose[0]
            if seen.stamp_ns > self._poses[-1].stamp_ns:
                break  # the odometry after it is still on its way
            self._to_pose.popleft()
            if not self._due("odometry", seen.stamp_ns):
                continue
            poses = list(self._poses)
            after = bisect_left(poses, seen.stamp_ns, key=lambda pose: pose.stamp_ns)
            near = poses[max(after - 1, 0) : after + 1]
            stamps_s = np.array([pose.stamp_ns - seen.stamp_ns for pose in near]) * 1e-9
            T_n44 = np.stack([pose.T_odom_base for pose in near])
            T_odom_base = interpolate_pose(stamps_s, T_n44, 0.0, self.options.odometry_max_gap_s)
            T_base_camera = None if T_odom_base is None else camera_on_base(poses[-1], seen.stamp_ns)
            if T_base_camera is not None:
                found = self._motion.add(seen.depth, T_odom_base @ T_base_camera, seen.stamp_ns * 1e-9)
                self._fuse(found, seen.stamp_ns)

    def _measure_ground(self, seen: SeenDepth) -> None:
        options = self.options
        if options.camera_height_m <= 0 or not self._attitudes:
            return
        nearest = min(self._attitudes, key=lambda attitude: abs(attitude.stamp_ns - seen.stamp_ns))
        near = abs(nearest.stamp_ns - seen.stamp_ns) * 1e-9 <= options.attitude_max_age_s
        if near and self._due("ground", seen.stamp_ns):
            height = options.camera_height_m, options.camera_height_sigma_m
            self._fuse(scale_from_ground(seen.depth, nearest.up_3, nearest.sigma_rad, *height), seen.stamp_ns)

    def _due(self, source: str, stamp_ns: int) -> bool:
        """Whether so much time has gone by since the last measurement that another is worth its while: the errors of
        one source repeat themselves."""
        last_ns = self._measured_ns.get(source)
        if last_ns is not None and (stamp_ns - last_ns) * 1e-9 < self.options.measure_interval_s:
            return False
        self._measured_ns[source] = stamp_ns
        return True

    def _fuse(self, found: ScaleMeasurement | None, stamp_ns: int) -> None:
        if found is None:
            return
        late_s = (self._newest_ns - stamp_ns) * 1e-9
        if late_s > CLOCK_JUMP_S / 2:
            # The filter would take more for a jump of the clock. What it wandered since is not known.
            found = replace(found, sigma=float(np.hypot(found.sigma, self.options.scale.walk * np.sqrt(late_s))))
            stamp_ns = self._newest_ns
        if self._filter.update(found, stamp_ns * 1e-9):
            self.used[found.source] += 1
            self._measured_view_2 = self._view_2
        else:
            self.left_out[found.source] += 1

    def _notice_zoom(self, camera: Camera) -> None:
        """Another zoom or crop starts anew: a network's unit is not the same in another view of the world. An image of
        another size that shows the same is not another view. Compared with the map before, and with the one that was
        last measured, so that neither a jump nor a slow change is missed."""
        view_2 = np.array([camera.fx_px / camera.width_px, camera.fy_px / camera.height_px])
        earlier = [known_2 for known_2 in (self._view_2, self._measured_view_2) if known_2 is not None]
        change = max((float(np.abs(np.log(view_2 / known_2)).max()) for known_2 in earlier), default=0.0)
        if change > np.log1p(self.options.zoom_tolerance):
            self._forget_maps()
            self._landmarks.clear()
            self.restarts += 1
            self.last_restart = f"the focal length changed by {100 * np.expm1(change):.0f} %"
        self._view_2 = view_2

    def _forget_maps(self) -> None:
        self._filter.reset()
        self._motion.reset()
        self._maps: deque[SeenDepth] = deque(maxlen=KEPT_MAPS)
        self._to_pose: deque[SeenDepth] = deque(maxlen=KEPT_MAPS)
        self._measured_ns: dict[str, int] = {}
        self._newest_ns = 0
        self._view_2 = self._measured_view_2 = None
