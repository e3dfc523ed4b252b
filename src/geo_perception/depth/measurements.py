"""What a robot tells the depth node besides images, and the depth maps it is about; each with a stamp of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geo_perception.depth.result import RelativeDepth
from geo_perception.geometry import Camera


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
class MotionPose:
    """Where `source` says that a body is, in metres: "odometry" the robot's base, "camera_pose" the camera or its base.

    `body_frame` is the name of the body's frame, None for the camera's optical frame itself. `world` tells frames
    apart: poses in different ones are no motion. `sigma_m` and `sigma_rad` are standard deviations of the position
    and of the rotation along each axis that poses of the source do not share, 0 where it does not say them.
    """

    stamp_ns: int
    T_world_body: np.ndarray
    body_frame: str | None
    world: str = ""
    sigma_m: float = 0.0
    sigma_rad: float = 0.0
    source: str = "odometry"


@dataclass(frozen=True)
class SeenDepth:
    """A depth map with its stamp, and the camera of the image it was made from."""

    stamp_ns: int
    depth: RelativeDepth
    image_camera: Camera
