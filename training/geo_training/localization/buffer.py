"""Features of augmented views, kept in memory: the frozen backbone runs once for a view, not once for a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geo_perception.runtime.backbone import Backbone
from geo_perception.runtime.device import half_precision
from geo_training.localization.views import View

# make_view(frame index, view index, generation) -> View
ViewMaker = Callable[[int, int, int], View]


@dataclass(frozen=True)
class FeatureBatch:
    """Feature maps of several strides, and the landmarks' places in network pixels with their states."""

    features: list[torch.Tensor]
    pixels_bl2: torch.Tensor
    state_bl: torch.Tensor


def min_views(batch: int) -> int:
    """Fewer views than these make no batch: a rest too small would upset the batch statistics."""
    return min(batch, max(2, batch // 2))


@dataclass
class _Slot:
    generation: int
    features: list[torch.Tensor]  # (1, C, H, W) in half precision
    pixels_l2: torch.Tensor
    state_l: torch.Tensor


class FeatureBuffer:
    """`views` augmented views of each of `frames` frames, as many as fit into `budget_bytes`. `pixels_f`: how many
    pixels the views of each frame have; left out where all have the same.

    After every epoch a share of `refresh` of the slots is due to be made anew, in turn, so that a long training sees
    ever new views. What a slot holds depends only on its number and the epoch: a resumed run sees the same.
    """

    def __init__(self, backbone: Backbone, make_view: ViewMaker, frames: int, views: int, budget_bytes: int,
                 refresh: float, device: torch.device, seed: int,
                 pixels_f: Sequence[int] | None = None):  # fmt: skip
        self._backbone, self._make_view, self._frames = backbone.to(device), make_view, frames
        self._refresh, self._device, self._seed = refresh, device, seed
        self._half = half_precision(device)
        self._slots: dict[int, _Slot] = {}
        self.slot_bytes = self._fill(0, 0)
        # Features take room by the pixels of their view, and not every camera's view has as many.
        share = 1.0 if pixels_f is None else sum(pixels_f) / (frames * pixels_f[0])
        self._bytes_a_view = self.slot_bytes * frames * share
        self.views = max(1, min(views, int(budget_bytes // self._bytes_a_view)))
        self.left_out = views - self.views
        # Features live beside the head where the device has room for them.
        self._storage = device if device.type == "cpu" or self._fits_on_device() else torch.device("cpu")

    def __len__(self) -> int:
        return self._frames * self.views

    def batches(self, epoch: int, batch: int, rank: int = 0, world: int = 1, first: int = 0) -> Iterator[FeatureBatch]:
        """One pass over all slots in a seeded order, from batch number `first` on; views of one size stand together in
        a batch. What only stands in batches before `first` is not made anew for this epoch."""
        for number, group in enumerate(self._groups(epoch, batch, rank, world)):
            if number >= first:
                yield self._collate([self.slot(slot, epoch) for slot in group])

    def _groups(self, epoch: int, batch: int, rank: int, world: int) -> Iterator[list[int]]:
        """The slots of each batch."""
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(self))[rank::world]
        waiting: dict[tuple, list[int]] = {}
        complete: set[tuple] = set()
        for number in map(int, order):
            # A slot keeps its size however often it is made anew.
            slot = self._slots[number] if number in self._slots else self.slot(number, epoch)
            size = tuple(slot.features[0].shape)
            group = waiting.setdefault(size, [])
            group.append(number)
            if len(group) == batch:
                yield list(group)
                group.clear()
                complete.add(size)
        least = min_views(batch)
        for size, group in waiting.items():
            if group and size not in complete and len(group) < least:
                # All there are of a camera with few frames: some stand twice in a batch, rather than none in any.
                group = [group[index % len(group)] for index in range(least)]
            if len(group) >= least:
                yield group

    def slot(self, number: int, epoch: int) -> _Slot:
        generation = self.generation(number, epoch)
        if number not in self._slots or self._slots[number].generation != generation:
            self._fill(number, generation)
        return self._slots[number]

    def generation(self, number: int, epoch: int) -> int:
        """How often a slot has been made anew before `epoch`."""
        return int(epoch * self._refresh + (number * 0.6180339887) % 1.0)

    @torch.no_grad()
    def _fill(self, number: int, generation: int) -> int:
        view = self._make_view(number % self._frames, number // self._frames, generation)
        image_b3hw = torch.from_numpy(view.image_hw3).to(self._device).permute(2, 0, 1)[None].float().contiguous()
        with torch.autocast(self._device.type, self._half or torch.bfloat16, enabled=self._half is not None):
            features = self._backbone(image_b3hw)
        storage = getattr(self, "_storage", torch.device("cpu"))
        kept = [feature.to(storage, torch.float16) for feature in features]
        pixels_l2 = torch.from_numpy(np.nan_to_num(view.pixels_l2, nan=-1e4).astype(np.float32)).to(storage)
        self._slots[number] = _Slot(generation, kept, pixels_l2, torch.from_numpy(view.state_l).to(storage))
        return sum(feature.nbytes for feature in kept)

    def _fits_on_device(self) -> bool:
        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        return self._bytes_a_view * self.views < 0.5 * free_bytes

    def _collate(self, slots: list[_Slot]) -> FeatureBatch:
        levels = zip(*(slot.features for slot in slots), strict=True)
        features = [
            torch.cat(level).to(self._device, torch.float32, non_blocking=True, memory_format=torch.channels_last)
            for level in levels
        ]
        pixels_bl2 = torch.stack([slot.pixels_l2 for slot in slots]).to(self._device)
        return FeatureBatch(features, pixels_bl2, torch.stack([slot.state_l for slot in slots]).to(self._device))
