"""The ways to learn a new domain, one file each. A new one is a `Strategy`, and a line here."""

from __future__ import annotations

from geo_perception.errors import InputError
from geo_training.experiments.incremental.strategies.base import Strategy, StrategyOptions
from geo_training.experiments.incremental.strategies.bic import BiC
from geo_training.experiments.incremental.strategies.finetune import Finetune
from geo_training.experiments.incremental.strategies.icarl import ICaRL
from geo_training.experiments.incremental.strategies.joint import Joint
from geo_training.experiments.incremental.strategies.lucir import Lucir
from geo_training.experiments.incremental.strategies.lwf import LwF

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Joint, Finetune, LwF, ICaRL, Lucir, BiC)}


def make_strategy(name: str, options: StrategyOptions | None = None) -> Strategy:
    """The strategy of this name. Raises InputError when there is none."""
    if name not in STRATEGIES:
        raise InputError(f"there is no method '{name}'; use one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](options)


__all__ = ["STRATEGIES", "Strategy", "StrategyOptions", "make_strategy"]
