"""How good a calibration from one image is: errors of roll, pitch, field of view, focal length and horizon, the area
under the recall curve, and whether the stated covariances are true.

A frame without an answer is infinitely wrong; it is never left out. Not to be confused with `calibration_check`, which
asks whether the covariances of poses are true, and whose tests of covariances are used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geo_perception.calibration.result import Calibration
from geo_perception.geometry import fov_rad, horizon_line, up_from_attitude, wrap_rad
from geo_training.metrics.consistency import LEVELS, coverage, normalized_error_squared
from geo_training.metrics.pose import latency_metrics, percentile

AUC_THRESHOLDS_DEG = (1, 5, 10)
ANGLES = ("roll", "pitch", "fov", "gravity")
# As a share of the image's height: the limit at which horizon detectors are compared.
HORIZON_LIMIT = 0.25
# The entries of the error that the stated covariance is about. The focal length counts by its logarithm.
PARAMETERS = ("focal", "pitch", "roll")


@dataclass(frozen=True)
class TrueCamera:
    """The camera that took an image, as far as one image can tell: focal length, attitude of its optical axis, and the
    principal point (OpenCV pixels), which is the image's centre where it is not given."""

    width_px: int
    height_px: int
    focal_px: float
    pitch_rad: float
    roll_rad: float
    cx_px: float | None = None
    cy_px: float | None = None

    @property
    def principal_point_2(self) -> tuple[float, float]:
        middle_2 = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        return (middle_2[0] if self.cx_px is None else self.cx_px, middle_2[1] if self.cy_px is None else self.cy_px)

    @property
    def vfov_rad(self) -> float:
        """2 atan(H / 2 f), the vertical field of view of a centred camera of this focal length."""
        return float(fov_rad(self.height_px, self.focal_px))

    @property
    def horizon_3(self) -> np.ndarray:
        """The line (a, b, c) of the horizon; see `geometry.horizon_line`."""
        return horizon_line(self.focal_px, *self.principal_point_2, self.pitch_rad, self.roll_rad)


@dataclass(frozen=True)
class CalibrationOutcome:
    """What the calibrator said of one image. `domain` is free text, empty where nobody said."""

    name: str
    domain: str
    truth: TrueCamera
    result: Calibration
    latency_s: float = float("nan")

    @property
    def answered(self) -> bool:
        """Whether there is a camera at all, trusted or not."""
        return bool(np.isfinite([self.result.focal_px, self.result.pitch_rad, self.result.roll_rad]).all())

    @property
    def estimated(self) -> TrueCamera:
        """The answer, seen as a camera with a centred principal point."""
        found = self.result
        size = self.truth.width_px, self.truth.height_px
        return TrueCamera(*size, found.focal_px, found.pitch_rad, found.roll_rad)

    @property
    def errors_deg(self) -> dict[str, float]:
        """Absolute errors in degrees of roll, pitch, vertical field of view, and of the direction of gravity; infinite
        without an answer. The roll's is that around the circle. Looking nearly straight up or down the roll means
        little, and only `gravity`, the angle between the up-vectors, is fair."""
        if not self.answered:
            return dict.fromkeys(ANGLES, float("inf"))
        found, truth = self.result, self.truth
        up_3, true_up_3 = (up_from_attitude(c.pitch_rad, c.roll_rad) for c in (found, truth))
        apart_rad = np.arctan2(np.linalg.norm(np.cross(up_3, true_up_3)), up_3 @ true_up_3)
        values_rad = (
            wrap_rad(found.roll_rad - truth.roll_rad),
            found.pitch_rad - truth.pitch_rad,
            self.estimated.vfov_rad - truth.vfov_rad,
            apart_rad,
        )
        return {name: float(np.degrees(abs(value))) for name, value in zip(ANGLES, values_rad, strict=True)}

    @property
    def focal_error(self) -> float:
        """|f / f_true - 1|."""
        return abs(self.result.focal_px / self.truth.focal_px - 1) if self.answered else float("inf")

    @property
    def horizon_error(self) -> float:
        """`horizon_error` of the answer; infinite without one, NaN where the true horizon is not in the image."""
        if not horizon_in_image(self.truth):
            return float("nan")
        return horizon_error(self.truth, self.estimated) if self.answered else float("inf")

    @property
    def normalized_squares(self) -> dict[str, float] | None:
        """The squared error of each of `PARAMETERS` over its stated variance, and `joint`, e^T C^-1 e (NEES). Infinite
        where no valid covariance is stated; None without an answer."""
        if not self.answered:
            return None
        found, truth, covariance_33 = self.result, self.truth, self.result.covariance_33
        if covariance_33 is None or not np.isfinite(covariance_33).all():
            return dict.fromkeys((*PARAMETERS, "joint"), float("inf"))
        # Of (log focal, pitch, roll): the focal length is solved for by its logarithm, whose error is the more normal.
        scale_3 = np.array([1 / found.focal_px, 1, 1])
        covariance_33 = covariance_33 * np.outer(scale_3, scale_3)
        error_3 = np.array(
            [
                np.log(found.focal_px / truth.focal_px),
                found.pitch_rad - truth.pitch_rad,
                wrap_rad(found.roll_rad - truth.roll_rad),
            ]
        )
        squares = {
            name: normalized_error_squared(error_3[i : i + 1], covariance_33[i : i + 1, i : i + 1])
            for i, name in enumerate(PARAMETERS)
        }
        return squares | {"joint": normalized_error_squared(error_3, covariance_33)}


def horizon_in_image(camera: TrueCamera) -> bool:
    """Whether the horizon crosses the image: its corners are not all on one side. False looking straight up or down."""
    a, b, c = camera.horizon_3
    right_px, bottom_px = camera.width_px - 0.5, camera.height_px - 0.5
    corners_4 = np.array([a * x + b * y + c for x in (-0.5, right_px) for y in (-0.5, bottom_px)])
    return bool(np.isfinite(corners_4).all() and corners_4.min() <= 0 <= corners_4.max())


def horizon_error(truth: TrueCamera, estimated: TrueCamera) -> float:
    """The largest distance between both horizons in the image, divided by its height.

    As usual, both lines are followed to the left and the right border of the image and compared there, vertically; a
    true horizon steeper than 45 degrees is followed to the upper and lower border and compared horizontally. Infinite
    where the estimated horizon never meets those borders: it runs along them, or the camera is said to look straight
    up or down.
    """
    true_3, found_3 = truth.horizon_3, estimated.horizon_3
    along, across = (0, 1) if abs(true_3[1]) >= abs(true_3[0]) else (1, 0)
    if not np.isfinite(found_3).all() or abs(found_3[across]) < 1e-12:
        return float("inf")
    borders_2 = np.array([-0.5, (truth.width_px, truth.height_px)[along] - 0.5])
    true_2, found_2 = (-(line[along] * borders_2 + line[2]) / line[across] for line in (true_3, found_3))
    return float(np.abs(found_2 - true_2).max() / truth.height_px)


def auc(errors: ArrayLike, threshold: float) -> float:
    """Area under the recall curve from 0 to `threshold`, divided by it; NaN for no error at all.

    The curve joins (0, 0) and the points (i-th smallest error, i / N) by straight lines, and is level from the last one
    below the threshold on, as the AUC of pose errors is commonly taken.
    """
    ascending = np.sort(np.asarray(errors, np.float64))
    if not len(ascending):
        return float("nan")
    below = ascending[: np.searchsorted(ascending, threshold)]
    share = np.arange(len(below) + 1) / len(ascending)
    x, y = np.concatenate([[0.0], below, [threshold]]), np.append(share, share[-1])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / threshold)


def median(values: Iterable[float]) -> float:
    """The median of all values, infinite ones among them; NaN where there is none."""
    return percentile(values, 50)


def error_metrics(outcomes: Sequence[CalibrationOutcome]) -> dict[str, float]:
    """AUC in percent and medians of every error. The horizon counts where the true one is in the image."""
    metrics: dict[str, float] = {}
    errors = [outcome.errors_deg for outcome in outcomes]
    for name in ANGLES:
        values = [error[name] for error in errors]
        metrics |= {f"{name}_auc_{limit}": 100 * auc(values, limit) for limit in AUC_THRESHOLDS_DEG}
        metrics[f"{name}_median_deg"] = median(values)
    metrics["focal_median_pct"] = 100 * median([outcome.focal_error for outcome in outcomes])
    horizon = np.array([outcome.horizon_error for outcome in outcomes], np.float64)
    horizon = horizon[~np.isnan(horizon)]
    metrics["horizon_frames"] = len(horizon)
    metrics["horizon_median_pct"] = 100 * median(horizon)
    metrics[f"horizon_auc_{100 * HORIZON_LIMIT:.0f}"] = 100 * auc(horizon, HORIZON_LIMIT)
    return metrics


def normalized_squares(outcomes: Sequence[CalibrationOutcome]) -> dict[str, np.ndarray]:
    """The squared errors over their stated variances of all answered frames, (N,) for each parameter and `joint`."""
    found = [squares for outcome in outcomes if (squares := outcome.normalized_squares) is not None]
    return {part: np.array([squares[part] for squares in found], np.float64) for part in (*PARAMETERS, "joint")}


def freedom(part: str) -> int:
    """Degrees of freedom of one entry of `normalized_squares`."""
    return len(PARAMETERS) if part == "joint" else 1


def reliability_table(outcomes: Sequence[CalibrationOutcome]) -> list[dict[str, float]]:
    """Rows of {stated, focal, pitch, roll, joint}: the stated probability, and how often the truth lay inside the
    interval (or, `joint`, the ellipsoid) that is stated to hold it."""
    squares = normalized_squares(outcomes)
    return [
        {"stated": level} | {part: coverage(squares_n, level, freedom(part)) for part, squares_n in squares.items()}
        for level in LEVELS
    ]


def coverage_metrics(outcomes: Sequence[CalibrationOutcome]) -> dict[str, float]:
    """Whether the stated covariances are true, over the answered frames (`coverage_frames` of them): an image without
    an answer states nothing. An answer without a covariance counts as infinite.

    `coverage_90_<parameter>` is the share of errors within 1.645 sigma, `coverage_90` the mean of the three,
    `coverage_90_joint` the share of true cameras in the 90 % ellipsoid. The median NEES of a true covariance is 2.37.
    """
    squares = normalized_squares(outcomes)
    held = {part: coverage(squares_n, 0.90, freedom(part)) for part, squares_n in squares.items()}
    metrics = {
        "coverage_frames": len(squares["joint"]),
        "coverage_90": float(np.mean([held[name] for name in PARAMETERS])),
    }
    metrics |= {f"coverage_90_{part}": share for part, share in held.items()}
    metrics["nees_median"] = percentile(squares["joint"], 50)
    metrics["nees_mean"] = float(squares["joint"].mean()) if len(squares["joint"]) else float("nan")
    return metrics


def verdict_metrics(outcomes: Sequence[CalibrationOutcome]) -> dict[str, float]:
    """How many frames are answered and trusted, and the median errors of the trusted and of the answered others, with
    how many those are (`trusted_frames`, `doubted_frames`)."""
    count = len(outcomes)
    trusted = [outcome for outcome in outcomes if outcome.result.trusted]
    doubted = [outcome for outcome in outcomes if outcome.answered and not outcome.result.trusted]
    metrics = {
        "frames_missed": count - sum(outcome.answered for outcome in outcomes),
        "trusted_frames": len(trusted),
        "doubted_frames": len(doubted),
        "answered_share": sum(outcome.answered for outcome in outcomes) / count if count else float("nan"),
        "trusted_share": len(trusted) / count if count else float("nan"),
    }
    for name in ("roll", "pitch", "fov"):
        for kind, group in (("trusted", trusted), ("doubted", doubted)):
            metrics[f"{kind}_{name}_median_deg"] = median([outcome.errors_deg[name] for outcome in group])
    return metrics


def summarize(outcomes: Sequence[CalibrationOutcome]) -> dict[str, float]:
    """All metrics of a set of images, flat."""
    return {
        "frames": len(outcomes),
        **error_metrics(outcomes),
        **coverage_metrics(outcomes),
        **verdict_metrics(outcomes),
        **latency_metrics(outcomes),
    }
