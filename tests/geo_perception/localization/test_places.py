"""Places of a scene: which landmarks are seen together, and for which of them an image speaks."""

import numpy as np

from geo_perception.localization.places import group_views, places_by_votes


def sees(*rows: str) -> np.ndarray:
    return np.array([[sign == "x" for sign in row] for row in rows])


def test_views_that_share_half_of_their_landmarks_are_one_place():
    # The first two share three of four (0.75); the third shares one of seven with them; the fourth three of five
    # with the third.
    places_kl = group_views(sees("xxxx....", "xxx.....", "...xxxx.", "....xxxx"))
    np.testing.assert_array_equal(places_kl, sees("xxxx....", "...xxxxx"))


def test_a_view_in_the_middle_counts_in_both_places_it_is_like():
    # One shares two of four landmarks with each of its neighbours, which share none with each other.
    places_kl = group_views(sees("xxx...", ".xxx..", "...xxx"))
    np.testing.assert_array_equal(places_kl, sees("xxxx..", "...xxx"))


def test_views_without_landmarks_are_no_place():
    assert group_views(np.zeros((3, 5), bool)).shape == (0, 5)
    np.testing.assert_array_equal(group_views(sees("....", "xx..")), sees("xx.."))


def test_there_are_no_more_places_than_asked_for_and_none_of_the_views_is_lost():
    rng = np.random.default_rng(0)
    # A walk: each view sees ten neighbours of the hundred landmarks, and some more.
    visible_fl = np.abs(np.arange(100)[None] - np.arange(100)[:, None]) <= 5
    visible_fl |= rng.random((100, 100)) < 0.02
    assert len(group_views(visible_fl)) > 8
    few_kl = group_views(visible_fl, limit=8)
    assert len(few_kl) <= 8
    assert few_kl.any(axis=0).all()


def test_views_that_share_nothing_are_not_lost_either():
    places_kl = group_views(np.eye(40, dtype=bool), limit=10)
    assert len(places_kl) <= 10
    np.testing.assert_array_equal(places_kl.sum(axis=0), 1)


def test_the_place_with_the_best_scores_comes_first_and_shows_only_what_was_found():
    visible_kl = sees("xxxx....", "....xxxx", "..xxxx..")
    score_l = np.array([0.0, 0.0, 0.0, 0.3, 0.5, 0.9, 0.009, 0.4])
    found = list(places_by_votes(visible_kl, score_l, 2))
    # Votes log(1 + score / 0.01): 3.4 for the first place, 3.9 + 4.5 + 0.6 + 3.7 for the second, 3.4 + 3.9 + 4.5 for
    # the third.
    np.testing.assert_array_equal(found, sees("....xx.x", "...xxx.."))


def test_of_two_places_with_about_the_same_scores_the_one_with_fewer_landmarks_comes_first():
    # All ten over the root of 100 + 30, or nine of them over the root of 19 + 30.
    visible_kl = np.ones((2, 100), bool)
    visible_kl[1, 20:] = visible_kl[1, 0] = False
    found = list(places_by_votes(visible_kl, np.where(np.arange(100) < 10, 0.5, 0.0), 5))
    assert [place_l.sum() for place_l in found] == [9, 10]
