"""Calibrations of single images fused over time. No ROS and no clock: time is the stamps of the images.

The focal length of a camera stays: it is pooled over all views (`focal_pool.py`). Pitch and roll wander, and are
filtered as each image gives them with that focal length; see `filtering.correlated_filter` for why a hundred images do
not make an answer ten times as certain. An image that contradicts the estimate is left out. When several in a row do
and agree with each other, the camera has changed, not the image: a new focal length starts all anew, a new attitude
alone is followed and the focal length kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from geo_perception.calibration.focal_pool import FocalPool, Opinion
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement
from geo_perception.filtering.correlated_filter import CorrelatedFilter, CorrelatedMeasurement, GaussianState

# Of a measurement: the logarithm keeps the focal length positive, and its uncertainty a share of it.
FOCAL, PITCH, ROLL = 0, 1, 2
CLOCK_JUMP_S = 1.0  # stamps that go back by less belong to images that came out of order
STALE_S = 1.0
_CONTRADICTING_FRAMES = 2  # one image alone may be wrong
_OPEN_VARIANCE = np.pi**2  # says nothing about an angle
_OTHER_VIEWS, _OF_ONE_VIEW = 3, 5  # views that tell of another zoom; of fewer it takes so many times as many images
_LEAST_VARIANCE = 1e-12  # what is smaller would make matrices singular
_ENOUGH_TURNS = 2  # as good as `min_frames` images


@dataclass(frozen=True)
class RememberedFocal:
    """A settled focal length of images of this size, the standard deviation of its logarithm, and the stamp of the
    image at which it was so."""

    focal_px: float
    sigma: float
    width_px: int
    height_px: int
    stamp_s: float

    @property
    def usable(self) -> bool:
        """Whether all are numbers that such a camera can have."""
        numbers = np.isfinite((self.focal_px, self.sigma, self.stamp_s)).all()
        return bool(numbers and min(self.focal_px, self.sigma, self.width_px, self.height_px) > 0)

    def holds(self, size_px: tuple[int, int], stamp_s: float, max_age_s: float) -> bool:
        """Whether it is believed of an image of this (width, height) and stamp."""
        fits = (self.width_px, self.height_px) == size_px and 0 <= stamp_s - self.stamp_s <= max_age_s
        return fits and self.usable


@dataclass(frozen=True)
class FusionOptions:
    """How images are fused. Standard deviations of the focal length are shares of it (0.1 is 10 %)."""

    correlation_s: float = 30.0  # the errors of two images this far apart in time are still alike (factor 1/e)
    shared_error: float = 0.8  # the part of an attitude's error variance that an image of the same view repeats
    place_error: float = 0.2  # the part of a focal length's error variance that all views of a place have in common
    # No image is believed more exactly than to this share of the focal length: those that lines mislead say otherwise.
    image_focal_sigma: float = 0.06
    focal_walk: float = 0.001  # wandering of the focal length in one second, for focusing and warming up
    attitude_walk_rad: float = 0.1  # wandering of pitch and roll in one second; 0: a camera that stands fixed
    gate_sigma: float = 4.0  # an image further off than this is left out
    focal_restart_frames: int = 5  # images of several views that contradict the focal length alike start it anew
    attitude_restart_frames: int = 3  # images in a row that contradict only the attitude open it
    min_frames: int = 5  # images before the focal length counts as settled
    max_focal_sigma: float = 0.1  # the focal length is settled when it is more certain than this
    max_attitude_sigma_rad: float = 0.12  # pitch and roll are good when both are more certain than this


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
        self._attitude = CorrelatedFilter([_OPEN_VARIANCE] * 2 + [1.0] * 2, angles=(ROLL - 1,))
        self.reset()

    def reset(self) -> None:
        """Forgets every image."""
        self._attitude.reset()
        self._focal: FocalPool = self._new_pool()
        self._other_focal: FocalPool | None = None  # by images that contradict it
        self._odd_turn: tuple[float, float] | None = None  # log focal and sigma of a turn that contradicts it
        self._remembered: tuple[RememberedFocal, float] | None = None  # until the first image; and for how long
        self._contradictions = self._focal_contradictions = 0
        self._size_px: tuple[int, int] | None = None
        self._stamp_s = self._used_s = float("nan")
        self._by_focal_2 = np.zeros(2)  # how pitch and roll of the last image change with its log focal

    def remember(self, focal: RememberedFocal, max_age_s: float) -> None:
        """What was settled before this process began. It is believed if the first image has that size and a stamp at
        most so many seconds later; the focal length is settled then at once, and less certain the longer ago it was."""
        self._remembered = (focal, max_age_s)

    def settled_focal(self) -> RememberedFocal | None:
        """What to remember: the focal length at the last image, where it is settled."""
        if self._size_px is None or not self._focal.known:
            return None
        log_focal, sigma = self._focal.estimate()
        if not self._settled(sigma):
            return None
        return RememberedFocal(float(np.exp(log_focal)), self._focal.lasting_sigma(), *self._size_px, self._stamp_s)

    def _recall(self) -> None:
        """Takes what is remembered, at the first image."""
        if self._remembered is None:
            return
        (focal, max_age_s), self._remembered = self._remembered, None
        if focal.holds(self._size_px, self._stamp_s, max_age_s):
            self._focal.remembered = Opinion(float(np.log(focal.focal_px)), focal.sigma, focal.stamp_s)
            self._used_s = self._stamp_s

    def _new_pool(self) -> FocalPool:
        return FocalPool(self.options.place_error, self.options.focal_walk)

    def update(
        self, calibration: Calibration, stamp_s: float, ncc: float = 0.0, turn: RotationMeasurement | None = None
    ) -> FusedCalibration:
        """The estimate at this image's stamp. `ncc` is the correlation of its view with the usable image before, 0 to 1
        (`ViewChange`); 0 means another view, as far as the time between them allows. `turn` is a measurement from a
        turn of the camera (`RotationSelfCalibration`); its error is not shared with the images', so it counts in full.

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
        measurement = _measurement(calibration, self.options.image_focal_sigma)
        self._focal.shared_error, self._focal.walk = self.options.place_error, self.options.focal_walk
        # An image that shows nothing says nothing about how alike the next usable one is to the last.
        self._advance(stamp_s, ncc if measurement else 1.0)
        self._recall()
        used = False
        if measurement:
            used, happened = self._take(*measurement)
            event = event or happened
        if turn is not None and turn.focal_px > 0 and np.isfinite((turn.focal_px, turn.sigma_log_focal)).all():
            event = event or self._take_turn(float(np.log(turn.focal_px)), turn.sigma_log_focal)
        return self._present(calibration, used, event)

    def _take_turn(self, log_focal: float, sigma: float) -> str:
        """Takes a rotation measurement. One that contradicts the estimate may have been no pure rotation; two that
        agree mean another zoom."""
        gate, event = self.options.gate_sigma, ""
        if not self._focal.known:
            self._used_s = self._stamp_s
        elif self._focal.contradicts(log_focal, sigma, gate):
            before, self._odd_turn = self._odd_turn, (log_focal, sigma)
            if before is None or abs(before[0] - log_focal) > gate * np.hypot(before[1], sigma):
                return ""
            before_px = np.exp(self._focal.estimate()[0])
            event = f"the focal length changed from {before_px:.0f} to {np.exp(log_focal):.0f} px"
            images, self._focal = self._focal.images, self._new_pool()
            self._focal.images = images
            self._focal.advance(self._stamp_s, 0.0)
            self._focal.add_turn(*before)
        self._odd_turn = None
        self._focal.add_turn(log_focal, sigma)
        return event

    def _restart_reason(self, calibration: Calibration, stamp_s: float) -> str:
        size_px = calibration.width_px, calibration.height_px
        if self._size_px is not None and size_px != self._size_px:
            before, now = (" x ".join(map(str, size)) for size in (self._size_px, size_px))
            return f"the image size changed from {before} to {now}"
        if stamp_s < self._stamp_s - CLOCK_JUMP_S:
            return f"the stamps went back by {self._stamp_s - stamp_s:.1f} s"
        return ""

    def _advance(self, stamp_s: float, ncc: float) -> None:
        ncc = min(ncc, 1.0)
        if self._attitude.state is not None:
            seconds = stamp_s - self._stamp_s
            # Alike as long as either the view or the moment is: a fast turn does not leave the building.
            rho = max(ncc, float(np.exp(-seconds / self.options.correlation_s)))
            self._attitude.predict(seconds, rho, np.full(2, self.options.attitude_walk_rad))
        for pool in (self._focal, self._other_focal):
            if pool is not None:
                pool.advance(stamp_s, ncc)
        self._stamp_s = stamp_s

    def _take(self, z_3: np.ndarray, R_33: np.ndarray) -> tuple[bool, str]:
        """Whether the measurement went into the estimate, and what else happened."""
        options, log_focal, sigma = self.options, float(z_3[FOCAL]), float(np.sqrt(R_33[FOCAL, FOCAL]))
        if self._focal.known and self._focal.contradicts(log_focal, sigma, options.gate_sigma):
            self._contradictions += 1
            self._focal_contradictions += 1
            other = self._other_focal
            if other is None or other.contradicts(log_focal, sigma, options.gate_sigma):
                other = self._other_focal = self._new_pool()
                other.advance(self._stamp_s, 0.0)
            other.add_image(log_focal, sigma)
            # Lines that mislead do so in every image of their view, and in the next one.
            enough = options.focal_restart_frames * (1 if len(other.views) >= _OTHER_VIEWS else _OF_ONE_VIEW)
            if other.images < enough:
                return False, ""
            before_px, now_px = (np.exp(pool.estimate()[0]) for pool in (self._focal, other))
            self._focal = other
            self._accept(self._attitude.started(self._attitude_by_focal(z_3, R_33)))
            return True, f"the focal length changed from {before_px:.0f} to {now_px:.0f} px"
        state, event = self._attitude.state, ""
        if state is not None:
            attitude = self._attitude_by_focal(z_3, R_33)
            if self._attitude.contradictions(attitude, options.gate_sigma).any():
                self._contradictions += 1
                if self._contradictions - self._focal_contradictions < options.attitude_restart_frames:
                    return False, ""
                state, event = self._attitude.opened(state, [0, 1]), "the attitude jumped and is followed"
        self._focal.add_image(log_focal, sigma)
        attitude = self._attitude_by_focal(z_3, R_33)  # of which this image is a part
        self._accept(self._attitude.started(attitude) if state is None else self._attitude.updated(state, attitude))
        return True, event

    def _attitude_by_focal(self, z_3: np.ndarray, R_33: np.ndarray) -> CorrelatedMeasurement:
        """Pitch and roll that an image gives where the focal length is the pooled one: the conditional of its normal
        distribution."""
        by_focal_2 = R_33[1:, FOCAL] / R_33[FOCAL, FOCAL]
        off = self._focal.estimate()[0] - float(z_3[FOCAL]) if self._focal.known else 0.0
        R_22 = R_33[1:, 1:] - np.outer(by_focal_2, by_focal_2) * R_33[FOCAL, FOCAL]
        self._by_focal_2 = by_focal_2
        return CorrelatedMeasurement(
            z_3[1:] + by_focal_2 * off, 0.5 * (R_22 + R_22.T), self.options.shared_error, shared_at=2
        )

    def _accept(self, attitude: GaussianState) -> None:
        self._attitude.accept(attitude)
        self._used_s, self._other_focal = self._stamp_s, None
        self._contradictions = self._focal_contradictions = 0

    def _present(self, calibration: Calibration, used: bool, event: str) -> FusedCalibration:
        size_px, options = (calibration.width_px, calibration.height_px), self.options
        if not self._focal.known:
            label = FusionState.NOTHING.value
            # An answer that claims to be good and could not be used was none.
            verdict = CalibrationVerdict.TOO_UNCERTAIN if calibration.trusted else calibration.verdict
            return FusedCalibration(verdict, label, *size_px, stamp_s=self._stamp_s, event=event)
        log_focal, focal_sigma = self._focal.estimate()
        pitch_rad, roll_rad, own_22 = 0.0, 0.0, np.eye(2) * _OPEN_VARIANCE  # after turns alone
        if (attitude := self._attitude.state) is not None:
            (pitch_rad, roll_rad), own_22 = attitude.mean_n[:2], attitude.covariance_nn[:2, :2]
        # An error of the focal length goes on into the attitude, as the last image says.
        by_focal_3 = np.append(1.0, self._by_focal_2)
        covariance_33 = np.outer(by_focal_3, by_focal_3) * focal_sigma**2
        covariance_33[1:, 1:] += own_22
        sigma_3 = np.sqrt(np.diag(covariance_33))
        focal_px = float(np.exp(log_focal))
        scale_3 = np.array([focal_px, 1.0, 1.0])
        # A focal length that the last images deny is not offered to anyone.
        settled = self._settled(focal_sigma)
        fusion_state, detail = self._describe(settled, focal_px, focal_sigma)
        return FusedCalibration(
            CalibrationVerdict.CALIBRATED if settled else CalibrationVerdict.TOO_UNCERTAIN,
            detail,
            *size_px,
            focal_px=focal_px,
            pitch_rad=float(pitch_rad),
            roll_rad=float(roll_rad),
            covariance_33=covariance_33 * np.outer(scale_3, scale_3),
            stamp_s=self._stamp_s,
            state=fusion_state,
            frames=self._focal.images,
            used=used,
            attitude_good=bool(max(sigma_3[PITCH], sigma_3[ROLL]) <= options.max_attitude_sigma_rad),
            event=event,
        )

    def _settled(self, focal_sigma: float) -> bool:
        pool, options = self._focal, self.options
        enough = pool.images >= options.min_frames or len(pool.turns) >= _ENOUGH_TURNS or pool.remembered is not None
        certain = focal_sigma <= options.max_focal_sigma
        return enough and certain and self._focal_contradictions < _CONTRADICTING_FRAMES

    def _describe(self, settled: bool, focal_px: float, focal_sigma: float) -> tuple[FusionState, str]:
        value = f"focal length {focal_px:.0f} px within {100 * focal_sigma:.1f} % after {_count(self._focal.images)}"
        if self._focal.remembered is not None:
            value += f" and what is remembered from {self._stamp_s - self._focal.remembered.stamp_s:.0f} s before"
        silent_s = self._stamp_s - self._used_s
        if self._contradictions >= _CONTRADICTING_FRAMES:
            return FusionState.CONTRADICTED, f"the last {_count(self._contradictions)} contradict the estimate; {value}"
        if silent_s > STALE_S:
            return FusionState.STALE, f"no usable image for {silent_s:.1f} s; {value}"
        state = FusionState.SETTLED if settled else FusionState.SETTLING
        return state, f"{state.value}: {value}"


def _measurement(calibration: Calibration, least_focal_sigma: float) -> tuple[np.ndarray, np.ndarray] | None:
    """(log focal, pitch, roll) and their covariance (3, 3); None where there is nothing that could be used. A focal
    length that the image itself told is no more certain than `least_focal_sigma`."""
    if not calibration.trusted or calibration.covariance_33 is None or not 0 < calibration.focal_px < np.inf:
        return None
    z_3 = np.array([np.log(calibration.focal_px), calibration.pitch_rad, calibration.roll_rad])
    scale_3 = np.array([calibration.focal_px, 1.0, 1.0])
    R_33 = np.asarray(calibration.covariance_33, np.float64) / np.outer(scale_3, scale_3)
    R_33 = 0.5 * (R_33 + R_33.T)
    if not calibration.focal_known:
        R_33[FOCAL, FOCAL] = max(R_33[FOCAL, FOCAL], least_focal_sigma**2)
    if not np.isfinite(z_3).all() or not np.isfinite(R_33).all():
        return None
    # An image that claims more than rounding allows would make the filter's matrices singular.
    return (z_3, R_33) if np.linalg.eigvalsh(R_33).min() > _LEAST_VARIANCE else None


def _count(images: int) -> str:
    return f"{images} image" + ("s" if images != 1 else "")
