"""How good poses are: recall, medians, latency. A frame without a pose is infinitely far off, never left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.result import Localization


class InSequence(Protocol):
    """What belongs to a sequence of frames."""

    @property
    def sequence(self) -> str: ...


class Timed(Protocol):
    """An answer that took `latency_s`; NaN where there was none."""

    @property
    def latency_s(self) -> float: ...


Sequenced = TypeVar("Sequenced", bound=InSequence)

# (metres, degrees) of the recall table of a metric scene.
METRIC_THRESHOLDS = ((0.01, 1.0), (0.02, 2.0), (0.05, 5.0), (0.10, 5.0), (0.10, 10.0))
# (share of the median scene depth, degrees) of a scene of unknown scale.
RELATIVE_THRESHOLDS = ((0.002, 1.0), (0.005, 2.0), (0.01, 5.0), (0.02, 5.0), (0.05, 10.0))


@dataclass(frozen=True)
class LengthUnit:
    """What lengths of a scene are measured in.

    A metric scene is measured in centimetres. A scene of unknown scale is measured in percent of its median depth,
    `scene_depth`: the median distance, in scene units, from a camera to the landmarks in front of it.
    """

    metric: bool = True
    scene_depth: float = 1.0

    @property
    def key(self) -> str:
        """The unit as it stands in the keys of the metrics: `cm`, or `pct` (of the median scene depth)."""
        return "cm" if self.metric else "pct"

    @property
    def label(self) -> str:
        return "cm" if self.metric else "% of scene depth"

    @property
    def factor(self) -> float:
        """From the scene's own units to the unit."""
        return 100.0 if self.metric else 100.0 / self.scene_depth

    @property
    def thresholds(self) -> list[Threshold]:
        if self.metric:
            pairs = [(distance_m, degrees) for distance_m, degrees in METRIC_THRESHOLDS]
        else:
            pairs = [(share * self.scene_depth, degrees) for share, degrees in RELATIVE_THRESHOLDS]
        return [self.threshold(distance, degrees) for distance, degrees in pairs]

    def threshold(self, distance: float, degrees: float) -> Threshold:
        """The threshold at a distance in scene units and an angle in degrees."""
        number = f"{distance * self.factor:.6g}"
        key = f"recall_{number.replace('.', 'p')}{self.key}_{degrees:g}deg"
        return Threshold(key, f"{number} {self.label} and {degrees:g}°", distance, degrees)


@dataclass(frozen=True)
class Threshold:
    """A pose is right where it is off by at most `distance` (scene units) and at most `degrees`."""

    key: str
    label: str
    distance: float
    degrees: float


@dataclass(frozen=True)
class FrameOutcome:
    """What became of one frame.

    `T_true` is None where the recording does not say; such a frame counts in the latency but in no error. `latency_s`
    is NaN for a frame that was never answered. `localization` is None for a live frame, which brings no detections.
    A `T_estimated` that holds what is no finite number is none.
    """

    name: str
    sequence: str
    stamp_ns: int
    verdict: str
    T_true: np.ndarray | None = None
    T_estimated: np.ndarray | None = None
    covariance_66: np.ndarray | None = None
    inliers: int = 0
    detail: str = ""
    latency_s: float = float("nan")
    camera: Camera | None = None
    localization: Localization | None = field(default=None, repr=False, compare=False)
    scene: str = ""  # of a folder of scenes, the one that answered

    def __post_init__(self) -> None:
        if self.T_estimated is not None and not np.isfinite(self.T_estimated).all():
            object.__setattr__(self, "T_estimated", None)

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns * 1e-9

    @property
    def localized(self) -> bool:
        return self.T_estimated is not None

    @property
    def error(self) -> tuple[float, float]:
        """Distance in scene units and angle in degrees; infinite without an estimate, NaN without a true pose."""
        if self.T_true is None:
            return float("nan"), float("nan")
        if self.T_estimated is None:
            return float("inf"), float("inf")
        distance, angle_rad = pose_error(self.T_true, self.T_estimated)
        return distance, float(np.degrees(angle_rad))


def errors(outcomes: Sequence[FrameOutcome]) -> tuple[np.ndarray, np.ndarray]:
    """Distances (scene units) and angles (degrees) of the frames with a true pose, each (N,); infinite for a miss."""
    pairs_n2 = np.array([o.error for o in outcomes if o.T_true is not None], np.float64).reshape(-1, 2)
    return pairs_n2[:, 0], pairs_n2[:, 1]


def recall(outcomes: Sequence[FrameOutcome], distance: float, degrees: float) -> float:
    """Share of all frames with a true pose that are right within both limits; NaN where there is no such frame."""
    distance_n, degrees_n = errors(outcomes)
    if len(distance_n) == 0:
        return float("nan")
    return float(((distance_n <= distance) & (degrees_n <= degrees)).mean())


def percentile(values: Iterable[float], percent: float) -> float:
    """The percentile of all values, interpolated; infinite ones (misses) count, NaN (not known) does not.

    Infinite where it lies between a finite value and an infinite one; NaN where nothing is known.
    """
    known = np.sort([value for value in values if not np.isnan(value)])
    if not len(known):
        return float("nan")
    place = round((len(known) - 1) * percent / 100, 9)
    low, share = int(place), place - int(place)
    if share == 0 or not np.isfinite(known[low]):  # nothing times infinity is no number
        return float(known[low])
    return float(known[low] + share * (known[low + 1] - known[low]))


def root_mean_square(values: ArrayLike) -> float:
    """Infinite where one value is; NaN where there is none."""
    values = np.asarray(values, np.float64)
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def pose_metrics(outcomes: Sequence[FrameOutcome], length_unit: LengthUnit) -> dict[str, float]:
    """Recall, medians and 90th percentiles over all frames with a true pose: a frame without an estimate is infinitely
    far off, so that a median is infinite where half of them or more are missed (`frames_missed`).

    `median_inliers` is over all frames, a miss having none; NaN where the answers do not tell their inliers (live).
    """
    distance_n, degrees_n = errors(outcomes)
    metrics: dict[str, float] = {
        "frames": len(outcomes),
        "frames_with_truth": len(distance_n),
        "frames_missed": int(np.isinf(distance_n).sum()),
        "localized_share": float(np.mean([o.localized for o in outcomes])) if outcomes else float("nan"),
    }
    metrics |= {t.key: recall(outcomes, t.distance, t.degrees) for t in length_unit.thresholds}
    for name, percent in (("median", 50), ("p90", 90)):
        metrics[f"{name}_{length_unit.key}"] = percentile(distance_n, percent) * length_unit.factor
        metrics[f"{name}_deg"] = percentile(degrees_n, percent)
    inliers = [o.inliers if o.localized else 0 for o in outcomes]
    metrics["median_inliers"] = percentile(inliers, 50) if any(inliers) else float("nan")
    return metrics


def latency_metrics(outcomes: Sequence[Timed]) -> dict[str, float]:
    """Milliseconds a frame over the answered frames, localized or not, and how many those are (`timed_frames`): how
    long an answer takes that never comes is not known."""
    latency_s = [o.latency_s for o in outcomes]
    return {f"frame_ms_p{percent}": 1e3 * percentile(latency_s, percent) for percent in (50, 99)} | {
        "timed_frames": int(np.isfinite(latency_s).sum())
    }


def by_sequence(items: Sequence[Sequenced]) -> dict[str, list[Sequenced]]:
    """What has a `sequence`, by its name, in the order of the first of each."""
    groups: dict[str, list[Sequenced]] = {}
    for item in items:
        groups.setdefault(item.sequence, []).append(item)
    return groups


def scene_depth(poses_T_map_camera: Sequence[np.ndarray], landmarks_map_l3: np.ndarray) -> float:
    """The median distance from the cameras to the landmarks in front of them (scene units); NaN where there is none."""
    if len(landmarks_map_l3) == 0:
        return float("nan")
    distances = []
    for T_map_camera in poses_T_map_camera:
        offset_l3 = landmarks_map_l3 - T_map_camera[:3, 3]
        front_l = offset_l3 @ T_map_camera[:3, 2] > 0
        distances.append(np.linalg.norm(offset_l3[front_l], axis=1))
    return percentile(np.concatenate(distances), 50) if distances else float("nan")
