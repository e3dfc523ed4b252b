"""How a lens bends straight lines, by images in which there are some.

Where a lens bends, its segments do not meet in vanishing points until they are straightened. How likely the camera with
its lines is for each of a few bends is what an image says; what several images of one camera say adds up. Curved things
look like a bent lens, too, but not the same in every view: so a bend is believed that several views ask for together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geo_perception.calibration.scale import image_scale
from geo_perception.geometry import Camera

# In units of the image's scale. The strongest makes a corner's ray twice as far out as it looks; cushions are rare.
BENDS = (-0.5, -0.36, -0.25, -0.16, -0.09, -0.04, 0.0, 0.04)
MIN_SEGMENTS = 15  # of an image that tells
ENOUGH_VIEWS = 12  # after so many nothing more is asked
MIN_GAIN = 12.0  # of twice the log likelihood, over all views
MIN_VIEWS = 3
MOST_GAIN_OF_VIEW = 8.0  # so that no single view decides
TOO_BENT = "it is no pinhole's image; undistort it, or give the CameraInfo of its lens"
_RADII = 64
LEAST_SHRINK = 0.15  # of a radius that is straightened, against what it looks like
_INFLATION, _SIGMA_FLOOR = 2.0, 0.01  # segments of one edge err together, and lenses bend in more ways than this one


@dataclass(frozen=True)
class LensBend:
    """The bend of a lens: it takes r for r / (1 + bend r^2), with pixels from the principal point divided by
    `image_scale`. `sigma` is its standard deviation. `beyond` says that it is stronger than can be told here."""

    bend: float
    sigma: float
    beyond: bool = False

    def camera(self, focal_px: float, width_px: int, height_px: int) -> Camera:
        """The camera with such a lens, as the `rational_polynomial` that fits it over the image: `plumb_bob` cannot."""
        scale = image_scale(height_px, width_px)
        middle = (width_px - 1) / 2, (height_px - 1) / 2
        corner = float(np.hypot(width_px, height_px)) / 2 / scale
        seen_n = np.linspace(0, corner, _RADII)[1:]
        # A strong bend has no answer far out in a wide image: what is seen there goes on as it does before.
        seen_n = seen_n[1 + self.bend * seen_n**2 > LEAST_SHRINK]
        true_n = seen_n / (1 + self.bend * seen_n**2) * scale / focal_px
        bent_n = seen_n * scale / focal_px
        # bent (1 + k4 r^2 + k5 r^4) = r (1 + k1 r^2 + k2 r^4), each radius weighed by its share of itself.
        powers_n4 = np.stack([true_n**2, true_n**4, -bent_n * true_n, -bent_n * true_n**3], axis=1)
        k1, k2, k4, k5 = np.linalg.lstsq(powers_n4, bent_n / true_n - 1, rcond=None)[0].tolist()
        lens = k1, k2, 0.0, 0.0, 0.0, k4, k5, 0.0
        return Camera(width_px, height_px, focal_px, focal_px, *middle, "rational_polynomial", lens)


@dataclass
class LensPool:
    """Adds up what views say of one lens."""

    views: list[np.ndarray] = field(default_factory=list)  # costs over BENDS, each less its least

    def add(self, costs_k: np.ndarray) -> None:
        """What another view says."""
        self.views.append(np.minimum(costs_k - costs_k.min(), MOST_GAIN_OF_VIEW))

    def bend(self) -> LensBend | None:
        """The bend that the views ask for; None where they are content without."""
        if len(self.views) < MIN_VIEWS:
            return None
        costs_k = np.sum(self.views, axis=0)
        best = int(np.argmin(costs_k))
        if costs_k[BENDS.index(0.0)] - costs_k[best] < MIN_GAIN:
            return None
        if best == 0:
            return LensBend(BENDS[0], float("nan"), beyond=True)
        around = slice(best - 1, best + 2) if best + 1 < len(BENDS) else slice(best - 2, best + 1)
        curvature, slope, _ = np.polyfit(BENDS[around], costs_k[around], 2)
        low, high = BENDS[around][0], BENDS[around][-1]
        bend = float(np.clip(-slope / (2 * curvature), low, high)) if curvature > 0 else BENDS[best]
        own = _INFLATION * min(max(curvature, 1e-9) ** -0.5, (high - low) / 2)  # at an end they may say no more
        return LensBend(bend, float(np.hypot(own, _SIGMA_FLOOR)))


def pooled_bend(views: Sequence[np.ndarray]) -> LensBend | None:
    """The bend by the costs of several views (see `Calibrator.bend_costs`)."""
    pool = LensPool()
    for costs_k in views:
        pool.add(costs_k)
    return pool.bend()
