"""The chosen landmarks and who sees them, on disk as safetensors: nothing in the file can run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from geo_perception.errors import InputError
from geo_perception.runtime.files import replace_bytes

FORMAT = "geo_training.landmarks"
FORMAT_VERSION = 1
FILE_NAME = "landmarks.safetensors"

SEEN, UNKNOWN, HIDDEN = 1, 0, -1

_TENSORS = ("points_world_l3", "score_l", "visibility_fl", "pixels_fl2")


@dataclass(frozen=True)
class LandmarkSet:
    """L landmarks and F frames.

    `points_world_l3` float32, `score_l` float32 (the higher the better, in the order they were chosen),
    `visibility_fl` int8: +1 seen, 0 in view but not known to be seen, -1 not in view (or behind something),
    `pixels_fl2` float32: exact projections, NaN where the landmark is not in front of the camera.
    """

    points_world_l3: np.ndarray
    score_l: np.ndarray
    frame_names: list[str]
    visibility_fl: np.ndarray
    pixels_fl2: np.ndarray
    report: dict = field(default_factory=dict)

    def __post_init__(self):
        frames, landmarks = len(self.frame_names), len(self.points_world_l3)
        shapes = {
            "points_world_l3": (landmarks, 3),
            "score_l": (landmarks,),
            "visibility_fl": (frames, landmarks),
            "pixels_fl2": (frames, landmarks, 2),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"landmarks: {name} has the shape {getattr(self, name).shape}, it must be {shape}")

    def __len__(self) -> int:
        return len(self.points_world_l3)

    def first(self, count: int) -> LandmarkSet:
        """Those that were chosen first."""
        return LandmarkSet(
            self.points_world_l3[:count], self.score_l[:count], self.frame_names,
            self.visibility_fl[:, :count], self.pixels_fl2[:, :count], self.report,
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Writes the file in one move."""
        path = Path(path)
        header = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "frame_names": json.dumps(self.frame_names),
            "report": json.dumps(self.report),
        }
        tensors = {
            "points_world_l3": np.ascontiguousarray(self.points_world_l3, np.float32),
            "score_l": np.ascontiguousarray(self.score_l, np.float32),
            "visibility_fl": np.ascontiguousarray(self.visibility_fl, np.int8),
            "pixels_fl2": np.ascontiguousarray(self.pixels_fl2, np.float32),
        }
        replace_bytes(path, save(tensors, metadata=header))

    @classmethod
    def load(cls, path: str | Path) -> LandmarkSet:
        """Reads the file, or `landmarks.safetensors` in the dataset at `path`.

        Raises InputError when it is missing, damaged, or of another version.
        """
        path = Path(path)
        if path.is_dir():
            path = path / FILE_NAME
        if not path.is_file():
            raise InputError(f"{path} does not exist; run `geo-train landmarks {path.parent}` first")
        again = f"run `geo-train landmarks {path.parent}` again"
        try:
            with safe_open(path, "numpy") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT or header.get("format_version") != str(FORMAT_VERSION):
                    raise InputError(f"{path} is not a landmark file of version {FORMAT_VERSION}; {again}")
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
            return cls(
                tensors["points_world_l3"],
                tensors["score_l"],
                json.loads(header["frame_names"]),
                tensors["visibility_fl"],
                tensors["pixels_fl2"],
                json.loads(header["report"]),
            )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged ({error}); {again}") from None
