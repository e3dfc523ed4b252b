"""Frozen networks by OpenVINO, where it is installed: on a CPU the same maps in less than half of torch's time.

A network is followed once on a small image, and must give the same maps of images of other sizes as torch does; else
torch goes on. `GEO_PERCEPTION_ENGINE=torch` leaves OpenVINO out.
"""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime import device

ENGINE_VARIABLE = "GEO_PERCEPTION_ENGINE"
ENGINES = ("auto", "torch")
_CPU = torch.device("cpu")
_TRACED_PX = 64, 64  # the image on which a network is followed
_CHECKED_PX = 96, 160  # and one on which it is checked
# By how much more the engine's maps may be off those in float32 than torch's in the same precision are.
_PARITY_FACTOR, _PARITY_SLACK = 1.5, 1e-3
_KEPT = 4  # compiled networks of a process
_LOGGER = logging.getLogger(__name__)
_compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()  # by what they depend on, the one used last at the end


class OpenVinoEngine:
    """A compiled network: images (1, 3, H, W) to a list of maps. Not safe to call from several threads at once."""

    def __init__(self, compiled: Any):
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)

    def __call__(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        self._request.infer([np.ascontiguousarray(image_b3hw.numpy())])
        # The request's memory is written anew with the next image.
        return [torch.from_numpy(self._request.get_output_tensor(n).data.copy()) for n in range(self._outputs)]


def make_engine(network: nn.Module, checksum: str) -> OpenVinoEngine | None:
    """An engine for a network that is for inference only, on the CPU, and known by `checksum`; None where torch is to
    be used: OpenVINO is not installed or not wanted, or cannot do what the network does.

    Raises InputError where the environment names an engine that there is not.
    """
    wanted = os.environ.get(ENGINE_VARIABLE, "auto")
    if wanted not in ENGINES:
        raise InputError(f"{ENGINE_VARIABLE} is '{wanted}'; use {' or '.join(ENGINES)}")
    if wanted == "torch":
        return None
    key = checksum, device.half_precision(_CPU), torch.get_num_threads()
    if key not in _compiled:
        _compiled[key] = _checked(network)
        while len(_compiled) > _KEPT:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    return None if _compiled[key] is None else OpenVinoEngine(_compiled[key])


def _checked(network: nn.Module) -> Any:
    """The compiled network, if it gives what torch gives; else None."""
    try:
        compiled = _compile(network)
    except ImportError:
        return None
    except Exception as problem:  # what a network does may be beyond the engine in any way
        _LOGGER.info("OpenVINO cannot run this network, torch does: %s", str(problem).splitlines()[:1])
        return None
    image_b3hw = _image(*_CHECKED_PX)
    with torch.no_grad():
        exact = network(image_b3hw)
        with device.half_autocast(_CPU):
            by_torch = network(image_b3hw)
    by_engine = OpenVinoEngine(compiled)(image_b3hw)
    same = len(by_engine) == len(exact) and all(map(_as_exact, by_engine, by_torch, exact))
    if not same:
        _LOGGER.warning("OpenVINO gives other maps than torch, which is used instead")
    return compiled if same else None


def _as_exact(by_engine: torch.Tensor, by_torch: torch.Tensor, exact: torch.Tensor) -> bool:
    if by_engine.shape != exact.shape:
        return False
    off, usual = (float((one.float() - exact).norm() / exact.norm()) for one in (by_engine, by_torch))
    return off <= _PARITY_FACTOR * usual + _PARITY_SLACK


def _compile(network: nn.Module) -> Any:
    # By name: they are optional. The converter of OpenVINO's tools, which would call home, is not among them.
    openvino: Any = importlib.import_module("openvino")
    frontends: Any = importlib.import_module("openvino.frontend")
    decoder: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is called deprecated and tells of each constant; the check judges
        jit: Any = torch.jit
        traced = jit.trace(_AsTuple(network).eval(), _image(*_TRACED_PX), check_trace=False)
        frontend = frontends.FrontEndManager().load_by_framework("pytorch")
        followed = decoder.TorchScriptPythonDecoder(traced)  # must live until the model is made
        model = frontend.convert(frontend.load(followed))
    options = {
        "INFERENCE_PRECISION_HINT": "f32" if device.half_precision(_CPU) is None else "bf16",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(model, "CPU", options)


class _AsTuple(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image_b3hw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network(image_b3hw))


def _image(height_px: int, width_px: int) -> torch.Tensor:
    """Noise on a slope (1, 3, H, W) of 0 to 255: edges, and more than texture."""
    noise = torch.rand((1, 3, height_px, width_px), generator=torch.Generator().manual_seed(0))
    return 127.0 * noise + 128.0 * torch.linspace(0, 1, width_px)
