"""What localizing one image gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Verdict(str, Enum):
    """Localized, or why not. The words are published in diagnostics."""

    LOCALIZED = "localized"
    BAD_IMAGE = "the image cannot be used"
    TOO_FEW_LANDMARKS = "too few landmarks detected"
    NO_CONSENSUS = "the detections do not agree on a pose"
    TOO_UNCERTAIN = "the pose is too uncertain"


@dataclass(frozen=True)
class Detections:
    """Landmarks found in one image: N of them, best score first.

    `pixels_n2` are in the image as it came (with its distortion), `points_map_n3` the landmarks in metres,
    `sigma_px_n` the expected error of each pixel, `inlier_n` whether the pose agrees with it.
    """

    landmark_n: np.ndarray
    pixels_n2: np.ndarray
    points_map_n3: np.ndarray
    score_n: np.ndarray
    sigma_px_n: np.ndarray
    inlier_n: np.ndarray

    def __len__(self) -> int:
        return len(self.landmark_n)

    @classmethod
    def none(cls) -> Detections:
        empty = np.zeros(0)
        return cls(empty.astype(int), empty.reshape(0, 2), empty.reshape(0, 3), empty, empty, empty.astype(bool))


@dataclass(frozen=True)
class Localization:
    """The pose of the camera in the map, or why there is none.

    `covariance_66` is that of (x, y, z, rotation about x, y, z) along the fixed axes of the map, in metres and radians,
    as geometry_msgs/PoseWithCovariance wants it: t = t_true + e[:3], R = Exp(e[3:]) R_true.
    """

    verdict: Verdict
    detail: str
    detections: Detections = field(default_factory=Detections.none)
    T_map_camera: np.ndarray | None = None
    covariance_66: np.ndarray | None = None
    reprojection_px: float = float("nan")  # median over the inliers
    searched_points: int = 0  # map points that the second look expected in view; 0 where there was none
    agreeing_points: int = 0  # of them, those found where the pose has them
    confidence: float = float("nan")  # probability that the pose is right; not known without a second look
    timings_s: dict[str, float] = field(default_factory=dict)
    scene: str = ""  # of a folder of scenes, the one that answered
    map_frame: str = ""  # in which its pose is; empty: that of the only scene

    @property
    def localized(self) -> bool:
        return self.verdict is Verdict.LOCALIZED
