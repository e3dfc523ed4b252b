"""How many cores this process may use, and how its libraries share them. Imports nothing that takes time, so that it
can say so before they are loaded."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

CORES_OF_ONE = 4  # more threads than this make one inference of these networks little faster
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = _QUOTA) -> int:
    """The cores that this process may run on, by its affinity and by the quota of its container; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no quota, or "max"
        pass
    return max(cores, 1)


def inferences_at_once(nodes: int, cores: int | None = None) -> int:
    """How many nodes may compute at the same time: as many as have enough cores each, and at least one."""
    cores = available_cores() if cores is None else cores
    return max(1, min(nodes, cores // CORES_OF_ONE))


def share_cores(nodes: int = 1) -> int:
    """Has torch, OpenCV and BLAS use the cores of this process, as many threads each as one of `nodes` inferences
    gets, whether they are loaded already or later. What OMP_NUM_THREADS says holds instead. Returns the threads."""
    cores = available_cores()
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() and int(given) else max(1, cores // inferences_at_once(nodes, cores))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("MKL_NUM_THREADS", str(threads))
    # The matrices outside the networks are small: a second thread would only wake, spin and be in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    set_library_threads()
    return threads


def set_library_threads() -> None:
    """Tells the libraries that are loaded by now."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if not (given.isdigit() and int(given)):
        return
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(int(given))
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(int(given))
