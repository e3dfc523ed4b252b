"""What the map points of a scene say of their surroundings: found where they are looked for, or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from geo_perception.localization.map_points import MapPoints
from geo_training.evaluation.scene_health.observe import Observation
from geo_training.evaluation.scene_health.sequential import fit_rates, total_evidence

CHANCE = 0.02  # how often a point that is gone is found all the same
LIMIT = 3.0  # of one point's evidence, when it speaks for others


def point_evidence(points: MapPoints, observations: Sequence[Observation]) -> tuple[np.ndarray, np.ndarray]:
    """The log Bayes factor of each point (P,) for gone, zero where it was never looked for, and how often it was."""
    count = int(points.point_a.max(initial=-1)) + 1
    asked_p, found_p = np.zeros(count), np.zeros(count)
    for one in observations:
        found = np.unique(points.point_a[one.point_found_p])
        asked_p[np.union1d(points.point_a[one.point_asked_p], found)] += 1
        found_p[found] += 1
    counts_p2 = np.stack([found_p, asked_p - found_p], axis=1)
    evidence_p = total_evidence(counts_p2, fit_rates(counts_p2, (CHANCE, 1 - CHANCE)))
    return np.where(asked_p > 0, evidence_p, 0.0), asked_p


def points_say(
    points: MapPoints, observations: Sequence[Observation], places_l3: np.ndarray, radius: float
) -> np.ndarray:
    """What the points within `radius` of each place say of it (L,): the mean of theirs, nearer ones more."""
    evidence_p, asked_p = point_evidence(points, observations)
    _, first = np.unique(points.point_a, return_index=True)
    known = np.flatnonzero(asked_p > 0)
    if len(known) == 0:
        return np.zeros(len(places_l3))
    return said_around(places_l3, points.points_map_a3[first[known]], evidence_p[known], radius, LIMIT)


def said_around(
    places_l3: np.ndarray, voices_n3: np.ndarray, said_n: np.ndarray, radius: float, limit: float, own: bool = False
) -> np.ndarray:
    """What voices (N, 3) within `radius` of each place say (L,), each at most `limit`, nearer ones more. As many as
    three count whole: a crowd is not more independent than that. With `own` the voices are the places, and none speaks
    for itself."""
    clipped_n, added_l = np.clip(said_n, -limit, limit), np.zeros(len(places_l3))
    for place, near in enumerate(cKDTree(voices_n3).query_ball_point(places_l3, radius)):
        others = np.array([n for n in near if not own or n != place], int)
        if len(others) == 0:
            continue
        away_n = np.linalg.norm(voices_n3[others] - places_l3[place], axis=1)
        weight_n = np.exp(-0.5 * (away_n / (radius / 2)) ** 2)
        added_l[place] = (weight_n @ clipped_n[others]) / max(weight_n.sum() / 3, 1.0)
    return added_l
