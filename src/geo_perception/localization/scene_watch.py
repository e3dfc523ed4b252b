"""A folder of scenes while it is in use: what is added, replaced or removed is read beside the images' way."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from geo_perception.errors import InputError
from geo_perception.localization.scene_folder import SUFFIX, SceneFile, SceneFolder, Stamp, scene_paths, stamp_of
from geo_perception.localization.scene_frames import FILE_NAME, SceneFrames, read_scene_frames

LEAST_PERIOD_S = 0.05


@dataclass(frozen=True)
class FolderChange:
    """A folder as it now is, and which of its scenes are others than before."""

    folder: SceneFolder
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class FolderLook:
    """Looks at a folder of scenes again and again. A file counts once it was the same at two looks, so that half of one
    is left alone; one that then cannot be used is among the problems, and what was there goes on. Not for several
    threads at once."""

    def __init__(self, folder: SceneFolder, map_frame: str = ""):
        self._folder, self._map_frame = folder, map_frame
        self._stamps = _stamps_in(folder.path)  # of the last look
        self._read: dict[str, Stamp | None] = {name: scene.stamp for name, scene in folder.scenes.items()}
        self._frames_stamp, self._frames_problem = self._stamps.get(FILE_NAME), ""

    def again(self) -> FolderChange | None:
        """What is other than at the last look; None where nothing is. Never raises."""
        before, self._stamps = self._stamps, _stamps_in(self._folder.path)
        found = {Path(name).stem: stamp for name, stamp in self._stamps.items() if name != FILE_NAME}
        if not found:  # a disk that is gone, say: what is in memory goes on
            return self._changed(replace(self._folder, problems=self._problem_of_all()))
        whole = {Path(name).stem for name, stamp in self._stamps.items() if before.get(name) == stamp}
        former = self._folder
        scenes = {name: scene for name, scene in former.scenes.items() if name in found}
        problems = {name: words for name, words in former.problems.items() if name in found}
        added, replaced = [], []
        for name in sorted(found):
            if name not in whole or self._read.get(name) == found[name]:
                continue  # what could not be used when the folder was first read may have been half there
            self._read[name] = found[name]
            try:
                scenes[name] = self._checked(SceneFile.read(former.path / f"{name}{SUFFIX}"))
            except InputError as problem:
                problems[name] = str(problem)
                continue
            problems.pop(name, None)
            (replaced if name in former.scenes else added).append(name)
        self._read = {name: stamp for name, stamp in self._read.items() if name in found}
        removed = tuple(name for name in former.scenes if name not in scenes)
        if not scenes:  # what is left cannot be used
            scenes, removed = former.scenes, ()
        frames = self._frames(before, tuple(found))
        problems = problems | ({FILE_NAME: self._frames_problem} if self._frames_problem else {})
        fresh = SceneFolder(former.path, dict(sorted(scenes.items())), problems, frames)
        return self._changed(fresh, tuple(added), tuple(replaced), removed)

    def _changed(self, fresh: SceneFolder, *names: tuple[str, ...]) -> FolderChange | None:
        former, self._folder = self._folder, fresh
        if any(names) or fresh.problems != former.problems or fresh.frames is not former.frames:
            return FolderChange(fresh, *names)
        return None

    def _problem_of_all(self) -> dict[str, str]:
        return {"": f"{self._folder.path} holds no scene any more; those in memory go on"}

    def _checked(self, scene: SceneFile) -> SceneFile:
        """A scene that can be used beside the others. Raises InputError."""
        if scene.backbone_sha256 != self._folder.backbone_sha256:
            raise InputError(f"{scene.path} needs another backbone than the other scenes; make it again on theirs")
        if not scene.metric and all(other.metric for other in self._folder.scenes.values()):
            raise InputError(
                f"the scale of {scene.path} is not known, but that of the others is; map it with poses or with "
                "--scale-from"
            )
        return scene

    def _frames(self, before: dict[str, Stamp | None], names: tuple[str, ...]) -> SceneFrames:
        """Where the scenes lie, by a `scenes.yaml` that is other than the one read last, or that could not be used."""
        stamp = self._stamps.get(FILE_NAME)
        whole = before.get(FILE_NAME) == stamp
        if not whole or (stamp == self._frames_stamp and not self._frames_problem):
            return self._folder.frames
        try:
            frames = read_scene_frames(self._folder.path, names, self._map_frame)
        except InputError as problem:
            self._frames_problem = str(problem)
            return self._folder.frames
        self._frames_stamp, self._frames_problem = stamp, ""
        return frames


class FolderWatch:
    """Looks at a folder every `period_s` seconds, in a thread of its own, and keeps what changed until it is taken."""

    def __init__(self, folder: SceneFolder, period_s: float, map_frame: str = ""):
        self._look, self._period_s = FolderLook(folder, map_frame), max(period_s, LEAST_PERIOD_S)
        self._changes: list[FolderChange] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="scene_folder", daemon=True)
        self._thread.start()

    def take(self) -> list[FolderChange]:
        """The changes since the last time, the oldest first."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            change = self._look.again()
            if change is not None:
                with self._lock:
                    self._changes.append(change)


def _stamps_in(folder: Path) -> dict[str, Stamp | None]:
    """The scenes of a folder and its `scenes.yaml`, by file name, with their stamps; none where it cannot be read."""
    try:
        paths = [*scene_paths(folder), folder / FILE_NAME]
    except OSError:  # a disk that is gone
        return {}
    stamps = {path.name: stamp_of(path) for path in paths}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}
