"""The scene file: the landmarks of one place, the head that finds them, and all that has to be known to use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.localization.map_points import MapPoints
from geo_perception.localization.network import HeadConfig, LandmarkHead
from geo_perception.localization.places import Places
from geo_perception.localization.view_descriptors import ViewDescriptors
from geo_perception.runtime.backbone import Backbone, backbone_from_tensors, backbone_tensors, create_backbone
from geo_perception.runtime.weights import load_weights, save_weights

KIND, FORMAT_VERSION = "scene", 1


@dataclass(frozen=True)
class NoiseModel:
    """How far detections and poses are off, measured on frames that were held out of training.

    A landmark's pixel error is `sigma_px` at the scores `score_knots` and linear between them, in network pixels. A
    pose's covariance is the information's inverse times `covariance_scale`, plus what no landmark can tell
    (`floor_m`, `floor_rad`: the error of the map itself).
    """

    score_knots: tuple[float, ...] = (0.0, 0.5, 1.0)
    sigma_px: tuple[float, ...] = (6.0, 3.0, 1.5)
    covariance_scale: float = 1.0
    floor_m: float = 0.003
    floor_rad: float = 0.001

    def sigma_of(self, score_n: np.ndarray) -> np.ndarray:
        return np.interp(score_n, self.score_knots, self.sigma_px)


_LOOK_KNOTS, _LOOK_SIGMA_PX = (0.3, 0.6, 0.9), (3.0, 2.0, 1.5)
_HEADER_BYTES = 16_000


@dataclass
class Scene:
    """A mapped place as it is on board. `network_focal_px` is the focal length that the head was trained at, whichever
    camera took a frame; the mapping camera is the one that took the most."""

    landmarks_map_l3: np.ndarray
    head: LandmarkHead
    backbone: Backbone
    network_focal_px: float
    network_size_px: tuple[int, int]  # (width, height) of the mapping camera's images as the network saw them
    mapping_camera: dict  # width, height, fx, fy, cx, cy of the camera that the place was mapped with
    metric: bool
    noise: NoiseModel = field(default_factory=NoiseModel)
    frame_id: str = "map"
    header: dict = field(default_factory=dict)  # free metadata: training data, metrics, licence, scale's source
    points: MapPoints | None = None  # for the second look
    places: Places | None = None  # parts of it, in which a pose is looked for where the whole is too confusing
    look_noise: NoiseModel = field(default_factory=lambda: Scene.usual_look_noise())
    views: ViewDescriptors | None = None  # by which it is proposed among other scenes

    @staticmethod
    def usual_look_noise() -> NoiseModel:
        """Of the second look, before it is measured: the score is a cosine similarity."""
        return NoiseModel(_LOOK_KNOTS, _LOOK_SIGMA_PX)

    def size_bytes(self) -> int:
        """About the size of the file, without a backbone in it."""
        arrays = [_compact(tensor) for tensor in self.head.state_dict().values()]
        if self.points is not None:
            arrays += self.points.to_tensors().values()
        if self.places is not None:
            arrays += self.places.to_tensors().values()
        if self.views is not None:
            arrays += self.views.to_tensors().values()
        return sum(array.nbytes for array in arrays) + 12 * len(self.landmarks_map_l3) + _HEADER_BYTES

    def save(self, path: str | Path, embed_backbone: bool = False) -> None:
        """Writes the scene; half precision for the head, and for the backbone where it is embedded."""
        tensors = {f"head.{name}": _compact(tensor) for name, tensor in self.head.state_dict().items()}
        tensors["landmarks_map_l3"] = self.landmarks_map_l3.astype(np.float32)
        if self.points is not None:
            tensors |= self.points.to_tensors()
        if self.places is not None:
            tensors |= self.places.to_tensors()
        if self.views is not None:
            tensors |= self.views.to_tensors()
        if embed_backbone:
            tensors |= {f"backbone.{k}": v for k, v in backbone_tensors(self.backbone).items()}
        header = self.header | {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "producer": f"geo_perception {__version__}",
            "head": self.head.config.to_header(),
            "backbone": {"name": self.backbone.name, "sha256": self.backbone.checksum, "embedded": embed_backbone},
            "network_focal_px": float(self.network_focal_px),
            "network_size_px": list(self.network_size_px),
            "mapping_camera": self.mapping_camera,
            "metric": bool(self.metric),
            "frame_id": self.frame_id,
            "noise": _noise_header(self.noise),
            "look_noise": _noise_header(self.look_noise),
        }
        save_weights(path, tensors, header)

    @classmethod
    def load(cls, path: str | Path, backbone_file: str | Path | None = None, backbone: Backbone | None = None) -> Scene:
        """Reads a scene file; `backbone` is the one it needs, where that is loaded for other scenes.

        Raises InputError when it is missing, damaged, of another version, or made with a backbone that differs from the
        one on this machine.
        """
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            config = HeadConfig.from_header(header["head"])
            head = LandmarkHead(config)
            state = {key[5:]: torch.from_numpy(value.astype(_wide(value.dtype))) for key, value in tensors.items()
                     if key.startswith("head.")}  # fmt: skip
            head.load_state_dict(state)
            noise = _noise_of(header["noise"])
            points = MapPoints.from_tensors(tensors)
            places = Places.from_tensors(tensors, config.landmarks)
            views = ViewDescriptors.from_tensors(tensors)
            look_noise = _noise_of(header.get("look_noise", header["noise"]))  # older scenes have no second look
            landmarks_map_l3 = tensors["landmarks_map_l3"].astype(np.float64)
            wanted = header["backbone"]
            fields = (float(header["network_focal_px"]), tuple(header["network_size_px"]), header["mapping_camera"])
            metric, frame_id = bool(header["metric"]), str(header["frame_id"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
            raise InputError(
                f"{path} lacks parts of a scene; make it again with `geo-train localization head`"
            ) from None
        if len(landmarks_map_l3) != config.landmarks or not np.isfinite(landmarks_map_l3).all():
            raise InputError(f"{path} has landmarks that do not fit its head; make it again")
        if backbone is None:
            backbone = _backbone_of(tensors, wanted, backbone_file)
        if backbone.checksum != wanted["sha256"]:
            raise InputError(
                f"{path} was trained on other weights of {wanted['name']} than those on this machine; give "
                "the backbone file it was trained with, or make the scene with --embed-backbone"
            )
        return cls(
            landmarks_map_l3,
            head.eval(),
            backbone,
            *fields,
            metric,
            noise,
            frame_id,
            header,
            points,
            places,
            look_noise,
            views,
        )


def _backbone_of(tensors: dict[str, np.ndarray], wanted: dict, backbone_file: str | Path | None) -> Backbone:
    """The backbone that a scene carries, or the one of its name on this machine."""
    if not wanted["embedded"]:
        return create_backbone(wanted["name"], backbone_file)
    weights = {key[9:]: value for key, value in tensors.items() if key.startswith("backbone.")}
    return backbone_from_tensors(wanted["name"], weights)


def _noise_header(noise: NoiseModel) -> dict:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(noise).items()}


def _noise_of(fields: dict) -> NoiseModel:
    return NoiseModel(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def _compact(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float16 if tensor.is_floating_point() else np.int64)


def _wide(dtype: np.dtype):
    return np.float32 if dtype == np.float16 else dtype
