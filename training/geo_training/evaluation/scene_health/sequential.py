"""When a landmark ceased to answer: a sequential test of hits and misses, with stated error rates.

Each time a landmark should be seen it answers or not. Alive, it answers with a rate of its own, drawn from the Beta
distribution of all that are alive; gone, as often as chance has it. The logarithm of the Bayes factor of both grows
with every observation; where it falls below zero, it begins anew (Page's CUSUM, "Continuous Inspection Schemes", 1954),
and beyond Wald's limit log((1 - beta) / alpha) ("Sequential Tests of Statistical Hypotheses", 1945), with the logarithm
of the number of looks added for the beginnings, the landmark is taken for gone, since the observation at which the sum
last left zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

_ALIVE_MEANS, _ALIVE_COUNTS = np.linspace(0.25, 0.95, 15), (4.0, 8.0, 16.0)
_GONE_COUNT = 30.0  # how sharply the rate of chance is known
_ROUNDS = 60
_LEAST_GONE, _MOST_GONE = 0.005, 0.6  # of all landmarks, a priori


@dataclass(frozen=True)
class ErrorRates:
    """`false_alarm`: of a landmark that is alive, to be taken for gone; `missed`: the other way round."""

    false_alarm: float = 0.01
    missed: float = 0.05

    def limit(self, looks: float = 1.0) -> float:
        """Of the log Bayes factor, from which on a landmark is gone: Wald's, and as much more as so many looks have
        chances to begin anew (a union bound over Ville's inequality for each beginning)."""
        return float(np.log((1 - self.missed) / self.false_alarm * max(looks, 1.0)))


@dataclass(frozen=True)
class Rates:
    """How often landmarks answer: Beta(`alive_hits`, `alive_misses`) of those that are alive, Beta(`gone_hits`,
    `gone_misses`) of those that are not, and what share is not (`gone_share`)."""

    alive_hits: float
    alive_misses: float
    gone_hits: float
    gone_misses: float
    gone_share: float

    @property
    def alive_mean(self) -> float:
        return self.alive_hits / (self.alive_hits + self.alive_misses)


@dataclass(frozen=True)
class TestState:
    """Where the test stands: `evidence` for gone now, the highest `peak` it had, and `since`, the index of the
    observation at which it last left zero; None where it is at zero."""

    evidence: float
    peak: float
    since: int | None


def fit_rates(hits_l: np.ndarray, seen_l: np.ndarray, chance: float) -> Rates:
    """The rates by which the hits (L,) of so many observations (L,), weighted or not, are likeliest: a mixture of two
    beta-binomial distributions. `chance` is how often a landmark answers that is not there."""
    chance = float(np.clip(chance, 0.005, 0.3))
    gone = chance * _GONE_COUNT, (1 - chance) * _GONE_COUNT
    known_l = seen_l > 0
    hits_l, misses_l = hits_l[known_l], (seen_l - hits_l)[known_l]
    best, best_likelihood = Rates(0.7 * 3, 0.3 * 3, *gone, _LEAST_GONE), -np.inf
    if not len(hits_l):
        return best
    gone_log_l = _log_likelihood(hits_l, misses_l, *gone)
    for mean in _ALIVE_MEANS:
        for count in _ALIVE_COUNTS:
            alive_log_l = _log_likelihood(hits_l, misses_l, mean * count, (1 - mean) * count)
            share = 0.1
            for _ in range(_ROUNDS):
                odds_l = np.exp(np.clip(gone_log_l - alive_log_l, -50, 50)) * share / (1 - share)
                share = float(np.clip((odds_l / (1 + odds_l)).mean(), _LEAST_GONE, _MOST_GONE))
            likelihood = float(np.logaddexp(gone_log_l + np.log(share), alive_log_l + np.log(1 - share)).sum())
            if likelihood > best_likelihood:
                best, best_likelihood = Rates(mean * count, (1 - mean) * count, *gone, share), likelihood
    return best


def run_test(
    hit_n: np.ndarray, weight_n: np.ndarray, rates: Sequence[Rates], recording_n: np.ndarray | None = None
) -> TestState:
    """The test of one landmark over its N observations in order of time. `weight_n` is how much each counts: frames
    that see it alike are not as many witnesses. `rates` are those of each recording, since in other light all
    landmarks answer more or less often; `recording_n` says of which an observation is (None: of the first)."""
    evidence, peak, since, recording = 0.0, 0.0, None, None
    recording_n = np.zeros(len(hit_n), int) if recording_n is None else recording_n
    for index, (hit, weight, number) in enumerate(zip(hit_n, weight_n, recording_n, strict=True)):
        if number != recording:  # in other light a landmark's own rate is another, too
            recording, own = number, rates[number]
            alive_hits, alive_misses = own.alive_hits, own.alive_misses
            gone_hits, gone_misses = own.gone_hits, own.gone_misses
        alive = (alive_hits if hit else alive_misses) / (alive_hits + alive_misses)
        gone = (gone_hits if hit else gone_misses) / (gone_hits + gone_misses)
        if evidence <= 0:
            evidence, since = 0.0, index
        evidence += float(weight * np.log(gone / alive))
        alive_hits, alive_misses = alive_hits + weight * hit, alive_misses + weight * (not hit)
        gone_hits, gone_misses = gone_hits + weight * hit, gone_misses + weight * (not hit)
        if evidence <= 0:  # alive till now: what chance has it is not learned from a landmark that answers
            gone_hits, gone_misses = own.gone_hits, own.gone_misses
            since = None
        peak = max(peak, evidence)
    return TestState(max(evidence, 0.0), peak, since)


def total_evidence(hits: float, misses: float, rates: Rates) -> float:
    """The log Bayes factor for gone of all hits and misses together; below zero where they speak for alive."""
    return float(_log_likelihood(hits, misses, rates.gone_hits, rates.gone_misses)
                 - _log_likelihood(hits, misses, rates.alive_hits, rates.alive_misses))  # fmt: skip


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


def _log_likelihood(hits, misses, a: float, b: float):
    return betaln(a + hits, b + misses) - betaln(a, b)
