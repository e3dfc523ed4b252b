"""Features of augmented views, in half precision: the frozen backbone runs once for a view, not once for a step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch

from geo_perception.errors import InputError
from geo_perception.runtime.frozen import FrozenNetwork
from geo_training.engine.whole_batch import own_rows, world
from geo_training.localization.views import View
from geo_training.processes import world_here
from geo_training.storage.output_file import check_room

# make_view(frame index, view index, generation) -> View
ViewMaker = Callable[[int, int, int], View]
Place = Literal["auto", "device", "host", "disk"]

_DEVICE_SHARE, _HOST_SHARE = 0.5, 0.8  # of what is free there: training needs some, too
_HALF_BYTES = 2
_PLACES = {"device": "on the device", "host": "in memory", "disk": "on disk"}


@dataclass(frozen=True)
class FeatureBatch:
    """Feature maps of several strides, and the landmarks' places in network pixels with their states."""

    features: list[torch.Tensor]
    pixels_bl2: torch.Tensor
    state_bl: torch.Tensor


@dataclass
class _Slot:
    generation: int
    features: list[torch.Tensor]  # (1, C, H, W) in half precision, where the buffer keeps them
    pixels_l2: torch.Tensor
    state_l: torch.Tensor


class FeatureBuffer:
    """`views` augmented views of each frame, as many as fit into `budget_bytes`. `sizes_px`: width and height of each
    frame's views.

    Features are kept at `place`: in the memory of the training device, in that of the host, or on disk, in a file of
    the folder for temporary files that has no name there and goes with the process; "auto" is the first that has room.

    Every epoch meets each slot, in whole batches of views of one size: a few slots twice where the last batch of a size
    would not be full. Several processes share a batch: each slot has its row in every batch that it is in, and a
    process keeps the slots of its rows only. `own` are their numbers. Budget and batches are those of all together, the
    same for any number of processes; `bytes_a_view` is what one view of each frame takes.

    After every epoch a share of `refresh` of the slots is due to be made anew, in turn, so that a long training sees
    ever new views. What a slot holds depends only on its number and the epoch: a resumed run sees the same.

    Raises InputError when one view of each frame passes the budget, when the views are fewer than a batch, when the
    processes cannot share a batch evenly, or when `place` has no room.
    """

    def __init__(self, features: FrozenNetwork, make_view: ViewMaker, sizes_px: Sequence[tuple[int, int]], views: int,
                 batch: int, budget_bytes: int, refresh: float, device: torch.device, seed: int,
                 place: Place = "auto"):  # fmt: skip
        self._features, self._make_view, self._sizes_px = features, make_view, sizes_px
        self._batch, self._refresh, self._device, self._seed = batch, refresh, device, seed
        self._shapes = {size_px: self._shapes_of(size_px) for size_px in sorted(set(sizes_px))}
        self.bytes_a_view = sum(self._slot_bytes(frame) for frame in range(len(sizes_px)))
        if budget_bytes < self.bytes_a_view:
            raise InputError(
                f"the features of one view of each of {len(sizes_px)} frames take {self.bytes_a_view / 2**30:.3g} "
                f"GiB, and the buffer may take {budget_bytes / 2**30:.3g}; raise buffer_gib, or lower network_width_px"
            )
        self.views = min(views, budget_bytes // self.bytes_a_view)
        self.left_out = views - self.views
        if len(self) < batch:
            raise InputError(f"{len(self)} views are too few for a batch of {batch}; lower batch, or map more")
        self._rows = [self._rows_of(size_px) for size_px in self._shapes]
        own = own_rows(batch)
        self.own = sorted({number for rows in self._rows for row in rows[own] for number in row})
        self.place = self._place(place)
        self._storage = _allocated(sum(map(self._slot_bytes, self.own)) // _HALF_BYTES, self.place, device)
        starts = np.cumsum([0, *(self._slot_bytes(number) // _HALF_BYTES for number in self.own)])
        self._starts = dict(zip(self.own, starts.tolist(), strict=False))
        self._slots: dict[int, _Slot] = {}

    def __len__(self) -> int:
        return len(self._sizes_px) * self.views

    def __str__(self) -> str:
        return (
            f"features of {self.views} views of each of {len(self._sizes_px)} frames: "
            f"{self.bytes_a_view * self.views / 2**30:.3g} GiB {_PLACES[self.place]}"
        )

    def batches(self, epoch: int, first: int = 0) -> Iterator[FeatureBatch]:
        """One pass over all slots in a seeded order, from batch number `first` on: this process's rows of every batch.
        What only stands in batches before `first` is not made anew for this epoch."""
        for numbers in self._batches(epoch)[first:]:
            yield self._collate([self.slot(number, epoch) for number in numbers[own_rows(self._batch)]])

    def _batches(self, epoch: int) -> list[list[int]]:
        """The slots of each batch, those of all processes."""
        rng = np.random.default_rng([self._seed, 1, epoch])
        batches: list[list[int]] = []
        for rows in self._rows:
            count = max(map(len, rows))
            batches += np.stack([np.resize(rng.permutation(row), count) for row in rows], axis=1).tolist()
        return [batches[index] for index in rng.permutation(len(batches))]

    def _rows_of(self, size_px: tuple[int, int]) -> list[list[int]]:
        """The slots of one size that may stand in each row of a batch. Where there are fewer than rows, some are in
        several."""
        numbers = [n for n in range(len(self)) if self._sizes_px[n % len(self._sizes_px)] == size_px]
        return [numbers[row :: self._batch] or [numbers[row % len(numbers)]] for row in range(self._batch)]

    def slot(self, number: int, epoch: int) -> _Slot:
        generation = self.generation(number, epoch)
        if number not in self._slots or self._slots[number].generation != generation:
            self._fill(number, generation)
        return self._slots[number]

    def generation(self, number: int, epoch: int) -> int:
        """How often a slot has been made anew before `epoch`."""
        return int(epoch * self._refresh + (number * 0.6180339887) % 1.0)

    def _fill(self, number: int, generation: int) -> None:
        frames = len(self._sizes_px)
        view = self._make_view(number % frames, number // frames, generation)
        start, kept = self._starts[number], []
        for feature in self._features(view.image_hw3):
            kept.append(self._storage[start : start + feature.numel()].view(feature.shape))
            kept[-1].copy_(feature)
            start += feature.numel()
        beside = self._storage.device
        pixels_l2 = torch.from_numpy(np.nan_to_num(view.pixels_l2, nan=-1e4).astype(np.float32)).to(beside)
        self._slots[number] = _Slot(generation, kept, pixels_l2, torch.from_numpy(view.state_l).to(beside))

    def _shapes_of(self, size_px: tuple[int, int]) -> list[torch.Size]:
        """Those of the features of a view."""
        return [feature.shape for feature in self._features(np.zeros((size_px[1], size_px[0], 3), np.uint8))]

    def _slot_bytes(self, number: int) -> int:
        return _HALF_BYTES * sum(shape.numel() for shape in self._shapes[self._sizes_px[number % len(self._sizes_px)]])

    def _place(self, wanted: Place) -> str:
        """Where features are kept: at the place asked for, or at the first that has room. A disk is asked when room on
        it is taken."""
        if wanted == "disk":
            return wanted
        on_device = "device" if self._device.type == "cuda" else "host"  # a CPU's memory is the host's
        places = {"auto": (on_device, "host"), "device": (on_device,), "host": ("host",)}[wanted]
        for place in places:
            needed_bytes, allowed_bytes = self._needed_and_allowed_bytes(place)
            if needed_bytes <= allowed_bytes:
                return place
        if wanted == "auto":
            return "disk"
        raise InputError(
            f"the feature buffer takes {needed_bytes / 2**30:.3g} GiB {_PLACES[place]}, where it may take "
            f"{allowed_bytes / 2**30:.3g}; lower buffer_gib, or set buffer_place to auto"
        )

    def _needed_and_allowed_bytes(self, place: str) -> tuple[float, float]:
        needed_bytes = self.bytes_a_view * self.views
        if place == "device":
            return needed_bytes / world(), _DEVICE_SHARE * torch.cuda.mem_get_info(self._device)[0]
        # Of all the processes of this machine.
        needed_bytes *= min(world_here(), world()) / world()
        return needed_bytes, _HOST_SHARE * psutil.virtual_memory().available

    def _collate(self, slots: list[_Slot]) -> FeatureBatch:
        levels = zip(*(slot.features for slot in slots), strict=True)
        features = [
            torch.cat(level).to(self._device, torch.float32, non_blocking=True, memory_format=torch.channels_last)
            for level in levels
        ]
        pixels_bl2 = torch.stack([slot.pixels_l2 for slot in slots]).to(self._device)
        return FeatureBatch(features, pixels_bl2, torch.stack([slot.state_l for slot in slots]).to(self._device))


def _allocated(count: int, place: str, device: torch.device) -> torch.Tensor:
    """Room for so many numbers (N,) in half precision. Raises InputError when a disk has none."""
    if place != "disk":
        return torch.empty(count, dtype=torch.float16, device=device if place == "device" else "cpu")
    folder, needed_bytes = Path(tempfile.gettempdir()), _HALF_BYTES * count
    check_room(folder, needed_bytes, "the features of the buffer")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing of it stays, however this ends
            os.posix_fallocate(file.fileno(), 0, needed_bytes)  # a disk that is full later would end the process
            return torch.from_numpy(np.memmap(file, np.float16, "r+", shape=(count,)))
    except OSError as error:
        raise InputError(
            f"the feature buffer cannot be kept in {folder} ({error.strerror}); lower buffer_gib, or set TMPDIR to a "
            "folder with room"
        ) from None
