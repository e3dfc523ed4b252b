"""Recorded poses as priors of a bundle adjustment: the motion at several distances in time, and weakly each pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geo_perception.geometry import invert_pose
from geo_training.datasets.scene import Frame
from geo_training.mapping.bundle_adjustment import PosePriors

# Frames between the two of a prior of motion. Those of one step follow each other without overlap, so that what drift
# does over a long way is said by long steps, and is not taken for the sum of many small errors.
STEPS = (1, 4, 16, 64)
# All poses of a walk share its drift: absolute priors of so many frames together count as one.
SHARED_BY = STEPS[-1]
# Until the images have told what the errors are: a share of the way, and an angle that grows with the root of the
# step. Loose, since a tight prior would find itself confirmed.
LOOSE_SHARE, LOOSE_RAD = 0.1, np.radians(0.5)
LOOSE_ABSOLUTE_SHARE, LOOSE_ABSOLUTE_RAD = 0.02, np.radians(3.0)  # of the walk's length
LEAST_SHARE, LEAST_RAD = 1e-3, np.radians(0.005)  # no recorded motion is better than that
MIN_MOTIONS = 8  # to estimate a deviation from
NORMAL = 1.4826  # from a median absolute deviation to a standard deviation


@dataclass(frozen=True)
class Sigmas:
    """Deviations of each component of recorded poses: absolute, and of the motion over each of STEPS; in the unit of
    the poses, and in radians."""

    absolute: float
    absolute_rad: float
    motion_s: np.ndarray
    motion_rad_s: np.ndarray


@dataclass(frozen=True)
class GivenSigmas:
    """Deviations that a user knows; None is estimated. `motion` is from one frame to the next."""

    absolute: float | None = None
    absolute_rad: float | None = None
    motion: float | None = None
    motion_rad: float | None = None

    def over(self, sigmas: Sigmas) -> Sigmas:
        """The others, with those that are given in their place. A given motion grows with the root of the step."""
        root_s = np.sqrt(STEPS)
        return Sigmas(
            sigmas.absolute if self.absolute is None else self.absolute,
            sigmas.absolute_rad if self.absolute_rad is None else self.absolute_rad,
            sigmas.motion_s if self.motion is None else self.motion * root_s,
            sigmas.motion_rad_s if self.motion_rad is None else self.motion_rad * root_s,
        )


class RecordedPoses:
    """The recorded poses of the frames that have one, (N, 4, 4) in the order of the frames, by `names`."""

    def __init__(self, frames: list[Frame]):
        posed = [(frame, frame.T_world_camera) for frame in frames if frame.T_world_camera is not None]
        self.names = [frame.name for frame, _ in posed]
        self.T_n44 = np.stack([T for _, T in posed])
        self._sequences = np.array([frame.sequence for frame, _ in posed])
        way_n = np.linalg.norm(np.diff(self.T_n44[:, :3, 3], axis=0), axis=1)
        self._way_n = np.concatenate([[0.0], np.cumsum(way_n * (self._sequences[1:] == self._sequences[:-1]))])

    @property
    def length(self) -> float:
        """How far the camera went, all sequences together."""
        return float(self._way_n[-1])

    def loose_sigmas(self) -> Sigmas:
        """What holds before anything is known of the errors."""
        step = self._median_step()
        return Sigmas(
            max(LOOSE_ABSOLUTE_SHARE * self.length, step),
            LOOSE_ABSOLUTE_RAD,
            LOOSE_SHARE * step * np.array(STEPS),
            LOOSE_RAD * np.sqrt(STEPS),
        )

    def estimated_sigmas(self, T_n44: np.ndarray) -> Sigmas:
        """Deviations by medians of where the recorded poses differ from others (N, 4, 4) of the same frames, which
        loose priors held. A step with fewer than MIN_MOTIONS has that of the one before, grown with the root."""
        absolute_n6 = self._priors(None, np.arange(len(self.names)), np.ones(len(self.names))).errors(T_n44)
        step = self._median_step()
        motion_s, motion_rad_s = np.zeros((2, len(STEPS)))
        for s, frames_apart in enumerate(STEPS):
            first = np.arange(max(len(self.names) - frames_apart, 0))
            first, second = self._within_sequences(first, first + frames_apart)
            if len(first) < MIN_MOTIONS:
                loose = self.loose_sigmas()
                grown = np.sqrt(frames_apart / STEPS[s - 1]) if s else 1.0
                motion_s[s] = grown * motion_s[s - 1] if s else loose.motion_s[0]
                motion_rad_s[s] = grown * motion_rad_s[s - 1] if s else loose.motion_rad_s[0]
                continue
            growth_k = self._growth(first, second)
            error_k6 = self._priors(first, second, growth_k).errors(T_n44) / growth_k[:, None]
            motion_s[s] = max(_deviation(error_k6[:, :3]), LEAST_SHARE * step * frames_apart)
            motion_rad_s[s] = max(_deviation(error_k6[:, 3:]), LEAST_RAD)
        return Sigmas(
            max(_deviation(absolute_n6[:, :3]), motion_s[0]),
            max(_deviation(absolute_n6[:, 3:]), motion_rad_s[0]),
            motion_s,
            motion_rad_s,
        )

    def priors(self, index_of: dict[str, int], sigmas: Sigmas) -> PosePriors:
        """The priors of a bundle adjustment that knows the frames by these indices."""
        everything = np.arange(len(self.names))
        share = 1 / min(SHARED_BY, len(self.names))
        parts = [self._priors(None, everything, np.ones(len(everything)), sigmas.absolute, sigmas.absolute_rad, share)]
        for frames_apart, sigma, sigma_rad in zip(STEPS, sigmas.motion_s, sigmas.motion_rad_s, strict=True):
            first = np.concatenate([
                members[: len(members) - frames_apart : frames_apart]
                for members in (np.flatnonzero(self._sequences == name) for name in dict.fromkeys(self._sequences))
                if len(members) > frames_apart
            ] or [np.zeros(0, int)])  # fmt: skip
            first, second = self._within_sequences(first, first + frames_apart)
            parts.append(self._priors(first, second, self._growth(first, second), sigma, sigma_rad))
        own = np.array([index_of[name] for name in self.names])
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined = PosePriors(*(np.concatenate(column) for column in columns))
        return replace(joined, a_k=np.where(joined.a_k < 0, -1, own[joined.a_k]), b_k=own[joined.b_k])

    def _median_step(self) -> float:
        step_n = np.diff(self._way_n)
        return float(np.median(step_n[step_n > 0])) if (step_n > 0).any() else 1e-3

    def _within_sequences(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        same = self._sequences[first] == self._sequences[second]
        return first[same], second[same]

    def _growth(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """By how much an error over this way is larger than the median: drift grows with the root of the way."""
        way_k = self._way_n[second] - self._way_n[first]
        middle = np.median(way_k) if len(way_k) else 0.0
        return np.sqrt(np.clip(way_k / middle, 0.25, 4.0)) if middle > 0 else np.ones(len(way_k))

    def _priors(
        self,
        first: np.ndarray | None,
        second: np.ndarray,
        growth_k: np.ndarray,
        sigma: float = 1.0,
        sigma_rad: float = 1.0,
        weight: float = 1.0,
    ) -> PosePriors:
        T_k44 = self.T_n44[second]
        if first is not None:
            T_k44 = invert_pose(self.T_n44[first]) @ T_k44
        a_k = np.full(len(second), -1) if first is None else first
        return PosePriors(a_k, second, T_k44, sigma * growth_k, sigma_rad * growth_k, np.full(len(second), weight))


def _deviation(error_k3: np.ndarray) -> float:
    return float(NORMAL * np.median(np.abs(error_k3)))
