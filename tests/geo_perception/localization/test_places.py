"""Places of a scene: which landmarks are seen together, and for which of them an image speaks."""

import numpy as np

from geo_perception.localization.places import Places, group_views


def sees(*rows: str) -> np.ndarray:
    return np.array([[sign == "x" for sign in row] for row in rows])


def poses(count: int) -> np.ndarray:
    T_k44 = np.tile(np.eye(4), (count, 1, 1))
    T_k44[:, 0, 3] = np.arange(count)
    return T_k44


def grouped(visible_fl: np.ndarray, **options) -> Places:
    return group_views(visible_fl, poses(len(visible_fl)), **options)


def test_views_that_share_half_of_their_landmarks_are_one_place():
    # The first two share three of four (0.75); the third shares one of seven with them; the fourth three of five
    # with the third.
    places = grouped(sees("xxxx....", "xxx.....", "...xxxx.", "....xxxx"))
    np.testing.assert_array_equal(places.visible_kl, sees("xxxx....", "...xxxxx"))
    np.testing.assert_array_equal(places.T_map_camera_k44[:, 0, 3], [0, 2])


def test_a_view_in_the_middle_counts_in_both_places_it_is_like():
    # One shares two of four landmarks with each of its neighbours, which share none with each other.
    places = grouped(sees("xxx...", ".xxx..", "...xxx"))
    np.testing.assert_array_equal(places.visible_kl, sees("xxxx..", "...xxx"))


def test_views_without_landmarks_are_no_place():
    assert grouped(np.zeros((3, 5), bool)).visible_kl.shape == (0, 5)
    places = grouped(sees("....", "xx.."))
    np.testing.assert_array_equal(places.visible_kl, sees("xx.."))
    np.testing.assert_array_equal(places.T_map_camera_k44[:, 0, 3], [1])


def test_there_are_no_more_places_than_asked_for_and_none_of_the_views_is_lost():
    rng = np.random.default_rng(0)
    # A walk: each view sees ten neighbours of the hundred landmarks, and some more.
    visible_fl = np.abs(np.arange(100)[None] - np.arange(100)[:, None]) <= 5
    visible_fl |= rng.random((100, 100)) < 0.02
    assert len(grouped(visible_fl)) > 8
    few = grouped(visible_fl, limit=8)
    assert len(few) <= 8
    assert few.visible_kl.any(axis=0).all()


def test_views_that_share_nothing_are_not_lost_either():
    places = grouped(np.eye(40, dtype=bool), limit=10)
    assert len(places) == 10
    np.testing.assert_array_equal(places.visible_kl.sum(axis=0), 1)
    np.testing.assert_array_equal(places.T_map_camera_k44[:, 0, 3], np.arange(2, 40, 4))


def test_the_place_with_the_best_scores_comes_first_and_shows_only_what_was_found():
    visible_kl = sees("xxxx....", "....xxxx", "..xxxx..")
    score_l = np.array([0.0, 0.0, 0.0, 0.3, 0.5, 0.9, 0.009, 0.4])
    places = Places(visible_kl, poses(3))
    assert places.by_votes(score_l, 2) == [1, 2]  # half in common is not yet the same
    found = [places.shown(place, score_l) for place in (1, 2)]
    # Votes log(1 + score / 0.01): 3.4 for the first place, 3.9 + 4.5 + 0.6 + 3.7 for the second, 3.4 + 3.9 + 4.5 for
    # the third.
    np.testing.assert_array_equal(found, sees("....xx.x", "...xxx.."))


def test_of_two_places_with_about_the_same_scores_the_one_with_fewer_landmarks_comes_first():
    # All ten over the root of 100 + 30, or nine of them over the root of 19 + 30.
    visible_kl = np.ones((2, 100), bool)
    visible_kl[1, 20:] = visible_kl[1, 0] = False
    places = Places(visible_kl, poses(2))
    score_l = np.where(np.arange(100) < 10, 0.5, 0.0)
    assert places.by_votes(score_l, 1) == [1]


def test_of_places_that_show_mostly_the_same_only_the_best_is_tried():
    # The second shares three of its four with the first, the third two of four, the fourth none.
    places = Places(sees("xxxxx...", "xxxx....", "...xxxx.", ".......x"), poses(4))
    score_l = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.1, 0.1, 0.0])
    assert places.by_votes(score_l, 4) == [0, 2, 3]


def test_places_come_back_from_a_file():
    places = Places(sees("xxxx....x", "..xx....x"), poses(2) * 1.5)
    again = Places.from_tensors(places.to_tensors(), 9)
    np.testing.assert_array_equal(again.visible_kl, places.visible_kl)
    np.testing.assert_allclose(again.T_map_camera_k44[:, :3], places.T_map_camera_k44[:, :3])
    assert Places.from_tensors({}, 9) is None
