"""What turns the covariance of a solver into one that its errors have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Three = tuple[float, float, float]
_NOTHING: Three = (0.0, 0.0, 0.0)
MOST_DISAGREEMENT = 4.0  # what is further off makes nothing worse


@dataclass(frozen=True)
class Uncertainty:
    """The factor on the standard deviation of (log focal length, pitch, roll), found on crops that training did not
    see, and a floor (standard deviations) that is added."""

    scale_3: Three = (1.0, 1.0, 1.0)
    floor_3: Three = _NOTHING

    def calibrated(self, covariance_33: np.ndarray) -> np.ndarray:
        """The true covariance (3, 3) by the solver's."""
        return covariance_33 * np.outer(self.scale_3, self.scale_3) + np.diag(np.square(self.floor_3))

    @classmethod
    def of_header(cls, header: dict[str, Any]) -> Uncertainty:
        """Raises KeyError or TypeError where it has none."""
        return cls(_three(header["scale_3"]), _three(header["floor_3"]))


@dataclass(frozen=True)
class LinesUncertainty:
    """Of an answer that lines refined. Lines mislead where many of them belong to no direction (`strays`, a share) and
    where they contradict the network (`disagreement`, in standard deviations of its answer): the factor on the standard
    deviations is scale exp(a strays + b disagreement), with `strays_3` for a and `disagreement_3` for b."""

    scale_3: Three = (1.0, 1.0, 1.0)
    floor_3: Three = _NOTHING
    strays_3: Three = _NOTHING
    disagreement_3: Three = _NOTHING

    def factors(self, strays: float, disagreement: float) -> np.ndarray:
        """(3,) on the standard deviations."""
        disagreement = min(disagreement, MOST_DISAGREEMENT)
        exponent_3 = strays * np.asarray(self.strays_3) + disagreement * np.asarray(self.disagreement_3)
        return np.asarray(self.scale_3) * np.exp(exponent_3)

    def calibrated(self, covariance_33: np.ndarray, strays: float, disagreement: float) -> np.ndarray:
        """The true covariance (3, 3) by the solver's."""
        factor_3 = self.factors(strays, disagreement)
        return covariance_33 * np.outer(factor_3, factor_3) + np.diag(np.square(self.floor_3))

    @classmethod
    def of_header(cls, header: dict[str, Any]) -> LinesUncertainty:
        """Raises KeyError or TypeError where it has none."""
        more = (_three(header.get(name, _NOTHING)) for name in ("strays_3", "disagreement_3"))
        return cls(_three(header["scale_3"]), _three(header["floor_3"]), *more)


def _three(values: Any) -> Three:
    first, second, third = (float(value) for value in values)
    return first, second, third
