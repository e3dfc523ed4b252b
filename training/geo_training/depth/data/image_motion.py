"""How much the picture moved between two frames, and how much of that no turn of the camera explains.

Corners are followed from one frame to the other (Lucas-Kanade) at a small size and back again. Only what remains once
the turn is taken out (parallax) tells depth. The turn comes from the poses where both frames have one, and else is the
rotation that fits the corners' directions best. A camera that slides along a flat wall looks much like one that turns:
without poses such frames count as moved only as far as they differ from a turn.
"""

from __future__ import annotations

import csv
import io
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from geo_perception.filtering.feature_tracker import TrackerOptions, find_corners, track_features
from geo_perception.geometry import Camera
from geo_perception.runtime.files import replace_text
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.storage.fingerprints import digest_of, sample_digest
from geo_training.storage.images import read_grey

CACHE_NAME = "image_motion.csv"
# turn: known from the poses, or fitted; made_of: the images, cameras and poses, in short
COLUMNS = ("image_a", "image_b", "turn", "made_of", "flow", "parallax")
VERSION = 2  # of what is measured
WIDTH_PX = 320
_CORNERS, _APART_PX = 240, 6
_FEW = 12  # corners; with fewer there is nothing to tell by
_LOST_SHARE = 0.25  # where fewer of the corners are found again, the views have hardly anything in common
_TRACKING = TrackerOptions(window_px=17, levels=4, max_round_trip_px=0.7)
_KEPT_IMAGES = 96


@dataclass(frozen=True)
class ImageMotion:
    """Medians over the corners, as shares of the image width: `flow` is all that moved, `parallax` what is left of it
    without the turn. Both are 0 where the first frame shows nothing to tell by, infinite where the corners are lost."""

    flow: float
    parallax: float


class ImageMotions:
    """Measures pairs of frames of a dataset, each once: what was measured is kept in image_motion.csv of the dataset.

    Raises InputError when an image cannot be read.
    """

    def __init__(self, dataset: SceneDataset):
        self.dataset, self._path = dataset, dataset.root / CACHE_NAME
        self._images: OrderedDict[str, np.ndarray] = OrderedDict()
        self._corners: OrderedDict[str, np.ndarray] = OrderedDict()
        self._digests: dict[str, str] = {}
        self._known = self._load()
        self._new = 0

    def __call__(self, a: Frame, b: Frame) -> ImageMotion:
        posed = a.T_world_camera is not None and b.T_world_camera is not None
        key = (a.name, b.name, "known" if posed else "fitted")
        made_of = digest_of(VERSION, self._digest(a), self._digest(b))[:16]
        if key not in self._known or self._known[key][0] != made_of:
            self._known[key] = made_of, self._measure(a, b)
            self._new += 1
        return self._known[key][1]

    def _digest(self, frame: Frame) -> str:
        """Of all that decides what is measured of a frame; a name alone may come to stand for another image."""
        if frame.name not in self._digests:
            camera = vars(self.dataset.camera(frame))
            pixels = sample_digest(self.dataset.image_path(frame))
            self._digests[frame.name] = digest_of(pixels, camera, frame.T_world_camera)
        return self._digests[frame.name]

    def save(self) -> None:
        """Writes what is new beside the dataset; a dataset that cannot be written to is measured again next time."""
        if not self._new:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = sorted((*key, made_of, m.flow, m.parallax) for key, (made_of, m) in self._known.items())
        writer.writerows((*row[:4], f"{row[4]:.6g}", f"{row[5]:.6g}") for row in rows)
        try:
            replace_text(self._path, text.getvalue())
        except OSError:
            return
        self._new = 0

    def _load(self) -> dict[tuple[str, str, str], tuple[str, ImageMotion]]:
        try:
            rows = list(csv.DictReader(io.StringIO(self._path.read_text())))
            return {
                (r["image_a"], r["image_b"], r["turn"]): (
                    r["made_of"],
                    ImageMotion(float(r["flow"]), float(r["parallax"])),
                )
                for r in rows
            }
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # not there yet, or broken: it only saves time

    def _measure(self, a: Frame, b: Frame) -> ImageMotion:
        image_a, image_b = self._image(a), self._image(b)
        if image_a.shape != image_b.shape:
            return ImageMotion(np.inf, np.inf)
        corners_n2 = self._corners_of(a)
        if len(corners_n2) < _FEW:
            return ImageMotion(0.0, 0.0)
        found_n2, kept_n = track_features(image_a, image_b, corners_n2, options=_TRACKING)
        if kept_n.sum() < max(_FEW, _LOST_SHARE * len(corners_n2)):
            return ImageMotion(np.inf, np.inf)
        before_n2, after_n2 = corners_n2[kept_n].astype(np.float64), found_n2[kept_n].astype(np.float64)
        height, width = image_a.shape
        flow_px = float(np.median(np.linalg.norm(after_n2 - before_n2, axis=1)))
        cameras = [self.dataset.camera(frame).resized(width, height) for frame in (a, b)]
        R_b_a = None
        if a.T_world_camera is not None and b.T_world_camera is not None:
            R_b_a = b.T_world_camera[:3, :3].T @ a.T_world_camera[:3, :3]
        return ImageMotion(flow_px / width, _parallax_px(before_n2, after_n2, *cameras, R_b_a) / width)

    def _image(self, frame: Frame) -> np.ndarray:
        """Grey uint8, WIDTH_PX wide."""
        if frame.name not in self._images:
            image = read_grey(self.dataset.image_path(frame))
            height = max(round(image.shape[0] * WIDTH_PX / image.shape[1]), 16)
            self._images[frame.name] = cv2.resize(image, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
            if len(self._images) > _KEPT_IMAGES:
                self._images.popitem(last=False)
        self._images.move_to_end(frame.name)
        return self._images[frame.name]

    def _corners_of(self, frame: Frame) -> np.ndarray:
        if frame.name not in self._corners:
            self._corners[frame.name] = find_corners(self._image(frame), _CORNERS, _APART_PX)
            if len(self._corners) > _KEPT_IMAGES:
                self._corners.popitem(last=False)
        return self._corners[frame.name]


def _parallax_px(
    before_n2: np.ndarray, after_n2: np.ndarray, camera_a: Camera, camera_b: Camera, R_b_a: np.ndarray | None
) -> float:
    """Median distance of the corners from where the turn alone would have put them."""
    rays_a_n3, rays_b_n3 = camera_a.bearings(before_n2), camera_b.bearings(after_n2)
    if R_b_a is None:
        R_b_a = _rotation_between(rays_a_n3, rays_b_n3)
    turned_n2 = camera_b.project(rays_a_n3 @ R_b_a.T)
    distance_n = np.linalg.norm(after_n2 - turned_n2, axis=1)
    return float(np.median(np.nan_to_num(distance_n, nan=np.inf)))


def _rotation_between(rays_a_n3: np.ndarray, rays_b_n3: np.ndarray) -> np.ndarray:
    """R_b_a (3, 3) that turns directions a onto b (Kabsch), those that fit badly counting less in each round."""
    weight_n = np.ones(len(rays_a_n3))
    for _ in range(6):
        u, _, vt = np.linalg.svd((weight_n[:, None] * rays_b_n3).T @ rays_a_n3)
        R_b_a = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        error_n = np.linalg.norm(rays_b_n3 - rays_a_n3 @ R_b_a.T, axis=1)
        weight_n = 1.0 / np.maximum(error_n, 0.3 * np.median(error_n) + 1e-6)
    return R_b_a
