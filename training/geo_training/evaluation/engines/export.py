"""Writes the graph of a network as an ONNX file that any engine can run, if it gives what torch gives."""

from __future__ import annotations

import inspect
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geo_perception import __version__
from geo_perception.errors import InputError
from geo_perception.runtime.engine import Call, probe_image, torch_call
from geo_perception.runtime.files import replace_bytes
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.onnx_engine import GRAPH_VERSION, METADATA_KEY, make
from geo_perception.runtime.openvino_engine import AsTuple
from geo_training.evaluation.engines.subjects import Difference, Subject

OPSET = 18
_TRACED_HW = 64, 96
_CPU = torch.device("cpu")


def graph_bytes(frozen: FrozenNetwork, names: Sequence[str], size_px: tuple[int, int] | None = None) -> bytes:
    """The ONNX file of a network, batch normalizations folded: `image` (1, 3, H, W) of 0 to 255, and what it gives by
    these names. Of any size whose sides are multiples of 32, or of one (width, height).

    Raises InputError where the packages for it are not installed, or the network cannot be written.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("ONNX files are written by the package onnx; run `pip install onnx onnxruntime`") from None
    shown = probe_image(*(_TRACED_HW if size_px is None else size_px[::-1]))
    with tempfile.TemporaryDirectory(prefix="geo_export_") as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # what is traced is compared afterwards
        path = Path(folder) / "graph.onnx"
        # The exporter by tracing needs no further package; older versions have no other.
        traced = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
        sizes = {} if size_px else {"dynamic_axes": {"image": {2: "height", 3: "width"}}}
        try:
            torch.onnx.export(
                AsTuple(frozen.folded).eval(), (shown,), str(path), input_names=["image"],
                output_names=list(names), opset_version=OPSET, **sizes, **traced,
            )  # fmt: skip
        except Exception as problem:  # whatever the exporter does not know
            raise InputError(
                f"the network cannot be written as ONNX ({' '.join(str(problem).split())[:200]})"
            ) from None
        model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(_metadata(frozen), sort_keys=True)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def export_graph(
    subject: Subject, images: Sequence[np.ndarray], out: Path, size_px: tuple[int, int] | None = None
) -> list[Difference]:
    """Writes the graph of a subject's network to `out`, and says how far its answers to these images (RGB uint8) are
    off torch's, both in float32.

    Raises InputError, and writes nothing, where they differ by more than is allowed.
    """
    content = graph_bytes(subject.frozen, subject.names, size_px)
    with tempfile.TemporaryDirectory(prefix="geo_export_") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(content)
        differences = compare(subject, images, exported_call(path, subject))
    wrong = [difference for difference in differences if not difference.allowed]
    if wrong:
        raise InputError(f"nothing is written: the graph differs from torch; {'; '.join(map(str, wrong))}")
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(out, content)
    return differences


def compare(subject: Subject, images: Sequence[np.ndarray], call: Call) -> list[Difference]:
    """How far answers by `call` are off those by torch in float32."""
    expected = answers(subject, images, torch_call(subject.frozen.folded, _CPU, half=False))
    return subject.differences(answers(subject, images, call), expected)


def answers(subject: Subject, images: Sequence[np.ndarray], call: Call) -> list[Any]:
    """Of the whole estimator, its network run by `call`."""
    subject.frozen.run_by(call)
    try:
        return [subject.answer(image_hw3) for image_hw3 in images]
    except InputError:
        raise
    except Exception as problem:  # engines have a class for each kind, and no common one
        raise InputError(
            f"the network cannot be run on these images ({' '.join(str(problem).split())[:200]})"
        ) from None


def exported_call(path: Path, subject: Subject) -> Call:
    """An exported graph by ONNX Runtime on the CPU, in float32. Raises InputError where that is not installed."""
    try:
        return make(path, _CPU, torch.float32, tensorrt=False, checksum=subject.frozen.checksum)()
    except ImportError:
        raise InputError("what is exported is checked by ONNX Runtime; run `pip install onnx onnxruntime`") from None


def _metadata(frozen: FrozenNetwork) -> dict[str, Any]:
    return {"checksum": frozen.checksum, "version": GRAPH_VERSION, "producer": f"geo_perception {__version__}"}
