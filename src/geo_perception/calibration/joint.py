"""One camera from all evidence: what the network and others say of it, and the straight lines of the image.

The unknowns are the logarithm of the focal length and a frame of three directions: up, and two level ones at a right
angle to each other, as walls and floors have them (Coughlan and Yuille, "Manhattan World", 1999). An image of lines in
one of these directions passes through its vanishing point. Which line belongs to which direction, or to none, is not
decided but weighed: a line's likelihood is a mixture. What is built leans, slopes and is out of square a little, and
all lines of a direction alike, so each direction may leave the frame by a few unknowns of its own.

The maximum of the posterior is sought by Levenberg-Marquardt, first with lines that are taken for less exact than they
are; where the turn of the frame about the vertical has rivals, from each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geo_perception.calibration.fields import tangent_basis
from geo_perception.calibration.segments import NO_SEGMENTS, Segments
from geo_perception.calibration.solve import MAX_LOG_FOCAL, MIN_LOG_FOCAL
from geo_perception.geometry import so3_exp

UP, FIRST, SECOND = 0, 1, 2
_UNKNOWNS = 9  # log focal, rotation of the frame (3), leanings (5)
_YAWS = 18  # turns of the frame about the vertical that are tried, over a right angle


@dataclass(frozen=True)
class JointOptions:
    """How lines are weighed. Shares are of the lines before anything is known of them."""

    share_up: float = 0.2
    share_level: float = 0.15  # of each of the two level directions
    # One edge gives several segments, which err together.
    weight: float = 0.25
    sigma_rad: float = np.radians(0.3)  # of a line's own direction
    # Of the directions: a wall leans, a railing slopes, a corner is not square.
    lean_rad: float = np.radians(0.3)
    slope_rad: float = np.radians(1.5)
    skew_rad: float = np.radians(1.0)
    widenings: tuple[float, ...] = (6.0, 3.0, 1.5, 1.0)  # of the lines' sigma, one search after the other
    starts: int = 3  # rival turns of the frame that are refined
    steps: int = 8  # of each search
    min_segments: int = 4


@dataclass(frozen=True)
class CameraTerm:
    """What is known of a camera: a guess with its information (log focal, two tangent directions of `up_3`)."""

    log_focal: float
    up_3: np.ndarray
    information_33: np.ndarray


@dataclass(frozen=True)
class JointCamera:
    """The likeliest camera: `frame_33` has the directions as rows, up first. `covariance_33` is that of log focal and
    the two tangent directions of up, by everything but what is known for certain. `belongs_3s` is how likely each
    segment is of each direction, `cost` twice the negative logarithm of the posterior, but for a constant."""

    log_focal: float
    frame_33: np.ndarray
    covariance_33: np.ndarray
    belongs_3s: np.ndarray
    cost: float

    @property
    def up_3(self) -> np.ndarray:
        return self.frame_33[UP]

    @property
    def lines(self) -> float:
        """About how many segments speak for the camera."""
        return float(self.belongs_3s.sum())

    @property
    def strays(self) -> float:
        """The share of the segments that are of none of the directions."""
        return 1.0 - self.lines / max(self.belongs_3s.shape[1], 1)


@dataclass(frozen=True)
class _State:
    log_focal: float
    frame_33: np.ndarray
    leaning_5: np.ndarray

    def moved(self, step_9: np.ndarray) -> _State:
        log_focal = float(np.clip(self.log_focal + step_9[0], MIN_LOG_FOCAL, MAX_LOG_FOCAL))
        return _State(log_focal, self.frame_33 @ so3_exp(step_9[1:4]).T, self.leaning_5 + step_9[4:])


def solve_joint(
    terms: Sequence[CameraTerm],
    segments: Segments,
    options: JointOptions | None = None,
    known: Sequence[CameraTerm] = (),
) -> JointCamera:
    """The likeliest camera by what is said of it and the lines. The first of the terms is where the search begins.

    What is `known` counts as they do, but is left out of the covariance: it is stated truly and needs no calibration,
    so that it has to be added to what has been calibrated.
    """
    return _Problem(terms, segments, options or JointOptions(), known).solved()


def tangents(up_3: np.ndarray) -> np.ndarray:
    """(3, 2): `fields.tangent_basis` of one vector."""
    return tangent_basis(torch.from_numpy(np.asarray(up_3, np.float64))[None])[0].numpy()


class _Problem:
    def __init__(
        self,
        terms: Sequence[CameraTerm],
        segments: Segments,
        options: JointOptions,
        known: Sequence[CameraTerm] = (),
    ):
        self.terms, self.segments, self.options = [*terms, *known], segments, options
        self._to_calibrate = len(terms)
        self._bases = [tangents(term.up_3) for term in self.terms]
        sigma_5 = np.array([options.lean_rad, options.lean_rad, options.slope_rad, options.slope_rad, options.skew_rad])
        self._leaning_information_5 = sigma_5**-2.0
        self._sigma_s = np.hypot(segments.sigma_rad_s, options.sigma_rad)
        share_3 = np.array([options.share_up, options.share_level, options.share_level])
        # Of a line of a direction against one of none, which points anywhere in half a turn.
        self._odds_31 = (share_3 / (1 - share_3.sum()) * np.pi / np.sqrt(2 * np.pi))[:, None]

    def solved(self) -> JointCamera:
        start = self._start()
        states = [_State(start.log_focal, frame_33, np.zeros(5)) for frame_33 in self._frames(start)]
        for widening in self.options.widenings:
            states = [self._searched(state, widening) for state in states]
        costs = [self.cost(state, 1.0) for state in states]
        best = states[int(np.argmin(costs))]
        basis_32 = tangents(best.frame_33[UP])
        covariance_33 = self._covariance(best, basis_32)
        # A rival that is nearly as likely makes the answer less certain by how far off it is.
        likely_k = np.exp((min(costs) - np.array(costs)) / 2)
        off_k3 = np.array([_off(state, best.log_focal, best.frame_33[UP], basis_32) for state in states])
        covariance_33 = covariance_33 + (off_k3.T * (likely_k / likely_k.sum())) @ off_k3
        belongs_3s = self.normal_equations(best, 1.0)[2]
        return JointCamera(best.log_focal, best.frame_33, covariance_33, belongs_3s, min(costs))

    def _start(self) -> CameraTerm:
        """Where the search begins: the first term, moved towards what is known."""
        first = self.terms[0]
        if len(self.terms) == self._to_calibrate:
            return first
        basis_32 = self._bases[0]
        frame_33 = np.stack([first.up_3, basis_32[:, 0], np.cross(first.up_3, basis_32[:, 0])])
        without_lines = _Problem(self.terms, NO_SEGMENTS, self.options)
        moved = without_lines._searched(_State(first.log_focal, frame_33, np.zeros(5)), 1.0)
        return CameraTerm(moved.log_focal, moved.frame_33[UP], first.information_33)

    def _covariance(self, state: _State, basis_32: np.ndarray) -> np.ndarray:
        """Of log focal and of up along a basis."""
        covariance_99 = np.linalg.inv(self._information(state) + 1e-9 * np.eye(_UNKNOWNS))
        by_camera_34 = _by_camera(state.frame_33[UP], basis_32)
        covariance_33 = by_camera_34 @ covariance_99[:4, :4] @ by_camera_34.T
        return (covariance_33 + covariance_33.T) / 2

    def _frames(self, start: CameraTerm) -> list[np.ndarray]:
        """Frames to begin from: those turns about the vertical that lines speak more for than for their neighbours."""
        yaw_k = np.arange(_YAWS) * (np.pi / 2 / _YAWS)
        first_k3 = np.stack([np.cos(yaw_k), np.sin(yaw_k)], axis=1) @ tangents(start.up_3).T
        frames = [np.stack([start.up_3, first_3, np.cross(start.up_3, first_3)]) for first_3 in first_k3]
        if len(self.segments) < self.options.min_segments:
            return frames[:1]
        wide = 0.7 * self.options.widenings[0]
        cost_k = np.array([self.cost(_State(start.log_focal, frame, np.zeros(5)), wide) for frame in frames])
        rivals = np.flatnonzero((cost_k <= np.roll(cost_k, 1)) & (cost_k <= np.roll(cost_k, -1)))
        rivals = rivals[np.argsort(cost_k[rivals], kind="stable")][: self.options.starts]
        return [frames[k] for k in rivals]

    def _searched(self, state: _State, widening: float) -> _State:
        """The best state near this one. A step that makes the cost worse is not taken."""
        damping, cost = 1e-3, self.cost(state, widening)
        for _ in range(self.options.steps):
            information_99, gradient_9, _ = self.normal_equations(state, widening)
            damped_99 = information_99 + np.diag(damping * np.diag(information_99) + 1e-6)
            step_9 = -np.linalg.solve(damped_99, gradient_9)
            step_9 *= min(1.0, 0.3 / max(np.linalg.norm(step_9[:4]), 1e-12))
            new = state.moved(step_9)
            new_cost = self.cost(new, widening)
            if new_cost < cost:
                converged = cost - new_cost < 1e-3
                state, cost, damping = new, new_cost, max(damping / 5, 1e-7)
                if converged:
                    break
            else:
                damping *= 8
                if damping > 1e5:
                    break
        return state

    def _information(self, state: _State) -> np.ndarray:
        """Information (9, 9) at the end of the search. A line that fits by chance counts in the search as one that
        belongs; here by the curvature of its likelihood, of which lines that point anywhere have none on average."""
        prior_99, _ = self._prior_equations(state, self._to_calibrate)
        lines_99, _, _ = self._line_equations(state, 1.0, curvature=True)
        values_9, vectors_99 = np.linalg.eigh(lines_99)
        return prior_99 + (vectors_99 * np.maximum(values_9, 0.0)) @ vectors_99.T

    def cost(self, state: _State, widening: float) -> float:
        """Twice the negative logarithm of the posterior, but for a constant."""
        cost = float(state.leaning_5 @ (self._leaning_information_5 * state.leaning_5))
        for term, basis_32 in zip(self.terms, self._bases, strict=True):
            off_3 = _off(state, term.log_focal, term.up_3, basis_32)
            cost += float(off_3 @ term.information_33 @ off_3)
        odds_3s = self._odds(*self._angles(state)[:2], widening)
        return cost - 2 * self.options.weight * float(np.log1p(odds_3s.sum(axis=0)).sum())

    def normal_equations(self, state: _State, widening: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Information (9, 9) and gradient (9,) of half the cost, and how likely segments are of directions (3, S)."""
        lines_99, by_lines_9, belongs_3s = self._line_equations(state, widening)
        prior_99, by_prior_9 = self._prior_equations(state)
        return lines_99 + prior_99, by_lines_9 + by_prior_9, belongs_3s

    def _line_equations(self, state: _State, widening: float, curvature: bool = False):
        sine_3s, far_3s, cosine_3s, toward_23s, directions_33 = self._angles(state)
        odds_3s = self._odds(sine_3s, far_3s, widening)
        belongs_3s = odds_3s / (1 + odds_3s.sum(axis=0))
        sigma_s = self._sigma_s * widening
        weight_3s = self.options.weight * belongs_3s / sigma_s**2
        gradient_3s = weight_3s * sine_3s
        if curvature:
            weight_3s = weight_3s * (1 - (1 - belongs_3s) * (sine_3s / sigma_s) ** 2)
        # How the directions change by each unknown but the first.
        change_k33 = np.concatenate([_turned(directions_33), _leaned(state.frame_33)])
        gain_3s = cosine_3s / far_3s**2
        focal, (x_s, y_s) = np.exp(state.log_focal), self.segments.middle_s2.T
        toward_x_3s, toward_y_3s = toward_23s

        def turning(dx_3s, dy_3s):
            """Change of the sine as the way toward the vanishing point changes."""
            return gain_3s * (toward_x_3s * dy_3s - toward_y_3s * dx_3s)

        J_93s = np.empty((_UNKNOWNS, *sine_3s.shape))
        J_93s[0] = turning(focal * directions_33[:, :1], focal * directions_33[:, 1:2])
        for k, change_33 in enumerate(change_k33, start=1):
            dz_31 = change_33[:, 2:]
            J_93s[k] = turning(focal * change_33[:, :1] - x_s * dz_31, focal * change_33[:, 1:2] - y_s * dz_31)
        J_9n = J_93s.reshape(_UNKNOWNS, -1)
        return (J_9n * weight_3s.ravel()) @ J_9n.T, J_9n @ gradient_3s.ravel(), belongs_3s

    def _prior_equations(self, state: _State, terms: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Of the leanings, and of all terms or of the first so many."""
        information_99 = np.diag(np.append(np.zeros(4), self._leaning_information_5))
        gradient_9 = np.append(np.zeros(4), self._leaning_information_5 * state.leaning_5)
        for term, basis_32 in zip(self.terms[:terms], self._bases[:terms], strict=True):
            by_camera_34 = _by_camera(state.frame_33[UP], basis_32)
            weighted_43 = by_camera_34.T @ term.information_33
            information_99[:4, :4] += weighted_43 @ by_camera_34
            gradient_9[:4] += weighted_43 @ _off(state, term.log_focal, term.up_3, basis_32)
        return information_99, gradient_9

    def _angles(self, state: _State):
        """Sine of the angle between each segment and the way from its middle to each vanishing point, how far that is,
        the cosine, that way (2, 3, S), and the directions (3, 3)."""
        directions_33 = _directions(state.frame_33, state.leaning_5)
        focal, (x_s, y_s), (u_s, v_s) = np.exp(state.log_focal), self.segments.middle_s2.T, self.segments.along_s2.T
        z_31 = directions_33[:, 2:]
        toward_x_3s = focal * directions_33[:, :1] - x_s * z_31
        toward_y_3s = focal * directions_33[:, 1:2] - y_s * z_31
        far_3s = np.hypot(toward_x_3s, toward_y_3s) + 1e-9
        sine_3s = (u_s * toward_y_3s - v_s * toward_x_3s) / far_3s
        cosine_3s = (u_s * toward_x_3s + v_s * toward_y_3s) / far_3s
        return sine_3s, far_3s, cosine_3s, np.stack([toward_x_3s, toward_y_3s]), directions_33

    def _odds(self, sine_3s: np.ndarray, far_3s: np.ndarray, widening: float) -> np.ndarray:
        """Of each segment being of each direction, against of none. What lies about a vanishing point tells nothing."""
        sigma_s = self._sigma_s * widening
        odds_3s = self._odds_31 / sigma_s * np.exp(-0.5 * (sine_3s / sigma_s) ** 2)
        return np.where(far_3s > 2 * self.segments.half_length_s, odds_3s, 0.0)


def _off(state: _State, log_focal: float, up_3: np.ndarray, basis_32: np.ndarray) -> np.ndarray:
    """How far a state is (log focal, and up along a basis) from a camera."""
    return np.append(state.log_focal - log_focal, basis_32.T @ (state.frame_33[UP] - up_3))


def _by_camera(up_3: np.ndarray, basis_32: np.ndarray) -> np.ndarray:
    """(3, 4): what log focal and a rotation of the frame change of log focal and of up along a basis."""
    by_34 = np.zeros((3, 4))
    by_34[0, 0] = 1.0
    by_34[1:, 1:] = basis_32.T @ np.cross(np.eye(3), up_3).T
    return by_34


def _directions(frame_33: np.ndarray, leaning_5: np.ndarray) -> np.ndarray:
    up_3, first_3, second_3 = frame_33
    lean_first, lean_second, slope_first, slope_second, skew = leaning_5
    return np.stack(
        [
            up_3 + lean_first * first_3 + lean_second * second_3,
            first_3 + slope_first * up_3 + skew / 2 * second_3,
            second_3 + slope_second * up_3 + skew / 2 * first_3,
        ]
    )


def _turned(directions_33: np.ndarray) -> np.ndarray:
    """(3, 3, 3): change of the directions by a turn about each axis of the camera."""
    return np.stack([np.cross(axis_3, directions_33) for axis_3 in np.eye(3)])


def _leaned(frame_33: np.ndarray) -> np.ndarray:
    """(5, 3, 3): change of the directions by each leaning."""
    up_3, first_3, second_3 = frame_33
    change_533 = np.zeros((5, 3, 3))
    change_533[0, UP], change_533[1, UP] = first_3, second_3
    change_533[2, FIRST], change_533[3, SECOND] = up_3, up_3
    change_533[4, FIRST], change_533[4, SECOND] = second_3 / 2, first_3 / 2
    return change_533
