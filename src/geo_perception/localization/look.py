"""What a second look is made of: its options, the image at its levels, what is found, and the pose by it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from geo_perception.geometry import Camera
from geo_perception.localization.keypoint_search import StandingOut
from geo_perception.localization.keypoints import Keypoints
from geo_perception.localization.network import Peaks
from geo_perception.localization.pnp import PoseSolution

# The image and a half of it: a point that is nearer than it was in the map looks as it did there in a smaller image.
LEVELS = 2


@dataclass(frozen=True)
class SecondLookOptions:
    """How map points are searched for. Pixels are those of the map level in which a point is looked for."""

    first_radius_px: float = 32.0  # around a projection by the rough pose
    first_points: int = 250
    radius_px: float = 12.0  # around a projection by the pose that the first search gave
    max_points: int = 1500
    # The same where keypoints are described: they make the pose exact, and these only need to tell where it is.
    first_points_described: int = 150
    max_points_described: int = 500
    anywhere_points: int = 800  # that a place shows, looked for in the whole image
    passes: int = 2  # over all points
    min_similarity: float = 0.3
    min_margin: float = 0.02  # of the best place over the best of those not beside it
    min_agreeing: int = 25
    keypoints: bool = True  # make the pose exact by the keypoints of the image
    cone_slack_rad: float = 0.45  # a point may be seen from so much further around than the map saw it
    range_slack: float = 1.7  # and from so many times nearer or farther, in the level that fits best


@dataclass(frozen=True)
class PointMatches:
    """M map points found in an image: index of each in `MapPoints`, pixels in the network's camera, cosine similarity,
    and the size of a pixel of the level in which it was found (1, 2, ...)."""

    index_m: np.ndarray
    pixels_m2: np.ndarray
    similarity_m: np.ndarray
    scale_m: np.ndarray

    def __len__(self) -> int:
        return len(self.index_m)

    def __getitem__(self, chosen: np.ndarray) -> PointMatches:
        return PointMatches(*(getattr(self, name)[chosen] for name in _MATCH_FIELDS))

    @classmethod
    def exact(cls, index_m: np.ndarray, pixels_m2: np.ndarray) -> PointMatches:
        """Matches with keypoints, of which nothing is uncertain but their places."""
        return cls(index_m, pixels_m2, np.ones(len(index_m)), np.ones(len(index_m)))

    @classmethod
    def joined(cls, parts: list[PointMatches]) -> PointMatches:
        if not parts:
            none = np.zeros(0)
            return cls(none.astype(int), none.reshape(0, 2), none, none)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _MATCH_FIELDS))


@dataclass(frozen=True)
class SecondLook:
    """The pose after the second look. Of the S points that were expected in view, at pixels `expected_s2` of the
    network's camera, those were found where the pose has them for which `agrees_s`; those for which `sure_s` the map
    saw from nearly there, so that they should be. `matches` are those that the pose is made of, `sigma_px_m` their
    pixel errors as stated, and `solution.inlier_n` says which of them agree with it. `keypoints` counts those that
    agree by the descriptors of keypoints; None where the map has none. `expected_e` are the points that were looked
    for, in view or not."""

    solution: PoseSolution
    matches: PointMatches
    sigma_px_m: np.ndarray
    expected_s2: np.ndarray
    agrees_s: np.ndarray
    sure_s: np.ndarray
    expected_e: np.ndarray
    keypoints: int | None = None

    @property
    def searched(self) -> int:
        return len(self.agrees_s)

    @property
    def agreeing(self) -> int:
        return int(self.agrees_s.sum())

    @property
    def share(self) -> float:
        """Of the points that should be seen, those that are where the pose has them."""
        return self.agreeing / max(self.searched, 1)

    @property
    def widened(self) -> PoseSolution:
        """The pose, less certain the more of the points are missing: those of a place that is seen from elsewhere than
        in the map are found less exactly, all in one direction, which their number does not mend."""
        share = max(self.share, 0.1)
        return replace(self.solution, covariance_66=self.solution.covariance_66 / share**2)


@dataclass(frozen=True)
class Proposal:
    """A pose to look from, and the map points (indices in `MapPoints`) by whose keypoints it was found, if any."""

    T_map_camera: np.ndarray
    index_m: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


@dataclass(frozen=True)
class LevelView:
    """An image (H, W, 3) at one level: the camera that it is seen through, the backbone's maps (1, C, h, w), and the
    landmarks' places where they came with them."""

    camera: Camera
    image_hw3: np.ndarray
    maps: list[torch.Tensor]
    peaks: Peaks | None = None


class ImageLevels:
    """One image at every level: its views, fine maps and keypoints, each made once, when it is asked for."""

    def __init__(self, view_of: Callable[[int], LevelView], detected: dict[bool, Keypoints] | None = None):
        self._view_of = view_of
        # Keypoints of level 0 as they are found for any map, without and with descriptors.
        self.detected: dict[bool, Keypoints] = {} if detected is None else detected
        self._views: dict[int, LevelView] = {}
        self.fine_maps: dict[int, tuple[torch.Tensor, tuple[int, int]]] = {}  # by level, those of one `PointSearch`
        self.keypoints: Future[Keypoints] | None = None  # of level 0; None as long as nobody began to find them
        self.standing_out: StandingOut | None = None  # of the keypoints, among all points of one map

    def view(self, level: int) -> LevelView:
        if level not in self._views:
            self._views[level] = self._view_of(level)
        return self._views[level]

    def camera(self, level: int) -> Camera:
        return self.view(level).camera

    def for_another_map(self) -> ImageLevels:
        """The same image to be compared with another map: its views and what is detected in them are shared."""
        return ImageLevels(self.view, self.detected)


_MATCH_FIELDS = ("index_m", "pixels_m2", "similarity_m", "scale_m")
