"""One training of any capability: where it is written, its config, resuming, curves, what is kept."""

from __future__ import annotations

import atexit
import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import torch
import yaml
from accelerate import Accelerator

from geo_perception.errors import InputError
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.files import replace_text
from geo_training import processes
from geo_training.config import Strict
from geo_training.engine.checkpoint import NAME as CHECKPOINT_NAME
from geo_training.engine.checkpoint import read_checkpoint
from geo_training.engine.curves import check_charts, write_curves
from geo_training.engine.loop import LoopConfig, LoopResult, Task, make_accelerator, run_loop
from geo_training.engine.whole_batch import ends_with_the_others, gathered, once, own_rows
from geo_training.storage.output_file import check_folder_takes_files, check_output_file

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class FitResult:
    """The file that a training wrote and those beside it, the run's folder, its figures by name and the history."""

    path: Path
    run_dir: Path
    metrics: dict[str, float]
    history: list[dict]
    beside: tuple[Path, ...] = ()


class FitTask(Task, Protocol):
    """A capability's training as `run_fit` takes it.

    It may also offer `prepare(epoch)`, called before the first step with the epoch in which the training resumes (0
    from the start), and `moments`, those of an earlier training for the optimizer to begin with. Every process has a
    task of its own.
    """

    @property
    def fingerprint(self) -> str:
        """Of all that the training depends on. Where files lie, and on what is computed, is not part of it; nor is by
        how many processes."""

    def save(self, out: Path, result: LoopResult) -> dict[str, float]:
        """Writes the trained network to `out`, and returns the figures of the training. The main process alone is
        asked."""


@ends_with_the_others
def run_fit(
    config: Strict,
    out: str | Path,
    make_task: Callable[[Path, torch.device, Accelerator], FitTask],
    overwrite: bool = False,
    half: bool = True,
    beside: Sequence[Path] = (),
    config_name: str = "config.yaml",
) -> FitResult:
    """Trains what `make_task(run folder, device, accelerator)` gives and writes `out`.

    `config` also holds the loop's settings by their names, and perhaps `batch`, the rows of a whole batch: several
    processes share it, and the main one reads and writes. Those of other machines have the data at paths of their own
    and need not see what it writes: `make_task`, which all call, takes what lies in the run's folder from
    `shared_folder`. `beside` are files that the task writes, too. The run's folder (`<out>.run`) keeps the config, the
    history and curves and, until it is done, a checkpoint: the same call resumes after an interruption.

    Raises InputError, before anything is learned, as `check_training_output` and `make_task` do, when the processes
    cannot share the batch evenly, or when a checkpoint is of another training and `overwrite` is not set.
    """
    out = Path(out)
    run_dir = run_folder(out)
    if processes.is_main():
        check_training_output(out, overwrite, beside)
    device = pick_device(config.device)
    accelerator = make_accelerator(device, half)
    own_rows(getattr(config, "batch", accelerator.num_processes))  # refused before anything is made
    if accelerator.num_processes > 1:
        device = accelerator.device
    task = make_task(run_dir, device, accelerator)
    fingerprint = _same_everywhere(task)
    epoch = once(lambda: _epoch_to_begin_in(run_dir, fingerprint, overwrite))
    if accelerator.is_main_process:
        run_dir.mkdir(parents=True, exist_ok=True)  # nothing is left behind of what cannot be trained
        _save_config(run_dir / config_name, config)
    if hasattr(task, "prepare"):
        task.prepare(epoch)
    moments = getattr(task, "moments", None)
    result = run_loop(task, _loop_config(config), run_dir, accelerator, fingerprint, moments, overwrite)
    metrics = once(lambda: _saved(task, out, run_dir, result))
    if accelerator.num_processes > 1:
        atexit.register(_let_go, accelerator)  # another training may come before
    return FitResult(out, run_dir, metrics, result.history, tuple(beside))


def _same_everywhere(task: FitTask) -> str:
    """The main process's fingerprint of the training. Raises InputError where that of another machine is not the same:
    its processes would learn from other data, or wait for batches that do not come."""
    found = gathered(task.fingerprint if processes.is_first_here() else None)
    for number, fingerprint in enumerate(found):
        if fingerprint not in (None, found[0]):
            raise InputError(
                f"process {number} is on a machine with another config, other data or other starting weights than the "
                "first one's; give all machines the same"
            )
    return found[0]


def _epoch_to_begin_in(run_dir: Path, fingerprint: str, overwrite: bool) -> int:
    checkpoint = read_checkpoint(run_dir / CHECKPOINT_NAME, fingerprint, overwrite)
    return checkpoint.metadata["place"][0] if checkpoint else 0


def _let_go(accelerator: Accelerator) -> None:
    """Ends the threads of the processes' connection: one that still puts a tensor away while Python ends would abort
    the process. They end with the last that holds the connection, which is the network that learned."""
    accelerator.free_memory()
    gc.collect()
    accelerator.state.destroy_process_group()


def _saved(task: FitTask, out: Path, run_dir: Path, result: LoopResult) -> dict[str, float]:
    metrics = task.save(out, result)
    write_curves(run_dir / "curves.html", result.history, f"Training of {out.name}")
    (run_dir / CHECKPOINT_NAME).unlink(missing_ok=True)
    return metrics


def run_folder(out: str | Path) -> Path:
    """`<out>.run`: config, history, curves and, until the training is done, its checkpoint."""
    out = Path(out)
    return out.with_name(out.name + ".run")


def check_training_output(out: str | Path, overwrite: bool, beside: Sequence[Path] = ()) -> Path:
    """The run's folder, which is not made yet. Call it before all else.

    Raises InputError when `out` or one of the files `beside` it stands there already (a finished training's, or
    anybody's) and `overwrite` is not set, when they cannot be written or have another suffix than weights, or when what
    draws the curves at the end is not installed.
    """
    out = Path(out)
    for path in (out, *beside):
        check_output_file(path, SUFFIX, overwrite)
    folder = run_folder(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file where the run's folder would be; move it away, or choose another --out")
    check_folder_takes_files(folder)
    check_charts()
    return folder


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Those that a header can hold: JSON has neither NaN nor infinity."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _save_config(path: Path, config: Strict) -> None:
    as_json = config.model_dump_json(indent=2) + "\n"
    replace_text(path, as_json if path.suffix == ".json" else yaml.safe_dump(config.to_json(), sort_keys=False))


def _loop_config(config: Strict) -> LoopConfig:
    shared = {field.name for field in fields(LoopConfig)} & set(type(config).model_fields)
    return LoopConfig(**{name: getattr(config, name) for name in shared})
