"""Commands that `torchrun` starts in several processes of this machine, on its CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SUPPORT = Path(__file__).resolve().parent
# On CPUs with bfloat16 units a training is computed in it, and the order of a sum shows early: here in float32.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}


def started(*command: object, processes: int = 1) -> subprocess.Popen:
    """The command (a Python file and its arguments) as a process group of its own, in one process or by torchrun. It
    gives way to the tests beside it, some of which need answers in time."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes] if processes > 1 else []
    path = os.pathsep.join(filter(None, [str(_SUPPORT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        ["nice", sys.executable, *map(str, [*launcher, *command])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | _ENVIRONMENT | {"PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip


def own_lines(stderr: str) -> list[str]:
    """What the processes wrote on standard error, without what torchrun writes of their end: its log, and the one
    traceback that there may be."""
    assert stderr.count("Traceback (most recent call last)") <= 1, stderr
    own, _, _ = stderr.partition("Traceback (most recent call last)")
    return [line for line in own.splitlines() if "torch/distributed/" not in line]
