"""Commands that `torchrun` starts in several processes on the CPU of this machine, which may stand for several."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

_SUPPORT = Path(__file__).resolve().parent
# On CPUs with bfloat16 units a training is computed in it, and the order of a sum shows early: here in float32.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}


def started(*command: object, processes: int = 1) -> subprocess.Popen:
    """The command (a Python file and its arguments) as a process group of its own, in one process or by torchrun. It
    gives way to the tests beside it, some of which need answers in time."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes] if processes > 1 else []
    return _started([*launcher, *command])


def started_on_machines(*commands: Sequence[object]) -> list[subprocess.Popen]:
    """The first command on the first machine, and so on, each in one process: launchers that know of each other by
    address and port alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--nnodes", len(commands), "--nproc_per_node", 1, "--master-addr", "127.0.0.1", "--master-port", port]
    launcher = ["-m", "torch.distributed.run", *where]
    return [_started([*launcher, "--node-rank", rank, *command]) for rank, command in enumerate(commands)]


def _started(arguments: list[object]) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, [str(_SUPPORT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        ["nice", sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | _ENVIRONMENT | {"PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip


def own_lines(stderr: str) -> list[str]:
    """What the processes wrote on standard error, without what torchrun writes of their end: its log, and the one
    traceback that there may be."""
    assert stderr.count("Traceback (most recent call last)") <= 1, stderr
    own, _, _ = stderr.partition("Traceback (most recent call last)")
    return [line for line in own.splitlines() if "torch/distributed/" not in line]


def history_of(out: Path) -> list[dict]:
    """The evaluations of a training, without the time that they took."""
    lines = (out.with_name(out.name + ".run") / "history.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def assert_same(found: Path, expected: Path) -> None:
    """Two trainings learned the same, up to rounding: their histories and their weights."""
    for one, other in zip(history_of(found), history_of(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    tensors = load_file(found)
    assert tensors.keys() == load_file(expected).keys()
    for name, value in load_file(expected).items():  # weights, and the running statistics of the normalization
        torch.testing.assert_close(tensors[name], value, rtol=1e-4, atol=1e-6)
