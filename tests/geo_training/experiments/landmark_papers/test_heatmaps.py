"""Labels, losses and peaks of heatmaps by hand."""

import math

import pytest
import torch
from geo_training.experiments.landmark_papers.heatmaps import bearing_loss, heatmap_labels, heatmap_loss, heatmap_peaks

CENTRE = 3.5  # pixel of the centre of the first cell


def labels(pixel_2, state=1, H=8, W=12, sigma=2.5, floor=0.1):
    pixels_bl2, state_bl = torch.tensor([[pixel_2]]), torch.tensor([[state]])
    return heatmap_labels(pixels_bl2, state_bl, H, W, sigma, floor)[0, 0]


def test_a_label_is_a_gaussian_of_20_pixels_around_its_cell():
    label_hw = labels((CENTRE + 8 * 5, CENTRE + 8 * 3))
    assert label_hw.argmax() == 3 * 12 + 5
    assert label_hw[3, 5] == 1.0
    assert label_hw[3, 6] == pytest.approx(math.exp(-1 / (2 * 2.5**2)))  # 0.923
    assert label_hw[4, 7] == pytest.approx(math.exp(-5 / (2 * 2.5**2)))
    assert label_hw[3, 11] == 0.0  # exp(-36 / 12.5) is 0.056, below the floor
    assert label_hw[3, 10] == pytest.approx(math.exp(-25 / 12.5))  # 0.135


def test_the_nearest_cell_is_1_wherever_in_it_the_landmark_is():
    label_hw = labels((CENTRE + 8 * 5 + 3.9, CENTRE + 8 * 3 - 3.9))
    assert label_hw.max() == 1.0
    assert label_hw[3, 5] == 1.0


@pytest.mark.parametrize("state", [0, -1])
def test_only_seen_landmarks_have_a_label(state):
    assert labels((CENTRE, CENTRE), state).abs().max() == 0


def test_the_loss_is_a_sum_of_squares_without_those_that_may_be_seen():
    heatmap_blhw, label_blhw = torch.full((1, 3, 2, 4), 0.5), torch.zeros(1, 3, 2, 4)
    label_blhw[0, 0, 0, 0] = 1.0
    # Seen: 8 cells, each off by 0.5. Hidden: the same against nothing. May be seen: left out.
    loss = heatmap_loss(heatmap_blhw, label_blhw, torch.tensor([[1, -1, 0]]))
    assert loss.item() == pytest.approx(8 * 0.25 + 8 * 0.25)


def test_the_bearing_loss_is_2_less_twice_the_cosine():
    given, true = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.6, 0.8]]]), torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    assert bearing_loss(given, true).item() == pytest.approx((0 + (2 - 2 * 0.8)) / 2)


def test_a_peak_is_the_mean_of_what_is_above_the_threshold():
    heatmap_blhw = torch.zeros(1, 2, 8, 12)
    heatmap_blhw[0, 0, 3, 5], heatmap_blhw[0, 0, 3, 6], heatmap_blhw[0, 0, 6, 1] = 0.6, 0.3, 0.19
    heatmap_blhw[0, 1, 2, 2] = 0.2  # not above
    pixels_bl2, score_bl = heatmap_peaks(heatmap_blhw, 0.2)
    # A third of the weight is one cell to the right.
    assert pixels_bl2[0, 0].tolist() == pytest.approx([CENTRE + 8 * (5 + 1 / 3), CENTRE + 8 * 3], abs=1e-4)
    assert score_bl[0].tolist() == pytest.approx([0.6, 0.0])


def test_a_label_is_found_again():
    place_2 = (CENTRE + 8 * 5.4, CENTRE + 8 * 3.7)
    pixels_bl2, score_bl = heatmap_peaks(labels(place_2, H=16, W=20)[None, None], 0.2)
    assert pixels_bl2[0, 0].tolist() == pytest.approx(place_2, abs=1.0)
    assert score_bl.item() == 1.0
