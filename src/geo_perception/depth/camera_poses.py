"""Where the camera was at a stamp, by poses of one source that come before and after it. No ROS."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geo_perception.depth.measurements import MotionPose
from geo_perception.geometry import interpolate_pose, invert_pose, make_pose, so3_exp, so3_log

KEPT_POSES = 1000
# How a robot's motion may have changed since it was last told: standard deviations along each axis.
ACCELERATION_M_S2, ANGULAR_ACCELERATION_RAD_S2 = 1.0, 2.0

CameraOnBody = Callable[[MotionPose, int], "np.ndarray | None"]


@dataclass(frozen=True)
class CameraPose:
    """T_world_camera of the optical frame with standard deviations along each axis, who said it, and the name of that
    world: poses in the same one have a motion between them."""

    T_world_camera: np.ndarray
    sigma_m: float
    sigma_rad: float
    source: str
    world: str


class PoseTrack:
    """The poses of one source in order. Poses of another frame, or from before the last one, forget those before."""

    def __init__(self) -> None:
        self._poses: deque[MotionPose] = deque(maxlen=KEPT_POSES)
        self._began = 0

    def clear(self) -> None:
        """Forgets all poses."""
        self._poses.clear()
        self._began += 1

    def add(self, pose: MotionPose) -> bool:
        """Keeps a pose; whether it goes on from the ones before."""
        last = self._poses[-1] if self._poses else pose
        goes_on = pose.stamp_ns >= last.stamp_ns and (pose.body_frame, pose.world) == (last.body_frame, last.world)
        if not goes_on:
            self.clear()
        if not self._poses or pose.stamp_ns > self._poses[-1].stamp_ns:
            self._poses.append(pose)
        return goes_on

    @property
    def newest_ns(self) -> int | None:
        """The stamp of the last pose; None without any."""
        return self._poses[-1].stamp_ns if self._poses else None

    def at(
        self, stamp_ns: int, camera_on_body: CameraOnBody, max_gap_s: float, max_ahead_s: float = 0.0
    ) -> CameraPose | None:
        """The camera's pose at a stamp, between poses that are no more than `max_gap_s` apart. Up to `max_ahead_s`
        after the last one the motion between the last two goes on, and gets more uncertain.

        `camera_on_body(pose, stamp_ns)` gives T_body_camera at a stamp, or None where it is not known.
        """
        poses = list(self._poses)
        if not poses:
            return None
        after = bisect_left(poses, stamp_ns, key=lambda pose: pose.stamp_ns)
        if after == len(poses):
            found = self._ahead(poses, stamp_ns, max_gap_s, max_ahead_s)
        else:
            first = after if poses[after].stamp_ns == stamp_ns else max(after - 1, 0)
            near = poses[first : after + 1]
            stamps_s = np.array([pose.stamp_ns - stamp_ns for pose in near]) * 1e-9
            T = interpolate_pose(stamps_s, np.stack([pose.T_world_body for pose in near]), 0.0, max_gap_s)
            found = None
            if T is not None:
                found = T, max(pose.sigma_m for pose in near), max(pose.sigma_rad for pose in near)
        if found is None:
            return None
        T_world_body, sigma_m, sigma_rad = found
        T_body_camera = np.eye(4) if poses[-1].body_frame is None else camera_on_body(poses[-1], stamp_ns)
        if T_body_camera is None:
            return None
        world = f"{poses[-1].source} {poses[-1].world} {self._began}"
        return CameraPose(T_world_body @ T_body_camera, sigma_m, sigma_rad, poses[-1].source, world)

    @staticmethod
    def _ahead(poses: list[MotionPose], stamp_ns: int, max_gap_s: float, max_ahead_s: float):
        """(T_world_body, sigma_m, sigma_rad) after the last pose."""
        ahead_s = (stamp_ns - poses[-1].stamp_ns) * 1e-9
        if len(poses) < 2 or ahead_s > max_ahead_s:
            return None
        before, last = poses[-2:]
        gap_s = (last.stamp_ns - before.stamp_ns) * 1e-9
        if gap_s > max_gap_s:
            return None
        share = ahead_s / gap_s
        T_before_last = invert_pose(before.T_world_body) @ last.T_world_body
        step = make_pose(so3_exp(share * so3_log(T_before_last[:3, :3])), [0, 0, 0])
        t_3 = last.T_world_body[:3, 3] + share * (last.T_world_body[:3, 3] - before.T_world_body[:3, 3])
        T = make_pose((last.T_world_body @ step)[:3, :3], t_3)
        # last + share (last - before); and what the motion may have changed by since the middle between the two.
        changed_s2 = 0.5 * ahead_s * (ahead_s + gap_s)
        sigmas = (
            float(np.sqrt(((1 + share) * last_sigma) ** 2 + (share * first_sigma) ** 2 + (rate * changed_s2) ** 2))
            for last_sigma, first_sigma, rate in (
                (last.sigma_m, before.sigma_m, ACCELERATION_M_S2),
                (last.sigma_rad, before.sigma_rad, ANGULAR_ACCELERATION_RAD_S2),
            )
        )
        return T, *sigmas
