"""Several datasets as one: what was imported from recordings of different kinds, of the same place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geo_perception.errors import InputError
from geo_training.datasets.scene import SceneDataset, camera_is_known, recorded_lens
from geo_training.datasets.scene_writer import SceneWriter


def merge_datasets(
    parts: Sequence[SceneDataset], names: Sequence[str], out: str | Path, overwrite: bool = False
) -> list[list[str]]:
    """Writes the frames of all parts, with their cameras, poses and depth, into the dataset `out`. Returns the
    sequences of each part: under their own names, or, where two parts share one, after the part's of `names`.

    The scale is metric where it is in every part with poses. Raises InputError when parts with poses are in worlds of
    different names or different gravity, since nothing tells how they lie to each other.
    """
    posed = [part for part in parts if any(frame.T_world_camera is not None for frame in part.frames)]
    worlds = sorted({part.info.world_frame for part in posed})
    if len(worlds) > 1:
        raise InputError(f"the recordings have poses in {', '.join(worlds)}; record all in one world, or import one")
    gravities = {part.info.gravity_world for part in posed}
    with SceneWriter(out, [part.root for part in parts], overwrite) as writer:
        if posed:
            metric = all(part.info.scale == "metric" for part in posed)
            writer.describe(
                scale="metric" if metric else "unknown", scale_source=posed[0].info.scale_source,
                world_frame=worlds[0], gravity_world=gravities.pop() if len(gravities) == 1 else None,
            )  # fmt: skip
        taken: set[str] = set()
        sequences = []
        for part, name in zip(parts, names, strict=True):
            clash = taken & set(part.sequences)
            sequence_of = {own: f"{name}_{own}" if clash else own for own in part.sequences}
            if taken & set(sequence_of.values()):
                raise InputError(f"two recordings are named {name}; rename one of them")
            taken |= set(sequence_of.values())
            sequences.append(list(sequence_of.values()))
            _copy(part, sequence_of, writer)
            for note in part.info.notes:
                writer.note(f"{name}: {note}")
    return sequences


def _copy(part: SceneDataset, sequence_of: dict[str, str], writer: SceneWriter) -> None:
    camera_ids = {}
    for camera_id, camera in part.cameras.items():
        lens, rectified = recorded_lens(part.root, camera_id)
        known = camera_is_known(part.root, camera_id)
        camera_ids[camera_id] = writer.add_camera(camera, None, known, lens, rectified)
    for frame in part.frames:
        path = part.image_path(frame)
        writer.add_frame(
            sequence_of[frame.sequence], frame.stamp_ns, camera_ids[frame.camera_id], image_file=path, stem=path.stem,
            T_world_camera=frame.T_world_camera, depth_m=part.depth_m(frame), split=frame.split,
        )  # fmt: skip
