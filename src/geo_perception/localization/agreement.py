"""Whether a pose is believed: after being lost, frames must agree before one is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from geo_perception.geometry import pose_error


@dataclass(frozen=True)
class AgreementOptions:
    """How poses of frames are compared. A robot that moves faster than this is not believed before it slows down."""

    frames: int = 2  # that must agree; 1 believes every pose
    remembered: int = 4  # frames, poses or not; whoever had none in so many is lost
    max_speed_m_s: float = 3.0
    max_turn_rad_s: float = 3.0
    slack_sigmas: float = 3.0
    slack_m: float = 0.05
    slack_rad: float = 0.02


@dataclass(frozen=True)
class _Frame:
    stamp_s: float
    T_map_camera: np.ndarray | None
    sigma_m: float = 0.0
    sigma_rad: float = 0.0


class Agreement:
    """Compares each frame's pose with those of the frames before it.

    A single image can be mistaken for another place that looks alike; a second one, taken from somewhere else, seldom
    is in a way that fits to how far a robot can have come meanwhile.
    """

    def __init__(self, options: AgreementOptions | None = None):
        self.options = options or AgreementOptions()
        self._frames: deque[_Frame] = deque(maxlen=self.options.remembered)

    def clear(self) -> None:
        self._frames.clear()

    def lost(self, stamp_s: float) -> None:
        """A frame gave no pose."""
        self._add(_Frame(stamp_s, None))

    def believes(self, stamp_s: float, T_map_camera: np.ndarray, covariance_66: np.ndarray) -> bool:
        """Whether the pose of a frame agrees with enough of those remembered. It is remembered itself in any case."""
        sigma_m, sigma_rad = (
            float(np.sqrt(max(np.linalg.eigvalsh(part)[-1], 0.0)))
            for part in (covariance_66[:3, :3], covariance_66[3:, 3:])
        )
        frame = _Frame(stamp_s, T_map_camera, sigma_m, sigma_rad)
        # A copy: a reset may clear them meanwhile.
        agreeing = sum(self._agree(frame, other) for other in tuple(self._frames))
        self._add(frame)
        return agreeing >= self.options.frames - 1

    def _add(self, frame: _Frame) -> None:
        if self._frames and frame.stamp_s < self._frames[-1].stamp_s:  # time was set back: a bag begins again
            self._frames.clear()
        self._frames.append(frame)

    def _agree(self, new: _Frame, old: _Frame) -> bool:
        if old.T_map_camera is None or new.T_map_camera is None:
            return False
        options, between_s = self.options, new.stamp_s - old.stamp_s
        distance, angle_rad = pose_error(old.T_map_camera, new.T_map_camera)
        limit = options.max_speed_m_s * between_s + options.slack_m
        limit += options.slack_sigmas * float(np.hypot(new.sigma_m, old.sigma_m))
        limit_rad = options.max_turn_rad_s * between_s + options.slack_rad
        limit_rad += options.slack_sigmas * float(np.hypot(new.sigma_rad, old.sigma_rad))
        return bool(between_s >= 0 and distance <= limit and angle_rad <= limit_rad)
