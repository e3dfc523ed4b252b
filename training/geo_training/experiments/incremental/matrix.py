"""Errors as a matrix of domains by time, and what can be read from it: forgetting and transfer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from geo_training.report.tables import mean_and_std

# What was measured at one moment: domain -> split (validation, test) -> metric -> value.
DomainMetrics = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True)
class DomainMatrix:
    """`error_td[t][d]` is the error on domain d after the t-th domain was learned; domains in the order learned.

    `constant_d` is the error of always answering the mean of that domain's targets: what seeing nothing costs.
    """

    domains: tuple[str, ...]
    error_td: tuple[tuple[float, ...], ...]
    constant_d: tuple[float, ...]

    @property
    def forgetting(self) -> float:
        """Error after the last task less that just after learning, mean of all domains but the last. Above zero is
        worse."""
        last = len(self.domains) - 1
        return float(np.mean([self.error_td[last][d] - self.error_td[d][d] for d in range(last)]))

    @property
    def backward_transfer(self) -> float:
        """What later learning gained on earlier domains: forgetting with the other sign, so that above zero is better,
        as in Lopez-Paz and Ranzato 2017 (there of accuracies)."""
        return -self.forgetting

    @property
    def forward_transfer(self) -> float:
        """What earlier learning gained on a domain not yet learned, against the constant answer. Above zero is
        better."""
        gained = [self.constant_d[d] - self.error_td[d - 1][d] for d in range(1, len(self.domains))]
        return float(np.mean(gained))


@dataclass(frozen=True)
class AdaptResult:
    """One network that learned `old`, then `new` by `method`. `before` and `after` are the matrix's two rows.

    `share` is the exemplar share, None for a method that keeps none.
    """

    old: str
    new: str
    method: str
    share: float | None
    seed: int
    before: DomainMetrics
    after: DomainMetrics
    constant: DomainMetrics
    exemplars: int
    train_s: float

    def matrix(self, split: str = "test") -> DomainMatrix:
        """Of the µMSE on one split."""
        domains = (self.old, self.new)
        rows = [tuple(row[domain][split]["umse"] for domain in domains) for row in (self.before, self.after)]
        return DomainMatrix(domains, tuple(rows), tuple(self.constant[d][split]["umse"] for d in domains))

    def to_json(self) -> dict:
        """All of it, with the matrix's metrics on both splits."""
        readings = {}
        for split in ("validation", "test"):
            matrix = self.matrix(split)
            names = ("forgetting", "backward_transfer", "forward_transfer")
            readings[split] = {"umse_by_time_and_domain": matrix.error_td} | {n: getattr(matrix, n) for n in names}
        return asdict(self) | {"matrix": readings}


def over_seeds(results: Sequence[AdaptResult], read: Callable[[AdaptResult], float]) -> tuple[float, float]:
    """Mean and deviation of one reading of the results of one method."""
    return mean_and_std([read(result) for result in results])


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % confidence interval, by Student's t; nan bounds for a single seed."""

    mean: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        return self.low > 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        mean, deviation = mean_and_std(values)
        half = (
            deviation / math.sqrt(len(values)) * float(stats.t.ppf(0.975, len(values) - 1)) if values[1:] else math.nan
        )
        return cls(mean, mean - half, mean + half)


def forgetting_of(result: AdaptResult) -> float:
    return result.matrix().forgetting


def error_on_both(result: AdaptResult) -> float:
    """After both domains were learned, on the test crops of both."""
    return float(np.mean(result.matrix().error_td[1]))


def paired(more: Sequence[AdaptResult], less: Sequence[AdaptResult], read: Callable[[AdaptResult], float]) -> Interval:
    """By how much a reading is larger for one method than for another, seed by seed: what a seed makes easier or harder
    for both falls out."""
    other = {result.seed: read(result) for result in less}
    return Interval.of([read(result) - other[result.seed] for result in more if result.seed in other])


def order_found(results: Sequence[AdaptResult]) -> dict:
    """Whether the paper's order holds on the test crops: finetuning forgets most, and BiC has the lowest error over
    both domains; by means over seeds, and whether every paired difference is above zero. Joint training is the bound,
    and takes no part."""
    methods = [name for name in dict.fromkeys(r.method for r in results) if name != "joint"]
    by_method = {name: [r for r in results if r.method == name] for name in methods}
    forgetting = {name: over_seeds(by_method[name], forgetting_of)[0] for name in methods}
    both = {name: over_seeds(by_method[name], error_on_both)[0] for name in methods}
    most, best = max(forgetting, key=forgetting.__getitem__), min(both, key=both.__getitem__)
    less, worse = {}, {}
    for name, own in by_method.items():
        if "finetune" in by_method and name != "finetune":
            less[name] = paired(by_method["finetune"], own, forgetting_of)
        if "bic" in by_method and name != "bic":
            worse[name] = paired(own, by_method["bic"], error_on_both)
    return {
        "forgetting_umse": forgetting,
        "both_domains_umse": both,
        "forgets_most": most,
        "best_over_both": best,
        "finetune_forgets_most": most == "finetune",
        "bic_is_best": best == "bic",
        "finetune_forgets_more_by": {name: asdict(interval) for name, interval in less.items()},
        "bic_is_better_by": {name: asdict(interval) for name, interval in worse.items()},
        "finetune_surely": bool(less) and all(interval.above_zero for interval in less.values()),
        "bic_surely": bool(worse) and all(interval.above_zero for interval in worse.values()),
    }
