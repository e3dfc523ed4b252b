"""Where networks run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from geo_perception.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises InputError for another name, or for a CUDA device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError, TypeError):
        raise InputError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device '{name}' is not supported; use auto, cpu, cuda or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device '{name}' is not there ({torch.cuda.device_count()} CUDA devices found); use auto or cpu"
        )
    return device


def half_precision(device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to where it is faster and accurate enough; None where plain float32 is best."""
    if device.type == "cuda":
        return torch.float16
    # Without native bfloat16 instructions the CPU emulates them, which is slower than float32.
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() and _has_bf16_units() else None


def half_autocast(device: torch.device, wanted: bool = True) -> torch.autocast:
    """Computes in half precision on `device` where that is faster and accurate enough, and where it is `wanted`."""
    half = half_precision(device) if wanted else None
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


@cache
def _has_bf16_units() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16 " in flags
