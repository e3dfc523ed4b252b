"""The map of a dataset, read: poses, cameras, points and the tracks that tie them together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.datasets.colmap_model import PIXEL_CENTRE, camera_from_colmap
from geo_training.mapping.colmap_io import read_model, registered_poses

REPORT_NAME = "map.json"


@dataclass(frozen=True)
class Tracks:
    """Which frame saw which point where: one row an observation, rows ordered by point.

    `point_m` indexes the map's points, `frame_m` its frame names, `pixels_m2` is where the feature was, in our pixels,
    and `feature_m` which of the frame's features it was, where that is known.
    """

    point_m: np.ndarray
    frame_m: np.ndarray
    pixels_m2: np.ndarray
    feature_m: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.point_m)


@dataclass(frozen=True)
class SceneMap:
    """A map: `T_world_camera` (4, 4) and `cameras` by frame name, `points_world_n3`, their mean reprojection errors
    `error_px_n`, and the tracks. Distances are metres when `metric`, else of unknown scale."""

    T_world_camera: dict[str, np.ndarray]
    cameras: dict[str, Camera]
    points_world_n3: np.ndarray
    error_px_n: np.ndarray
    tracks: Tracks
    metric: bool
    report: dict = field(default_factory=dict)

    @property
    def frame_names(self) -> list[str]:
        """The frames of the map; `tracks.frame_m` counts in this order."""
        return list(self.T_world_camera)

    @property
    def median_distance(self) -> float:
        """From a camera to a point that it saw: the middle of all observations, in the unit of the map. What a limit in
        metres is for a metric map, a share of this is for one of unknown scale. NaN where nothing was seen."""
        if len(self.tracks) == 0:
            return float("nan")
        centres_f3 = np.stack([T_world_camera[:3, 3] for T_world_camera in self.T_world_camera.values()])
        rays_m3 = self.points_world_n3[self.tracks.point_m] - centres_f3[self.tracks.frame_m]
        return float(np.median(np.linalg.norm(rays_m3, axis=1)))

    def restricted_to(self, names: list[str]) -> SceneMap:
        """The same map with only these frames, their observations, and the points that those see."""
        if names == self.frame_names:
            return self
        new_frame_f = np.full(len(self.frame_names), -1)
        kept = [name for name in self.frame_names if name in set(names)]
        old = {name: index for index, name in enumerate(self.frame_names)}
        new_frame_f[[old[name] for name in kept]] = np.arange(len(kept))
        stays_m = new_frame_f[self.tracks.frame_m] >= 0
        points, point_m = np.unique(self.tracks.point_m[stays_m], return_inverse=True)
        feature_m = self.tracks.feature_m
        frame_m = new_frame_f[self.tracks.frame_m[stays_m]].astype(np.int32)
        return replace(
            self,
            T_world_camera={name: self.T_world_camera[name] for name in kept},
            cameras={name: self.cameras[name] for name in kept},
            points_world_n3=self.points_world_n3[points],
            error_px_n=self.error_px_n[points],
            tracks=Tracks(
                point_m.astype(np.int32),
                frame_m,
                self.tracks.pixels_m2[stays_m],
                None if feature_m is None else feature_m[stays_m],
            ),
        )

    @classmethod
    def load(cls, root: str | Path) -> SceneMap:
        """Reads the map of the dataset at `root`. Raises InputError when there is none."""
        root = Path(root)
        try:
            report = json.loads((root / REPORT_NAME).read_text())
            metric = bool(report["metric"])
        except FileNotFoundError:
            raise InputError(f"{root} has no map; run `geo-train map {root}` first") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{root / REPORT_NAME} is damaged; run `geo-train map {root}` again") from None
        return cls.from_reconstruction(read_model(root / "colmap"), metric, report)

    @classmethod
    def from_reconstruction(cls, reconstruction, metric: bool, report: dict | None = None) -> SceneMap:
        """The map in a pycolmap.Reconstruction."""
        poses = registered_poses(reconstruction)
        frame_of = {name: index for index, name in enumerate(poses)}
        by_number = {number: camera_from_colmap(camera) for number, camera in reconstruction.cameras.items()}
        cameras = {}
        observations: dict[int, list[tuple[int, float, float, int]]] = {}
        for image in sorted(reconstruction.images.values(), key=lambda image: image.name):
            if image.name not in poses:
                continue
            cameras[image.name] = by_number[image.camera_id]
            for feature, point2D in enumerate(image.points2D):
                if point2D.has_point3D():
                    observed = frame_of[image.name], *point2D.xy, feature
                    observations.setdefault(point2D.point3D_id, []).append(observed)
        ids = sorted(observations)
        rows = [(point, *row) for point, number in enumerate(ids) for row in observations[number]]
        rows_m5 = np.array(rows, np.float64).reshape(-1, 5)
        point_m, frame_m, feature_m = rows_m5[:, [0, 1, 4]].astype(np.int32).T
        tracks = Tracks(point_m, frame_m, rows_m5[:, 2:4] - PIXEL_CENTRE, feature_m)
        points = [reconstruction.point3D(number) for number in ids]
        points_n3 = np.array([point.xyz for point in points], np.float64).reshape(-1, 3)
        error_px_n = np.array([point.error for point in points], np.float64)
        return cls(poses, cameras, points_n3, error_px_n, tracks, metric, report or {})
