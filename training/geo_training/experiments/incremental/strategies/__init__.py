"""Strategies of continual learning, by name. A new one is a `Strategy`, and a line here."""

from __future__ import annotations

from geo_perception.errors import InputError
from geo_training.experiments.incremental.strategies.base import Strategy, StrategyOptions
from geo_training.experiments.incremental.strategies.bic import BiC
from geo_training.experiments.incremental.strategies.distillation import ICaRL, Lucir, LwF
from geo_training.experiments.incremental.strategies.finetune import Finetune, Joint

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Joint, Finetune, LwF, ICaRL, Lucir, BiC)}


def make_strategy(name: str, options: StrategyOptions | None = None) -> Strategy:
    """The strategy of this name. Raises InputError when there is none."""
    if name not in STRATEGIES:
        raise InputError(f"there is no method '{name}'; use one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](options)


__all__ = ["STRATEGIES", "Strategy", "StrategyOptions", "make_strategy"]
