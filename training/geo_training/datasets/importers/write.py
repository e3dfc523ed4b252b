"""Writes what a reader found as a dataset: images copied as they are, or undistorted where the lens bends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_training.console import track
from geo_training.datasets.importers.source import (
    ImportOptions,
    Source,
    SourceFrame,
    guessed_camera,
    open_header,
)
from geo_training.datasets.scene import SceneWriter
from geo_training.datasets.undistort import Undistorter

_MAX_ASPECT_DIFFERENCE = 0.01


def write_source(source: Source, path: Path, out: Path, options: ImportOptions, overwrite: bool = False) -> dict:
    """Writes the dataset `out` and returns what was done: counts, notes, sequences.

    Raises InputError when nothing can be imported, or when `out` exists.
    """
    frames = keep_fps(_keep_sequences(source.frames, options.sequences), options.fps)
    with SceneWriter(out, sources=[path.resolve().name], overwrite=overwrite) as writer:
        writer.describe(scale=source.scale, scale_source=source.scale_source, world_frame=source.world_frame)
        for note in source.notes:
            writer.note(note)
        if len(frames) < len(source.frames):
            writer.note(f"{len(source.frames) - len(frames)} frames were left out as asked (sequences, frame rate).")
        counts = _Copier(writer).copy_all(frames)
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "posed_frames": sum(frame.T_world_camera is not None for frame in writer.frames),
        "depth_images": counts["depth"],
        "undistorted_images": counts["undistorted"],
        "unreadable_images": counts["unreadable"],
        "sequences": dict(Counter(frame.sequence for frame in writer.frames)),
        "splits": dict(Counter(frame.split or "none" for frame in writer.frames)),
        "cameras_known": all(note["known"] for note in writer.camera_notes.values()),
        "scale": writer.info.scale,
        "notes": writer.info.notes,
    }


def keep_fps(frames: list[SourceFrame], fps: float | None) -> list[SourceFrame]:
    """The first frame of each interval of 1 / fps seconds, sequence by sequence; all where `fps` is None."""
    if fps is None:
        return list(frames)
    taken, kept = set(), []
    for frame in sorted(frames, key=lambda frame: (frame.sequence, frame.stamp_ns)):
        # A millionth of an interval: stamps are rounded to whole nanoseconds.
        interval = (frame.sequence, int(np.floor(frame.stamp_ns * 1e-9 * fps + 1e-6)))
        if interval not in taken:
            taken.add(interval)
            kept.append(frame)
    return kept


def _keep_sequences(frames: list[SourceFrame], names: tuple[str, ...]) -> list[SourceFrame]:
    there = {frame.sequence for frame in frames}
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(f"there is no sequence {', '.join(missing)}; there are {', '.join(sorted(there))}")
    return [frame for frame in frames if not names or frame.sequence in names]


class _Copier:
    def __init__(self, writer: SceneWriter):
        self.writer = writer
        self.counts: Counter[str] = Counter()
        self._undistorters: dict[Camera, Undistorter] = {}
        self._camera_ids: dict[tuple, str] = {}
        self._resized: set[tuple] = set()

    def copy_all(self, frames: list[SourceFrame]) -> Counter:
        unreadable = []
        for frame in track(frames, "importing"):
            if not self._copy(frame):
                unreadable.append(frame.image_file.name)
        self.counts["unreadable"] = len(unreadable)
        if unreadable:
            self.writer.note(f"{len(unreadable)} images cannot be read and were left out, the first: {unreadable[0]}.")
        for (width, height), (new_width, new_height) in sorted(self._resized):
            self.writer.note(
                f"K was given for {width}x{height} and is scaled to the images of {new_width}x{new_height}."
            )
        if not all(note["known"] for note in self.writer.camera_notes.values()):
            self.writer.note(
                "The focal length is not known: 45 degrees along the longer side are assumed until it is mapped."
            )
        if self.counts["bad depth"]:
            self.writer.note(f"{self.counts['bad depth']} depth images cannot be read as depth and were left out.")
        return self.counts

    def _copy(self, frame: SourceFrame) -> bool:
        """Adds one frame. False when its image cannot be read."""
        header = open_header(frame.image_file)
        if header is None:
            return False
        stored_size, shown_size, turned = header
        recorded, size = self._fitted(frame, stored_size, shown_size)
        undistorter = self._undistorter(recorded)
        image_rgb = None
        if turned or undistorter.bends:
            # A turned image is stored upright or as the sensor saw it, whichever K was given for, without the mark.
            upright = size == shown_size != stored_size
            flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image_bgr = cv2.imread(str(frame.image_file), flags)
            if image_bgr is None:
                return False
            image_rgb = undistorter.image(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
        depth_m = self._depth(frame, undistorter)
        self.counts["undistorted"] += undistorter.bends
        self.writer.add_frame(
            frame.sequence,
            frame.stamp_ns,
            self._camera_id(frame, undistorter),
            image_rgb=image_rgb,
            image_file=None if image_rgb is not None else frame.image_file,
            stem=frame.stem,
            T_world_camera=frame.T_world_camera,
            depth_m=depth_m,
            split=frame.split,
        )
        return True

    def _fitted(self, frame: SourceFrame, stored_size, shown_size) -> tuple[Camera, tuple[int, int]]:
        """The camera at the image's size, and which of the two sizes that is."""
        if frame.camera is None:
            return guessed_camera(*shown_size), shown_size
        camera_size = frame.camera.width_px, frame.camera.height_px
        for size in (stored_size, shown_size):
            if size == camera_size:
                return frame.camera, size
        for size in (stored_size, shown_size):
            if abs(size[0] / size[1] / (camera_size[0] / camera_size[1]) - 1) < _MAX_ASPECT_DIFFERENCE:
                self._resized.add((camera_size, size))
                return frame.camera.resized(*size), size
        raise InputError(
            f"{frame.image_file} is {stored_size[0]}x{stored_size[1]}, its camera {camera_size[0]}x{camera_size[1]}: "
            "another shape; give the images this K was made for"
        )

    def _undistorter(self, recorded: Camera) -> Undistorter:
        if recorded not in self._undistorters:
            self._undistorters[recorded] = Undistorter(recorded)
        return self._undistorters[recorded]

    def _camera_id(self, frame: SourceFrame, undistorter: Undistorter) -> str:
        key = undistorter.recorded, frame.camera is not None
        if key not in self._camera_ids:
            recorded = undistorter.recorded if undistorter.bends else None
            self._camera_ids[key] = self.writer.add_camera(undistorter.target, known=key[1], recorded=recorded)
        return self._camera_ids[key]

    def _depth(self, frame: SourceFrame, undistorter: Undistorter) -> np.ndarray | None:
        if frame.depth is None:
            return None
        depth_m = frame.depth.load_m()
        if depth_m is None:
            self.counts["bad depth"] += 1
            return None
        size = undistorter.recorded.width_px, undistorter.recorded.height_px
        if depth_m.shape[::-1] != size:
            depth_m = cv2.resize(depth_m, size, interpolation=cv2.INTER_NEAREST)
        self.counts["depth"] += 1
        return undistorter.depth(depth_m)
