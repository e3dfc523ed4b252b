"""Calibrations of single images fused over time. No ROS and no clock: time is the stamps of the images.

The focal length of a camera stays, pitch and roll wander; see `filtering.correlated_filter` for why a hundred images do
not make the answer ten times as certain. An image that contradicts the estimate is left out. When several in a row do
and agree with each other, the camera has changed, not the image: a new focal length starts the filter anew, a new
attitude alone is followed and the focal length kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement
from geo_perception.filtering.correlated_filter import CorrelatedFilter, CorrelatedMeasurement, GaussianState

# The state x: the logarithm keeps the focal length positive, and its uncertainty a share of it.
FOCAL, PITCH, ROLL = 0, 1, 2
CLOCK_JUMP_S = 1.0  # stamps that go back by less belong to images that came out of order
STALE_S = 1.0
_CONTRADICTING_FRAMES = 2  # one image alone may be wrong
_OPEN_VARIANCE = np.pi**2  # says nothing about an angle
_ENOUGH_TURNS = 2  # as good as `min_frames` images


@dataclass(frozen=True)
class FusionOptions:
    """How images are fused. Standard deviations of the focal length are shares of it (0.1 is 10 %)."""

    correlation_s: float = 30.0  # the errors of two images this far apart in time are still alike (factor 1/e)
    shared_error: float = 0.8  # the part of an image's error variance that an image of the same view repeats
    focal_walk: float = 0.001  # wandering of the focal length in one second, for focusing and warming up
    attitude_walk_rad: float = 0.1  # wandering of pitch and roll in one second; 0: a camera that stands fixed
    gate_sigma: float = 4.0  # an image further off than this is left out
    focal_restart_frames: int = 5  # images that contradict the focal length alike start the filter anew
    attitude_restart_frames: int = 3  # images in a row that contradict only the attitude open it
    min_frames: int = 5  # images before the focal length counts as settled
    max_focal_sigma: float = 0.1  # the focal length is settled when it is more certain than this
    max_attitude_sigma_rad: float = 0.12  # pitch and roll are good when both are more certain than this

    @property
    def walk_3(self) -> np.ndarray:
        """How far (log focal, pitch, roll) wander in one second, one standard deviation."""
        return np.array([self.focal_walk, self.attitude_walk_rad, self.attitude_walk_rad])


class FusionState(str, Enum):
    """How the fusion stands. The words are published in diagnostics."""

    NOTHING = "no usable image yet"
    STALE = "no usable image lately"
    CONTRADICTED = "the last images contradict the estimate"
    SETTLING = "settling"
    SETTLED = "settled"


@dataclass(frozen=True)
class FusedCalibration(Calibration):
    """The calibration at the stamp of one image, from that image and those before it.

    The verdict is CALIBRATED when the focal length is settled. `frames` counts the images that went in since the filter
    started. `used` tells whether this image did, `attitude_good` whether pitch and roll are certain enough, `event`
    what else happened at this image (a restart), in words.
    """

    stamp_s: float = float("nan")
    state: FusionState = FusionState.NOTHING
    frames: int = 0
    used: bool = False
    attitude_good: bool = False
    event: str = ""

    @property
    def focal_settled(self) -> bool:
        return self.trusted


class CalibrationFusion:
    """Takes the calibration of each image in the order of their stamps. `options` may be changed at any time."""

    def __init__(self, options: FusionOptions | None = None):
        self.options = options or FusionOptions()
        self._filter = CorrelatedFilter([_OPEN_VARIANCE] * 3 + [1.0] * 3, angles=(ROLL,))
        self.reset()

    def reset(self) -> None:
        """Forgets every image."""
        self._filter.reset()
        self._odd_turn: tuple[float, float] | None = None  # log focal and variance of a turn that contradicts it
        self._contradictions = self._focal_contradictions = 0
        self._frames = self._turns = 0
        self._size_px: tuple[int, int] | None = None
        self._stamp_s = self._used_s = float("nan")

    def update(
        self, calibration: Calibration, stamp_s: float, ncc: float = 0.0, turn: RotationMeasurement | None = None
    ) -> FusedCalibration:
        """The estimate at this image's stamp. `ncc` is the correlation of its view with the usable image before, 0 to 1
        (`ViewChange`); 0 leaves it to the time between them. `turn` is a measurement from a turn of the camera
        (`RotationSelfCalibration`); its error is not shared with the images', and so it counts in full.

        An image without a trusted answer changes nothing but the uncertainty, which grows. So does one whose answer, or
        whose stamp, is no number. Another image size, or a stamp more than a second back, starts anew; a stamp that is
        back by less is left out.
        """
        if not np.isfinite(stamp_s):
            return self._present(calibration, used=False, event="")
        event = self._restart_reason(calibration, stamp_s)
        if event:
            self.reset()
        elif stamp_s < self._stamp_s:
            return self._present(calibration, used=False, event="")
        self._size_px = calibration.width_px, calibration.height_px
        measurement = _measurement(calibration)
        # An image that shows nothing says nothing about how alike the next usable one is to the last.
        self._advance(stamp_s, ncc if measurement else 1.0)
        used = False
        if measurement:
            used, happened = self._take(*measurement)
            event = event or happened
        if turn is not None and turn.focal_px > 0 and np.isfinite((turn.focal_px, turn.sigma_log_focal)).all():
            event = event or self._take_turn(float(np.log(turn.focal_px)), turn.sigma_log_focal**2)
        return self._present(calibration, used, event)

    def _take_turn(self, log_focal: float, variance: float) -> str:
        """Takes a rotation measurement. One that contradicts the estimate may have been no pure rotation; two that
        agree mean another zoom."""
        turn, estimate = CorrelatedMeasurement(np.array([log_focal]), np.array([[variance]])), self._filter
        if estimate.state is None:
            estimate.state, self._turns, self._used_s = estimate.started(turn), 1, self._stamp_s
            return ""
        gate = self.options.gate_sigma
        if not estimate.contradictions(turn, gate).any():
            estimate.state, self._odd_turn = estimate.updated(estimate.state, turn), None
            self._turns += 1
            return ""
        before, self._odd_turn = self._odd_turn, (log_focal, variance)
        if before is None or abs(before[0] - log_focal) > gate * np.sqrt(before[1] + variance):
            return ""
        before_px = np.exp(estimate.state.mean_n[FOCAL])
        estimate.state, self._odd_turn = estimate.state.replaced([FOCAL], variance, log_focal), None
        self._turns = 2
        return f"the focal length changed from {before_px:.0f} to {np.exp(log_focal):.0f} px"

    def _restart_reason(self, calibration: Calibration, stamp_s: float) -> str:
        size_px = calibration.width_px, calibration.height_px
        if self._size_px is not None and size_px != self._size_px:
            before, now = (" x ".join(map(str, size)) for size in (self._size_px, size_px))
            return f"the image size changed from {before} to {now}"
        if stamp_s < self._stamp_s - CLOCK_JUMP_S:
            return f"the stamps went back by {self._stamp_s - stamp_s:.1f} s"
        return ""

    def _advance(self, stamp_s: float, ncc: float) -> None:
        if self._filter.state is not None:
            seconds = stamp_s - self._stamp_s
            # Alike as long as either the view or the moment is: a fast turn does not leave the building.
            rho = max(min(ncc, 1.0), float(np.exp(-seconds / self.options.correlation_s)))
            self._filter.predict(seconds, rho, self.options.walk_3)
        self._stamp_s = stamp_s

    def _take(self, z_3: np.ndarray, R_33: np.ndarray) -> tuple[bool, str]:
        """Whether the measurement went into the estimate, and what else happened."""
        estimate, options = self._filter, self.options
        image = CorrelatedMeasurement(z_3, R_33, options.shared_error, shared_at=3)
        if estimate.state is None:
            return self._accept(estimate.started(image), frames=1), ""
        far_3 = estimate.contradictions(image, options.gate_sigma)
        if not far_3.any():
            return self._accept(estimate.updated(estimate.state, image), self._frames + 1), ""
        self._contradictions += 1
        self._focal_contradictions = self._focal_contradictions + 1 if far_3[FOCAL] else 0
        agreeing = estimate.support_alternative(image, options.gate_sigma)
        if far_3[FOCAL]:
            if agreeing < options.focal_restart_frames:
                return False, ""
            before_px, now_px = (np.exp(each.mean_n[FOCAL]) for each in (estimate.state, estimate.alternative))
            self._accept(estimate.alternative, agreeing)
            return True, f"the focal length changed from {before_px:.0f} to {now_px:.0f} px"
        if agreeing < options.attitude_restart_frames:
            return False, ""
        opened = estimate.opened(estimate.state, [PITCH, ROLL])
        self._accept(estimate.updated(opened, image), self._frames + 1)
        return True, "the attitude jumped and is followed"

    def _accept(self, state: GaussianState, frames: int) -> bool:
        self._filter.accept(state)
        self._frames, self._used_s = frames, self._stamp_s
        self._contradictions = self._focal_contradictions = 0
        return True

    def _present(self, calibration: Calibration, used: bool, event: str) -> FusedCalibration:
        size_px, options = (calibration.width_px, calibration.height_px), self.options
        state = self._filter.state
        if state is None:
            label = FusionState.NOTHING.value
            # An answer that claims to be good and could not be used was none.
            verdict = CalibrationVerdict.TOO_UNCERTAIN if calibration.trusted else calibration.verdict
            return FusedCalibration(verdict, label, *size_px, stamp_s=self._stamp_s, event=event)
        x_3, covariance_33 = state.mean_n[:3], state.covariance_nn[:3, :3]
        sigma_3 = np.sqrt(np.diag(covariance_33))
        focal_px = float(np.exp(x_3[FOCAL]))
        scale_3 = np.array([focal_px, 1.0, 1.0])
        # A focal length that the last images deny is not offered to anyone.
        settled = (
            (self._frames >= options.min_frames or self._turns >= _ENOUGH_TURNS)
            and sigma_3[FOCAL] <= options.max_focal_sigma
            and self._focal_contradictions < _CONTRADICTING_FRAMES
        )
        fusion_state, detail = self._describe(settled, focal_px, sigma_3[FOCAL])
        return FusedCalibration(
            CalibrationVerdict.CALIBRATED if settled else CalibrationVerdict.TOO_UNCERTAIN,
            detail,
            *size_px,
            focal_px=focal_px,
            pitch_rad=float(x_3[PITCH]),
            roll_rad=float(x_3[ROLL]),
            covariance_33=covariance_33 * np.outer(scale_3, scale_3),
            stamp_s=self._stamp_s,
            state=fusion_state,
            frames=self._frames,
            used=used,
            attitude_good=bool(max(sigma_3[PITCH], sigma_3[ROLL]) <= options.max_attitude_sigma_rad),
            event=event,
        )

    def _describe(self, settled: bool, focal_px: float, focal_sigma: float) -> tuple[FusionState, str]:
        value = f"focal length {focal_px:.0f} px within {100 * focal_sigma:.1f} % after {_count(self._frames)}"
        silent_s = self._stamp_s - self._used_s
        if self._contradictions >= _CONTRADICTING_FRAMES:
            return FusionState.CONTRADICTED, f"the last {_count(self._contradictions)} contradict the estimate; {value}"
        if silent_s > STALE_S:
            return FusionState.STALE, f"no usable image for {silent_s:.1f} s; {value}"
        state = FusionState.SETTLED if settled else FusionState.SETTLING
        return state, f"{state.value}: {value}"


def _measurement(calibration: Calibration) -> tuple[np.ndarray, np.ndarray] | None:
    """(log focal, pitch, roll) and their covariance (3, 3); None where there is nothing that could be used."""
    if not calibration.trusted or calibration.covariance_33 is None or not 0 < calibration.focal_px < np.inf:
        return None
    z_3 = np.array([np.log(calibration.focal_px), calibration.pitch_rad, calibration.roll_rad])
    scale_3 = np.array([calibration.focal_px, 1.0, 1.0])
    R_33 = np.asarray(calibration.covariance_33, np.float64) / np.outer(scale_3, scale_3)
    R_33 = 0.5 * (R_33 + R_33.T)
    if not np.isfinite(z_3).all() or not np.isfinite(R_33).all():
        return None
    # An image that claims more than rounding allows would make the filter's matrices singular.
    return (z_3, R_33) if np.linalg.eigvalsh(R_33).min() > 1e-12 else None


def _count(images: int) -> str:
    return f"{images} image" + ("s" if images != 1 else "")
