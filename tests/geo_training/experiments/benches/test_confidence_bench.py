"""The fit of the confidence: which poses it is of, how much each kind counts, and how it judges a world left out."""

import numpy as np
import pytest
from geo_training.experiments.benches import localization_confidence
from geo_training.experiments.benches.localization_confidence import fit, judge
from geo_training.localization.confidence import Witness

from geo_perception.localization.confidence import ConfidenceModel, Evidence

RIGHT, WRONG = Evidence(0.6, 0.1, 0.05, 1.0, 0.6), Evidence(0.15, 0.5, 0.4, 2.0, 0.1)


def near(evidence: Evidence, rng: np.random.Generator) -> Evidence:
    shifts = rng.normal(0, 0.03, 5)
    fields = ("share", "patchiness", "contradicted", "noise_scale", "landmarks")
    return Evidence(*(max(getattr(evidence, name) + shift, 0.01) for name, shift in zip(fields, shifts, strict=True)))


def world(right: int, wrong: int, seed: int = 0) -> dict[str, list[list[Witness]]]:
    """Images of the mapped place have a wrong pose beside the right one, others a wrong one."""
    rng = np.random.default_rng(seed)
    both = [[Witness(near(WRONG, rng), False), Witness(near(RIGHT, rng), True)] for _ in range(right)]
    other = [[Witness(near(WRONG, rng), False)] for _ in range(wrong)]
    return {"right": both, "moved": [], "wrong": other, "mirrored": [[]]}


def test_a_fit_on_some_worlds_tells_right_from_wrong_in_another():
    poses, model = fit([world(30, 20, 1), world(20, 30, 2)])
    assert len(poses) == 2 * 50 + 50
    assert model.probability(RIGHT) > 0.95
    assert model.probability(WRONG) < 0.05
    judged = judge(model, world(10, 5, 3))
    assert judged["right_kept"] == 1.0
    assert judged["wrong_called"] == judged["wrong_wrong_called"] == 0.0
    assert (judged["share_right_below_half"], judged["share_right_above_half"]) == (0.0, 1.0)
    assert "moved_wrong_called" not in judged


def test_believers_call_every_wrong_place_their_own():
    judged = judge(ConfidenceModel(100.0, 0, 0, 0, 0, 0), world(4, 6))
    # Equally sure of all, they take the first pose of an image: a wrong one; the mirrored image gives none.
    assert judged["right_kept"] == 0.0
    assert judged["wrong_called"] == pytest.approx(10 / 11)
    assert judged["wrong_wrong_called"] == 1.0
    assert judged["mirrored_wrong_called"] == 0.0
    assert np.isnan(judged["share_right_below_half"])


def test_a_long_recording_counts_no_more_than_a_short_one(monkeypatch):
    """Of wrong poses of two kinds, those that look better are few: more of the others must not drown them."""
    rng, better = np.random.default_rng(7), Evidence(0.4, 0.25, 0.2, 1.3, 0.35)
    kinds = world(30, 40, 5) | {"mirrored": [[Witness(near(better, rng), False)] for _ in range(10)]}
    longer = kinds | {"wrong": kinds["wrong"] * 8}

    def doubt() -> float:
        return fit([longer])[1].probability(better) - fit([kinds])[1].probability(better)

    assert abs(doubt()) < 0.01
    monkeypatch.setattr(localization_confidence, "MOST_OF_A_KIND", 1e9)
    assert doubt() > 0.05
