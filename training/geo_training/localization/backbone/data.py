"""Batches of several scenes, each batch of one scene, in an order over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from geo_perception.errors import InputError
from geo_training.datasets.scene import SceneDataset
from geo_training.engine.loader import prefetch
from geo_training.localization.backbone.config import BackboneTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.mapping.landmark_set import HIDDEN, LandmarkSet
from geo_training.mapping.scene_map import SceneMap
from geo_training.storage.fingerprints import digest_of

_WORKERS = 2


@dataclass(frozen=True)
class TrainingScene:
    """A scene to learn from: a name that no other has, its data, and a checksum of all that is learned from it."""

    name: str
    data: HeadData
    fingerprint: str


def open_scenes(config: BackboneTrainingConfig) -> list[TrainingScene]:
    """Every scene of a config. Raises InputError when one cannot be learned from, or is there twice."""
    return name_scenes([_open(root, config) for root in config.scenes], config)


def name_scenes(scenes: Sequence[HeadData], config: BackboneTrainingConfig) -> list[TrainingScene]:
    """The scenes with names and fingerprints. Raises as `open_scenes` does."""
    named: list[TrainingScene] = []
    for data in scenes:
        root, fingerprint = data.dataset.root, digest_of(*data.inputs)
        twin = next((scene for scene in named if scene.fingerprint == fingerprint), None)
        if twin is not None:
            raise InputError(f"{root} and {twin.data.dataset.root} are the same scene; name each scene once")
        if len(data.landmarks) == 0:
            raise InputError(f"{root} has no landmarks; run `geo-train landmarks {root}` again")
        if len(data.training) < config.batch:
            raise InputError(f"{root}: {len(data.training)} frames make no batch of {config.batch}; lower batch")
        same = sum(scene.data.dataset.root.name == root.name for scene in named)
        named.append(TrainingScene(f"{root.name}_{same + 1}" if same else root.name, data, fingerprint))
    return named


def _open(root: Path, config: BackboneTrainingConfig) -> HeadData:
    dataset, landmarks = SceneDataset(root), LandmarkSet.load(root)
    if config.landmarks is not None:
        landmarks = landmarks.first(config.landmarks)
    return HeadData(dataset, landmarks, SceneMap.load(root), config.views())


@dataclass(frozen=True)
class SceneBatch:
    """Views of one scene, number `scene`: RGB in 0..255 (B, 3, H, W), the places of its landmarks in pixels of the
    images, and their states."""

    scene: int
    image_b3hw: torch.Tensor
    pixels_bl2: torch.Tensor
    state_bl: torch.Tensor


@dataclass(frozen=True)
class _Draw:
    """Frames of a scene, seen for the `visit`-th time in an epoch."""

    scene: int
    frames: tuple[int, ...]
    visit: int = 0


class SceneStream:
    """What is learned from at each step: a batch of one scene (`alternating`), or one of every scene (`accumulated`).

    An epoch meets every frame of every scene, in full batches. Where each step takes a batch of every scene, those of
    smaller scenes come again until the largest has had all of its own.
    """

    def __init__(self, scenes: Sequence[TrainingScene], config: BackboneTrainingConfig, device: torch.device):
        self._scenes, self._config, self._device = scenes, config, device
        self._sizes_hw = [_window(scene.data, config.crop_px) for scene in scenes]

    def batches(self, epoch: int, first: int = 0) -> Iterator[list[SceneBatch]]:
        """The steps of an epoch from number `first` on."""
        steps = self._steps(epoch)

        def make(number: int) -> list[SceneBatch]:
            return [self._make(draw, epoch) for draw in steps[number]]

        for step in prefetch(make, first, len(steps) - first, _WORKERS):
            yield [_on(self._device, batch) for batch in step]

    def batches_of(self, scene: int, count: int) -> Iterator[SceneBatch]:
        """Up to `count` batches of one scene."""
        for draw in self._draws(scene, 0, np.random.default_rng([self._config.seed, 4]))[:count]:
            yield _on(self._device, self._make(draw, 0))

    def _steps(self, epoch: int) -> list[list[_Draw]]:
        rng = np.random.default_rng([self._config.seed, 2, epoch])
        by_scene = [self._draws(number, 0, rng) for number in range(len(self._scenes))]
        if self._config.strategy == "alternating":
            draws = [draw for own in by_scene for draw in own]
            return [[draws[index]] for index in rng.permutation(len(draws))]
        longest = max(map(len, by_scene))
        for number, own in enumerate(by_scene):
            visit = 0
            while len(own) < longest:
                own += self._draws(number, visit := visit + 1, rng)
        return [list(step) for step in zip(*(own[:longest] for own in by_scene), strict=True)]

    def _draws(self, scene: int, visit: int, rng: np.random.Generator) -> list[_Draw]:
        """The batches of one pass over a scene's frames."""
        frames, batch = self._scenes[scene].data.training, self._config.batch
        order = [frames[index] for index in rng.permutation(len(frames))]
        order += order[: -len(order) % batch]  # a few stand twice, so that the last batch is full, too
        return [_Draw(scene, tuple(order[start : start + batch]), visit) for start in range(0, len(order), batch)]

    def _make(self, draw: _Draw, epoch: int) -> SceneBatch:
        data, size_hw = self._scenes[draw.scene].data, self._sizes_hw[draw.scene]
        images, pixels, states = [], [], []
        for frame in draw.frames:
            view = data.view(frame, 1 + draw.visit, epoch)  # never the plain one
            rng = np.random.default_rng([self._config.seed, 3, draw.scene, frame, draw.visit, epoch])
            image_hw3, pixels_l2, state_l = crop_view(view.image_hw3, view.pixels_l2, view.state_l, size_hw, rng)
            images.append(image_hw3)
            pixels.append(np.nan_to_num(pixels_l2, nan=-1e4).astype(np.float32))
            states.append(state_l)
        image_b3hw = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return SceneBatch(
            draw.scene, image_b3hw, torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(states))
        )


def crop_view(
    image_hw3: np.ndarray,
    pixels_l2: np.ndarray,
    state_l: np.ndarray,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window of a view, at a place that is drawn, with the landmarks in its pixels; those beside it are not seen."""
    (height, width), (whole_height, whole_width) = size_hw, image_hw3.shape[:2]
    top, left = int(rng.integers(whole_height - height + 1)), int(rng.integers(whole_width - width + 1))
    pixels_l2 = pixels_l2 - [left, top]
    inside_l = ((pixels_l2 > -0.5) & (pixels_l2 < np.array([width, height]) - 0.5)).all(axis=1)
    state_l = np.where(inside_l, state_l, HIDDEN).astype(np.int8)
    return image_hw3[top : top + height, left : left + width], pixels_l2, state_l


def _window(data: HeadData, crop_px: int | None) -> tuple[int, int]:
    """Height and width of the windows of a scene: they fit into the views of all of its cameras."""
    cameras = [data.network_camera(frame) for frame in data.training]
    sides = min(camera.height_px for camera in cameras), min(camera.width_px for camera in cameras)
    return sides if crop_px is None else (min(crop_px, sides[0]), min(crop_px, sides[1]))


def _on(device: torch.device, batch: SceneBatch) -> SceneBatch:
    image_b3hw = batch.image_b3hw.to(device).float().contiguous(memory_format=torch.channels_last)
    return SceneBatch(batch.scene, image_b3hw, batch.pixels_bl2.to(device), batch.state_bl.to(device))
