"""Recordings of small places, real ones that take seconds, and stages that take none."""

from __future__ import annotations

from pathlib import Path

import board_walk
import yaml
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.fleet import stages
from geo_training.fleet.manifest import Manifest

MAPPED_FRAMES, ASKED_FRAMES = 20, 12
# A scene in seconds of small images; all its frames are recognized.
OPTIONS = {
    "dataset": {"fps": 0},
    "map": {"max_features": 1000},
    "landmarks": {"count": 120},
    "head": {"steps": 0, "config": {"network_width_px": 320, "width": 32}},
    "gate": {"recall_5cm": 0.5},
}


def record_place(folder: Path, name: str, seed: int) -> tuple[Path, Path]:
    """Bags of two walks past the boards of a seed: one to map them, another one to ask."""
    scene = list(board_walk.boards(seed))
    walks = {
        f"{name}_map": board_walk.poses_of_walk(MAPPED_FRAMES),
        f"{name}_ask": board_walk.poses_of_walk(2 * ASKED_FRAMES + 1)[1::2],  # never where the other one was
    }
    bags = []
    for walk, poses in walks.items():
        with SceneWriter(folder / "frames" / walk, ["rendered boards"]) as writer:
            writer.describe(scale="metric", scale_source="rendered", gravity_world=(0.0, 1.0, 0.0))
            camera_id = writer.add_camera(board_walk.CAMERA)
            for index, T_world_camera in enumerate(poses):
                image_rgb, _ = board_walk.render(scene, T_world_camera)
                writer.add_frame(
                    walk, index * 250_000_000, camera_id, image_rgb=image_rgb, T_world_camera=T_world_camera
                )
        bag_from_dataset(folder / "frames" / walk, folder / walk, compressed=True)
        bags.append(folder / walk)
    return bags[0], bags[1]


def write_manifest(path: Path, places: dict, options: dict | None = None) -> Path:
    """A manifest of places with these options."""
    path.write_text(
        yaml.safe_dump({"options": OPTIONS if options is None else options, "places": places}, sort_keys=False)
    )
    return path


def small_manifest(folder: Path, names: tuple[str, ...] = ("one",), **options) -> Manifest:
    """A manifest whose recordings are files of a few bytes, for stages that take no time."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for name in names:
        for kind in ("map", "ask"):
            (folder / f"{name}_{kind}.mcap").write_text(f"{name} {kind}")
        places[name] = {"recordings": [f"{name}_map.mcap"], "held_out": f"{name}_ask.mcap"}
    return Manifest.read(write_manifest(folder / "manifest.yaml", places, options))


class QuickStages:
    """In place of the stages: each writes a file that the next one reads. `ran` names them in their order; `raises`
    what a place's stage raises."""

    def __init__(self, monkeypatch):
        self.ran: list[tuple[str, str]] = []
        self.raises: dict[tuple[str, str], BaseException] = {}
        for stage in stages.STAGES[:-1]:
            monkeypatch.setitem(stages.RUN, stage, self._stage(stage))
        publish = stages.RUN["publish"]
        monkeypatch.setitem(stages.RUN, "publish", lambda context: self._noted("publish", context) or publish(context))

    def stages_of(self, place: str) -> list[str]:
        return [stage for name, stage in self.ran if name == place]

    def _stage(self, stage: str):
        def run(context):
            self._noted(stage, context)
            if stage == "dataset":
                text = context.recordings[0].read_text()
            else:
                text = (context.workspace / "dataset" / "dataset.json").read_text()
            for name in stages.OUTPUTS[stage]:
                path = context.workspace / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.suffix:
                    path.mkdir(exist_ok=True)
                    path /= "file"
                path.write_text(text)
            figures = {"recall_5cm": 0.9, "recall_10cm": 1.0, "coverage": 0.9, "scene_bytes": 10, "frames": 4}
            return figures if stage == "evaluation" else {}

        return run

    def _noted(self, stage: str, context) -> None:
        self.ran.append((context.place, stage))
        if (context.place, stage) in self.raises:
            raise self.raises[context.place, stage]
