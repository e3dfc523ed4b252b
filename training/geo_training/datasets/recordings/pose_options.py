"""What a user can say about the poses of a recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.errors import InputError

NO_POSES = "none"
MAX_GAP_S = 0.5


@dataclass(frozen=True)
class PoseOptions:
    """The options about poses; None leaves the choice to what is found.

    `T_pose_camera` is the camera's optical frame in the frame that the pose messages are about; for TF, in
    `pose_frame`. Raises InputError when one option leaves another without effect.
    """

    topic: str | None = None
    map_frame: str | None = None
    camera_frame: str | None = None
    pose_frame: str | None = None
    T_pose_camera: np.ndarray | None = None
    max_gap_s: float | None = None

    def __post_init__(self) -> None:
        if self.topic == NO_POSES and self.given:
            raise InputError(f"--pose none takes no poses, so {self.given} would have no effect; leave out one of them")
        if self.T_pose_camera is not None and self.camera_frame is not None:
            raise InputError(
                "--pose-camera says where the camera is, so --camera-frame would have no effect; leave out one of them"
            )

    @property
    def given(self) -> str:
        """The options that were given about poses, other than the topic; empty where there is none."""
        values = {
            "--map-frame": self.map_frame,
            "--camera-frame": self.camera_frame,
            "--pose-frame": self.pose_frame,
            "--pose-camera": self.T_pose_camera,
            "--max-gap": self.max_gap_s,
        }
        return ", ".join(name for name, value in values.items() if value is not None)

    @property
    def gap_s(self) -> float:
        return MAX_GAP_S if self.max_gap_s is None else self.max_gap_s
