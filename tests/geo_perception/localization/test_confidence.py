"""How likely a pose is right: evidence by hand, and what it is worth."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from geo_training.localization.confidence import fit_confidence

from geo_perception.localization.confidence import ConfidenceModel, Evidence, evidence_of, terms

RIGHT = Evidence(0.5, 0.15, 0.05, 1.0, 0.25, 250)


def look(agrees_s: np.ndarray, pixels_s2: np.ndarray, sure_s: np.ndarray | None = None) -> SimpleNamespace:
    solution = SimpleNamespace(noise_scale=1.0)
    sure_s = np.ones_like(agrees_s) if sure_s is None else sure_s
    agreeing = int(agrees_s.sum())
    return SimpleNamespace(
        expected_s2=pixels_s2, agrees_s=agrees_s, sure_s=sure_s, agreeing=agreeing, solution=solution
    )


def grid(rows: int, columns: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) * 10.0


def test_points_that_agree_independently_are_not_patchy():
    agrees_s = np.random.default_rng(0).random(1200) < 0.5
    evidence = evidence_of(look(agrees_s, grid(30, 40)), np.ones(1), np.ones(1, bool))
    assert evidence.share == pytest.approx(0.5, abs=0.03)
    assert evidence.patchiness < 0.03
    assert evidence.contradicted < 0.02  # fewer than a quarter as many as usual, of 15: chance


def test_where_the_map_tells_of_few_points_little_is_missing():
    """Of 1200 points that might be seen forty are, all of one corner."""
    pixels_s2 = grid(30, 40)
    agrees_s = (pixels_s2[:, 0] < 80) & (pixels_s2[:, 1] < 50)
    ones = np.ones(1), np.ones(1, bool)
    sure = evidence_of(look(agrees_s, pixels_s2), *ones)
    assert sure.share == pytest.approx((40 + 30) / (1200 + 60))
    assert sure.patchiness > 0.5
    # The same where the map saw none of the others from nearly there: only what is seen tells, and forty is little.
    unsure = evidence_of(look(agrees_s, pixels_s2, np.zeros(1200, bool)), *ones)
    assert unsure.share == pytest.approx((40 + 30) / (40 + 60))
    assert (unsure.patchiness, unsure.contradicted) == (0.0, 0.0)
    assert unsure.agreeing == sure.agreeing == 40
    model = ConfidenceModel()
    assert model.probability(unsure) > 2 * model.probability(sure)
    none = evidence_of(look(agrees_s[:0], pixels_s2[:0]), *ones)
    assert (none.share, none.patchiness, none.contradicted) == (0.5, 0.0, 0.0)


def test_few_points_contradict_little():
    pixels_s2 = grid(6, 10)
    few = evidence_of(look(pixels_s2[:, 0] < 50, pixels_s2), np.ones(1), np.ones(1, bool))
    many = evidence_of(look(grid(60, 100)[:, 0] < 500, grid(60, 100)), np.ones(1), np.ones(1, bool))
    assert few.share == many.share == 0.5
    assert 0 < few.patchiness < 0.5 * many.patchiness


def test_points_of_one_piece_of_furniture_alone_are_patches():
    pixels_s2 = grid(30, 40)
    evidence = evidence_of(look(pixels_s2[:, 0] < 200, pixels_s2), np.ones(1), np.ones(1, bool))
    # Twenty of forty columns agree: all around them does, but for points within two or three columns of the border.
    assert evidence.patchiness > 0.8
    assert evidence.contradicted == pytest.approx(0.475 * 1200 / 1260, abs=0.03)


@pytest.mark.parametrize("agrees_s", [np.ones(50, bool), np.zeros(50, bool), np.array([True, False])])
def test_where_all_agree_or_none_or_few_are_there_nothing_is_patchy(agrees_s):
    evidence = evidence_of(look(agrees_s, grid(1, len(agrees_s))), np.ones(1), np.ones(1, bool))
    assert (evidence.patchiness, evidence.contradicted) == (0.0, 0.0)


def test_landmarks_count_by_their_scores():
    agrees_s = np.ones(50, bool)
    seen = evidence_of(look(agrees_s, grid(5, 10)), np.array([0.9, 0.5, 0.6]), np.array([True, False, True]))
    assert seen.landmarks == pytest.approx(0.75)
    assert evidence_of(look(agrees_s, grid(5, 10)), np.zeros(0), np.zeros(0, bool)).landmarks == 0.0


def test_the_probability_is_the_logistic_of_the_weighted_terms():
    model = ConfidenceModel(
        offset=-1.0, share=2.0, patchiness=-3.0, contradicted=-4.0, noise_scale=-5.0, landmarks=6.0, agreeing=7.0,
        strays=-1.5,
    )  # fmt: skip
    evidence = Evidence(0.5, 0.2, 0.1, np.e, 0.25, 80)
    # -1 + 2 log(0.52 / 0.52) - 0.6 - 0.4 - 5 + 3 + 7 log(90 / 90) = -4
    assert model.probability(evidence) == pytest.approx(1 / (1 + np.exp(4.0)))
    assert model.probability(replace(evidence, agreeing=500)) == model.probability(evidence)
    assert model.probability(replace(evidence, agreeing=35)) == pytest.approx(1 / (1 + np.exp(4.0) * 2**7))
    # Twenty strays: -1.5 log(1 + 20 / 10). None are as good as not asked.
    assert model.probability(replace(evidence, strays=20)) == pytest.approx(1 / (1 + np.exp(4.0) * 3**1.5))
    assert model.probability(replace(evidence, strays=0)) == model.probability(evidence)


@pytest.mark.parametrize(
    "worse",
    [
        {"patchiness": 0.6},
        {"contradicted": 0.4},
        {"landmarks": 0.01},
        {"agreeing": 20},
        {"strays": 60},
    ],
)
def test_each_evidence_against_a_pose_makes_it_less_likely(worse):
    model = ConfidenceModel()
    right, less = model.probability(RIGHT), model.probability(Evidence(**(vars(RIGHT) | worse)))
    assert right > 0.95
    assert less / (1 - less) < 0.5 * right / (1 - right)


class TestFit:
    rng = np.random.default_rng(3)

    def drawn(self, count: int) -> tuple[list[Evidence], np.ndarray]:
        values_n6 = self.rng.uniform([0.1, 0, 0, 0.7, 0.01, 20], [0.9, 0.8, 0.5, 1.8, 0.7, 400], (count, 6))
        evidence = [Evidence(*row[:5], int(row[5]), int(self.rng.integers(0, 60))) for row in values_n6]
        true = ConfidenceModel(2.5, 1.0, -5.0, -6.0, -3.0, 4.0, 1.0, -1.0)
        return evidence, self.rng.random(count) < [true.probability(one) for one in evidence]

    def test_probabilities_are_as_frequent_as_they_say_where_four_of_five_are_right(self):
        evidence, right_n = self.drawn(20000)
        model = fit_confidence(evidence, right_n)
        told_n = np.array([model.probability(one) for one in evidence])
        weight_n = np.where(right_n, 0.8 / right_n.sum(), 0.2 / (~right_n).sum())
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            chosen = (told_n >= low) & (told_n < low + 0.2)
            frequency = weight_n[chosen & right_n].sum() / weight_n[chosen].sum()
            assert frequency == pytest.approx((told_n * weight_n)[chosen].sum() / weight_n[chosen].sum(), abs=0.06)

    def test_no_weight_speaks_against_what_its_evidence_means(self):
        evidence, right_n = self.drawn(500)
        model = fit_confidence(evidence, ~right_n)  # everything upside down
        weights = vars(model)
        assert {name: weight for name, weight in weights.items() if name != "offset" and weight} == {}

    def test_what_counts_nothing_changes_nothing(self):
        evidence, right_n = self.drawn(400)
        odd = [*evidence, *evidence[:50]], np.append(right_n, ~right_n[:50]), np.append(np.ones(400), np.zeros(50))
        assert terms(odd[0][-1]).shape == (7,)
        with_odd = fit_confidence(*odd)
        assert with_odd.probability(RIGHT) == pytest.approx(
            fit_confidence(evidence, right_n).probability(RIGHT), abs=0.02
        )

    def test_right_poses_alone_are_refused(self):
        with pytest.raises(ValueError, match="right poses and wrong ones"):
            fit_confidence([RIGHT], np.array([True]))
