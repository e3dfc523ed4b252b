"""What a frozen network says of single images, as fast as a machine gives it."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geo_perception.runtime.engine import PROBE_HW, TORCH, Call, Choice, Wish, choose_engine, torch_call
from geo_perception.runtime.folding import fold_normalization
from geo_perception.runtime.memory import memory_shortage

_LOGGER = logging.getLogger(__name__)


class FrozenNetwork:
    """The answers of a network (images (1, 3, H, W) of 0 to 255 to a list of tensors) to single images: normalizations
    folded, channels last, in half precision where that is faster; by the fastest `engine` where the network is known by
    a `checksum`, else by torch.

    Works on a copy, so that the network stays as it is: its weights are what is saved, and what is known by its
    checksum. `exported` is its graph as an ONNX file; `few_sizes` says that images will be of a few sizes. Not safe to
    call from several threads at once.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        engine: str = "auto",
        exported: Path | None = None,
        few_sizes: bool = False,
        probe_hw: tuple[int, int] = PROBE_HW,
    ):
        self._device = device
        # An image comes with its channels last; weights of another layout take twice as long on a CPU.
        self.folded = fold_normalization(network).to(device).to(memory_format=torch.channels_last)
        checksum = getattr(network, "checksum", None)
        self.checksum = checksum if isinstance(checksum, str) else None
        self._wish = Wish(engine, exported, few_sizes, probe_hw)
        self._call: Call | None = None
        self._by_engine: Call | None = None

    @torch.no_grad()
    def __call__(self, image_hw3: np.ndarray) -> list[torch.Tensor]:
        """The maps (1, C, H / stride, W / stride), or what else it gives, of an image (H, W, 3) of 0 to 255, on the
        device. Raises InputError with the first image, where the engine that is wanted cannot be used."""
        image_b3hw = torch.from_numpy(np.ascontiguousarray(image_hw3)).to(self._device).permute(2, 0, 1)[None].float()
        if self._call is not None:
            return self._call(image_b3hw)
        try:
            if self._by_engine is None:
                self._by_engine = self._chosen_call()
            return self._by_engine(image_b3hw)
        except Exception as problem:
            if memory_shortage(problem):  # it would take no less by another
                self._by_engine = None
                raise
            if self.choice.maker is None:
                raise
            # An engine that passed may yet fail, with an image of another size.
            why = f"{self.choice.name} failed ({' '.join(str(problem).split())[:200]})"
            _LOGGER.warning("%s; torch goes on", why)
            self.choice = Choice(TORCH, why)
            self._by_engine = torch_call(self.folded, self._device)
            return self._by_engine(image_b3hw)

    @property
    def engine(self) -> str:
        """By what it is run."""
        return self.choice.name

    @cached_property
    def choice(self) -> Choice:
        """Made with the first image, since it takes a second."""
        return choose_engine(self.folded, self.checksum, self._device, self._wish)

    def run_by(self, call: Call) -> None:
        """Lets another call (images (1, 3, H, W) on the device to a list of tensors) answer from now on: to compare."""
        self._call = call

    def _chosen_call(self) -> Call:
        maker = self.choice.maker
        return torch_call(self.folded, self._device) if maker is None else maker()
