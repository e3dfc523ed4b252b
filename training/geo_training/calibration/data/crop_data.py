"""Crops of panoramas as arrays: what the paper's network takes of them, and its regression targets.

Crop i of a source is always the same one, drawn by the source's seed and i, whether it is rendered when asked for or
kept in memory or on disk. So a network's answers for it can be kept, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from geo_perception.errors import InputError
from geo_perception.runtime.files import replaced_file
from geo_training.calibration.data.crops import RENDERING_VERSION, CropDistribution, CropSpec, render_crop
from geo_training.calibration.data.panoramas import Panorama, cached_panorama
from geo_training.calibration.frozen import FrozenMaps
from geo_training.calibration.paper import TargetScale
from geo_training.console import track
from geo_training.storage.fingerprints import digest_of, digest_of_files

Cache = Literal["none", "memory", "disk"]
_CHUNK = 64  # crops rendered between two looks at the clock
_WORKERS = 4


class CropSource:
    """`count` crops of some panoramas, the panoramas in turn.

    `folder` is where a disk cache lies. With an `encoder` a network takes what that keeps of an image, which stays in
    memory. Targets are divided by `scale`, by default that of the distribution. Raises InputError when the distribution
    has several sizes, or the disk is too full for the cache.
    """

    def __init__(
        self,
        panoramas: Sequence[Panorama],
        crops: CropDistribution,
        count: int,
        seed: int,
        cache: Cache = "none",
        folder: Path | None = None,
        encoder: FrozenMaps | None = None,
        scale: TargetScale | None = None,
    ):
        if len(crops.sizes_px) != 1:
            raise InputError("crops have several sizes_px; the paper's network takes one: give one")
        self.panoramas, self.crops, self.count, self.seed = tuple(panoramas), crops, count, seed
        self.size_px = crops.sizes_px[0]
        self._cache, self._folder, self._encoder, self._scale = cache, folder, encoder, scale

    def __len__(self) -> int:
        return self.count

    def spec(self, index: int) -> CropSpec:
        """The camera of crop `index`."""
        return self.crops.draw(np.random.default_rng([self.seed, index]))

    @cached_property
    def targets_n3(self) -> np.ndarray:
        """float32: see `TargetScale.targets`."""
        scale = self._scale or TargetScale.of(self.crops)
        return np.stack([scale.targets(self.spec(index)) for index in range(self.count)])

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """What a network takes of the crops: RGB uint8 (len(rows), H, W, 3), or by the encoder (len(rows), inputs)."""
        return self._made(rows) if self._kept is None else np.asarray(self._kept[rows])

    @cached_property
    def _kept(self) -> np.ndarray | None:
        if self._encoder is not None:
            return self._fill(np.empty((self.count, self._encoder.inputs), np.float16))
        if self._cache == "none":
            return None
        width_px, height_px = self.size_px
        shape = (self.count, height_px, width_px, 3)
        if self._cache == "memory" or self._folder is None:
            return self._fill(np.empty(shape, np.uint8))
        path = self._folder / f"crops_{self._key()[:16]}.npy"
        if not path.is_file():
            self._make_file(path, shape)
        return np.load(path, mmap_mode="r")

    def _make_file(self, path: Path, shape: tuple[int, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
        if needed > free:
            raise InputError(
                f"{path.parent} has {free / 1e9:.1f} GB free, the crops take {needed / 1e9:.1f} GB; choose another "
                "place, or set cache: none"
            )
        with replaced_file(path) as work:
            self._fill(np.lib.format.open_memmap(work, mode="w+", dtype=np.uint8, shape=shape)).flush()

    def _fill(self, inputs: np.ndarray) -> np.ndarray:
        starts = range(0, self.count, _CHUNK)
        for start in track(starts, "crops"):
            rows = np.arange(start, min(start + _CHUNK, self.count))
            inputs[rows] = self._made(rows)
        return inputs

    def _made(self, rows: np.ndarray) -> np.ndarray:
        images_nhw3 = self._rendered(rows)
        return images_nhw3 if self._encoder is None else self._encoder.encode(images_nhw3)

    def _rendered(self, rows: np.ndarray) -> np.ndarray:
        def render(row: int) -> np.ndarray:
            panorama = self.panoramas[row % len(self.panoramas)]
            return render_crop(cached_panorama(panorama.path), self.spec(row))

        with ThreadPoolExecutor(_WORKERS) as pool:
            return np.stack(list(pool.map(render, map(int, rows))))

    def _key(self) -> str:
        files = digest_of_files(panorama.path for panorama in self.panoramas)
        return digest_of(RENDERING_VERSION, files, self.crops.model_dump(mode="json"), self.count, self.seed)


@dataclass(frozen=True, eq=False)
class CropSet:
    """Chosen crops of one or more sources: (source, row numbers) each."""

    parts: tuple[tuple[CropSource, np.ndarray], ...]

    @classmethod
    def all_of(cls, source: CropSource) -> CropSet:
        return cls(((source, np.arange(len(source))),))

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def __add__(self, other: CropSet) -> CropSet:
        return CropSet(tuple(part for part in self.parts + other.parts if len(part[1])))

    @property
    def targets_n3(self) -> np.ndarray:
        return np.concatenate([source.targets_n3[rows] for source, rows in self.parts])

    def inputs(self, positions: np.ndarray) -> np.ndarray:
        """As `CropSource.inputs`; positions count through the parts."""
        found, first = None, 0
        for source, rows in self.parts:
            inside = (positions >= first) & (positions < first + len(rows))
            if inside.any():
                own = source.inputs(rows[positions[inside] - first])
                if found is None:
                    found = np.empty((len(positions), *own.shape[1:]), own.dtype)
                found[inside] = own
            first += len(rows)
        assert found is not None
        return found

    def batches(self, size: int, order: np.random.Generator | None = None) -> Iterator[np.ndarray]:
        """Positions of each batch: all of them in turn, or shuffled by `order` without an incomplete last batch."""
        positions = np.arange(len(self)) if order is None else order.permutation(len(self))
        full = order is not None and len(self) >= size
        for start in range(0, len(self) - (size - 1 if full else 0), size):
            yield positions[start : start + size]
