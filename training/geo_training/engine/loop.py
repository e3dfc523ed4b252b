"""The one training loop. A capability brings a `Task`; devices, precision, several GPUs, schedules, averaged weights,
checkpoints and the history are here."""

from __future__ import annotations

import copy
import importlib
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs, set_seed

from geo_perception.errors import InputError
from geo_perception.runtime.device import half_precision
from geo_perception.runtime.files import replace_text
from geo_training import processes
from geo_training.console import progress_bar, say
from geo_training.engine.checkpoint import NAME as CHECKPOINT_NAME
from geo_training.engine.checkpoint import moments_of, read_checkpoint, restore_moments, save_checkpoint
from geo_training.engine.schedule import Plateau, schedule_factor
from geo_training.engine.step import OptimizerStep
from geo_training.engine.whole_batch import WholeBatch, ends_with_the_others, gathered, once, share_weights
from geo_training.storage.output_file import check_room

_BYTES_A_WEIGHT = 4 * 4  # the weight, its average and two moments
_LONGEST_WAIT = timedelta(days=1)  # for the main process, which measures and saves; a process that ends is noticed


class Task(Protocol):
    """What is trained, and on what.

    It may also offer `parameter_groups(network) -> list of (parameters, factor of the learning rate)`; without it every
    parameter learns at the one rate. A parameter in no group is not trained. And `start`, a network that is of use
    before the first step, on the training device: the history begins with its figures.
    """

    network: torch.nn.Module  # of several processes the main one's is taken
    loss_weights: dict[str, float]  # of the terms that `losses` returns; a term without one is only logged

    def batches(self, epoch: int, first: int = 0) -> Iterator[Any]:
        """One epoch's batches from number `first` on, the same ones for the same epoch, on the training device. Those
        before `first` are not made: an interrupted training goes on without them. Of several processes each gets its
        rows of every batch, equally many (see `whole_batch`)."""

    def losses(self, network: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        """Named scalar terms of one batch. Their mean over the processes is what counts."""

    def evaluate(self, network: torch.nn.Module) -> dict[str, float]:
        """Named figures on held-out data; may be empty. The main process alone is asked."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast."""

    steps: int
    learning_rate: float
    weight_decay: float = 1e-2
    warm_up: float = 0.05  # share of the steps
    ema: float = 0.0  # decay of the averaged weights; 0 keeps the plain ones
    gradient_norm: float = 5.0
    evaluations: int = 5  # spread evenly over the steps
    evaluate_every: int = 0  # steps, and at the end, instead; the batches of an epoch for once an epoch
    seed: int = 0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.0  # of sgd
    schedule: Literal["cosine", "plateau", "step", "halving", "constant"] = "cosine"
    watched: str = ""  # the figure of the history that must fall, or the plateau schedule lowers the rate
    plateau_factor: float = 0.1
    plateau_patience: int = 2  # evaluations in a row without improvement that are borne; at the next the rate falls


@dataclass
class LoopResult:
    """`network` holds the averaged weights; `history` one dict for each evaluation; `moments` what the optimizer
    remembers of each parameter, by name; `skipped_steps` counts batches whose loss or gradient was not finite."""

    network: torch.nn.Module
    history: list[dict]
    seconds: float
    moments: dict[str, dict[str, torch.Tensor]]
    skipped_steps: int = 0


def make_accelerator(device: torch.device, half: bool = True) -> Accelerator:
    """Precision for `device`, and the processes that train together when `torchrun` (or `accelerate launch`) started
    several: by NCCL, each on a GPU of its own, or by gloo on a CPU.

    Without `half` all is computed in float32. One that was made before is not to be used any more. Raises InputError
    where the processes of a machine are more than its GPUs, `device` is one certain GPU for all of them, or some of the
    processes have ended before or do not come.
    """
    if processes.world() > 1 and device.type == "cuda":
        here, gpus = processes.world_here(), torch.cuda.device_count()
        if here > gpus:
            raise InputError(f"{here} processes cannot share {gpus} GPUs; start one for each, or give --device cpu")
        if device.index is not None:
            raise InputError(f"several processes cannot share {device}; give --device cuda, each takes one of its own")
    if processes.world() > 1:
        # Before there is a connection: what DistributedDataParallel imports takes it as defaults of functions, and its
        # threads would live on while Python ends (see `run_fit`).
        importlib.import_module("torch.distributed.nn.functional")
    processes.meet()
    processes.choose_interface()
    dtype = half_precision(device) if half else None
    precision = {torch.float16: "fp16", torch.bfloat16: "bf16", None: "no"}[dtype]
    # Accelerate keeps one precision for the whole process and refuses a second; it has no public call to change it. The
    # processes' connection stays.
    AcceleratorState._reset_state()
    # Of channels last memory, which is faster by more than this costs; said once by every process.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # Stated, or the environment decides: the loop steps after every batch.
    every_batch = GradientAccumulationPlugin(num_steps=1)
    return Accelerator(
        cpu=device.type == "cpu", mixed_precision=precision, gradient_accumulation_plugin=every_batch,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
    )  # fmt: skip


@ends_with_the_others
def run_loop(
    task: Task,
    config: LoopConfig,
    run_dir: Path,
    accelerator: Accelerator,
    fingerprint: str,
    moments: dict[str, dict[str, torch.Tensor]] | None = None,
    overwrite: bool = False,
) -> LoopResult:
    """Trains `task.network`: by default with AdamW, a linear warm-up and a cosine to zero.

    An interrupted run with the same `fingerprint` goes on where its last checkpoint in `run_dir` was written, and ends
    with the same weights as one that was not interrupted. The history is in `history.jsonl` there. `moments` are those
    of an earlier training (see `LoopResult`) for the optimizer to begin with.

    A batch whose loss or gradient is not finite counts as no step: weights, their average and the schedule stay.

    Several processes take the steps of one with the whole batch; the main one measures, reads and writes `run_dir`, the
    others wait: it may be on another machine than theirs.

    Raises InputError when the checkpoint is damaged or of another training and `overwrite` is not set, when the disk
    has no room for the next one, when there is no batch to learn from, when training diverges, or when the figure that
    the plateau schedule watches is not among the history's.
    """
    path = run_dir / CHECKPOINT_NAME
    checkpoint = once(lambda: read_checkpoint(path, fingerprint, overwrite))
    metadata = checkpoint.metadata if checkpoint else {}
    set_seed(config.seed)
    share_weights(task.network)
    network = task.network.to(accelerator.device)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    once(lambda: _check_room(run_dir, network))
    optimizer = _optimizer(task, network, config)
    restore_moments(network, optimizer, moments or {})
    plateau = Plateau(config.plateau_factor, config.plateau_patience)
    if checkpoint:
        checkpoint.restore({"network": network, "average": average}, optimizer)
    plateau.restore(metadata.get("plateau", {}))
    step, history, before_s = metadata.get("step", 0), metadata.get("history", []), metadata.get("seconds", 0.0)
    if accelerator.is_main_process:
        run_dir.mkdir(parents=True, exist_ok=True)
        _write_history(run_dir, history)
    if not history and (begun := once(lambda: _figures_of_start(task))) is not None:
        history = [{"step": 0, "seconds": 0.0, "skipped_steps": 0} | begun]
        if accelerator.is_main_process:
            _write_history(run_dir, history)
    network, optimizer = accelerator.prepare(network, optimizer)
    if accelerator.scaler is not None and metadata.get("scaler"):
        accelerator.scaler.load_state_dict(metadata["scaler"])
    stepper = OptimizerStep(network, optimizer, accelerator, config.gradient_norm)
    stepper.skipped = metadata.get("skipped_steps", 0)
    due = _evaluation_steps(config)
    started_s, sums = time.perf_counter(), _Means()
    batches = _batches_from(task, *metadata.get("place", (0, 0))) if step < config.steps else ()
    with progress_bar("training", config.steps, done=step) as advance:
        for place, batch in batches:
            # So that a resumed run draws what the first would have drawn.
            torch.manual_seed((config.seed << 32) + step + stepper.skipped)
            factor = schedule_factor(config.schedule, step / config.steps, config.warm_up) * plateau.scale
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * factor * group["rate_factor"]
            network.train()
            stepper.remember()
            with accelerator.autocast(), WholeBatch():
                terms = task.losses(network, batch)
            loss = sum(weight * terms[name] for name, weight in task.loss_weights.items())
            if not stepper.take(loss):
                continue
            step += 1
            # Early on the average follows closely; a fixed decay would keep the random start for long.
            update_ema(average, accelerator.unwrap_model(network), min(config.ema, step / (step + 10.0)))
            sums.add(terms, loss)
            advance(1, f"loss {stepper.loss:.3f}")
            if step in due:
                seconds = before_s + time.perf_counter() - started_s
                counts = {"step": step, "seconds": round(seconds, 1), "skipped_steps": stepper.skipped}
                record = counts | sums.take() | once(lambda: task.evaluate(average))
                history.append(record)
                if config.schedule == "plateau":
                    plateau.step(_watched(record, config.watched))
                if accelerator.is_main_process:
                    _write_history(run_dir, history)
                    metadata = counts | {"seconds": seconds, "fingerprint": fingerprint, "place": place}
                    metadata |= {"history": history, "plateau": plateau.state()}
                    metadata["scaler"] = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
                    networks = {"network": accelerator.unwrap_model(network), "average": average}
                    save_checkpoint(path, networks, optimizer.optimizer, metadata)
            if step >= config.steps:
                break
    if stepper.skipped:
        say(f"{stepper.skipped} batches were left out: their loss or gradient was not finite")
    learned = moments_of(accelerator.unwrap_model(network), optimizer.optimizer)
    seconds = before_s + time.perf_counter() - started_s
    return LoopResult(average, history, seconds, learned, stepper.skipped)


def _check_room(run_dir: Path, network: torch.nn.Module) -> None:
    # The next checkpoint is written beside the last.
    needed_bytes = 2 * _BYTES_A_WEIGHT * sum(value.numel() for value in network.state_dict().values())
    check_room(run_dir, needed_bytes, "two checkpoints of this training")


def _figures_of_start(task: Task) -> dict[str, float] | None:
    """Of what is of use before the first step; None where nothing is."""
    start = getattr(task, "start", None)
    return None if start is None else task.evaluate(start)


def _batches_from(task: Task, epoch: int, first: int) -> Iterator[tuple[tuple[int, int], Any]]:
    """Batches of epoch after epoch, from number `first` of `epoch` on; with each, where the next one is."""
    while True:
        number = first
        for batch in task.batches(epoch, first) if first else task.batches(epoch):
            number += 1
            yield (epoch, number), batch
        if number == 0:
            raise InputError("there is nothing to learn from: not one batch is full; give more data or a smaller batch")
        epoch, first = epoch + 1, 0


def _optimizer(task: Task, network: torch.nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """Each group keeps its factor of the learning rate in `rate_factor`."""
    offered = getattr(task, "parameter_groups", None)
    pairs = offered(network) if offered else [(network.parameters(), 1.0)]
    groups = [{"params": list(parameters), "rate_factor": float(factor)} for parameters, factor in pairs]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _evaluation_steps(config: LoopConfig) -> set[int]:
    if config.evaluate_every:
        return {*range(config.evaluate_every, config.steps, config.evaluate_every), config.steps}
    return {round(config.steps * (n + 1) / config.evaluations) for n in range(config.evaluations)} | {config.steps}


def _watched(record: dict, name: str) -> float:
    if name not in record:
        raise InputError(
            f"the plateau schedule watches '{name}', which is not measured; use one of {', '.join(record)}"
        )
    return float(record[name])


@torch.no_grad()
def update_ema(average: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """Moves the exponential moving average of weights and buffers towards `network`; counters are copied.

    Not `swa_utils.AveragedModel`: its average has one decay for all steps, takes the first weights whole and averages
    counters, too; a function of ours for each of these would be longer than this one.
    """
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new.to(kept.dtype), 1 - decay)
        else:
            kept.copy_(new)


class _Means:
    """Running means of the terms since the last look, over all processes."""

    def __init__(self):
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, terms: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
        for name, value in {"loss": loss, **terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.count += 1

    def take(self) -> dict[str, float]:
        sums = gathered(self.sums)
        means = {name: sum(own.get(name, 0.0) for own in sums) / len(sums) / max(self.count, 1) for name in self.sums}
        self.sums, self.count = {}, 0
        return means


def _write_history(run_dir: Path, history: list[dict]) -> None:
    # JSON has no infinity: a median over frames that were not localized becomes null.
    rows = [{key: value if math.isfinite(value) else None for key, value in record.items()} for record in history]
    replace_text(run_dir / "history.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
