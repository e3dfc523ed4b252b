"""What every strategy of continual learning (a new domain after an old one) has in common.

The domain of an image is never needed when the network is used: there is one network and one set of outputs for all.
While it adapts, old and new data are distinguished only by coming from different sets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from geo_training.calibration.data.crop_data import CropSet, CropSource
from geo_training.calibration.paper import PaperNetwork, Prediction
from geo_training.config import Strict


class StrategyOptions(Strict):
    """Options of the strategies. The defaults are the papers' own values."""

    lambda_old: float = Field(1.0, ge=0, description="lambda_0 of equation 3 (LwF: 1)")
    gate: float | None = Field(
        None, gt=0, description="an output is distilled only where the old network's is this close to the truth"
    )
    lambda_features: float = Field(1.0, ge=0, description="of L_dist in LUCIR (the paper: a plain sum)")
    exemplar_share: float = Field(0.2, ge=0, le=1, description="of the old training set that is kept")
    bins: int = Field(3, ge=1, le=20, description="quantile bins of each parameter in which exemplars are herded")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="of BiC's exemplars, and as many new crops, that are kept for its second stage"
    )


@dataclass(frozen=True)
class Predictions:
    """A network's answers for every crop of a set: outputs float32 (N, 3), features float32 (N, C)."""

    outputs_n3: np.ndarray
    features_nc: np.ndarray


@dataclass(frozen=True)
class Batch:
    """B crops as a strategy's loss takes them. `old` are the teacher's answers, where the strategy distils."""

    targets_b3: torch.Tensor
    old: Prediction | None = None


@dataclass(frozen=True)
class ReplaySet:
    """The crops that a strategy learns from: new ones, and old ones that it replays. Rows are of their source."""

    training: CropSet
    exemplar_rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    balanced: CropSet | None = None  # held out of training: as many old as new


@dataclass(frozen=True)
class ContinualContext:
    """What there is when a new domain is to be learned. `record` gives the teacher's answers for a source."""

    old: CropSource
    new: CropSource
    record: Callable[[CropSource], Predictions]
    rng: np.random.Generator


class Strategy(ABC):
    """One way to learn the new domain. A subclass overrides what it does differently from finetuning."""

    name: ClassVar[str]
    cosine: ClassVar[bool] = False  # the network has a cosine layer at its end, from the old domain on
    keeps_exemplars: ClassVar[bool] = False  # of the old domain, as many as `exemplar_share` says
    distils: ClassVar[bool] = False  # `losses` needs the teacher's answers

    def __init__(self, options: StrategyOptions | None = None):
        self.options = options or StrategyOptions()

    @property
    def loss_weights(self) -> dict[str, float]:
        """Of the terms of `losses`."""
        return {"new": 1.0}

    def replay_set(self, context: ContinualContext) -> ReplaySet:
        """The crops to learn from: by default the new ones."""
        return ReplaySet(CropSet.all_of(context.new))

    @abstractmethod
    def losses(self, prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
        """Named scalar terms of one batch."""

    def finish(  # noqa: B027 - most have nothing to add
        self, network: PaperNetwork, replay_set: ReplaySet, predict: Callable[[CropSet], np.ndarray]
    ) -> None:
        """What is done to the trained network at the end; `predict` gives its outputs (N, 3) for a set."""
