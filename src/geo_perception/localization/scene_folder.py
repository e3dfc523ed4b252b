"""A folder of scenes as it lies on the disk: which can be used, of which backbone, and how they lie to each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.localization.scene import FORMAT_VERSION, KIND
from geo_perception.localization.scene_frames import SceneFrames, read_scene_frames
from geo_perception.localization.view_descriptors import ViewDescriptors
from geo_perception.runtime.weights import load_weights

SUFFIX = ".safetensors"
NO_VIEWS = (
    "has no view descriptors, so nothing proposes it and it is asked only where those proposed have no pose; make it "
    "again with `geo-train localization head`"
)
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class SceneFile:
    """What is known of a scene without its head in memory. `views` is None in a scene of before there were any."""

    path: Path
    stamp: Stamp | None
    backbone_sha256: str
    network_focal_px: float
    metric: bool
    landmarks_map_l3: np.ndarray  # in the scene's own frame
    views: ViewDescriptors | None

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def read(cls, path: Path) -> SceneFile:
        """Raises InputError when the file is missing, damaged, or no scene."""
        stamp = stamp_of(path)
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            return cls(
                path,
                stamp,
                str(header["backbone"]["sha256"]),
                float(header["network_focal_px"]),
                bool(header["metric"]),
                tensors["landmarks_map_l3"].astype(np.float64),
                ViewDescriptors.from_tensors(tensors),
            )
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path} lacks parts of a scene; make it again with `geo-train localization head`"
            ) from None


@dataclass(frozen=True)
class SceneFolder:
    """The scenes of a folder by name, in the order of the names, what is wrong with others, and where they lie."""

    path: Path
    scenes: dict[str, SceneFile]
    problems: dict[str, str]  # of files that cannot be used, by scene
    frames: SceneFrames

    @property
    def backbone_sha256(self) -> str:
        return next(iter(self.scenes.values())).backbone_sha256

    def reread(self, name: str) -> SceneFolder:
        """The same with one scene read again, since its file was replaced. Raises InputError when it cannot be used,
        or not beside the others."""
        fresh = SceneFile.read(self.scenes[name].path)
        if fresh.backbone_sha256 != self.backbone_sha256:
            raise InputError(f"{fresh.path} now needs another backbone than the other scenes; make it again on theirs")
        return replace(self, scenes=self.scenes | {name: fresh})


def stamp_of(path: Path) -> Stamp | None:
    """What changes when a file is replaced or written to; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def scene_paths(folder: Path) -> list[Path]:
    """The scene files of a folder, in the order of their names; hidden ones are not yet whole."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def read_scene_folder(folder: str | Path, map_frame: str = "") -> SceneFolder:
    """All scenes of a folder (`*.safetensors`) and its `scenes.yaml`. A file that cannot be used is kept among the
    problems, and the others go on without it.

    Raises InputError when no scene can be used, when they need different backbones, or where `scenes.yaml` is wrong.
    """
    folder = Path(folder)
    paths = scene_paths(folder)
    if not paths:
        raise InputError(f"{folder} holds no scene (*{SUFFIX}); give a scene file, or a folder of scenes")
    scenes, problems = {}, {}
    for path in paths:
        try:
            scenes[path.stem] = SceneFile.read(path)
        except InputError as problem:
            problems[path.stem] = str(problem)
    if not scenes:
        raise InputError(f"no scene of {folder} can be used: {next(iter(problems.values()))}")
    _check_one_backbone(folder, list(scenes.values()))
    frames = read_scene_frames(folder, [path.stem for path in paths], map_frame)
    return SceneFolder(folder, scenes, problems, frames)


def _check_one_backbone(folder: Path, scenes: list[SceneFile]) -> None:
    by_backbone = defaultdict(list)
    for scene in scenes:
        by_backbone[scene.backbone_sha256].append(scene.path.name)
    if len(by_backbone) > 1:
        kinds = "; ".join(f"{', '.join(names)} ({sha256[:8]})" for sha256, names in by_backbone.items())
        raise InputError(f"the scenes of {folder} need different backbones, but one must do for all: {kinds}")
