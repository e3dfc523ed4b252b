"""A small network with all that a batch has in common (normalization, dropout, means over what is spread unevenly),
trained by one process or by several that share the batch."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import torch
from geo_training.config import Strict
from geo_training.console import command_group, say
from geo_training.engine.run import run_fit
from geo_training.engine.whole_batch import in_any, own_rows, rank, whole_mean
from safetensors.torch import save_file
from torch import nn

from geo_perception.errors import InputError

app = command_group("Train a small network.")


class SharedConfig(Strict):
    steps: int = 9
    batch: int = 4
    learning_rate: float = 0.01
    evaluations: int = 3
    ema: float = 0.5
    seed: int = 3
    device: str = "cpu"


class SharedTask:
    """Learns the mean of an image where a mask is set; row r of a batch has r rows of its mask set."""

    def __init__(self, config: SharedConfig, failing_rank: int = -1, failing_by: str = "", data: str = "the same"):
        self.fingerprint = data
        self.config, self.failing = config, failing_by if rank() == failing_rank else ""
        # Weights of their own: the main process's count.
        torch.manual_seed(rank())
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3),
            nn.Conv2d(8, 1, 1),
        )  # fmt: skip
        self.loss_weights = {"masked": 1.0, "all": 0.5}
        self.steps = 0

    def batches(self, epoch: int, first: int = 0):
        for number in range(first, 5):
            drawn = torch.randn(self.config.batch, 3, 6, 6, generator=torch.Generator().manual_seed(5 * epoch + number))
            mask_bhw = (torch.arange(6) < torch.arange(self.config.batch)[:, None])[..., None].expand(-1, -1, 6)
            own = own_rows(self.config.batch)
            yield 2 * drawn[own] + 1, mask_bhw[own]

    def losses(self, network, batch):
        self.steps += 1
        if self.steps == 5 and self.failing:
            _fail(self.failing)
        image_b3hw, mask_bhw = batch
        error_bhw = (network(image_b3hw)[:, 0] - image_b3hw.mean(dim=1)).square()
        noise = torch.rand(())  # the same in every process
        drawn_w = in_any(mask_bhw.any(dim=0).any(dim=0)).float() + noise
        return {"masked": whole_mean(error_bhw[mask_bhw]), "all": (error_bhw * drawn_w).mean()}

    def evaluate(self, network):
        print(f"evaluated by {rank()}", flush=True)
        return {"mean_weight": float(network[0].weight.detach().mean())}

    def save(self, out: Path, result):
        print(f"saved by {rank()}", flush=True)
        save_file(result.network.state_dict(), out)
        return {"train_s": result.seconds}


def _fail(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "waits":
        print("waiting", flush=True)
        time.sleep(60)
    raise InputError("its disk is full; make room")


@app.callback()
def _group() -> None:
    """Train a small network."""


@app.command()
def fit(out: Path, batch: int = 4, failing_rank: int = -1, failing_by: str = "", data: str = "the same") -> None:
    """Trains in float32; process `failing_rank` fails at its fifth step."""
    config = SharedConfig(batch=batch)
    result = run_fit(config, out, lambda *_: SharedTask(config, failing_rank, failing_by, data), half=False)
    say(f"{result.path}: done in {len(result.history)} looks")


def _tell_threads_left() -> None:
    """Those of the processes' connection, which must have ended before Python does."""
    names = [(path / "comm").read_text().strip() for path in Path("/proc/self/task").iterdir()]
    if any("gloo" in name for name in names):
        print(f"threads left: {sorted(names)}", flush=True)


if __name__ == "__main__":
    atexit.register(_tell_threads_left)  # what is registered later is called before
    sys.exit(app())
