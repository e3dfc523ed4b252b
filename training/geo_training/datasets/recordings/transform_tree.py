"""Poses over time, and the tree of transforms that a recording's /tf and /tf_static make."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geo_perception.geometry import interpolate_pose, invert_pose


@dataclass
class PoseTrack:
    """Poses over time; `at` interpolates between two that are no more than the gap apart."""

    stamps_ns: list[int] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    _sorted: tuple | None = None

    def add(self, stamp_ns: int, T: np.ndarray) -> None:
        self.stamps_ns.append(stamp_ns)
        self.poses.append(T)
        self._sorted = None

    def at(self, stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        if self._sorted is None:
            stamps, first = np.unique(np.array(self.stamps_ns, np.int64), return_index=True)
            # Seconds since the first pose: a float of seconds since 1970 is good for a quarter of a microsecond only.
            self._sorted = stamps[0], (stamps - stamps[0]) * 1e-9, np.array(self.poses)[first]
        origin_ns, stamps_s, T_n44 = self._sorted
        return interpolate_pose(stamps_s, T_n44, float(stamp_ns - origin_ns) * 1e-9, max_gap_s)


class TransformTree:
    """The transforms of /tf and /tf_static: each frame in its parent, over time."""

    def __init__(self):
        self._parents: dict[str, str] = {}
        self._static: dict[str, np.ndarray] = {}
        self._moving: dict[str, PoseTrack] = {}
        self.conflicts: set[str] = set()  # frames that were given a second parent, or a loop

    @property
    def frames(self) -> list[str]:
        return sorted({*self._parents, *self._parents.values()})

    def add(self, parent: str, child: str, stamp_ns: int, T_parent_child: np.ndarray, static: bool) -> None:
        if self._parents.get(child, parent) != parent or child in self._path(parent):
            self.conflicts.add(child)
            return
        self._parents[child] = parent
        if static:
            self._static[child] = T_parent_child
        else:
            self._moving.setdefault(child, PoseTrack()).add(stamp_ns, T_parent_child)

    def connects(self, target: str, source: str) -> bool:
        return target == source or bool(
            set(self._path(target)) & set(self._path(source)) and {target, source} <= set(self.frames)
        )

    def moves(self, target: str, source: str) -> bool:
        """Whether the way from one to the other leads over a transform that was published more than once."""
        ways = set(self._path(target)) ^ set(self._path(source))
        return any(len(self._moving[frame].poses) > 1 for frame in ways if frame in self._moving)

    def lookup(self, target: str, source: str, stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        """`T_target_source` at the stamp, or None where a transform on the way is not known then."""
        path_target, path_source = self._path(target), self._path(source)
        common = next((frame for frame in path_source if frame in path_target), None)
        if common is None:
            return None
        T_common_source = self._climb(path_source[: path_source.index(common)], stamp_ns, max_gap_s)
        T_common_target = self._climb(path_target[: path_target.index(common)], stamp_ns, max_gap_s)
        if T_common_source is None or T_common_target is None:
            return None
        return invert_pose(T_common_target) @ T_common_source

    def _climb(self, frames: list[str], stamp_ns: int, max_gap_s: float) -> np.ndarray | None:
        T = np.eye(4)
        for frame in frames:
            step = self._static.get(frame)
            if step is None:
                step = self._moving[frame].at(stamp_ns, max_gap_s)
            if step is None:
                return None
            T = step @ T
        return T

    def _path(self, frame: str) -> list[str]:
        path = [frame]
        while path[-1] in self._parents:
            path.append(self._parents[path[-1]])
        return path
