"""New rows in a head: they find their landmarks, and every other row stays what it is."""

import copy

import numpy as np
import pytest
import torch
from geo_training.localization.closed_form import LinearStatistics, PlainView, fill_not_visible
from geo_training.localization.new_rows import silence, solve_rows
from geo_training.mapping.landmark_set import HIDDEN, SEEN

from geo_perception.localization.network import HeadConfig, LandmarkHead

CHANNELS, ROWS, COLUMNS, OLD = 12, 8, 12, 5
NEW_CELLS = np.array([[2, 3], [6, 9]])  # row, column of the two new landmarks


def _pixels(cells_n2) -> np.ndarray:
    return (np.asarray(cells_n2)[:, ::-1] + 0.5) * 8 - 0.5


def _views(count: int = 8, seed: int = 0) -> list[PlainView]:
    """Frames of noise with a pattern at the cells of the new landmarks; in the last two they are not there."""
    generator = torch.Generator().manual_seed(seed)
    patterns_kc = torch.randn(len(NEW_CELLS), CHANNELS, generator=torch.Generator().manual_seed(9)) * 4
    views = []
    for number in range(count):
        map_bchw = torch.randn(1, CHANNELS, ROWS, COLUMNS, generator=generator)
        there = number < count - 2
        if there:
            for (row, column), pattern_c in zip(NEW_CELLS, patterns_kc, strict=True):
                map_bchw[0, :, row, column] += pattern_c
        state = SEEN if there else HIDDEN
        views.append(PlainView([map_bchw], _pixels(NEW_CELLS), np.full(len(NEW_CELLS), state)))
    return views


def _old_head(width: int = 0) -> LandmarkHead:
    torch.manual_seed(1)
    head = LandmarkHead(HeadConfig(OLD, (8,), (CHANNELS,), width, (1,), 0, CHANNELS)).eval()
    old_cells = np.array([[1, 1], [1, 8], [4, 4], [5, 1], [7, 11]])
    statistics, kept = LinearStatistics(OLD, (8,)), []
    for number in range(4):
        map_bchw = torch.randn(1, CHANNELS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(50 + number))
        kept.append(PlainView([map_bchw], _pixels(old_cells), np.full(OLD, SEEN)))
        statistics.add(kept[-1])
    statistics.fill(head)
    fill_not_visible(head, kept)
    return head


@pytest.mark.parametrize("width", [0, 48])
def test_the_new_rows_find_their_landmarks_in_new_frames_and_the_old_rows_are_the_same_to_the_bit(width):
    head = _old_head(width)
    before = copy.deepcopy(head)
    slots_k = np.array([1, 3])
    solved = solve_rows(head, slots_k, _views())

    assert solved.tolist() == [True, True]
    fresh = _views(4, seed=77)
    for view in fresh[:2]:
        peaks = head.find(head(view.features))
        found_k2 = peaks.pixels_bl2[0, slots_k].numpy()
        np.testing.assert_allclose(found_k2, _pixels(NEW_CELLS), atol=4.0)
        assert (peaks.score_bl[0, slots_k] > 0.3).all()
    hidden = head.find(head(fresh[-1].features))
    assert (hidden.score_bl[0, slots_k] < 0.3).all()
    others = [n for n in range(OLD) if n not in slots_k]
    for view in fresh:
        old, new = before(view.features), head(view.features)
        assert torch.equal(old.logits_blhw[:, others], new.logits_blhw[:, others])
        assert torch.equal(old.invisible_l[others], new.invisible_l[others])


def test_a_landmark_that_one_frame_shows_gets_no_row_and_is_never_found():
    head, views = _old_head(), _views()
    for view in views[1:]:
        view.state_l[1] = HIDDEN
    solved = solve_rows(head, np.array([0, 4]), views)

    assert solved.tolist() == [True, False]
    peaks = head.find(head(views[0].features))
    assert peaks.score_bl[0, 4] < 1e-6


def test_a_silenced_row_finds_nothing():
    head, views = _old_head(), _views()
    silence(head, np.array([2]))

    assert head.find(head(views[0].features)).score_bl[0, 2] < 1e-6


def test_slots_must_be_as_many_as_the_landmarks():
    with pytest.raises(ValueError, match="differ in number"):
        solve_rows(_old_head(), np.array([1]), _views())
