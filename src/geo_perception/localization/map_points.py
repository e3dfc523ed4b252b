"""Map points that a scene carries beside its landmarks: places, and how they look from where they were seen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from geo_perception.localization.map_keypoints import MapKeypoints

# One appearance on disk: three coordinates of 16 bits, a direction and a cone of 8 bits each, two ranges in half
# precision, the number of its point; and one byte for each channel of its descriptor.
BYTES_BESIDE_DESCRIPTOR = 6 + 3 + 1 + 4 + 4
_STEPS = 65535  # of a coordinate over the extent of the scene
_PREFIX = "points."
_NO_ARRAYS = ("backbone_maps", "keypoints")
_BY_APPEARANCE = ("points_map_a3", "descriptors_ad", "direction_a3", "cone_rad_a", "range_a2")


@dataclass(frozen=True)
class MapPoints:
    """A appearances of map points: a point that was seen from near and from far has one for each.

    `points_map_a3` places, `point_a` which point an appearance is of, `descriptors_ad` int8 (unit vectors times 127),
    `direction_a3` unit vectors from the point to the middle of the places it was seen from, `cone_rad_a` the largest
    angle between that and a place, `range_a2` the smallest and largest distance.

    What is compared with a descriptor is a unit vector: `projection_dc` times those of the backbone's maps that
    `backbone_maps` counts up, stacked at the finest stride, plus `offset_d`.
    """

    points_map_a3: np.ndarray
    point_a: np.ndarray
    descriptors_ad: np.ndarray
    direction_a3: np.ndarray
    cone_rad_a: np.ndarray
    range_a2: np.ndarray
    projection_dc: np.ndarray
    offset_d: np.ndarray
    backbone_maps: tuple[int, ...]
    keypoints: MapKeypoints | None = None  # of every point, in the order in which `point_a` counts them

    def __len__(self) -> int:
        return len(self.points_map_a3)

    def kept(self, chosen_a: np.ndarray) -> MapPoints:
        """Only the chosen appearances (bool, (A,)), and the points that they are of."""
        point_p, point_a = np.unique(self.point_a[chosen_a], return_inverse=True)
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = replace(keypoints, descriptors_pd=keypoints.descriptors_pd[point_p])
        arrays = {name: getattr(self, name)[chosen_a] for name in _BY_APPEARANCE}
        return replace(self, **arrays, point_a=point_a.reshape(-1), keypoints=keypoints)

    def with_more(self, others: MapPoints) -> MapPoints:
        """These and other points, which are described in the same space."""
        count, keypoints = int(self.point_a.max(initial=-1)) + 1, self.keypoints
        if keypoints is not None:
            assert others.keypoints is not None  # described in the same space
            both_pd = np.concatenate([keypoints.descriptors_pd, others.keypoints.descriptors_pd])
            keypoints = replace(keypoints, descriptors_pd=both_pd)
        arrays = {name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in _BY_APPEARANCE}
        point_a = np.concatenate([self.point_a, others.point_a + count])
        return replace(self, **arrays, point_a=point_a, keypoints=keypoints)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Compact arrays by name, for a weights file; `from_tensors` gives nearly the same back."""
        low_3, high_3 = self.points_map_a3.min(axis=0), self.points_map_a3.max(axis=0)
        steps_a3 = np.rint((self.points_map_a3 - low_3) / np.maximum(high_3 - low_3, 1e-9) * _STEPS)
        compact = {
            "low_high_23": np.stack([low_3, high_3]),
            "points_map_a3": steps_a3.astype(np.uint16),
            "point_a": self.point_a.astype(np.int32),
            "descriptors_ad": self.descriptors_ad,
            "direction_a3": np.rint(self.direction_a3 * 127).astype(np.int8),
            "cone_rad_a": np.ceil(np.clip(self.cone_rad_a / np.pi, 0, 1) * 255).astype(np.uint8),
            "range_a2": self.range_a2.astype(np.float16),
            "projection_dc": self.projection_dc.astype(np.float32),
            "offset_d": self.offset_d.astype(np.float32),
            "backbone_maps": np.array(self.backbone_maps, np.int32),
        }
        tensors = {_PREFIX + name: array for name, array in compact.items()}
        return tensors | (self.keypoints.to_tensors() if self.keypoints is not None else {})

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> MapPoints | None:
        """The points in a file's tensors; None where it has none. Raises KeyError or ValueError where parts of them are
        missing or do not fit together."""
        found = {name.removeprefix(_PREFIX): array for name, array in tensors.items() if name.startswith(_PREFIX)}
        if not found:
            return None
        low_3, high_3 = found.pop("low_high_23").astype(np.float64)
        direction_a3 = found["direction_a3"].astype(np.float64)
        found["direction_a3"] = direction_a3 / np.maximum(np.linalg.norm(direction_a3, axis=1, keepdims=True), 1e-9)
        found["points_map_a3"] = low_3 + found["points_map_a3"].astype(np.float64) / _STEPS * (high_3 - low_3)
        found["cone_rad_a"] = found["cone_rad_a"].astype(np.float64) / 255 * np.pi
        found["range_a2"] = found["range_a2"].astype(np.float64)
        arrays = {field.name: found[field.name] for field in fields(cls) if field.name not in _NO_ARRAYS}
        points = cls(**arrays, backbone_maps=tuple(map(int, found["backbone_maps"])),
                     keypoints=MapKeypoints.from_tensors(tensors))  # fmt: skip
        A, (D, _) = len(points), points.projection_dc.shape
        shapes = {"points_map_a3": (A, 3), "point_a": (A,), "descriptors_ad": (A, D), "direction_a3": (A, 3),
                  "cone_rad_a": (A,), "range_a2": (A, 2), "offset_d": (D,)}  # fmt: skip
        if any(getattr(points, name).shape != shape for name, shape in shapes.items()):
            raise ValueError("map points of different counts")
        if points.keypoints is not None and len(points.keypoints) != int(points.point_a.max(initial=-1)) + 1:
            raise ValueError("not every map point has a keypoint's descriptor")
        return points
