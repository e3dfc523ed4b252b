"""The head of a place: trained in this process, or by torchrun in several, also of several machines, over one loop."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from geo_perception.errors import InputError
from geo_training.fleet.manifest import HeadOptions
from geo_training.localization.config import HeadTrainingConfig
from geo_training.processes import ANOTHER

_SAID_LINES = 3  # of what a training that failed wrote last
_KILLED = "Signal 9 (SIGKILL)"  # as torchrun puts it


@dataclass(frozen=True)
class Node:
    """One of the machines that train together: its number, how many they are, and where the first listens."""

    rank: int = 0
    count: int = 1
    address: str = ""
    port: int = 0


ALONE = Node()


class TrainingLost(InputError):  # noqa: N818 (nothing is wrong with the data)
    """Processes of the training were killed, or those of another machine are gone: it may go on when run again."""


def head_config(options: HeadOptions, device: str) -> HeadTrainingConfig:
    """The training that the options ask for; a device that they name counts more than `device`."""
    keys = dict(options.config) if isinstance(options.config, dict) else {}
    given = {
        "steps": options.steps, "max_bytes": options.bytes, "backbone": options.backbone, "seed": options.seed,
        "backbone_file": options.backbone_file, "device": None if "device" in keys else device,
    }  # fmt: skip
    return HeadTrainingConfig.model_validate(keys | {key: value for key, value in given.items() if value is not None})


def train(
    dataset: Path,
    out: Path,
    config: HeadTrainingConfig,
    embed_backbone: bool = False,
    processes: int = 1,
    node: Node = ALONE,
) -> dict[str, float]:
    """Trains the head and writes the scene `out`; goes on where an earlier run was interrupted. Returns its figures.

    Several processes, `processes` on each machine, are those of `torchrun`: each takes a GPU of its own, or all the CPU
    (`device: cpu`). Of several machines each calls this as the `node` that it is, and the first one writes and gets the
    figures. Raises InputError as `fit_head` does, and TrainingLost.
    """
    if processes == node.count == 1:
        from geo_training.localization.fit import fit_head  # torch: seconds

        return fit_head(dataset, out, config, embed_backbone, overwrite=True).metrics
    config_path, figures_path = out.with_suffix(".config.yaml"), out.with_suffix(".figures.json")
    config_path.write_text(yaml.safe_dump(config.to_json()))
    command = [
        sys.executable, "-m", "torch.distributed.run", *_rendezvous(node), "--nproc_per_node", str(processes),
        "--no-python", _geo_train(), "localization", "head", str(dataset), "--out", str(out), "--overwrite",
        "--config", str(config_path), "--json", str(figures_path), *(["--embed-backbone"] if embed_backbone else []),
    ]  # fmt: skip
    # A training whose worker was killed must not go on beside the one that takes its place.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(),
        preexec_fn=_end_with_the_parent,
    )  # fmt: skip
    sys.stderr.write(done.stderr)
    if done.returncode:
        where = f" on {node.count} machines" if node.count > 1 else ""
        _raise_why(f"the training in {processes * node.count} processes{where} failed", done.stderr, node)
    return json.loads(figures_path.read_text())["figures"] if node.rank == 0 else {}


def _rendezvous(node: Node) -> list[str]:
    if node.count == 1:
        return ["--standalone"]
    return [
        "--nnodes", str(node.count), "--node-rank", str(node.rank), "--master-addr", node.address,
        "--master-port", str(node.port),
    ]  # fmt: skip


def _geo_train() -> str:
    beside = Path(sys.executable).with_name("geo-train")
    found = str(beside) if beside.is_file() else shutil.which("geo-train")
    if found is None:
        raise InputError("geo-train is not installed; install geo_perception on this machine")
    return found


def _environment() -> dict[str, str]:
    """This process's, with its own way to modules: a worker may have got it otherwise than by the environment."""
    paths = [path for path in sys.path if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "NO_COLOR": "1"}


def _end_with_the_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _raise_why(what: str, stderr: str, node: Node) -> None:
    """Raises with the line with which the command answered, or its last ones. A launcher alone speaks where processes
    were killed, or where those of other machines did not come."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    answers = [line.partition("error:")[2].strip() for line in lines if line.startswith("error:")]
    why = answers[0] if answers else " / ".join(lines[-_SAID_LINES:]) or "it said nothing"
    lost = why.startswith(ANOTHER) if answers else node.count > 1 or _KILLED in stderr
    raise (TrainingLost if lost else InputError)(f"{what}: {why}")
