"""Clips as batches: read, cut, flipped, in another light. Drawn by a seed, so that any batch can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from geo_perception.depth.estimator import depth_map_size
from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose
from geo_perception.runtime.image import resized
from geo_training.datasets.fused import completed_depth, fused_files
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.depth.batch import ClipBatch
from geo_training.depth.config import DepthTrainingConfig, LossConfig
from geo_training.depth.data.boundaries import boundary_path, load_boundary
from geo_training.depth.data.clips import Clip, find_clips
from geo_training.depth.data.teacher import Teacher
from geo_training.depth.losses.boundary_loss import boundary_pyramid
from geo_training.depth.losses.teacher_loss import TeacherKind
from geo_training.engine.augmentation import augment_photometric
from geo_training.engine.loader import MemoryCache, prefetch
from geo_training.engine.whole_batch import own_rows
from geo_training.storage.fingerprints import file_version
from geo_training.storage.images import find_depth

_CACHE_BYTES = 3 << 30
_WORKERS = 2


@dataclass(frozen=True)
class ClipSource:
    """A dataset with the clips that are learned from."""

    dataset: SceneDataset
    clips: list[Clip]


@dataclass(frozen=True)
class _Cut:
    """What is done to all images of a clip: a window of the image, brought to `size_px`, flipped or not."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    size_px: tuple[int, int]
    flip: bool

    def image(self, image_hw3: np.ndarray) -> np.ndarray:
        """An image, or a map (H, W) whose values may be averaged."""
        return self._flipped(resized(self._window(image_hw3), self.size_px))

    def nearest(self, map_hw: np.ndarray) -> np.ndarray:
        """A map whose values must not be mixed."""
        window_hw = self._window(map_hw)
        return self._flipped(cv2.resize(window_hw, self.size_px, interpolation=cv2.INTER_NEAREST_EXACT))

    def lines(self, image_hw: np.ndarray) -> np.ndarray:
        """A map of lines: where pixels are merged the largest value stays; an average would fade a line."""
        window_11hw = torch.from_numpy(np.ascontiguousarray(self._window(image_hw)))[None, None]
        return self._flipped(boundary_pyramid(window_11hw, [self.size_px[::-1]])[0][0, 0].numpy())

    def _window(self, image_hw: np.ndarray) -> np.ndarray:
        return image_hw[self.top_px : self.top_px + self.height_px, self.left_px : self.left_px + self.width_px]

    def _flipped(self, image_hw: np.ndarray) -> np.ndarray:
        return image_hw[:, ::-1] if self.flip else image_hw

    def K_33(self, camera: Camera) -> np.ndarray:
        cut = camera.cropped(self.left_px, self.top_px, self.width_px, self.height_px).resized(*self.size_px)
        K_33 = cut.K
        if self.flip:
            K_33[0, 2] = self.size_px[0] - 1 - K_33[0, 2]
        return K_33

    def motion(self, T_44: np.ndarray) -> np.ndarray:
        """The motion as the flipped camera sees it."""
        mirror_44 = np.diag([-1.0, 1.0, 1.0, 1.0])
        return mirror_44 @ T_44 @ mirror_44 if self.flip else T_44


class ClipStream:
    """Batches of clips, each batch of one dataset. `teacher` has looked at all their targets when a batch is made."""

    def __init__(
        self,
        sources: Sequence[ClipSource],
        config: DepthTrainingConfig,
        device: torch.device,
        teacher: Teacher | None = None,
    ):
        self.sources, self.config, self.device, self.teacher = sources, config, device, teacher
        shares = np.array(config.shares or [len(source.clips) for source in sources], np.float64)
        self.shares = shares / shares.sum()
        self._files = MemoryCache(_CACHE_BYTES)  # of images, depth and boundaries, as they are stored

    def batches(self, first: int, count: int) -> Iterator[ClipBatch]:
        """Batches `first` to `first + count`, made ahead in threads."""
        return prefetch(self.batch, first, count, _WORKERS)

    def batch(self, number: int) -> ClipBatch:
        """The batch of this number, always the same; of several processes each makes its rows."""
        rng = np.random.default_rng([self.config.seed, 0, number])
        source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
        size_px = training_size(source, self.config)
        clips = [source.clips[int(rng.integers(len(source.clips)))] for _ in range(self.config.batch)]
        rows = range(self.config.batch)[own_rows(self.config.batch)]
        rngs = [np.random.default_rng([self.config.seed, 1 + row, number]) for row in rows]
        own = [self._clip(source.dataset, clips[row], size_px, rng) for row, rng in zip(rows, rngs, strict=True)]
        return _stack(own, self.device, None if self.teacher is None else self.teacher.kind)

    def _clip(self, dataset: SceneDataset, clip: Clip, size_px: tuple[int, int], rng: np.random.Generator) -> dict:
        augmentation = self.config.augmentation
        frames = [clip.target, *clip.sources]
        camera = dataset.camera(clip.target)
        cut = _draw_cut(camera, size_px, augmentation.zoom, augmentation.flip, rng)
        images = [cut.image(self._image(dataset, frame)) for frame in frames]
        view = np.ascontiguousarray(images[0])
        if augmentation.light is not None:
            view = augment_photometric(view, augmentation.light, rng)[0]
        motions = None
        if all(frame.T_world_camera is not None for frame in frames):
            T_world_target = clip.target.T_world_camera
            motions = [cut.motion(invert_pose(frame.T_world_camera) @ T_world_target) for frame in clip.sources]
            motions = np.array(motions).reshape(-1, 4, 4)
        height, width = size_px[1], size_px[0]
        losses = self.config.losses
        depth_m = boundary = None
        if needs_depth(losses):
            depth_m = self._depth_m(dataset, clip.target)
        if losses.weighs("boundary"):
            boundary = self._boundary_map(dataset, clip.target)
        return {
            "view": view,
            "images": np.stack(images),
            "K": cut.K_33(camera),
            "motions": motions,
            "depth": np.zeros((height, width), np.float32) if depth_m is None else _depth(cut, depth_m, camera),
            "boundary": np.zeros((height, width), np.float32) if boundary is None else _boundary(cut, boundary, camera),
            "has_boundary": boundary is not None,
            **({} if self.teacher is None else {"teacher": self._taught(dataset, clip.target, cut, camera)}),
        }

    def _image(self, dataset: SceneDataset, frame: Frame) -> np.ndarray:
        return self._files.get(file_version(dataset.image_path(frame)), lambda: dataset.image(frame))

    def _depth_m(self, dataset: SceneDataset, frame: Frame) -> np.ndarray | None:
        fused_sigma = self.config.fused_sigma
        files = depth_files(dataset, frame, fused_sigma is not None)
        if not files:
            return None
        version = tuple(file_version(path) for path in files)
        if fused_sigma is None:
            return self._files.get(version, lambda: dataset.depth_m(frame))
        return self._files.get(version, lambda: completed_depth(dataset, frame, fused_sigma))

    def _boundary_map(self, dataset: SceneDataset, frame: Frame) -> np.ndarray | None:
        path = boundary_path(dataset, frame)
        if not path.is_file():
            return None
        return self._files.get(file_version(path), lambda: load_boundary(dataset, frame))

    def _taught(self, dataset: SceneDataset, frame: Frame, cut: _Cut, camera: Camera) -> np.ndarray:
        answer = file_version(self.teacher.inverse_depth_path(dataset, frame))
        return _inverse_depth(cut, self._files.get(answer, lambda: self.teacher.inverse_depth(dataset, frame)), camera)


def depth_files(dataset: SceneDataset, frame: Frame, with_fused: bool) -> list[Path]:
    """The files of a frame's depth, of completed depth, too, where that is learned from; empty where it has none."""
    measured = find_depth(dataset.root / "depth" / frame.name)
    return [*([] if measured is None else [measured]), *(fused_files(dataset.root, frame) if with_fused else [])]


def needs_depth(losses: LossConfig) -> bool:
    """Whether any term may look at true depth."""
    return any(losses.weighs(term) for term in ("depth", "gradient", "confidence"))


def clip_sources(config: DepthTrainingConfig) -> list[ClipSource]:
    """The datasets of the config with their clips. Raises InputError when there is none, or one cannot be used."""
    if not config.datasets:
        raise InputError("no datasets are given; set datasets in the config, or give --dataset")
    sources = []
    for folder in config.datasets:
        dataset = SceneDataset(folder)
        clips = find_clips(dataset, config.clips) if config.losses.needs_views else _single_frames(dataset, config)
        sources.append(ClipSource(dataset, clips))
        if (
            config.motion == "known"
            and config.losses.needs_views
            and any(frame.T_world_camera is None for clip in clips for frame in (clip.target, *clip.sources))
        ):
            raise InputError(f"{folder} has frames without poses; set motion to learned, or give it poses")
    if config.losses.weighs("boundary") and not any(_has_boundaries(source) for source in sources):
        raise InputError(
            f"the term boundary needs boundary maps and {config.datasets[0]} has none; make them with `geo-train depth "
            "boundaries`"
        )
    return sources


def _single_frames(dataset: SceneDataset, config: DepthTrainingConfig) -> list[Clip]:
    """Every frame with depth by itself; with a teacher the others, too."""
    taught = config.losses.follow_teacher
    frames = [frame for frame in dataset.frames if frame.split in config.clips.splits]
    with_fused = config.fused_sigma is not None
    frames = [frame for frame in frames if taught or depth_files(dataset, frame, with_fused)]
    if not frames and taught:
        named = ", ".join(split or "(none)" for split in config.clips.splits)
        raise InputError(f"{dataset.root} has no frame of the splits {named}; make them with `geo-train dataset split`")
    if not frames:
        raise InputError(f"{dataset.root} has no frames with depth to learn from; weigh the term photometric instead")
    return [Clip(frame, ()) for frame in frames]


def training_size(source: ClipSource, config: DepthTrainingConfig) -> tuple[int, int]:
    """(width, height) of the training images of a dataset."""
    if config.size_px is not None:
        return config.size_px
    camera = source.dataset.camera(source.clips[0].target)
    return depth_map_size(camera.width_px, camera.height_px, config.area_px)


def _has_boundaries(source: ClipSource) -> bool:
    return any(boundary_path(source.dataset, clip.target).is_file() for clip in source.clips)


def _draw_cut(camera: Camera, size_px, zoom: float, flip: bool, rng: np.random.Generator) -> _Cut:
    factor = float(rng.uniform(1.0, zoom))
    width_px, height_px = round(camera.width_px / factor), round(camera.height_px / factor)
    left_px = int(rng.integers(camera.width_px - width_px + 1))
    top_px = int(rng.integers(camera.height_px - height_px + 1))
    return _Cut(left_px, top_px, width_px, height_px, size_px, bool(flip and rng.random() < 0.5))


def _depth(cut: _Cut, depth_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Nearest neighbours: an average across an edge lies in the air."""
    return np.ascontiguousarray(cut.nearest(_of_image_size(depth_m, camera, cv2.INTER_NEAREST_EXACT)))


def _boundary(cut: _Cut, boundary_hw: np.ndarray, camera: Camera) -> np.ndarray:
    return np.ascontiguousarray(cut.lines(_of_image_size(boundary_hw, camera, cv2.INTER_LINEAR)))


def _inverse_depth(cut: _Cut, inverse_hw: np.ndarray, camera: Camera) -> np.ndarray:
    """Averages of what is known, 0 where less than half of a pixel is: inverse depth is linear on planes."""
    inverse_hw = _of_image_size(inverse_hw.astype(np.float32), camera, cv2.INTER_LINEAR)
    values_hw = cut.image(inverse_hw)
    known_hw = cut.image((inverse_hw > 0).astype(np.float32))
    values_hw = np.where(known_hw >= 0.5, values_hw / np.maximum(known_hw, 0.5), np.float32(0))
    return np.ascontiguousarray(values_hw, dtype=np.float32)


def _of_image_size(map_hw: np.ndarray, camera: Camera, interpolation: int) -> np.ndarray:
    size_px = (camera.width_px, camera.height_px)
    return map_hw if map_hw.shape[1::-1] == size_px else cv2.resize(map_hw, size_px, interpolation=interpolation)


def _stack(clips: list[dict], device: torch.device, teacher_kind: TeacherKind | None) -> ClipBatch:
    def images(arrays: list[np.ndarray]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack(arrays)).to(device)
        return stacked.movedim(-1, -3).contiguous().float().div(255)

    def maps(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([clip[name] for clip in clips]))[:, None].to(device)

    recorded = images([clip["images"] for clip in clips])
    motions = None
    if all(clip["motions"] is not None for clip in clips):
        motions = torch.tensor(np.stack([clip["motions"] for clip in clips]), dtype=torch.float32, device=device)
    return ClipBatch(
        images([clip["view"] for clip in clips]),
        recorded[:, 0],
        recorded[:, 1:],
        torch.tensor(np.stack([clip["K"] for clip in clips]), dtype=torch.float32, device=device),
        motions,
        maps("depth"),
        maps("boundary"),
        torch.tensor([clip["has_boundary"] for clip in clips], device=device),
        None if teacher_kind is None else maps("teacher"),
        teacher_kind,
    )
