"""How the scenes of a folder lie to each other: `scenes.yaml` beside them, and poses brought from a scene's frame into
the map that placed scenes share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion, skew
from geo_perception.localization.result import Localization

FILE_NAME = "scenes.yaml"
USUAL_MAP_FRAME = "map"
_SIGMA_M, _SIGMA_RAD = 0.01, 0.002  # of a place whose exactness nobody tells
_TOP_KEYS, _PLACE_KEYS = ("map_frame", "T_map_scene"), ("translation", "rotation", "sigma_m", "sigma_rad")


@dataclass(frozen=True)
class ScenePlace:
    """Where a scene lies in the shared map: `T_map_scene`, and how exactly that is known: standard deviations of its
    translation along an axis and of its rotation about one."""

    T_map_scene: np.ndarray
    sigma_m: float = _SIGMA_M
    sigma_rad: float = _SIGMA_RAD

    def points_in_map(self, points_scene_n3: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the scene in the map."""
        return points_scene_n3 @ self.T_map_scene[:3, :3].T + self.T_map_scene[:3, 3]

    def covariance_in_map(self, T_scene_camera: np.ndarray, covariance_66: np.ndarray) -> np.ndarray:
        """The covariance (6, 6) of a camera's pose in the map from that in the scene, each of (x, y, z, rotation about
        x, y, z) along the fixed axes of its frame.

        The scene's axes are turned into the map's, R = R_map_scene; and with the arm p = R t_scene_camera an error e_r
        of the place's rotation moves the camera by e_r x p besides the error of its translation.
        """
        R_66 = np.kron(np.eye(2), self.T_map_scene[:3, :3])
        J_66 = np.eye(6)
        J_66[:3, 3:] = -skew(self.T_map_scene[:3, :3] @ T_scene_camera[:3, 3])
        of_place_66 = np.diag([self.sigma_m**2] * 3 + [self.sigma_rad**2] * 3)
        return R_66 @ covariance_66 @ R_66.T + J_66 @ of_place_66 @ J_66.T


@dataclass(frozen=True)
class SceneFrames:
    """The map of a folder: `map_frame` is that of the placed scenes, `places` says where those lie, by name."""

    map_frame: str = USUAL_MAP_FRAME
    places: dict[str, ScenePlace] | None = None

    def place_of(self, scene: str) -> ScenePlace | None:
        """Where a scene lies in the shared map; None where nobody says."""
        return (self.places or {}).get(scene)

    def frame_of(self, scene: str) -> str:
        """The frame in which poses of a scene are given: the shared one, or one of its own where it is not placed."""
        return self.map_frame if self.place_of(scene) is not None else f"{self.map_frame}/{scene}"

    def in_map(self, result: Localization, scene: str) -> Localization:
        """The answer of a scene, in the frame in which its poses are given; it says which scene and which frame."""
        place = self.place_of(scene)
        result = replace(result, scene=scene, map_frame=self.frame_of(scene))
        if place is None:
            return result
        detections = replace(result.detections, points_map_n3=place.points_in_map(result.detections.points_map_n3))
        result = replace(result, detections=detections)
        if result.T_map_camera is None or result.covariance_66 is None:
            return result
        covariance_66 = place.covariance_in_map(result.T_map_camera, result.covariance_66)
        return replace(result, T_map_camera=place.T_map_scene @ result.T_map_camera, covariance_66=covariance_66)


def read_scene_frames(folder: str | Path, scenes: Collection[str], map_frame: str = "") -> SceneFrames:
    """What `scenes.yaml` in a folder says of its scenes (names without ending); nothing is placed where there is none.
    `map_frame` counts more than the file's.

    Raises InputError when the file cannot be read, has a key or a scene that is not known, or a place that is none.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return SceneFrames(map_frame or USUAL_MAP_FRAME, {})
    content = _content(path)
    frame, placed = content.get("map_frame", USUAL_MAP_FRAME), content.get("T_map_scene") or {}
    if not isinstance(frame, str) or not frame:
        raise InputError(f"{path}: map_frame is no name; give one, or leave it out")
    if not isinstance(placed, dict):
        raise InputError(f"{path}: T_map_scene must hold a place for each scene, by name")
    strange = sorted(set(map(str, placed)) - set(scenes))
    if strange:
        raise InputError(f"{path} places '{strange[0]}', but there is no {strange[0]}.safetensors beside it; mend it")
    places = {str(name): _place(path, str(name), fields) for name, fields in placed.items()}
    return SceneFrames(map_frame or frame, places)


def _content(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} cannot be read ({' '.join(str(problem).split())}); mend or remove it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} has no keys; it takes {', '.join(_TOP_KEYS)}")
    _check_keys(f"{path}", content, _TOP_KEYS)
    return content


def _check_keys(where: str, content: dict[str, Any], known: tuple[str, ...]) -> None:
    strange = sorted(set(map(str, content)) - set(known))
    if strange:
        raise InputError(f"{where}: '{strange[0]}' is not known; it takes {', '.join(known)}")


def _place(path: Path, name: str, fields: Any) -> ScenePlace:
    where = f"{path}, T_map_scene of {name}"
    if not isinstance(fields, dict):
        raise InputError(f"{where}: give translation [x, y, z] and rotation [x, y, z, w]")
    _check_keys(where, fields, _PLACE_KEYS)
    try:
        T_map_scene = pose_from_quaternion(
            _numbers(fields.get("translation"), 3), _numbers(fields.get("rotation"), 4)
        )  # fmt: skip
    except (InputError, TypeError, ValueError):
        raise InputError(f"{where}: give translation [x, y, z] in metres and rotation [x, y, z, w], unit") from None
    sigmas = []
    for key, usual in (("sigma_m", _SIGMA_M), ("sigma_rad", _SIGMA_RAD)):
        value = fields.get(key, usual)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < float("inf")):
            raise InputError(f"{where}: {key} must be a number of zero or more")
        sigmas.append(float(value))
    return ScenePlace(T_map_scene, *sigmas)


def _numbers(values: Any, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count or any(isinstance(v, (bool, str)) for v in values):
        raise ValueError
    return [float(value) for value in values]
