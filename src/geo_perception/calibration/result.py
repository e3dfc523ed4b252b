"""What calibrating from one image gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from geo_perception.calibration.lens import LensBend
from geo_perception.geometry import Camera, fov_rad


class CalibrationVerdict(str, Enum):
    """Whether the answer can be trusted, or why not. The words are published in diagnostics."""

    CALIBRATED = "calibrated"
    BAD_IMAGE = "the image cannot be used"
    NO_STRUCTURE = "the image shows nothing to go by"
    TOO_UNCERTAIN = "the answer is too uncertain"
    BENT = "the lens bends too strongly"


@dataclass(frozen=True)
class Calibration:
    """Focal length and attitude of the camera that took one image of `width_px` x `height_px`.

    Square pixels, principal point in the image's centre; `lens` where it was seen to bend. `covariance_33` is that of
    (focal_px, pitch_rad, roll_rad).
    The three values are NaN where the verdict is BAD_IMAGE or NO_STRUCTURE; with others that are not trusted they are
    the best guess.
    """

    verdict: CalibrationVerdict
    detail: str
    width_px: int
    height_px: int
    focal_px: float = float("nan")
    pitch_rad: float = float("nan")
    roll_rad: float = float("nan")
    covariance_33: np.ndarray | None = None
    lines: int = 0  # straight lines of the image that speak for it, about
    focal_known: bool = False  # the focal length was known beforehand, and not told by the image alone
    lens: LensBend | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        return self.verdict is CalibrationVerdict.CALIBRATED

    @property
    def vfov_rad(self) -> float:
        """The vertical field of view."""
        return float(fov_rad(self.height_px, self.focal_px))

    @property
    def sigma_focal_px(self) -> float:
        return self._sigma(0)

    @property
    def sigma_pitch_rad(self) -> float:
        return self._sigma(1)

    @property
    def sigma_roll_rad(self) -> float:
        return self._sigma(2)

    @property
    def sigma_vfov_rad(self) -> float:
        """Standard deviation of the vertical field of view, to first order: |d fov / d f| sigma_f."""
        half_px = self.height_px / 2
        return float(2 * half_px / (self.focal_px**2 + half_px**2) * self.sigma_focal_px)

    @property
    def camera(self) -> Camera:
        """The camera with this focal length, and with a lens that bends. Raises InputError when there is none."""
        if self.lens is not None and not self.lens.beyond:
            return self.lens.camera(self.focal_px, self.width_px, self.height_px)
        middle_2 = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        return Camera(self.width_px, self.height_px, self.focal_px, self.focal_px, *middle_2)

    def _sigma(self, index: int) -> float:
        return float("nan") if self.covariance_33 is None else float(np.sqrt(self.covariance_33[index, index]))
