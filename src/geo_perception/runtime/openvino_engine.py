"""Frozen networks by OpenVINO: on a CPU the same answers in about half of torch's time.

A network is followed once on a small image; whoever uses it compares what it gives on images of other sizes.
"""

from __future__ import annotations

import copy
import importlib
import logging
import sys
import threading
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from geo_perception.runtime.engine_cache import cache_key, keep_cached, read_cached

_TRACED_PX = 64, 64  # the image on which a network is followed
_SIZES = 4  # of images, for each of which a graph is kept
_LOGGER = logging.getLogger(__name__)


class OpenVinoModel:
    """A network for OpenVINO; compiled for any size of image, or for each that comes: a moment with the first image of
    a size, and faster with every other. What was compiled is kept on the disk, under the network's `checksum`."""

    def __init__(self, network: nn.Module, checksum: str, precision: torch.dtype, few_sizes: bool):
        self._openvino: Any = quiet_openvino()
        self._network, self._checksum, self._few_sizes = network, checksum, few_sizes
        self._model: Any = None
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled: OrderedDict[tuple[int, int] | None, Any] = OrderedDict()
        self._lock = threading.Lock()

    def compiled(self, size_hw: tuple[int, int]) -> Any:
        """What is compiled for images of this size."""
        key = size_hw if self._few_sizes else None
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = self._kept_or_compiled(key)
                while len(self._compiled) > _SIZES:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            return self._compiled[key]

    def request(self) -> OpenVinoEngine:
        """A call for one user."""
        return OpenVinoEngine(self)

    def _kept_or_compiled(self, size_hw: tuple[int, int] | None) -> Any:
        core = self._openvino.Core()
        name = cache_key("openvino", self._openvino.__version__, self._checksum, size_hw, sorted(self._options.items()))
        kept = read_cached(name)
        if kept is not None:
            try:
                return core.import_model(kept, "CPU", self._options)
            except RuntimeError as problem:
                _LOGGER.warning("what was compiled earlier is compiled again: %s", str(problem).splitlines()[:1])
        if self._model is None:
            self._model = _followed(self._network)
        model = self._model.clone()
        if size_hw is not None:
            model.reshape([1, 3, *size_hw])
        compiled = core.compile_model(model, "CPU", self._options)
        content = compiled.export_model()
        keep_cached(name, content if isinstance(content, bytes) else content.getvalue())
        return compiled


class OpenVinoEngine:
    """A compiled network: images (1, 3, H, W) to a list of maps. Not safe to call from several threads at once."""

    def __init__(self, model: OpenVinoModel):
        self._model = model
        self._compiled = self._request = None

    def __call__(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        compiled = self._model.compiled((int(image_b3hw.shape[-2]), int(image_b3hw.shape[-1])))
        if compiled is not self._compiled:
            self._compiled, self._request = compiled, compiled.create_infer_request()
        request: Any = self._request
        request.infer([np.ascontiguousarray(image_b3hw.numpy())])
        # The request's memory is written anew with the next image.
        return [torch.from_numpy(request.get_output_tensor(n).data.copy()) for n in range(len(compiled.outputs))]


def quiet_openvino() -> Any:
    """The module `openvino`, which as it comes would tell its makers over the network that it was imported.

    Raises ImportError where it is not installed.
    """
    # OpenVINO does without this package of its own; where the process has it already, its user wanted it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")  # by name: it is optional


def _followed(network: nn.Module) -> Any:
    """The network (images of 0 to 255 to a list of maps) as a model of OpenVINO."""
    # The converter of OpenVINO's tools, which would call home, too, is not used.
    frontends: Any = importlib.import_module("openvino.frontend")
    decoder: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is called deprecated and tells of each constant; the check judges
        jit: Any = torch.jit
        traced = jit.trace(AsTuple(_by_moments(network)).eval(), torch.zeros(1, 3, *_TRACED_PX), check_trace=False)
        frontend = frontends.FrontEndManager().load_by_framework("pytorch")
        followed = decoder.TorchScriptPythonDecoder(traced)  # must live until the model is made
        return frontend.convert(frontend.load(followed))


class AsTuple(nn.Module):
    """A network whose list of maps is a tuple, as tracing wants it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image_b3hw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network(image_b3hw))


class _GroupMoments(nn.Module):
    """A group normalization (Wu and He, 2018) by means over whole channels: OpenVINO's own one wants another layout of
    the map before it, and the old one after it."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight_1c11 = nn.Parameter(norm.weight.detach().view(1, -1, 1, 1), requires_grad=False)
        self.bias_1c11 = nn.Parameter(norm.bias.detach().view(1, -1, 1, 1), requires_grad=False)

    def forward(self, x_1chw: torch.Tensor) -> torch.Tensor:
        off_1chw = x_1chw - self._mean(x_1chw)
        variance_1c11 = self._mean(off_1chw * off_1chw)
        return off_1chw * (torch.rsqrt(variance_1c11 + self.eps) * self.weight_1c11) + self.bias_1c11

    def _mean(self, x_1chw: torch.Tensor) -> torch.Tensor:
        """That of its group for each channel, (1, C, 1, 1)."""
        channels = x_1chw.shape[1]
        each = 1, self.groups, channels // self.groups, 1, 1
        grouped = x_1chw.mean((2, 3), keepdim=True).view(*each).mean(2, keepdim=True)
        return grouped.expand(*each).reshape(1, channels, 1, 1)


def _by_moments(network: nn.Module) -> nn.Module:
    """A copy whose group normalizations are `_GroupMoments`."""
    copied = copy.deepcopy(network)
    for name, module in list(copied.named_modules()):
        if type(module) is nn.GroupNorm and module.affine and name:
            copied.set_submodule(name, _GroupMoments(module))
    return copied
