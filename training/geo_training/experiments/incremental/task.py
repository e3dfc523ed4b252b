"""The paper's regression as the training loop takes it, and a network's answers for many crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch

from geo_perception.runtime.device import half_autocast
from geo_training.calibration.data.crop_data import CropSet, CropSource
from geo_training.calibration.paper import PaperNetwork, Prediction, TargetScale, mse_metrics
from geo_training.engine.loop import LoopConfig
from geo_training.experiments.incremental.config import TrainingConfig
from geo_training.experiments.incremental.strategies.base import Batch, Predictions, Strategy

WATCHED = "validation_umse"
_PREDICTED_AT_ONCE = 64


def to_input(inputs: np.ndarray, device: torch.device) -> torch.Tensor:
    """As the network takes them: images as uint8 (B, 3, H, W), channels last in memory; else as they are."""
    tensor = torch.from_numpy(inputs).to(device)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def uses_half(device: torch.device) -> bool:
    """Half precision pays on a GPU only: on a CPU with bfloat16 units a step of the small network took 1.8 times as
    long as in float32."""
    return device.type != "cpu"


@torch.no_grad()
def predict(network: PaperNetwork, crops: CropSet, device: torch.device) -> Predictions:
    """The network's answers for every crop, in their order; the network is left in evaluation mode."""
    network = network.to(device).eval()
    outputs, features = [], []
    for positions in crops.batches(_PREDICTED_AT_ONCE):
        with half_autocast(device, uses_half(device)):
            prediction = network(to_input(crops.inputs(positions), device))
        outputs.append(prediction.outputs_b3.float().cpu().numpy())
        features.append(prediction.features_bc.float().cpu().numpy())
    return Predictions(np.concatenate(outputs), np.concatenate(features))


class Teacher:
    """The frozen network of the old domain, to distil from. Its answers for a source are computed once."""

    def __init__(self, network: PaperNetwork, device: torch.device):
        self.network, self._device = network, device
        self._records: dict[CropSource, Predictions] = {}

    def record(self, source: CropSource) -> Predictions:
        if source not in self._records:
            self._records[source] = predict(self.network, CropSet.all_of(source), self._device)
        return self._records[source]

    def record_set(self, crops: CropSet) -> Predictions:
        """In the order of the set's positions."""
        records = [(self.record(source), rows) for source, rows in crops.parts]
        return Predictions(
            np.concatenate([old.outputs_n3[rows] for old, rows in records]),
            np.concatenate([old.features_nc[rows] for old, rows in records]),
        )


class RegressionTask:
    """One network learning from one set of crops by one strategy."""

    def __init__(
        self,
        network: PaperNetwork,
        strategy: Strategy,
        training: CropSet,
        validation: CropSet,
        scale: TargetScale,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        record_set: Callable[[CropSet], Predictions] | None = None,
    ):
        self.network, self.strategy, self.loss_weights = network, strategy, strategy.loss_weights
        self.training, self.validation, self.scale = training, validation, scale
        self._batch, self._seed, self._device = config.batch, seed, device
        self._targets_n3 = training.targets_n3
        self._old = record_set(training) if strategy.distils and record_set else None

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, Batch]]:
        order = np.random.default_rng([self._seed, epoch])
        for rows in islice(self.training.batches(self._batch, order), first, None):
            old = None
            if self._old is not None:
                old = Prediction(self._tensor(self._old.outputs_n3[rows]), self._tensor(self._old.features_nc[rows]))
            yield to_input(self.training.inputs(rows), self._device), Batch(self._tensor(self._targets_n3[rows]), old)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def losses(self, network, batch) -> dict[str, torch.Tensor]:
        inputs, rest = batch
        prediction = network(inputs)
        return self.strategy.losses(Prediction(*(tensor.float() for tensor in prediction)), rest)

    def evaluate(self, network) -> dict[str, float]:
        metrics = mse_metrics(
            predict(network, self.validation, self._device).outputs_n3, self.validation.targets_n3, self.scale
        )
        return {f"validation_{name}": value for name, value in metrics.items()}


def loop_config(config: TrainingConfig, crops: int, seed: int) -> LoopConfig:
    """The loop's settings for a training on so many crops."""
    epoch_steps = max(1, crops // config.batch)
    return LoopConfig(
        steps=config.steps or config.epochs * epoch_steps,
        learning_rate=config.learning_rate, weight_decay=config.weight_decay, warm_up=config.warm_up,
        gradient_norm=config.gradient_norm or float("inf"), evaluations=config.evaluations or 1,
        evaluate_every=0 if config.evaluations else epoch_steps, seed=seed, optimizer=config.optimizer,
        momentum=config.momentum, schedule=config.schedule, watched=WATCHED, plateau_factor=config.plateau_factor,
        plateau_patience=config.plateau_patience,
    )  # fmt: skip
