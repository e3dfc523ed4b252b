"""The benchmark of a place that changes: its truth and its summary."""

import numpy as np
import pytest
from geo_training.experiments.bench import load_benchmark
from geo_training.experiments.benches import living
from geo_training.synthetic.rearranging import bounds_of, moved_instances, third_moved
from geo_training.synthetic.room import Room


def test_a_landmark_on_a_moved_picture_moved_and_one_on_a_still_picture_did_not():
    room = Room.generate(3)
    after = third_moved(room, 3)
    moved, bounds = moved_instances(room, after), bounds_of(room)
    pictures = [piece for piece in room.pieces if piece.name == "picture"]
    faces = {piece.instances: [q for q in room.quads if q.instance in piece.instances][-1] for piece in pictures}
    points_l3 = np.stack([faces[piece.instances].corners_43.mean(axis=0) for piece in pictures])
    moved_l, still_l = living.moved_landmarks(points_l3, 3)

    np.testing.assert_array_equal(moved_l, [piece.instances.start in moved for piece in pictures])
    assert not (moved_l & still_l).any()
    assert still_l.sum() >= 0.7 * (~moved_l).sum()  # others hang where a moved one hung, or hangs now
    assert len(bounds) == len(room.pieces)


def test_a_point_on_nothing_is_neither():
    moved_l, still_l = living.moved_landmarks(np.array([[0.0, 0.0, 1.35]]), 3)
    assert not moved_l[0]
    assert not still_l[0]


def test_the_summary_has_means_and_the_worst_room():
    rooms = [
        {"anew_recall_5cm_5deg": 0.98, "refreshed_recall_5cm_5deg": 0.96, "old_before_recall_5cm_5deg": 1.0,
         "old_refreshed_recall_5cm_5deg": 1.0, "refresh_share": 0.2},
        {"anew_recall_5cm_5deg": 0.90, "refreshed_recall_5cm_5deg": 0.94, "old_before_recall_5cm_5deg": 0.98,
         "old_refreshed_recall_5cm_5deg": 0.96, "refresh_share": 0.4},
    ]  # fmt: skip
    found = living.summary(rooms)

    assert found["anew_less_refreshed"] == pytest.approx(0.02)
    assert found["old_loss"] == pytest.approx(0.02)
    assert found["refresh_share_worst"] == 0.4
    assert found["refresh_share"] == pytest.approx(0.3)


def test_it_is_listed_and_needs_no_data():
    assert load_benchmark("living") is living.BENCHMARK
    assert living.BENCHMARK.data == ()
