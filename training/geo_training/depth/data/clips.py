"""Short clips of a dataset to learn depth from: a target frame and its sources, with enough motion between them.

Frames of a recording lie so close in time that often nothing moves from one to the next, and a frame rate does not say
how far the camera went. So each source is the next frame, before or after, from which the camera did move enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Literal

from pydantic import Field, model_validator

from geo_perception.errors import InputError
from geo_perception.geometry import pose_error
from geo_training.config import Strict
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth.data.image_motion import ImageMotions

_TURNED_DEG = 1.5  # a view that turned this much is another one


@dataclass(frozen=True)
class Clip:
    """`sources` are in the order of time: the first half of them before the target, the others after it."""

    target: Frame
    sources: tuple[Frame, ...]


class ClipOptions(Strict):
    """Which clips are taken.

    Frames with poses in metres are chosen by how far the camera went; turning on the spot moves it nowhere. All others
    are chosen by the picture: how far it moved, and how much of that a turn of the camera does not explain, in shares
    of the image width.
    """

    length: int = Field(3, ge=3, description="frames of a clip, an odd number; the target is in the middle")
    min_motion_m: float = Field(0.03, gt=0, description="that the camera moves from frame to frame of a clip, at least")
    max_motion_m: float = Field(3.0, gt=0, description="that it moves at most")
    max_turn_deg: float = Field(20.0, gt=0, description="that it turns at most")
    min_flow: float = Field(0.005, gt=0, description="without metric poses: the picture's motion, at least")
    min_parallax: float = Field(0.0015, ge=0, description="without metric poses: its motion without the turn, at least")
    max_flow: float = Field(0.2, gt=0, description="without metric poses: the picture's motion, at most")
    max_gap_s: float = Field(1.0, gt=0, description="between neighbouring frames of a clip")
    splits: tuple[Literal["train", "val", "test", ""], ...] = Field(("train", ""), min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ClipOptions:
        if self.length % 2 == 0:
            raise ValueError("the length of a clip must be odd, since the target is in its middle")
        if self.min_motion_m >= self.max_motion_m or self.min_flow >= self.max_flow:
            raise ValueError("the least motion must be below the most")
        return self


def find_clips(dataset: SceneDataset, options: ClipOptions) -> list[Clip]:
    """The clips of a dataset, in the order of sequence and time. A frame from which the camera has not moved since the
    target before (it stands still) is no target again.

    All frames of a clip are of one sequence and one split. Raises InputError when the dataset has no frame of the
    splits, when no clip is left, or when an image cannot be read.
    """
    frames = [frame for frame in dataset.frames if frame.split in options.splits]
    if not frames:
        named = ", ".join(split or "(none)" for split in options.splits)
        raise InputError(f"{dataset.root} has no frame of the splits {named}; make them with `geo-train dataset split`")
    motions = ImageMotions(dataset)
    criterion = _MotionCriterion(dataset, options, motions)
    ordered = sorted(frames, key=lambda frame: (frame.sequence, frame.split, frame.stamp_ns, frame.name))
    clips = []
    for _, group in groupby(ordered, key=lambda frame: (frame.sequence, frame.split)):
        clips += _clips_of(list(group), options, criterion)
    motions.save()
    if not clips:
        raise InputError(
            f"{dataset.root}: no two frames of it differ enough within {options.max_gap_s:g} s, on both sides of a "
            "frame, to learn depth from; record while the camera moves, or change min_motion_m, min_flow or max_gap_s "
            "of clips"
        )
    return sorted(clips, key=lambda clip: (clip.target.sequence, clip.target.stamp_ns, clip.target.name))


class _Moved(Enum):
    TOO_LITTLE = 0
    ENOUGH = 1
    TOO_MUCH = 2


@dataclass(frozen=True)
class _MotionCriterion:
    """Whether the camera moved enough from one frame to another."""

    dataset: SceneDataset
    options: ClipOptions
    motions: ImageMotions

    def __call__(self, a: Frame, b: Frame) -> _Moved:
        options = self.options
        if self._metric(a, b):
            moved_m, turned_rad = pose_error(a.T_world_camera, b.T_world_camera)
            if moved_m > options.max_motion_m or turned_rad > math.radians(options.max_turn_deg):
                return _Moved.TOO_MUCH
            return _Moved.ENOUGH if moved_m >= options.min_motion_m else _Moved.TOO_LITTLE
        motion = self.motions(a, b)
        if motion.flow > options.max_flow:
            return _Moved.TOO_MUCH
        enough = motion.flow >= options.min_flow and motion.parallax >= options.min_parallax
        return _Moved.ENOUGH if enough else _Moved.TOO_LITTLE

    def similar(self, a: Frame, b: Frame) -> bool:
        """Whether b shows what a shows: the camera neither moved nor turned."""
        options = self.options
        if self._metric(a, b):
            moved_m, turned_rad = pose_error(a.T_world_camera, b.T_world_camera)
            return moved_m < options.min_motion_m and turned_rad < math.radians(_TURNED_DEG)
        return self.motions(a, b).flow < options.min_flow

    def _metric(self, a: Frame, b: Frame) -> bool:
        posed = a.T_world_camera is not None and b.T_world_camera is not None
        return posed and self.dataset.info.scale == "metric"


def _clips_of(frames: list[Frame], options: ClipOptions, criterion: _MotionCriterion) -> list[Clip]:
    """The clips of the frames of one sequence and split, in the order of time."""
    clips, last = [], None
    for index, target in enumerate(frames):
        if last is not None and criterion.similar(last, target):
            continue
        last = target
        half = options.length // 2
        before = _chain(frames, index, -1, half, options, criterion)
        after = _chain(frames, index, 1, half, options, criterion) if before is not None else None
        if before is not None and after is not None:
            clips.append(Clip(target, tuple(frames[i] for i in (*reversed(before), *after))))
    return clips


def _chain(
    frames: list[Frame], start: int, step: int, count: int, options: ClipOptions, criterion: _MotionCriterion
) -> list[int] | None:
    """`count` frames to one side, each the next that moved enough from the one before; None where there are fewer."""
    chain = [start]
    for _ in range(count):
        found = _next(frames, chain[-1], step, options, criterion)
        if found is None:
            return None
        chain.append(found)
    return chain[1:]


def _next(frames: list[Frame], start: int, step: int, options: ClipOptions, criterion: _MotionCriterion) -> int | None:
    """The nearest frame to one side from which the camera moved enough, but not too much; None where there is none.

    The distance is doubled until it is enough, then halved in: few pairs are looked at even at a high frame rate.
    """
    reach = _reach(frames, start, step, options.max_gap_s)
    known: dict[int, _Moved] = {}

    def moved(away: int) -> _Moved:
        if away not in known:
            known[away] = criterion(frames[start], frames[start + step * away])
        return known[away]

    away, low = 1, 0
    while away <= reach and moved(away) is _Moved.TOO_LITTLE:
        low = away
        away = min(2 * away, reach) if away < reach else reach + 1
    if away > reach:
        return None
    high = _first_not(_Moved.TOO_LITTLE, low, away, moved)
    return start + step * high if moved(high) is _Moved.ENOUGH else None


def _first_not(verdict: _Moved, low: int, high: int, moved: Callable[[int], _Moved]) -> int:
    """The least distance in (low, high] whose verdict is another, where all before it have this one."""
    while high - low > 1:
        middle = (low + high) // 2
        if moved(middle) is verdict:
            low = middle
        else:
            high = middle
    return high


def _reach(frames: list[Frame], start: int, step: int, max_gap_s: float) -> int:
    """How many frames to one side are near enough in time."""
    count, index = 0, start + step
    # Stamps are rounded to nanoseconds.
    while 0 <= index < len(frames) and abs(frames[index].stamp_ns - frames[start].stamp_ns) <= max_gap_s * 1e9 + 1e3:
        count, index = count + 1, index + step
    return count
