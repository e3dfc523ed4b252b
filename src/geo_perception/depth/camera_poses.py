"""Where the camera was at a stamp, by poses of one source that come before and after it. No ROS."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geo_perception.depth.measurements import MotionPose
from geo_perception.geometry import interpolate_pose, make_pose, pose_error, so3_exp, so3_log

KEPT_POSES = 1000
# How a robot's motion may change at least, where it was steady: standard deviations along each axis.
ACCELERATION_M_S2, ANGULAR_ACCELERATION_RAD_S2 = 0.5, 0.5
_LOOKED_BACK = 6  # poses that tell how steady it was

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
        share, changed_s2 = ahead_s / gap_s, _changed_s2(gap_s, ahead_s)
        rates = _rates(poses[-_LOOKED_BACK:], max_gap_s)
        sigmas = (
            float(np.sqrt(((1 + share) * last_sigma) ** 2 + (share * first_sigma) ** 2 + (rate * changed_s2) ** 2))
            for last_sigma, first_sigma, rate in zip(
                (last.sigma_m, last.sigma_rad), (before.sigma_m, before.sigma_rad), rates, strict=True
            )
        )
        return _gone_on(before.T_world_body, last.T_world_body, share), *sigmas


def _gone_on(T_before: np.ndarray, T_last: np.ndarray, share: float) -> np.ndarray:
    """last + share (last - before)."""
    turn_3 = share * so3_log(T_before[:3, :3].T @ T_last[:3, :3])
    return make_pose(T_last[:3, :3] @ so3_exp(turn_3), T_last[:3, 3] + share * (T_last[:3, 3] - T_before[:3, 3]))


def _changed_s2(gap_s: float, ahead_s: float) -> float:
    """What an acceleration does to a place told ahead: since the middle between two poses the speed is another one."""
    return 0.5 * ahead_s * (ahead_s + gap_s)


def _rates(poses: list[MotionPose], max_gap_s: float) -> tuple[float, float]:
    """Accelerations along each axis, of the place and of the rotation, by how far these poses were off what the ones
    before foretold; never less than the usual ones."""
    found = []
    for first, second, third in zip(poses, poses[1:], poses[2:], strict=False):
        gap_s, ahead_s = (second.stamp_ns - first.stamp_ns) * 1e-9, (third.stamp_ns - second.stamp_ns) * 1e-9
        if max(gap_s, ahead_s) <= max_gap_s:
            T = _gone_on(first.T_world_body, second.T_world_body, ahead_s / gap_s)
            found.append(np.array(pose_error(third.T_world_body, T)) / _changed_s2(gap_s, ahead_s))
    seen_2 = np.sqrt(np.mean(np.square(found), axis=0) / 3) if found else np.zeros(2)
    return max(ACCELERATION_M_S2, float(seen_2[0])), max(ANGULAR_ACCELERATION_RAD_S2, float(seen_2[1]))
