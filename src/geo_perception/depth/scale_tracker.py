"""All measurements of true depth, brought together with the depth maps they belong to. No ROS.

What the robot measures comes with stamps of its own: landmarks later than their image, odometry before and after it, an
attitude about then. Each measurement gives the scale, and its points to the field. Everything here happens in one
thread.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

import numpy as np

from geo_perception.depth.camera_poses import CameraOnBody, CameraPose, PoseTrack
from geo_perception.depth.field_tracker import CompletedField, FieldTracker
from geo_perception.depth.ground_scale import scale_from_ground
from geo_perception.depth.measurements import Attitude, Landmarks, MotionPose, SeenDepth
from geo_perception.depth.metric_points import MetricPoints
from geo_perception.depth.motion_scale import MotionScale
from geo_perception.depth.scale import (
    CLOCK_JUMP_S,
    RememberedScale,
    Scale,
    ScaleFilter,
    ScaleMeasurement,
    ScaleOptions,
)
from geo_perception.depth.sparse_scale import measure_scale, pixels_to_map
from geo_perception.geometry import Camera

KEPT_MAPS, KEPT_LANDMARKS, KEPT_ATTITUDES = 10, 5, 30
MOTIONS = ("odometry", "camera_pose")  # sources of poses, the smoother one first
MOTION_GONE_S = 1.0  # a source of poses that is silent for so long leaves the triangulation to the next one


@dataclass(frozen=True)
class TrackerOptions:
    """What is known of the robot besides messages, and how long messages hold."""

    scale: ScaleOptions = field(default_factory=ScaleOptions)
    camera_height_m: float = 0.0  # 0: not known
    camera_height_sigma_m: float = 0.02
    attitude_max_age_s: float = 2.0
    odometry_max_gap_s: float = 0.5  # of poses of the camera, too
    measure_interval_s: float = 0.25  # between measurements by the floor, and by motion, which take the most time
    zoom_tolerance: float = 0.05  # a focal length that changes by more than this share is another view of the world


class _Motion:
    """One source of poses: the poses, the maps that wait for theirs, and what triangulates."""

    def __init__(self, source: str):
        self.track, self.scale = PoseTrack(), MotionScale(source=source)
        self.waiting: deque[SeenDepth] = deque(maxlen=KEPT_MAPS)

    def forget_maps(self) -> None:
        self.scale.reset()
        self.waiting.clear()


class ScaleTracker:
    """Follows the scale and the field. `options` may be changed at any time.

    `used` counts the measurements of each source that went in, `left_out` those that contradicted the others.
    """

    def __init__(self, options: TrackerOptions | None = None):
        self.options = options or TrackerOptions()
        self._filter, self.field = ScaleFilter(self.options.scale), FieldTracker()
        self._motions = {source: _Motion(source) for source in MOTIONS}
        self._camera_on_body: CameraOnBody = lambda pose, stamp_ns: None
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.used, self.left_out = Counter(), Counter()
        self.unmatched = 0  # landmarks whose image was not kept
        self.restarts, self.last_restart = 0, ""
        self._landmarks: deque[Landmarks] = deque(maxlen=KEPT_LANDMARKS)
        self._attitudes: deque[Attitude] = deque(maxlen=KEPT_ATTITUDES)
        for motion in self._motions.values():
            motion.track.clear()
        self._forget_maps()

    def remember(self, known: RememberedScale, view_2: tuple[float, float], max_age_s: float) -> None:
        """Begins with a scale that was known before this process did, in a view of the world with this focal length in
        widths and heights of the image (2): another one starts anew, as ever."""
        self._filter.remember(known, max_age_s)
        self._view_2 = self._measured_view_2 = np.array(view_2)

    def known(self) -> tuple[RememberedScale, tuple[float, float]] | None:
        """What `remember` takes, to begin there again; None while there is no scale."""
        known = self._filter.known()
        return None if known is None or self._view_2 is None else (known, tuple(map(float, self._view_2)))

    def add(self, measurement: Landmarks | Attitude | MotionPose) -> None:
        """Keeps a measurement until its depth map is there. Poses from before they jumped back in time, or of another
        frame, are forgotten."""
        if isinstance(measurement, Landmarks):
            if len(self._landmarks) == KEPT_LANDMARKS:
                self.unmatched += 1
            self._landmarks.append(measurement)
        elif isinstance(measurement, Attitude):
            self._attitudes.append(measurement)
        else:
            motion = self._motions[measurement.source]
            if not motion.track.add(measurement):
                motion.forget_maps()

    def update(self, seen: SeenDepth, camera_on_body: CameraOnBody) -> None:
        """Measures the scale by all that is known when this map comes.

        `camera_on_body(pose, stamp_ns)` gives T_body_camera of the optical frame at a stamp, or None where it is not
        known. It is asked only when there are poses of a body.
        """
        self._camera_on_body = camera_on_body
        self._filter.options = self.options.scale
        self._notice_zoom(seen.image_camera)
        self._newest_ns = seen.stamp_ns
        self._maps.append(seen)
        for motion in self._motions.values():
            motion.waiting.append(seen)
        for landmarks in list(self._landmarks):
            own = next((kept for kept in self._maps if kept.stamp_ns == landmarks.stamp_ns), None)
            if own is not None:
                self._landmarks.remove(landmarks)
                self.measure(landmarks, own)
        for source in MOTIONS:
            self._measure_motion(source)
        self._measure_ground(seen)

    def measure(self, landmarks: Landmarks, seen: SeenDepth) -> None:
        """Measures the scale by landmarks and the map of their image."""
        pixels_n2 = pixels_to_map(landmarks.pixels_n2, seen.image_camera, seen.depth)
        # The landmarks of one image share the error of its pose.
        shared_n1 = landmarks.sigma_n[:, None]
        points = MetricPoints("landmarks", pixels_n2, landmarks.depth_m_n, landmarks.sigma_n, shared_n1)
        self._fuse(measure_scale(seen.depth, points), seen)

    def complete(self, seen: SeenDepth, scale: Scale) -> CompletedField | None:
        """The map in metres by the field of all points that are known by now (`FieldTracker`). For the map of the last
        `update`."""
        return self.field.complete(seen, scale, self._poses_at)

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

    def _poses_at(self, stamp_ns: int, max_ahead_s: float) -> list[CameraPose]:
        """Of each source that knows the camera's pose at a stamp."""
        max_gap_s = self.options.odometry_max_gap_s
        # A localizer's poses are too far apart, and each too uncertain, to foretell the next one.
        known = (
            motion.track.at(stamp_ns, self._camera_on_body, max_gap_s, max_ahead_s if source == "odometry" else 0.0)
            for source, motion in self._motions.items()
        )
        return [pose for pose in known if pose is not None]

    def _measure_motion(self, source: str) -> None:
        """For each map whose poses have come by now."""
        motion = self._motions[source]
        while motion.waiting and motion.track.newest_ns is not None:
            seen = motion.waiting[0]
            if seen.stamp_ns > motion.track.newest_ns:
                break  # the pose after it is still on its way
            motion.waiting.popleft()
            if self._has_smoother(source, seen.stamp_ns) or not self._due(source, seen.stamp_ns):
                continue
            pose = motion.track.at(seen.stamp_ns, self._camera_on_body, self.options.odometry_max_gap_s)
            if pose is not None:
                stamp_s = seen.stamp_ns * 1e-9
                found = motion.scale.add(seen.depth, pose.T_world_camera, stamp_s, pose.sigma_m, pose.sigma_rad)
                self._fuse(found, seen)

    def _has_smoother(self, source: str, stamp_ns: int) -> bool:
        """Whether a source of poses before this one speaks: it would triangulate the same corners."""
        before = (self._motions[name].track.newest_ns for name in MOTIONS[: MOTIONS.index(source)])
        return any(newest is not None and (stamp_ns - newest) * 1e-9 <= MOTION_GONE_S for newest in before)

    def _measure_ground(self, seen: SeenDepth) -> None:
        options = self.options
        if options.camera_height_m <= 0 or not self._attitudes:
            return
        nearest = min(self._attitudes, key=lambda attitude: abs(attitude.stamp_ns - seen.stamp_ns))
        near = abs(nearest.stamp_ns - seen.stamp_ns) * 1e-9 <= options.attitude_max_age_s
        if near and self._due("ground", seen.stamp_ns):
            height = options.camera_height_m, options.camera_height_sigma_m
            self._fuse(scale_from_ground(seen.depth, nearest.up_3, nearest.sigma_rad, *height), seen)

    def _due(self, source: str, stamp_ns: int) -> bool:
        """Whether so much time has gone by since the last measurement that another is worth its while: the errors of
        one source repeat themselves."""
        last_ns = self._measured_ns.get(source)
        if last_ns is not None and (stamp_ns - last_ns) * 1e-9 < self.options.measure_interval_s:
            return False
        self._measured_ns[source] = stamp_ns
        return True

    def _fuse(self, found: ScaleMeasurement | None, seen: SeenDepth) -> None:
        if found is None:
            return
        stamp_ns = seen.stamp_ns
        late_s = (self._newest_ns - stamp_ns) * 1e-9
        if late_s > CLOCK_JUMP_S / 2:
            # The filter would take more for a jump of the clock. What it wandered since is not known.
            found = replace(found, sigma=float(np.hypot(found.sigma, self.options.scale.walk * np.sqrt(late_s))))
            stamp_ns = self._newest_ns
        if self._filter.update(found, stamp_ns * 1e-9):
            self.used[found.source] += 1
            self._measured_view_2 = self._view_2
            if found.points is not None:
                self.field.add(found.points, seen, carried=found.source != "ground")
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
        self.field.reset()
        for motion in self._motions.values():
            motion.forget_maps()
        self._maps: deque[SeenDepth] = deque(maxlen=KEPT_MAPS)
        self._measured_ns: dict[str, int] = {}
        self._newest_ns = 0
        self._view_2 = self._measured_view_2 = None
