"""This machine while the doctor listens: which perception processes of this ROS domain run here, and how many threads
want a core."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from geo_training.evaluation.doctor.snapshot import Machine, Process

_PROGRAMS = (
    "calibration_node", "localization_node", "depth_node", "perception_container", "geo_perception.calibration.node",
    "geo_perception.localization.node", "geo_perception.depth.node", "geo_perception.ros.container",
)  # fmt: skip
_LIBRARIES = ("openvino", "onnxruntime")
_ENGINE_VARIABLE, _DOMAIN_VARIABLE = "GEO_PERCEPTION_ENGINE", "ROS_DOMAIN_ID"
_PROC = Path("/proc")


class MachineWatch:
    """Counts at every `sample`; Linux only, elsewhere it sees no processes."""

    def __init__(self):
        self._samples = 0
        self._running = 0.0
        self._all_running: list[float] = []
        self._threads: dict[int, tuple[str, int, float]] = {}  # by process: command, threads, sum of those that ran

    def sample(self) -> None:
        self._samples += 1
        running = _all_running()
        if running is not None:
            self._all_running.append(running)
        for pid, command in perception_processes().items():
            threads, wanting = _threads(pid)
            _, _, so_far = self._threads.get(pid, ("", 0, 0.0))
            self._threads[pid] = command, threads, so_far + wanting

    def result(self) -> Machine:
        processes = tuple(
            Process(pid, command, threads, wanting / self._samples, _libraries(pid), _variable(pid, _ENGINE_VARIABLE))
            for pid, (command, threads, wanting) in sorted(self._threads.items())
        )
        running = sum(self._all_running) / len(self._all_running) if self._all_running else None
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = len(list(_PROC.glob("driver/nvidia/gpus/*")))
        return Machine(cores, running, processes, gpus, platform.machine() in ("x86_64", "AMD64"))


def perception_processes() -> dict[int, str]:
    """The command of each perception process of this ROS domain, from the program's name to where ROS arguments
    begin."""
    domain = os.environ.get(_DOMAIN_VARIABLE) or "0"
    found = {}
    for folder in _PROC.glob("[0-9]*"):
        words = [word for word in _read(folder / "cmdline").split("\0") if word]
        places = [at for at, word in enumerate(words[:4]) if word.rpartition("/")[2] in _PROGRAMS]
        pid = int(folder.name)
        if places and pid != os.getpid() and (_variable(pid, _DOMAIN_VARIABLE) or "0") == domain:
            end = words.index("--ros-args") if "--ros-args" in words else len(words)
            found[pid] = " ".join(words[places[0] : end])
    return found


def _threads(pid: int) -> tuple[int, float]:
    """How many there are, and how many run or want to."""
    states = [_read(path).rpartition(")")[2].split() for path in _PROC.glob(f"{pid}/task/*/stat")]
    return len(states), sum(fields[0] == "R" for fields in states if fields)


def _all_running() -> float | None:
    """Threads of all processes that run or want to, without the one that looks."""
    fields = _read(_PROC / "loadavg").split()
    running = fields[3].partition("/")[0] if len(fields) > 3 else ""
    return max(0.0, float(running) - 1) if running.isdigit() else None


def _libraries(pid: int) -> frozenset[str]:
    maps = _read(_PROC / str(pid) / "maps")
    return frozenset(name for name in _LIBRARIES if name in maps)


def _variable(pid: int, name: str) -> str:
    entries = _read(_PROC / str(pid) / "environ").split("\0")
    return next((entry.partition("=")[2] for entry in entries if entry.startswith(f"{name}=")), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended, or is somebody else's
        return ""
