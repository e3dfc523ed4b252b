"""What looking at one image for depth gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from geo_perception.geometry import Camera

CONFIDENT_RATIO = 1.25  # a depth within this ratio of the truth counts as right, as in Eigen's first accuracy


class DepthVerdict(str, Enum):
    """Estimated, or why not. The words are published in diagnostics."""

    ESTIMATED = "estimated"
    BAD_IMAGE = "the image cannot be used"
    NO_STRUCTURE = "the image shows no structure"


@dataclass(frozen=True)
class RelativeDepth:
    """Depth in a unit of its own: true depth is a factor times it, the same for the whole image.

    `depth_hw` (float32) is along z, NaN where the camera saw nothing. `sigma_hw` (float32) is the scale parameter of
    the Laplace distribution that the logarithm of its error follows; None where the network does not tell. `camera` is
    the pinhole whose pixels these are (None: the camera was not given), `view_hw3` what it saw, RGB uint8.
    """

    verdict: DepthVerdict
    detail: str = ""
    camera: Camera | None = None
    depth_hw: np.ndarray | None = None
    sigma_hw: np.ndarray | None = None
    view_hw3: np.ndarray | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def estimated(self) -> bool:
        return self.verdict is DepthVerdict.ESTIMATED

    @property
    def confidence_hw(self) -> np.ndarray | None:
        """The probability (float32, H x W) that a depth is within CONFIDENT_RATIO of the truth, its scale known."""
        if self.sigma_hw is None:
            return None
        return (1 - np.exp(-np.log(CONFIDENT_RATIO) / np.maximum(self.sigma_hw, 1e-6))).astype(np.float32)
