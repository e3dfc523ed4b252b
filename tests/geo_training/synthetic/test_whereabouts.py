"""A room of which a third was moved, and on which thing a point lies."""

import numpy as np
import pytest
from geo_training.synthetic.rearranging import STEP_M, bounds_of, moved_instances, third_moved
from geo_training.synthetic.room import Room
from geo_training.synthetic.whereabouts import instances_at


@pytest.fixture(scope="module")
def rooms():
    before = Room.generate(3)
    return before, third_moved(before, 3)


def test_about_a_third_of_the_pictures_and_of_all_pieces_moved(rooms):
    before, after = rooms
    moved = moved_instances(before, after)
    pictures = [piece for piece in before.pieces if piece.name == "picture"]

    assert sum(piece.instances.start in moved for piece in pictures) == round(len(pictures) / 3)
    assert 0.3 <= sum(piece.instances.start in moved for piece in before.pieces) / len(before.pieces) <= 0.4
    assert {piece.name for piece in before.pieces if piece.instances.start in moved} >= {"picture", "chair", "rug"}


def test_what_moved_is_a_step_away_and_the_rest_is_where_it_was(rooms):
    before, after = rooms
    old, new, moved = bounds_of(before), bounds_of(after), moved_instances(before, after)
    for instances, box_23 in old.items():
        if instances not in new:
            assert instances.start in moved
            continue
        apart_m = np.linalg.norm(new[instances].mean(axis=0) - box_23.mean(axis=0))
        assert apart_m >= STEP_M[0] if instances.start in moved else apart_m == 0


def test_pictures_hang_inside_the_room(rooms):
    before, after = rooms
    half_3 = np.array([before.size_m[0] / 2, before.size_m[1] / 2, before.size_m[2]]) + 0.02
    bounds = bounds_of(after)
    for piece in after.pieces:
        if piece.name == "picture":
            assert (np.abs(bounds[piece.instances]) <= half_3).all()


def test_the_same_seed_moves_the_same(rooms):
    after = rooms[1]
    again = third_moved(Room.generate(3), 3)
    assert [piece.place for piece in again.pieces] == [piece.place for piece in after.pieces]


def test_the_middle_of_a_face_lies_on_its_thing_and_a_point_off_it_as_far_as_it_is(rooms):
    before, _ = rooms
    quads = [quad for quad in before.quads if before.instances[quad.instance] == "picture"][::7]
    middles_n3 = np.stack([quad.corners_43.mean(axis=0) for quad in quads])
    instance_n, away_n = instances_at(before, middles_n3)

    np.testing.assert_array_equal(instance_n, [quad.instance for quad in quads])
    np.testing.assert_allclose(away_n, 0, atol=1e-9)
    middle_3 = np.array([[0.0, 0.0, 1.3]])  # of the room's air
    _, far_1 = instances_at(before, middle_3)
    assert far_1[0] > 0.3


def test_a_bare_piece_of_floor_is_floor(rooms):
    before, _ = rooms
    free, origin_2 = before.free_space(0.4)
    row, column = np.argwhere(free)[0]
    point_3 = np.array([[*(origin_2 + 0.05 * np.array([column, row])), 0.0]])
    instance_1, _ = instances_at(before, point_3)

    assert before.instances[instance_1[0]] in ("floor", "rug")
