"""ONNX files by ONNX Runtime: on the CPU, on a GPU by CUDA, or by TensorRT.

The graph of a weights file is made by `geo-train export` and lies beside it, under the same name with `.onnx` at its
end. What it was made of is in its metadata; a graph of other weights is not used.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geo_perception.errors import InputError

SUFFIX = ".onnx"
METADATA_KEY = "geo_perception"
GRAPH_VERSION = 1
_CACHE_FOLDER = ".tensorrt"  # beside the file: building takes minutes


def graph_beside(weights: str | Path) -> Path | None:
    """Where the graph of a weights file lies; None where there is none."""
    path = Path(weights).with_suffix(SUFFIX)
    return path if path.is_file() else None


def open_session(path: Path, device: torch.device, tensorrt: bool = False, half: bool = False) -> Any:
    """An `onnxruntime.InferenceSession`. Raises ImportError where ONNX Runtime is not installed, and InputError where
    it cannot run the file, or has no TensorRT."""
    runtime: Any = importlib.import_module("onnxruntime")  # optional
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    there = runtime.get_available_providers()
    providers: list[Any] = []
    if tensorrt:
        if device.type != "cuda" or "TensorrtExecutionProvider" not in there:
            raise InputError("this ONNX Runtime has no TensorRT on a CUDA device; install onnxruntime-gpu, use cuda")
        kept = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(path.parent / _CACHE_FOLDER)}
        providers.append(("TensorrtExecutionProvider", {"trt_fp16_enable": half, **kept}))
    if device.type == "cuda" and "CUDAExecutionProvider" in there:
        providers.append(("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        return runtime.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as problem:  # ONNX Runtime has a class for each kind, and no common one
        raise InputError(
            f"{path} is no ONNX file that can be run ({' '.join(str(problem).split())[:200]}); export it again"
        ) from None


def graph_metadata(session: Any) -> dict[str, Any]:
    """What `geo-train export` wrote into the file; empty in files of somebody else."""
    try:
        content = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    except (KeyError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def make(
    path: Path, device: torch.device, precision: torch.dtype, tensorrt: bool, checksum: str | None = None
) -> Callable[[], Callable[[torch.Tensor], list[torch.Tensor]]]:
    """What makes calls of an exported graph: images (1, 3, H, W) of 0 to 255 to a list of maps on the device. Raises as
    `open_session`, and InputError where the graph is one of other weights than those of this checksum."""
    session = open_session(path, device, tensorrt, precision != torch.float32)
    made_of = graph_metadata(session)
    if checksum is not None and (made_of.get("checksum"), made_of.get("version")) != (checksum, GRAPH_VERSION):
        raise InputError(f"{path} is the graph of other weights, or of another version; export it again")
    name = session.get_inputs()[0].name

    def call(image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        image = np.ascontiguousarray(image_b3hw.cpu().numpy())
        return [torch.from_numpy(one).to(device) for one in session.run(None, {name: image})]

    return lambda: call  # a session can be run by several threads
