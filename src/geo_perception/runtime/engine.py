"""What runs a frozen network: torch, or the fastest engine on this machine that gives what torch gives.

Engines are optional, and each is compared with torch on a probe image before it is used: in half precision, where the
device is faster in it, it may be off what float32 gives by little more than torch in the same precision is. Of several
that pass, and torch, the fastest on that image is taken. `GEO_PERCEPTION_ENGINE` names one where nobody else does.
"""

from __future__ import annotations

import logging
import os
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from geo_perception.errors import InputError
from geo_perception.runtime import ENGINES, device, onnx_engine, openvino_engine

ENGINE_VARIABLE = "GEO_PERCEPTION_ENGINE"
TORCH, COMPILE, OPENVINO, ONNXRUNTIME, TENSORRT = ENGINES[1:]
PROBE_HW = 192, 256
# By how much more the engine's answers may be off those in float32 than torch's in the same precision are.
_PARITY_FACTOR, _PARITY_SLACK = 1.5, 1e-3
_TIMED = 3  # calls, after one that is not
_KEPT = 8  # choices of a process
_LOGGER = logging.getLogger(__name__)

Outputs = list[torch.Tensor]
Call = Callable[[torch.Tensor], Outputs]
Maker = Callable[[], Call]  # a call of its own for each network that shares what was compiled


class UnusableError(Exception):
    """An engine that cannot run a network here, and why."""


class Judged(Protocol):
    """A network that knows how far its answers are from exact ones: (error, what is nothing) of each kind."""

    def errors(self, found: Outputs, exact: Outputs) -> list[tuple[float, float]]: ...


@dataclass(frozen=True)
class Choice:
    """What runs a network, and why it; `maker` is None where it is torch as it comes."""

    name: str
    why: str
    maker: Maker | None = None


@dataclass(frozen=True)
class Wish:
    """What is asked for: an engine's name, the network's graph as an ONNX file where there is one, and whether it will
    see images of a few sizes, for each of which a graph is compiled; else one is for all."""

    engine: str = "auto"
    exported: Path | None = None
    few_sizes: bool = False
    probe_hw: tuple[int, int] = PROBE_HW


_chosen: OrderedDict[tuple[Any, ...], Choice] = OrderedDict()  # by what they depend on, the one used last at the end
_choosing = threading.Lock()  # nodes load beside each other, and two that are timed at once would both be slow


def choose_engine(network: nn.Module, checksum: str | None, on: torch.device, wish: Wish | None = None) -> Choice:
    """What is to run a network that is for inference only, on its device, and known by its `checksum`; one without
    is run by torch, since it may still change.

    Raises InputError where an engine is named, here or by the environment, that there is not or that cannot be used.
    """
    wish = wish or Wish()
    name = _named(wish.engine)
    if name == TORCH:
        return Choice(TORCH, "asked for")
    if checksum is None:
        return Choice(TORCH, "its weights may still change")
    key = checksum, name, wish, str(on), device.half_precision(on), torch.get_num_threads()
    with _choosing:
        if key not in _chosen:
            _chosen[key] = _choose(network, checksum, name, on, wish)
            while len(_chosen) > _KEPT:
                _chosen.popitem(last=False)
        _chosen.move_to_end(key)
        return _chosen[key]


def torch_call(network: nn.Module, on: torch.device, half: bool = True) -> Call:
    """The network as torch runs it, in half precision where that is faster and wanted."""

    def call(image_b3hw: torch.Tensor) -> Outputs:
        with torch.no_grad(), device.half_autocast(on, half):
            return list(network(image_b3hw))

    return call


def parity_problem(network: Any, found: Outputs, by_torch: Outputs, exact: Outputs) -> str:
    """What is wrong with an engine's answers, beside torch's in half precision and in float32; empty: nothing."""
    if [one.shape for one in found] != [one.shape for one in exact]:
        return "it gives answers of another shape than torch"
    errors = getattr(network, "errors", relative_errors)
    for index, ((off, slack), (usual, _)) in enumerate(zip(errors(found, exact), errors(by_torch, exact), strict=True)):
        if not off <= _PARITY_FACTOR * usual + slack:
            return f"it gives other answers than torch (number {index} is off by {off:.2g}, torch itself {usual:.2g})"
    return ""


def relative_errors(found: Outputs, exact: Outputs) -> list[tuple[float, float]]:
    """Of each map by itself, in norm."""
    return [
        (float((one.float() - other.float()).norm() / other.float().norm()), _PARITY_SLACK)
        for one, other in zip(found, exact, strict=True)
    ]


def probe_image(height_px: int, width_px: int) -> torch.Tensor:
    """Noise on a slope (1, 3, H, W) of 0 to 255: edges, and more than texture."""
    noise = torch.rand((1, 3, height_px, width_px), generator=torch.Generator().manual_seed(0))
    image_b3hw = 127.0 * noise + 128.0 * torch.linspace(0, 1, width_px)
    return image_b3hw.contiguous(memory_format=torch.channels_last)


def median_seconds(calls: Sequence[Callable[[], Any]], times: int = _TIMED) -> list[float]:
    """Of each call, after one that is not timed; they take turns, so that what else the machine does hits all."""
    taken_s: list[list[float]] = [[] for _ in calls]
    for turn in range(times + 1):
        for own_s, call in zip(taken_s, calls, strict=True):
            started_s = time.perf_counter()
            call()
            if turn:
                own_s.append(time.perf_counter() - started_s)
    return [statistics.median(own_s) for own_s in taken_s]


def _named(engine: str) -> str:
    """What is asked for; the environment speaks where nobody else does."""
    if engine not in ENGINES:
        raise InputError(f"engine '{engine}' is not known; use {', '.join(ENGINES)}")
    if engine != "auto":
        return engine
    wanted = os.environ.get(ENGINE_VARIABLE, "auto")
    if wanted not in ENGINES:
        raise InputError(f"{ENGINE_VARIABLE} is '{wanted}'; use {', '.join(ENGINES)}")
    return wanted


def _choose(network: nn.Module, checksum: str, wanted: str, on: torch.device, wish: Wish) -> Choice:
    names = [wanted] if wanted != "auto" else [OPENVINO, ONNXRUNTIME] if on.type == "cpu" else [ONNXRUNTIME]
    probe = probe_image(*wish.probe_hw).to(on)
    by_torch = torch_call(network, on)
    probed = probe, by_torch(probe), torch_call(network, on, half=False)(probe)
    usable: list[tuple[str, str, Maker]] = []
    reasons = []
    for name in names:
        try:
            made = partial(_made, name, network, checksum, on, wish)
            usable.append((name, *_checked(name, network, made, on, probed)))
        except UnusableError as problem:
            reasons.append(f"{name}: {problem}")
            _LOGGER.info("%s is not used: %s", name, problem)
    if not usable:
        if wanted != "auto":
            raise InputError(f"engine {reasons[0]}; mend that, or use auto")
        return Choice(TORCH, "; ".join(reasons))
    if wanted != "auto":
        return Choice(wanted, f"asked for; {usable[0][1]}", usable[0][2])
    calls = [by_torch, *(maker() for _, _, maker in usable)]
    torch_s, *others_s = median_seconds([lambda call=call: call(probe) for call in calls])  # type: ignore[misc]
    best_s, (name, precision, maker) = min(zip(others_s, usable, strict=True), key=lambda pair: pair[0])
    if torch_s <= best_s:
        return Choice(TORCH, f"{1e3 * torch_s:.1f} ms, by {name} {1e3 * best_s:.1f} ms")
    return Choice(name, f"{precision}, {1e3 * best_s:.1f} ms, by torch {1e3 * torch_s:.1f} ms", maker)


def _checked(
    name: str, network: nn.Module, made: Callable[[torch.dtype], Maker], on: torch.device,
    probed: tuple[torch.Tensor, Outputs, Outputs],
) -> tuple[str, Maker]:  # fmt: skip
    """The precision in which an engine gives what torch gives, and what calls it there. Raises UnusableError."""
    probe, usual, exact = probed
    half, problem = device.half_precision(on), ""
    for precision in (torch.float32,) if half is None or name == ONNXRUNTIME else (half, torch.float32):
        try:
            maker = made(precision)
            found = maker()(probe)
        except UnusableError:
            raise
        except Exception as error:  # what a network does may be beyond an engine in any way
            raise UnusableError(f"it cannot run this network ({_short(error)})") from None
        said = str(precision).removeprefix("torch.")
        problem = parity_problem(network, found, usual, exact)
        if not problem:
            return said, maker
        _LOGGER.warning("%s in %s: %s", name, said, problem)
    raise UnusableError(problem)


def _made(name: str, network: nn.Module, checksum: str, on: torch.device, wish: Wish, precision: torch.dtype) -> Maker:
    if name == OPENVINO:
        if on.type != "cpu":
            raise UnusableError("it is for CPUs")
        try:
            return openvino_engine.OpenVinoModel(network, checksum, precision, wish.few_sizes).request
        except ImportError:
            raise UnusableError("it is not installed; run `pip install openvino`") from None
    if name == COMPILE:
        compiled: Any = torch.compile(network, dynamic=not wish.few_sizes)
        return lambda: torch_call(compiled, on, precision != torch.float32)
    if wish.exported is None:
        raise UnusableError("no graph of these weights lies beside them; run `geo-train export`")
    try:
        return onnx_engine.make(wish.exported, on, precision, name == TENSORRT, checksum)
    except ImportError:
        raise UnusableError("it is not installed; run `pip install onnxruntime`") from None
    except InputError as problem:
        raise UnusableError(str(problem)) from None


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
