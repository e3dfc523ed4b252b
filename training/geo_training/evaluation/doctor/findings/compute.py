"""What computes: engines that gave way to slower ones, and cores that are fought over."""

from __future__ import annotations

import re
from collections.abc import Iterator

from geo_training.evaluation.doctor.finding import Finding, warning
from geo_training.evaluation.doctor.snapshot import LOCALIZATION, Machine, NodeSeen, Process, Snapshot

OVERSUBSCRIBED = 1.5  # threads that want a core, on average, for each there is
_FELL_BACK = re.compile(r"\bf[ae]lls? back\b|\bfallback\b", re.I)
# Why torch runs a network where another engine would be faster; onnxruntime need not be there.
_REFUSED = re.compile(r"openvino: |onnxruntime: (?!.*not installed)", re.I)
_GPU_MEMORY = "GPU memory (MB)"
_ENGINES = ("openvino", "onnxruntime")


def compute_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Engines that fall back, and more threads than cores."""
    for node in snapshot.ours:
        if node.state == "active" and node.status is not None:
            yield from _engine(snapshot.machine, node)
    yield from _cores(snapshot.machine)


def _engine(machine: Machine, node: NodeSeen) -> Iterator[Finding]:
    values, asked = node.status.values, str(node.parameters.get("engine", "auto"))
    told, why = values.get("engine", ""), values.get("engine because", "")
    other = asked not in ("", "auto", told) and told not in ("", "none")
    if other or _FELL_BACK.search(f"{told} {why}") or (told == "torch" and _REFUSED.match(why)):
        yield warning(
            "engine-fallback", node.name,
            f"{told} runs its network, asked for was {asked} ({why or 'no reason given'})",
            "mend what keeps the engine from it (is it installed in the node's own environment?), or name the one that "
            "is meant",
        )  # fmt: skip
        return
    device = str(node.parameters.get("device", "auto"))
    worked_on = [values.get(name, "0") for name in ("processed", "rejected")]
    if not any(count.isdigit() and int(count) for count in worked_on):
        return  # what a network runs by may be found out with the first image
    here = _here(machine, node)
    gpu_wanted = device.startswith("cuda") or bool(device == "auto" and machine.gpus and here)
    if gpu_wanted and _GPU_MEMORY not in values:
        yield warning(
            "engine-fallback", node.name, f"device is {device}, and its network runs on the CPU",
            "install a torch with CUDA and the GPU's driver, or set device to cpu where that is meant",
        )  # fmt: skip
    if told or gpu_wanted or not machine.x86 or node.capability != LOCALIZATION or not here:
        return
    if all(not process.libraries & set(_ENGINES) and process.engine_variable != "torch" for process in here):
        yield warning(
            "engine-fallback", node.name, "its network runs by torch on the CPU, OpenVINO is not loaded",
            "install openvino into its environment, or set GEO_PERCEPTION_ENGINE=torch where that is meant",
        )  # fmt: skip


def _here(machine: Machine, node: NodeSeen) -> list[Process]:
    """The processes of this machine that may hold the node, by their command lines."""
    return [
        process for process in machine.processes
        if node.capability in process.command or "perception_container" in process.command
        or "geo_perception.ros.container" in process.command
    ]  # fmt: skip


def _cores(machine: Machine) -> Iterator[Finding]:
    own = sum(process.running for process in machine.processes)
    limit = OVERSUBSCRIBED * machine.cores
    named = ", ".join(f"{one.pid} ({one.running:.1f} of {one.threads} threads)" for one in machine.processes)
    if own > limit:
        yield warning(
            "cores-oversubscribed", "machine",
            f"{own:.1f} threads of the perception processes want to run on {machine.cores} cores: {named}",
            "set OMP_NUM_THREADS to the cores that each may have, run the nodes in one perception_container, or set "
            "max_rate_hz",
        )  # fmt: skip
    elif machine.processes and machine.running is not None and machine.running > limit:
        yield warning(
            "cores-oversubscribed", "machine",
            f"{machine.running:.1f} threads of all processes want to run on {machine.cores} cores, of the perception "
            f"processes {own:.1f}",
            "give the nodes cores of their own (taskset, cgroups), or run less beside them",
        )  # fmt: skip
