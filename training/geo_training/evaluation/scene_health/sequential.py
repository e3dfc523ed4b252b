"""When a landmark ceased to answer: a sequential test of how well it answers, with stated error rates.

Each time a landmark should be seen, its answer has a grade, from best to none. Alive, it answers with shares of its
own, drawn from the Dirichlet distribution of all that are alive; gone, as chance has it. The logarithm of the Bayes
factor of both grows with every observation; where it falls below zero, the test begins anew (Page's CUSUM, "Continuous
Inspection Schemes", 1954), and beyond Wald's limit log((1 - beta) / alpha) ("Sequential Tests of Statistical
Hypotheses", 1945), with the logarithm of the beginnings added, the landmark is taken for gone, since the observation at
which the sum last left zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

_ALIVE_COUNTS = (2.0, 4.0, 8.0, 16.0)
_GONE_COUNT = 12.0  # how sharply the shares of chance are known
_ROUNDS, _MOST_WEIGHT = 40, 8.0
_LEAST_SHARE = 0.01  # of a grade
MOST_OF_A_LOOK = 3.0  # evidence for gone: whoever always answered is hidden now and then, and that no model foresees
_LEAST_GONE, _MOST_GONE = 0.005, 0.6  # of all landmarks, a priori


@dataclass(frozen=True)
class ErrorRates:
    """`false_alarm`: of a landmark that is alive, to be taken for gone; `missed`: the other way round. `min_looks`: as
    they count, since the landmark was last alive, without which it is not taken for gone: who steps before it hides it
    for a moment."""

    false_alarm: float = 0.002
    missed: float = 0.05
    min_looks: float = 2.0

    def limit(self, beginnings: int = 1) -> float:
        """Of the log Bayes factor, from which on a landmark is gone: Wald's, and for each beginning of the test a
        chance more to be wrong (Ville's inequality for each, a union bound over all)."""
        return float(np.log((1 - self.missed) / self.false_alarm * max(beginnings, 1)))


@dataclass(frozen=True)
class Rates:
    """How often answers have each of G grades, the best first: Dirichlet(`alive_g`) of landmarks that are alive,
    Dirichlet(`gone_g`) of those that are not, and what share of all is not (`gone_share`)."""

    alive_g: np.ndarray
    gone_g: np.ndarray
    gone_share: float

    @property
    def alive_mean_g(self) -> np.ndarray:
        return self.alive_g / self.alive_g.sum()


@dataclass(frozen=True)
class Standing:
    """Where the test stands: `evidence` for gone now, `since`, the index of the observation at which it last left zero
    (None where it is at zero), how many `looks` there were since, as they count, and how often it began."""

    evidence: float
    since: int | None
    looks: float
    beginnings: int

    def is_gone(self, errors: ErrorRates) -> bool:
        """Whether the landmark is taken for gone by its own answers."""
        enough = self.since is not None and self.looks >= errors.min_looks
        return enough and self.evidence >= errors.limit(self.beginnings)


def fit_rates(counts_lg: np.ndarray, chance_g: Sequence[float]) -> Rates:
    """The rates by which the landmarks' grades, counted (L, G) with weights or without, are likeliest: a mixture of two
    Dirichlet-multinomial distributions, by expectation maximization. `chance_g`: the shares of a landmark that is not
    there, which what is observed may bend by half."""
    chance_g = np.asarray(chance_g, float) / np.sum(chance_g)
    counts_lg = counts_lg[counts_lg.sum(axis=1) > 0]
    grades = len(chance_g)
    usual_g = np.r_[0.85, np.full(grades - 1, 0.15 / (grades - 1))]
    best, best_likelihood = Rates(usual_g * 4, chance_g * _GONE_COUNT, _LEAST_GONE), -np.inf
    if not len(counts_lg):
        return best
    looks_l = counts_lg.sum(axis=1)
    share_lg, weight_l = counts_lg / looks_l[:, None], np.minimum(looks_l, _MOST_WEIGHT)
    for count in _ALIVE_COUNTS:
        alive_g, gone_g, gone_share = usual_g, chance_g, 0.1
        for _ in range(_ROUNDS):
            gone_log_l = _log_likelihood(counts_lg, gone_g * _GONE_COUNT) + np.log(gone_share)
            alive_log_l = _log_likelihood(counts_lg, alive_g * count) + np.log(1 - gone_share)
            is_gone_l = 1 / (1 + np.exp(np.clip(alive_log_l - gone_log_l, -50, 50)))
            gone_share = float(np.clip(is_gone_l.mean(), _LEAST_GONE, _MOST_GONE))
            alive_g = _mean_share(share_lg, (1 - is_gone_l) * weight_l, usual_g)
            gone_g = (_mean_share(share_lg, is_gone_l * weight_l, chance_g) + chance_g) / 2
        likelihood = float(np.logaddexp(gone_log_l, alive_log_l).sum())
        if likelihood > best_likelihood:
            best, best_likelihood = Rates(alive_g * count, gone_g * _GONE_COUNT, gone_share), likelihood
    return best


def run_test(
    grade_n: np.ndarray, weight_n: np.ndarray, rates: Sequence[Rates], recording_n: np.ndarray | None = None
) -> Standing:
    """The test of one landmark over its N observations in order of time, each with its grade. `weight_n` is how much
    each counts: frames that see it alike are not as many witnesses. `rates` are those of each recording, since in other
    light all landmarks answer better or worse; `recording_n` says of which an observation is (None: of the first)."""
    evidence, looks, beginnings, since = 0.0, 0.0, 0, None
    recording_n = np.zeros(len(grade_n), int) if recording_n is None else recording_n
    recording, alive_g, gone_g = None, np.zeros(0), np.zeros(0)
    for index, (grade, weight, number) in enumerate(zip(grade_n, weight_n, recording_n, strict=True)):
        if number != recording:  # in other light a landmark's own shares are others, too
            recording, alive_g, gone_g = number, rates[number].alive_g.copy(), rates[number].gone_g.copy()
        step = float(np.log(gone_g[grade] / gone_g.sum() / (alive_g[grade] / alive_g.sum())))
        step = weight * min(step, MOST_OF_A_LOOK)
        if since is None and step > 0:
            since, looks, beginnings = index, 0.0, beginnings + 1
        evidence, looks = max(evidence + step, 0.0), looks + weight
        alive_g[grade] += weight
        gone_g[grade] += weight
        if evidence <= 0:  # alive till now: what chance has it is not learned from a landmark that answers
            gone_g, since = rates[number].gone_g.copy(), None
    return Standing(evidence, since, looks, beginnings)


def total_evidence(counts_lg: np.ndarray, rates: Rates) -> np.ndarray:
    """The log Bayes factors (L,) for gone of all counted grades (L, G) together; below zero where they speak for
    alive."""
    return _log_likelihood(counts_lg, rates.gone_g) - _log_likelihood(counts_lg, rates.alive_g)


def novelty(positions_n3: np.ndarray, point_3: np.ndarray, angle_rad: float = 0.1, least: float = 0.1) -> np.ndarray:
    """How much each of N looks at a point counts (N,): one from where the last came counts `least`, one from
    `angle_rad` farther around it, or from a distance that differs by as large a share, counts whole."""
    rays_n3 = positions_n3 - point_3
    range_n = np.maximum(np.linalg.norm(rays_n3, axis=1), 1e-9)
    rays_n3 = rays_n3 / range_n[:, None]
    weight_n = np.ones(len(positions_n3))
    turned_n = np.arccos(np.clip((rays_n3[1:] * rays_n3[:-1]).sum(axis=1), -1, 1))
    nearer_n = np.abs(np.log(range_n[1:] / range_n[:-1]))
    weight_n[1:] = np.clip(np.maximum(turned_n, nearer_n) / angle_rad, least, 1.0)
    return weight_n


def _mean_share(share_lg: np.ndarray, weight_l: np.ndarray, usual_g: np.ndarray) -> np.ndarray:
    """The mean of shares, with one landmark more that has the usual ones."""
    mean_g = np.maximum((weight_l @ share_lg + usual_g) / (weight_l.sum() + 1), _LEAST_SHARE)
    return mean_g / mean_g.sum()


def _log_likelihood(counts_lg: np.ndarray, prior_g: np.ndarray) -> np.ndarray:
    """Of counted grades by a Dirichlet-multinomial distribution, without the factor that does not depend on it."""
    total, looks_l = prior_g.sum(), counts_lg.sum(axis=1)
    return gammaln(total) - gammaln(total + looks_l) + (gammaln(prior_g + counts_lg) - gammaln(prior_g)).sum(axis=1)
