"""One image to one pose in one of many scenes: a folder of scenes as one estimator.

The backbone looks at an image once, for all scenes. Descriptors of the mapping views propose scenes, the localizer of a
scene decides with all that makes it refuse, and a choice with hysteresis says which scene the camera is in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from geo_perception.geometry import Camera, so3_log
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.localization.image_views import ImageViewer, UnusableError
from geo_perception.localization.look import ImageLevels
from geo_perception.localization.result import Localization, Verdict
from geo_perception.localization.scene import Scene
from geo_perception.localization.scene_choice import Answer, Proposed, SceneChoice, SceneChoiceOptions
from geo_perception.localization.scene_folder import (
    NO_VIEWS,
    SceneFile,
    SceneFolder,
    Stamp,
    read_scene_folder,
    stamp_of,
)
from geo_perception.localization.scene_shelf import SceneShelf
from geo_perception.localization.scene_watch import FolderChange, FolderWatch
from geo_perception.localization.view_descriptors import ViewIndex, describe_frame
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.engine import Choice
from geo_perception.runtime.frozen import FrozenNetwork

SAME_FOCAL = 0.05  # scenes whose focal lengths differ by less are looked at through one pinhole
AGREEING_CHI2 = 16.81  # of six degrees of freedom: 99 % of poses that are as exact as they say differ by less
USUAL_MEMORY_MB = 512.0


@dataclass(frozen=True)
class SceneSetOptions:
    """How a folder of scenes is used."""

    choice: SceneChoiceOptions = field(default_factory=SceneChoiceOptions)
    memory_mb: float = USUAL_MEMORY_MB  # of heads and map points that are loaded, not of the backbone


@dataclass(frozen=True)
class Standing:
    """Which scene a robot is in, and why, after the last frame."""

    scene: str = ""  # empty: none yet
    why: str = ""
    rank: int = 0  # of the scene among those proposed for the frame, from 1; 0: it cannot be proposed
    share: float = float("nan")  # of what speaks for any scene
    asked: tuple[str, ...] = ()
    switches: int = 0
    conflict: str = ""  # what keeps two scenes apart that both have a pose
    proposed: tuple[Proposed, ...] = ()  # all scenes, the likeliest first


class MultiSceneLocalizer:
    """Localizes single images in the scenes of a folder. Not safe to call from several threads at once."""

    def __init__(
        self,
        folder: SceneFolder,
        first: Scene,
        device: str = "auto",
        options: LocalizerOptions | None = None,
        set_options: SceneSetOptions | None = None,
        engine: str = "auto",
    ):
        """`first` is one of the folder's scenes, whose backbone serves all."""
        self.folder = folder
        self.options = options or LocalizerOptions()
        self.device = pick_device(device)
        self.standing = Standing()
        set_options = set_options or SceneSetOptions()
        width_px, height_px = first.network_size_px
        self._backbone, self._probe_hw = first.backbone, (height_px, width_px)
        self._network = FrozenNetwork(
            first.backbone, self.device, engine, few_sizes=True, probe_hw=self._probe_hw
        )  # fmt: skip
        self._viewers: list[ImageViewer] = []
        self._choice = SceneChoice(set_options.choice)
        budget_bytes = round(set_options.memory_mb * 1e6)
        self._shelf = SceneShelf(self._load, self._stamp_of, budget_bytes)
        self._watch: FolderWatch | None = None
        self._on_disk, self._left_behind = folder, ""  # a scene that is used and no longer in the folder
        self._index = ViewIndex({name: scene.views for name, scene in folder.scenes.items()})

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        options: LocalizerOptions | None = None,
        backbone_file: str | Path | None = None,
        engine: str = "auto",
        set_options: SceneSetOptions | None = None,
        map_frame: str = "",
    ) -> MultiSceneLocalizer:
        """Reads a folder of scenes; heads are loaded when they are asked. Raises InputError as `read_scene_folder`, and
        when the backbone or the device cannot be used."""
        folder = read_scene_folder(path, map_frame)
        first = Scene.load(next(iter(folder.scenes.values())).path, backbone_file)
        return cls(folder, first, device, options, set_options, engine)

    @property
    def choice(self) -> Choice:
        """What runs the backbone, and why it."""
        return self._network.choice

    @property
    def metric(self) -> bool:
        """Whether the scale of every scene is known."""
        return all(scene.metric for scene in self.folder.scenes.values())

    @property
    def size_bytes(self) -> int:
        """Of the files of all scenes that are there."""
        stamps = [stamp_of(scene.path) for scene in self.folder.scenes.values()]
        return sum(size for _, size, _ in filter(None, stamps))

    @property
    def landmarks_map_l3(self) -> np.ndarray:
        """The landmarks of all scenes, each in the frame in which its poses are given."""
        return np.concatenate([self.landmarks_of(name) for name in self.folder.scenes])

    def landmarks_of(self, scene: str) -> np.ndarray:
        """The landmarks (L, 3) of a scene, in the frame in which its poses are given."""
        points_l3 = self.folder.scenes[scene].landmarks_map_l3
        place = self.folder.frames.place_of(scene)
        return points_l3 if place is None else place.points_in_map(points_l3)

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong with scenes of the folder, by name: they are not used, or used as they were."""
        without = {name: f"{scene.path} {NO_VIEWS}" for name, scene in self.folder.scenes.items() if not scene.views}
        return without | self.folder.problems | self._shelf.problems

    @property
    def loaded(self) -> tuple[str, ...]:
        """The scenes in memory, the one used last at the end."""
        return self._shelf.names

    @property
    def loaded_mb(self) -> float:
        return self._shelf.held_bytes / 1e6

    def forget(self, present: str | None = None) -> None:
        """The next frame may be of any scene; `present` is preferred, if it is one of the folder."""
        self._choice.forget(present if present in self.folder.scenes else None)
        self.standing = Standing(self._choice.present or "", "remembered" if self._choice.present else "")

    def watch(self, period_s: float, map_frame: str = "") -> None:
        """From now on the folder is looked at again every `period_s` seconds, in a thread of its own, until `unwatch`:
        what `follow` then takes. `map_frame` as of `load`."""
        self.unwatch()
        self._watch = FolderWatch(self._on_disk, period_s, map_frame)

    def unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def follow(self) -> list[FolderChange]:
        """Takes what was added to the folder, replaced or removed since the last time, and returns it. A removed scene
        in which the robot is stays until it has left it."""
        changes = self._watch.take() if self._watch is not None else []
        for change in changes:
            self._on_disk = change.folder
            for name in change.replaced:
                self._shelf.again(name)
        present = self._choice.present or ""
        if changes or self._left_behind not in ("", present):
            scenes = self._on_disk.scenes
            self._left_behind = present if present in self.folder.scenes and present not in scenes else ""
            if self._left_behind:
                scenes = dict(sorted((scenes | {present: self.folder.scenes[present]}).items()))
            self.folder = replace(self._on_disk, scenes=scenes)
            self._shelf.keep(scenes)
            self._index = ViewIndex({name: scene.views for name, scene in scenes.items()})
        return changes

    def warm_up(self) -> None:
        """Runs the backbone once, so that the first image does not pay for set-up; scenes are loaded when asked."""
        self._network(np.zeros((*self._probe_hw, 3), np.uint8))

    @torch.inference_mode()
    def estimate(self, image_hw3: np.ndarray, camera: Camera, seed: int = 0) -> Localization:
        """Where `camera` was when it took `image_hw3` (RGB uint8, as it came, with its distortion), and in which scene:
        in the shared map where the scene is placed in it, else in the scene's own frame.

        Never raises on any image, as `Localizer.estimate`. What it answers depends on the frames before, too.
        """
        started_s = time.perf_counter()
        try:
            views = _Views(image_hw3, camera)
            viewer = self._viewer_of(self.folder.scenes[self._choice.present or next(iter(self.folder.scenes))])
            _, image = views.by(viewer)
        except UnusableError as problem:
            return Localization(Verdict.BAD_IMAGE, str(problem))
        prepared_s = time.perf_counter()
        maps = image.view(0).maps
        seen_s = time.perf_counter()
        proposed = self.proposed(maps)
        proposed_s = time.perf_counter()

        def ask(name: str) -> Localization | None:
            localizer = self._shelf.take(name, self._choice.present)
            if localizer is None:
                return None
            localizer.options = self.options_for(name)
            try:
                fitted, image = views.by(localizer.viewer)
            except UnusableError:
                return None
            return self.folder.frames.in_map(localizer.localize(image.for_another_map(), fitted, seed), name)

        answer = self._choice.answer(proposed, ask, disagreement)
        self._shelf.trim({self._choice.present})
        result = self._told(answer, proposed)
        finished_s = time.perf_counter()
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": seen_s - prepared_s,
            "propose": proposed_s - seen_s,
            "ask": finished_s - proposed_s,
            "total": finished_s - started_s,
        }
        return replace(result, timings_s=timings_s)

    def options_for(self, scene: str) -> LocalizerOptions:
        """What counts as localized in a scene. In one that is not the present one a pose must be likelier by the number
        of scenes in which it might have been looked for: any may be mistaken for the right one.

        By odds, p / (1 - p): those of `min_confidence` times the number of scenes.
        """
        least = self.options.min_confidence
        if scene == self._choice.present or not 0 < least < 1:
            return self.options
        odds = least / (1 - least) * len(self.folder.scenes)
        return replace(self.options, min_confidence=odds / (1 + odds))

    def proposed(self, maps: list[torch.Tensor]) -> list[Proposed]:
        """All scenes by the backbone's maps of an image, the likeliest first, those last that have no views."""
        return [Proposed(name, share) for name, share in self._index.rank(describe_frame(maps))]

    def localizer_of(self, scene: str) -> Localizer | None:
        """The localizer of one scene, loaded where it is not; None where its file cannot be used."""
        return self._shelf.take(scene, self._choice.present)

    def _told(self, answer: Answer | None, proposed: list[Proposed]) -> Localization:
        """The answer in its map, and what stands after it."""
        present = self._choice.present or ""
        ranks = {one.scene: (n if one.known else 0, one.share) for n, one in enumerate(proposed, start=1)}
        rank, share = ranks.get(present, (0, float("nan")))
        asked, why = (answer.asked, answer.why) if answer is not None else ((), "no scene can be used")
        choice = self._choice
        self.standing = Standing(
            present, why, rank, share, asked, choice.switches, choice.conflict, tuple(proposed)
        )  # fmt: skip
        if answer is None:
            return Localization(Verdict.TOO_FEW_LANDMARKS, f"no scene of {self.folder.path} can be used")
        return answer.result

    def _load(self, name: str) -> Localizer:
        """A scene's localizer; where its file was replaced and nobody watches, its descriptors are read again, too."""
        known = self.folder.scenes[name]
        if self._watch is None and stamp_of(known.path) != known.stamp:
            self.folder = self._on_disk = self.folder.reread(name)
            known = self.folder.scenes[name]
            self._index = ViewIndex({key: scene.views for key, scene in self.folder.scenes.items()})
        scene = Scene.load(known.path, backbone=self._backbone)
        return Localizer(scene, str(self.device), self.options, self._viewer_of(known))

    def _stamp_of(self, name: str) -> Stamp | None:
        """Of the file that counts: who watches waits until another one is whole."""
        known = self.folder.scenes[name]
        return stamp_of(known.path) if self._watch is None else known.stamp

    def _viewer_of(self, scene: SceneFile) -> ImageViewer:
        """What looks at images for a scene: one pinhole for all of about one focal length."""
        focal_px = scene.network_focal_px
        for viewer in self._viewers:
            if abs(np.log(viewer.focal_px / focal_px)) <= SAME_FOCAL:
                return viewer
        self._viewers.append(ImageViewer(self._network, focal_px))
        return self._viewers[-1]


class _Views:
    """One image, looked at once through each pinhole that is asked for."""

    def __init__(self, image_hw3: np.ndarray, camera: Camera):
        self._image_hw3, self._camera = image_hw3, camera
        self._seen: dict[int, tuple[Camera, ImageLevels]] = {}

    def by(self, viewer: ImageViewer) -> tuple[Camera, ImageLevels]:
        """The camera of the image as it came, and the image at the viewer's levels. Raises UnusableError."""
        if id(viewer) not in self._seen:
            self._seen[id(viewer)] = viewer.levels(self._image_hw3, self._camera)
        return self._seen[id(viewer)]


def disagreement(first: Localization, second: Localization) -> str:
    """What is wrong with a pose in one scene beside that of the same image in another; empty where they lie within
    what both state of their errors, or where nobody knows how the scenes lie to each other."""
    if first.map_frame != second.map_frame or not (first.localized and second.localized):
        return ""
    T_a, T_b = first.T_map_camera, second.T_map_camera
    assert T_a is not None
    assert T_b is not None
    assert first.covariance_66 is not None
    assert second.covariance_66 is not None
    error_6 = np.concatenate([T_b[:3, 3] - T_a[:3, 3], so3_log(T_b[:3, :3] @ T_a[:3, :3].T)])
    chi2 = float(error_6 @ np.linalg.solve(first.covariance_66 + second.covariance_66, error_6))
    if chi2 <= AGREEING_CHI2:
        return ""
    off_m, off_deg = np.linalg.norm(error_6[:3]), np.degrees(np.linalg.norm(error_6[3:]))
    return f"{off_m:.3f} m and {off_deg:.2f} degrees away, {np.sqrt(chi2 / 6):.1f} times what both state"


def load_localizer(
    path: str | Path,
    device: str = "auto",
    options: LocalizerOptions | None = None,
    backbone_file: str | Path | None = None,
    engine: str = "auto",
    set_options: SceneSetOptions | None = None,
    map_frame: str = "",
) -> Localizer | MultiSceneLocalizer:
    """What localizes in a scene file, or in a folder of them. Raises InputError as their `load` does."""
    if Path(path).is_dir():
        return MultiSceneLocalizer.load(path, device, options, backbone_file, engine, set_options, map_frame)
    return Localizer.load(path, device, options, backbone_file, engine)
