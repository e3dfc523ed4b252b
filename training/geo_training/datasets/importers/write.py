"""Writes what a reader found as a dataset, and says what was not taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_training.console import track
from geo_training.datasets.importers.account import NOT_READ, Account
from geo_training.datasets.importers.copier import Copier
from geo_training.datasets.importers.source import (
    ImportOptions,
    Source,
    SourceFrame,
    leave_others,
    own_name,
    usable_frames,
)
from geo_training.datasets.scene_writer import SceneWriter


def write_source(source: Source, path: Path, out: Path, options: ImportOptions, overwrite: bool = False) -> dict:
    """Writes the dataset `out` and returns what was done: counts, notes, sequences, a tally of each kind.

    Raises InputError when nothing can be imported, when every pose or every depth image is bad, or when `out` exists.
    """
    account = source.account
    account.require_any()
    frames = usable_frames(source.frames, account)
    frames = _keep_sequences(frames, options.sequences, account)
    frames = leave_others(frames, keep_fps(frames, options.fps), "for the frame rate", account)
    with SceneWriter(out, sources=[path], overwrite=overwrite) as writer:
        writer.describe(scale=source.scale, scale_source=source.scale_source, world_frame=source.world_frame)
        copier = Copier(writer, account, frames)
        taken = [frame for frame in track(frames, "importing") if copier.copy(frame)]
        account.require_any()
        posed = sum(frame.T_world_camera is not None for frame in writer.frames)
        if source.scale == "metric" and not posed:
            writer.describe(scale="unknown", scale_source="no poses were given")
        lacking = {"without a pose": len(taken) - posed, "without depth": len(taken) - copier.counts["depth"]}
        with_some = {"without a pose": posed, "without depth": copier.counts["depth"]}
        tallies = account.tallies(own_name(path), {key: n for key, n in lacking.items() if with_some[key]})
        for note in (*(tally.sentence for tally in tallies), *source.notes, *copier.notes()):
            writer.note(note)
        if not taken and copier.refusal:
            raise InputError(copier.refusal)
    return {
        "out": str(out),
        "frames": len(writer.frames),
        "posed_frames": posed,
        "depth_images": copier.counts["depth"],
        "masks": copier.counts["masks"],
        "undistorted_images": copier.counts["undistorted"],
        "unreadable_images": account.left("images", NOT_READ),
        "sequences": dict(Counter(frame.sequence for frame in writer.frames)),
        "splits": dict(Counter(frame.split or "none" for frame in writer.frames)),
        "cameras_known": all(note["known"] for note in writer.camera_notes.values()),
        "scale": writer.info.scale,
        "tallies": [tally.to_dict() for tally in tallies],
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


def _keep_sequences(frames: list[SourceFrame], names: tuple[str, ...], account: Account) -> list[SourceFrame]:
    there = {frame.sequence for frame in frames}
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(f"there is no sequence {', '.join(missing)}; there are {', '.join(sorted(there))}")
    kept = [frame for frame in frames if not names or frame.sequence in names]
    return leave_others(frames, kept, "of sequences that were not asked for", account)
