"""SIFT + PnP against the map itself: what a scene file replaces, and what it has to be compared with.

Features of the query are matched to the descriptors of the map's points and the pose comes from pycolmap's LO-RANSAC
and refinement. It must carry a descriptor for every observation of a point, since one averaged descriptor a point
matches worse.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose
from geo_perception.localization.result import Detections, Localization, Verdict
from geo_training.datasets.colmap_model import PIXEL_CENTRE
from geo_training.mapping.colmap_io import read_model, to_pycolmap
from geo_training.mapping.features import descriptors_of_map

RATIO = 0.8  # Lowe's test: the best match must be nearer than this share of the best match of any other point
MAX_ERROR_PX = 12.0  # of RANSAC; this and the ratio are what COLMAP itself uses by default
MIN_INLIERS = 12
NEIGHBOURS = 6  # looked at for each feature, so that one of another point is nearly always among them
_TREES, _CHECKS = 4, 64  # of the k-d forest


@dataclass(frozen=True)
class SiftMap:
    """What SIFT localization carries: a descriptor for each of M observations, the point of each, and P points."""

    descriptors_m128: np.ndarray  # uint8
    point_m: np.ndarray  # int32, index into the points
    points_map_p3: np.ndarray  # float32
    max_features: int = 4096
    peak_threshold: float = 0.004

    @property
    def size_bytes(self) -> int:
        """Bytes to carry: 128 a descriptor, 4 for the number of its point, 12 for the place of each point."""
        return 128 * len(self.descriptors_m128) + 4 * len(self.point_m) + 12 * len(self.points_map_p3)

    @property
    def descriptor_bytes(self) -> int:
        return 128 * len(self.descriptors_m128)

    @classmethod
    def from_dataset(cls, root: str | Path) -> SiftMap:
        """Gathers the descriptors of a mapped dataset from the feature database that `geo-train map` leaves beside it.

        Raises InputError when the map, or the database it was made from, is not there.
        """
        root = Path(root)
        folder = root / ".cache" / "map"
        reconstruction = read_model(root / "colmap")
        try:
            options = json.loads((folder / "signature.json").read_text())["options"]
            max_features, peak_threshold = int(options["max_features"]), float(options["peak_threshold"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"the features of the map of {root} are gone; delete its colmap folder and run geo-train map again"
            ) from None
        ids = sorted(reconstruction.point3D_ids())
        index_of = {number: index for index, number in enumerate(ids)}
        descriptors, points = [], []
        images = sorted((i for i in reconstruction.images.values() if i.has_pose), key=lambda image: image.name)
        found = descriptors_of_map(root, [image.name for image in images])
        for image, descriptors_n128 in zip(images, found, strict=True):
            seen = [(i, index_of[p.point3D_id]) for i, p in enumerate(image.points2D) if p.has_point3D()]
            if seen:
                rows, point_k = np.array(seen).T
                descriptors.append(descriptors_n128[rows])
                points.append(point_k)
        if not descriptors:
            raise InputError(f"the map of {root} has no points; run geo-train map again")
        points_p3 = np.array([reconstruction.point3D(number).xyz for number in ids], np.float32)
        point_m = np.concatenate(points).astype(np.int32)
        return cls(np.concatenate(descriptors), point_m, points_p3, max_features, peak_threshold)


class SiftLocalizer:
    """SIFT + PnP with the interface of the scene's own localizer."""

    def __init__(self, sift_map: SiftMap, ratio: float = RATIO, max_error_px: float = MAX_ERROR_PX):
        self.map = sift_map
        self.ratio, self.max_error_px = ratio, max_error_px
        options = pycolmap.FeatureExtractionOptions()
        options.use_gpu, options.num_threads, options.max_image_size = False, 1, -1
        options.sift.max_num_features = sift_map.max_features
        options.sift.peak_threshold = sift_map.peak_threshold
        self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        cv2.setRNGSeed(0)
        self._forest = cv2.FlannBasedMatcher({"algorithm": 1, "trees": _TREES}, {"checks": _CHECKS})
        self._forest.add([np.ascontiguousarray(sift_map.descriptors_m128, dtype=np.float32)])
        self._forest.train()

    def estimate(self, image_rgb: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """The pose of one RGB image (H, W, 3). `timings_s` has extract, match and pose."""
        started = time.perf_counter()
        pixels_n2, descriptors_n128 = self.extract(image_rgb)
        extracted = time.perf_counter()
        feature_k, point_k, score_k = self.match(descriptors_n128)
        matched = time.perf_counter()
        result = self._pose(pixels_n2[feature_k], point_k, score_k, camera, seed)
        timings_s = {"extract": extracted - started, "match": matched - extracted}
        result.timings_s.update(timings_s, pose=time.perf_counter() - matched)
        return result

    def extract(self, image_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (N, 2) in our pixels and descriptors (N, 128) as float32."""
        keypoints, descriptors = self._extractor.extract(
            pycolmap.Bitmap.from_array(np.ascontiguousarray(image_rgb)).clone_as_grey()
        )
        pixels_n2 = np.array([(k.x, k.y) for k in keypoints], np.float64).reshape(-1, 2) - PIXEL_CENTRE
        return pixels_n2, np.asarray(descriptors.data, np.float32).reshape(-1, 128)

    def match(self, descriptors_n128: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Feature, point and score (1 - distance ratio) of each match that passes the ratio test, a point once."""
        if len(descriptors_n128) == 0:
            return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
        neighbours = self._forest.knnMatch(descriptors_n128, k=min(NEIGHBOURS, len(self.map.point_m)))
        best: dict[int, tuple[float, int]] = {}
        for feature, found in enumerate(neighbours):
            if not found:
                continue
            point = int(self.map.point_m[found[0].trainIdx])
            other = next((m.distance for m in found[1:] if self.map.point_m[m.trainIdx] != point), found[-1].distance)
            # All neighbours of one point: the next point is at least as far as the last of them.
            ratio = found[0].distance / other if other > 0 else 1.0
            alone = all(self.map.point_m[m.trainIdx] == point for m in found)
            if (alone or ratio < self.ratio) and (point not in best or ratio < best[point][0]):
                best[point] = (ratio, feature)
        rows = [(feature, point, 1 - min(ratio, 1.0)) for point, (ratio, feature) in best.items()]
        if not rows:
            return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
        feature_k, point_k, score_k = zip(*rows, strict=True)
        return np.array(feature_k), np.array(point_k), np.array(score_k)

    def _pose(self, pixels_k2, point_k, score_k, camera: Camera, seed: int) -> Localization:
        points_k3 = self.map.points_map_p3[point_k].astype(np.float64)
        detections = Detections(
            point_k, pixels_k2, points_k3, score_k, np.ones(len(point_k)), np.zeros(len(point_k), bool)
        )
        if len(point_k) < MIN_INLIERS:
            return Localization(Verdict.TOO_FEW_LANDMARKS, f"{len(point_k)} matches", detections, timings_s={})
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error, options.ransac.random_seed = self.max_error_px, seed
        answer = pycolmap.estimate_and_refine_absolute_pose(
            pixels_k2 + PIXEL_CENTRE, points_k3, to_pycolmap(camera), options
        )
        if answer is None or answer["num_inliers"] < MIN_INLIERS:
            return Localization(Verdict.NO_CONSENSUS, f"{len(point_k)} matches", detections, timings_s={})
        rigid = answer["cam_from_world"]
        T_map_camera = invert_pose(make_pose(rigid.rotation.matrix(), rigid.translation))
        inlier_k = np.asarray(answer["inlier_mask"], bool)
        detections = Detections(point_k, pixels_k2, points_k3, score_k, detections.sigma_px_n, inlier_k)
        return Localization(Verdict.LOCALIZED, "", detections, T_map_camera, timings_s={})
