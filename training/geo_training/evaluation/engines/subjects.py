"""What is compared: each capability's answers to images, in the units of its users, and by how much two may differ."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from geo_perception.calibration.estimator import KIND as CALIBRATION
from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.graph import OUTPUTS as CALIBRATION_OUTPUTS
from geo_perception.depth.estimator import KIND as DEPTH
from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.graph import OUTPUTS as DEPTH_OUTPUTS
from geo_perception.errors import InputError
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.graph import SceneGraph
from geo_perception.localization.result import Localization
from geo_perception.localization.scene import KIND as SCENE
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.weights import HEADER_KEY
from geo_training.datasets.scene import camera_from_dict


@dataclass(frozen=True)
class Difference:
    """By how much answers are off others, in `unit`, and by how much at most they may be; `key` is for machines."""

    key: str
    name: str
    value: float
    limit: float
    unit: str

    @property
    def allowed(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        unit = self.unit and f" {self.unit}"
        return f"{self.name}: {self.value:.3g}{unit} ({self.limit:g}{unit} allowed)"


class Subject(ABC):
    """A capability with weights. `frozen` is its network, `names` those of what it gives."""

    kind: str
    frozen: FrozenNetwork
    names: Sequence[str]
    estimator: Any

    @abstractmethod
    def answer(self, image_hw3: np.ndarray) -> Any:
        """What the whole estimator says of an image (RGB uint8)."""

    @abstractmethod
    def differences(self, found: Sequence[Any], expected: Sequence[Any]) -> list[Difference]:
        """How far answers to the same images are apart. Raises InputError when the images say nothing."""


class DepthSubject(Subject):
    """Depth, as a share of itself."""

    kind = DEPTH

    def __init__(self, path: Path | None, device: str = "cpu"):
        self.estimator = DepthEstimator.load(path, device)
        self.frozen = self.estimator.frozen
        has_sigma = self.estimator.network.config_dict()["architecture"] != "dispnet"
        self.names = DEPTH_OUTPUTS if has_sigma else DEPTH_OUTPUTS[:1]

    def answer(self, image_hw3: np.ndarray) -> np.ndarray | None:
        return self.estimator.estimate(image_hw3, None).depth_hw

    def differences(self, found, expected) -> list[Difference]:
        pairs = [(one, other) for one, other in zip(found, expected, strict=True) if other is not None]
        if not pairs:
            raise InputError("none of the images shows anything, so no depth can be compared; give others")
        if any(one is None or one.shape != other.shape for one, other in pairs):
            return [Difference("lost_pct", "images without depth", 1.0, 0.0, "")]
        shares = np.concatenate([np.abs(one / other - 1).ravel() for one, other in pairs])
        stairs = max(_equal_neighbours(one) - _equal_neighbours(other) for one, other in pairs)
        return [
            Difference("median_pct", "median difference of depth", _percent(np.median(shares)), 0.01, "%"),
            Difference("p99_pct", "99th percentile of it", _percent(np.percentile(shares, 99)), 0.1, "%"),
            Difference("steps_pct", "neighbouring pixels in steps", _percent(stairs), 1.0, "%"),
        ]


class CalibrationSubject(Subject):
    """Focal length, pitch and roll."""

    kind, names = CALIBRATION, CALIBRATION_OUTPUTS

    def __init__(self, path: Path | None, device: str = "cpu"):
        self.estimator = Calibrator.load(path, device)
        self.frozen = self.estimator.frozen

    def answer(self, image_hw3: np.ndarray) -> np.ndarray:
        answer = self.estimator.estimate(image_hw3)
        return np.array([np.log(answer.focal_px), answer.pitch_rad, answer.roll_rad])

    def differences(self, found, expected) -> list[Difference]:
        off_n3 = np.abs(np.array(found) - np.array(expected))[np.isfinite(expected).all(axis=1)]
        if not len(off_n3):
            raise InputError("none of the images can be calibrated, so no angles can be compared; give others")
        focal, *angles = off_n3.max(axis=0)
        return [
            Difference("focal_pct", "difference of the focal length", _percent(np.expm1(focal)), 0.5, "%"),
            *(Difference(f"{name}_deg", f"difference of {name}", float(np.degrees(off)), 0.1, "deg")
              for name, off in zip(("pitch", "roll"), angles, strict=True)),
        ]  # fmt: skip


class SceneSubject(Subject):
    """Poses: how far apart, as a share of their stated standard deviation, and in how many images there is one."""

    kind = SCENE

    def __init__(self, path: Path, device: str = "cpu", backbone_file: Path | None = None):
        self.estimator = Localizer.load(path, device, backbone_file=backbone_file)
        self.frozen = self.estimator.frozen
        graph = self.frozen.folded
        assert isinstance(graph, SceneGraph)
        self.names = graph.output_names
        self._camera = camera_from_dict(self.estimator.scene.mapping_camera)

    def answer(self, image_hw3: np.ndarray) -> Localization:
        return self.estimator.estimate(image_hw3, self._camera)

    def differences(self, found, expected) -> list[Difference]:
        both = [(a, b) for a, b in zip(found, expected, strict=True) if a.localized and b.localized]
        there = sum(answer.localized for answer in expected)
        if not there:
            raise InputError("none of the images is localized, so no poses can be compared; give images of the place")
        lost = abs(there - sum(answer.localized for answer in found)) / len(expected)
        metres, sigmas, degrees = np.array([_apart(*pair) for pair in both] or [[np.inf] * 3]).T
        return [
            Difference("lost_pct", "images that lose or gain a pose", _percent(lost), 5.0, "%"),
            Difference(
                "position_sigma_pct", "median of it, of the stated sigma", _percent(np.median(sigmas)), 10.0, "%"
            ),
            Difference("position_cm", "largest difference of the position", 100 * float(metres.max()), 5.0, "cm"),
            Difference("angle_deg", "largest difference of the angle", float(degrees.max()), 1.0, "deg"),
        ]


def load_subject(model: str, backbone_file: Path | None = None, device: str = "cpu") -> Subject:
    """By a weights file or a scene; `depth` and `calibration` are the weights that come with the package.

    Raises InputError when it is none of these.
    """
    if model in (DEPTH, CALIBRATION):
        return DepthSubject(None, device) if model == DEPTH else CalibrationSubject(None, device)
    path = Path(model)
    kind = _kind(path)
    if kind == SCENE:
        return SceneSubject(path, device, backbone_file)
    if kind not in (DEPTH, CALIBRATION):
        raise InputError(f"{path} is a {kind} file; give weights of depth or calibration, or a scene")
    return DepthSubject(path, device) if kind == DEPTH else CalibrationSubject(path, device)


def _kind(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path} is not there; give a weights file, a scene, {DEPTH} or {CALIBRATION}")
    try:
        with safe_open(str(path), framework="numpy") as file:
            return str(json.loads((file.metadata() or {})[HEADER_KEY])["kind"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        raise InputError(f"{path} is no file of weights of geo_perception; give one, or a scene") from None


def _apart(a: Localization, b: Localization) -> tuple[float, float, float]:
    """Distance of two poses, as a share of the second's standard deviation, and their angle in degrees."""
    assert a.T_map_camera is not None
    assert b.T_map_camera is not None
    assert b.covariance_66 is not None
    distance = float(np.linalg.norm(a.T_map_camera[:3, 3] - b.T_map_camera[:3, 3]))
    turned_33 = a.T_map_camera[:3, :3].T @ b.T_map_camera[:3, :3]
    sine = np.linalg.norm(turned_33 - turned_33.T) / np.sqrt(8)
    angle = np.arctan2(sine, (np.trace(turned_33) - 1) / 2)
    return distance, distance / float(np.sqrt(np.trace(b.covariance_66[:3, :3]))), float(np.degrees(angle))


def _equal_neighbours(map_hw: np.ndarray) -> float:
    """Share of pixels that are just as their right neighbour: next to none, unless numbers were rounded to steps."""
    return float((map_hw[:, 1:] == map_hw[:, :-1]).mean())


def _percent(share) -> float:
    return 100 * float(share)
