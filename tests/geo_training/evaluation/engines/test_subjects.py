"""By how much answers differ, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from geo_training.evaluation.engines.pictures import images_of_folder, rendered_images
from geo_training.evaluation.engines.subjects import CalibrationSubject, DepthSubject, SceneSubject
from image_files import write_image

from geo_perception.errors import InputError


def values(subject, found, expected):
    return {one.key: one.value for one in subject.differences(None, found, expected)}


def test_depths_are_compared_as_shares_of_themselves_and_steps_are_seen():
    expected = [np.arange(1.0, 101.0).reshape(10, 10)]
    found = [1.02 * expected[0]]
    found[0][0, :] = 1.02  # one row in ten is one step: 9 of 90 neighbours
    measured = values(DepthSubject, found, expected)
    assert measured["median_pct"] == pytest.approx(2.0)
    assert measured["steps_pct"] == pytest.approx(10.0)
    assert values(DepthSubject, [None], expected) == {"lost_pct": 1.0}
    with pytest.raises(InputError, match="no depth can be compared"):
        DepthSubject.differences(None, [None], [None])


def test_angles_and_focal_lengths_are_compared_at_their_worst():
    expected = [np.array([np.log(500.0), 0.1, 0.0]), np.full(3, np.nan)]
    found = [np.array([np.log(505.0), 0.1 + np.radians(0.2), -np.radians(0.3)]), np.full(3, np.nan)]
    measured = values(CalibrationSubject, found, expected)
    assert measured == pytest.approx({"focal_pct": 1.0, "pitch_deg": 0.2, "roll_deg": 0.3})
    with pytest.raises(InputError, match="no angles can be compared"):
        CalibrationSubject.differences(None, found[1:], expected[1:])


def pose(x_m=0.0, turn_deg=0.0, localized=True):
    T = np.eye(4)
    sine, cosine = np.sin(np.radians(turn_deg)), np.cos(np.radians(turn_deg))
    T[:2, :2] = [[cosine, -sine], [sine, cosine]]
    T[0, 3] = x_m
    return SimpleNamespace(localized=localized, T_map_camera=T, covariance_66=np.eye(6) * 0.01**2 / 3)


def test_poses_are_compared_in_metres_degrees_and_stated_sigmas():
    expected = [pose(), pose(), pose(), pose(localized=False)]
    found = [pose(0.001), pose(0.002), pose(0.02, 3.0), pose(localized=False)]
    measured = values(SceneSubject, found, expected)
    # One sigma of the position is 1 cm.
    assert measured == pytest.approx(
        {"lost_pct": 0.0, "position_sigma_pct": 20.0, "position_cm": 2.0, "angle_deg": 3.0}
    )
    assert values(SceneSubject, [*found[:2], pose(localized=False), found[3]], expected)["lost_pct"] == 25.0
    assert values(SceneSubject, [pose(localized=False)] * 4, expected)["position_cm"] == np.inf
    with pytest.raises(InputError, match="give images of the place"):
        SceneSubject.differences(None, found[3:], expected[3:])


def test_half_a_turn_is_not_taken_for_none():
    assert values(SceneSubject, [pose(turn_deg=179.0)], [pose()])["angle_deg"] == pytest.approx(179.0)


def test_images_of_a_folder_are_spread_evenly(tmp_path):
    for index in range(9):
        write_image(tmp_path / "below" / f"{index}.png", 10 * index)
    assert [int(image[0, 0, 0]) for image in images_of_folder(tmp_path, 3)] == [0, 40, 80]
    assert len(images_of_folder(tmp_path, 50)) == 9
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        images_of_folder(tmp_path / "empty")


def test_rendered_images_show_something_and_differ():
    images = rendered_images(3)
    assert all(image.std() > 10 for image in images)
    assert not np.array_equal(images[0], images[2])
