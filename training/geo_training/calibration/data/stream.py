"""Training crops on the fly: drawn by a seed, so that any batch can be made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from geo_perception.calibration.fields import image_scale
from geo_perception.calibration.network_view import network_size
from geo_perception.geometry import up_from_attitude
from geo_training.calibration.config import CalibrationTrainingConfig
from geo_training.calibration.data.crops import CropSpec, render_crop
from geo_training.calibration.data.panoramas import Panorama, cached_panorama
from geo_training.calibration.data.photographs import CalibrationExample, recrop
from geo_training.calibration.losses import TrueCameras
from geo_training.engine.augmentation import augment_photometric
from geo_training.engine.loader import MemoryCache, prefetch
from geo_training.engine.whole_batch import own_rows
from geo_training.storage.fingerprints import file_version

_WORKERS = 2
_MAX_FINENESS = 2.0  # pixels of the panorama per pixel of a crop, at its centre


@dataclass(frozen=True)
class CropBatch:
    """Crops of one size, uint8 on the training device, and their cameras."""

    image_b3hw: torch.Tensor
    truth: TrueCameras


@dataclass(frozen=True)
class CropSources:
    """What crops are cut from."""

    real: Sequence[Panorama]
    synthetic: Sequence[Panorama] = ()
    photographs: Sequence[CalibrationExample] = ()


class CropStream:
    """Batches of augmented crops of real and of synthetic panoramas, and of photographs."""

    def __init__(self, sources: CropSources, config: CalibrationTrainingConfig, device: torch.device):
        self.sources, self.config, self.device = sources, config, device
        self.synthetic_share = config.synthetic.share if sources.synthetic else 0.0
        self.photograph_share = config.photographs.share if sources.photographs else 0.0
        # The network sees every format at about the same area.
        self.sizes_px = [network_size(*size) for size in config.crops.sizes_px]

    def batches(self, first: int, count: int) -> Iterator[CropBatch]:
        """Batches `first` to `first + count`, made ahead in threads."""
        return prefetch(self.batch, first, count, _WORKERS)

    def batch(self, number: int) -> CropBatch:
        """The batch of this number, always the same; of several processes each makes its rows."""
        rng = np.random.default_rng([self.config.seed, 0, number])
        size_px = self.sizes_px[int(rng.integers(len(self.sizes_px)))]
        rows = range(self.config.batch)[own_rows(self.config.batch)]
        crops = [self._crop(size_px, np.random.default_rng([self.config.seed, 1 + row, number])) for row in rows]
        return make_batch([image for image, _ in crops], [spec for _, spec in crops], self.device)

    def _crop(self, size_px: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, CropSpec]:
        image_hw3, spec = self._cut(size_px, rng)
        if rng.random() < 0.5:
            image_hw3 = np.ascontiguousarray(image_hw3[:, ::-1])
            spec = CropSpec(spec.width_px, spec.height_px, spec.focal_px, spec.pitch_rad, -spec.roll_rad, spec.yaw_rad)
        if rng.random() < self.config.soften:
            image_hw3 = softened(image_hw3, float(rng.uniform(1.0, self.config.softest)))
        return augment_photometric(image_hw3, self.config.augmentation, rng)[0], spec

    def _cut(self, size_px: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, CropSpec]:
        if self.photograph_share and rng.random() < self.photograph_share:
            example = self.sources.photographs[int(rng.integers(len(self.sources.photographs)))]
            config = self.config.photographs.recrop.model_copy(update={"sizes_px": (size_px,)})
            return recrop(example, rng, config, cached_photograph(example))
        synthetic = rng.random() < self.synthetic_share
        panoramas = self.sources.synthetic if synthetic else self.sources.real
        panorama = panoramas[int(rng.integers(len(panoramas)))]
        spec = self.config.crops.draw(rng, size_px)
        stretch = self.config.stretch ** float(rng.uniform(-1, 1))
        return quick_crop(panorama, spec, stretch), spec


_photographs = MemoryCache(2 << 30)


def cached_photograph(example: CalibrationExample) -> np.ndarray:
    """The photograph; the last 2 GiB of them are kept in memory."""
    return _photographs.get((file_version(example.image_path), example.window_px), example.image)


def quick_crop(panorama: Panorama, spec: CropSpec, stretch: float = 1.0) -> np.ndarray:
    """`render_crop` with four rays a pixel, of the panorama made smaller where that is still finer than the crop."""
    picture_hw3 = cached_panorama(panorama.path)
    while picture_hw3.shape[1] / (2 * np.pi * spec.focal_px) > _MAX_FINENESS and picture_hw3.shape[1] % 4 == 0:
        picture_hw3 = _half(panorama.path, picture_hw3.shape[1] // 2)
    return render_crop(picture_hw3, spec, 2, stretch)


_smaller = MemoryCache(1 << 30)


def _half(path: Path, width_px: int) -> np.ndarray:
    size_px = (width_px, width_px // 2)
    return _smaller.get(
        (file_version(path), width_px), lambda: cv2.resize(cached_panorama(path), size_px, interpolation=cv2.INTER_AREA)
    )


def softened(image_hw3: np.ndarray, factor: float) -> np.ndarray:
    """The image as if it had been `factor` times smaller: how sharp it is must not tell how far it was zoomed in."""
    height_px, width_px = image_hw3.shape[:2]
    small = cv2.resize(image_hw3, (round(width_px / factor), round(height_px / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_LINEAR)


def make_batch(images_hw3: Sequence[np.ndarray], specs: Sequence[CropSpec], device: torch.device) -> CropBatch:
    """One batch of crops of equal size."""
    stacked = torch.from_numpy(np.stack(images_hw3)).permute(0, 3, 1, 2).contiguous().to(device)
    return CropBatch(stacked, true_cameras(specs, device))


def true_cameras(specs: Sequence[CropSpec], device: torch.device) -> TrueCameras:
    """The cameras of crops as the losses take them."""
    focal_b = np.log([spec.focal_px / image_scale(spec.height_px, spec.width_px) for spec in specs])
    up_b3 = up_from_attitude([spec.pitch_rad for spec in specs], [spec.roll_rad for spec in specs])
    return TrueCameras(
        torch.tensor(focal_b, dtype=torch.float32, device=device),
        torch.tensor(up_b3, dtype=torch.float32, device=device),
    )
