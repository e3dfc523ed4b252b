"""The head without training, against linear discriminant analysis computed directly."""

import numpy as np
import pytest
import torch
from geo_training.localization.closed_form import (
    Covariance,
    LinearStatistics,
    PlainView,
    cell_centres,
    features_at,
    fill_not_visible,
)
from geo_training.mapping.landmark_set import HIDDEN, SEEN, UNKNOWN

from geo_perception.localization.network import HeadConfig, LandmarkHead

LANDMARKS, CHANNELS, ROWS, COLUMNS = 3, 5, 8, 12


def maps_of_one_stride(seed: int) -> torch.Tensor:
    return torch.randn(1, CHANNELS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)) + 1.0


def views() -> list[PlainView]:
    """Two frames of 96 x 64 pixels; landmarks at centres of cells. The third is seen nowhere."""
    pixels_l2 = np.array([[19.5, 27.5], [59.5, 43.5], [3.5, 3.5]])  # the cells (2, 3), (7, 5), (0, 0)
    states = np.array([[SEEN, SEEN, HIDDEN], [SEEN, HIDDEN, UNKNOWN]])
    return [PlainView([maps_of_one_stride(seed)], pixels_l2, states[seed]) for seed in range(2)]


def filled(config: HeadConfig, given: list[PlainView]) -> LandmarkHead:
    statistics = LinearStatistics(config.landmarks, config.strides)
    for view in given:
        statistics.add(view)
    head = LandmarkHead(config).eval()
    statistics.fill(head)
    return head


def discriminants(given: list[PlainView], means_lc: np.ndarray) -> np.ndarray:
    """LDA's functions of every cell of the first view, (landmarks, cells): w . (x - (m_l + m) / 2) with
    w = S^-1 (m_l - m)."""
    # Every third cell counts, row after row.
    cells_nc = np.concatenate([view.features[0][0].flatten(1).T.double().numpy()[::3] for view in given])
    mean_c = cells_nc.mean(axis=0)
    S_cc = np.cov(cells_nc.T, bias=True)
    S_cc = S_cc + 0.1 * np.trace(S_cc) / CHANNELS * np.eye(CHANNELS)
    w_lc = np.linalg.solve(S_cc, (means_lc - mean_c).T).T
    x_nc = given[0].features[0][0].flatten(1).T.double().numpy()
    return np.stack([(x_nc - (m_c + mean_c) / 2) @ w_c for m_c, w_c in zip(means_lc, w_lc, strict=True)])


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_linear_part_is_linear_discriminant_analysis(width):
    given = views()
    head = filled(HeadConfig(LANDMARKS, (8,), (CHANNELS,), width=0, linear_width=width), given)
    one, other = (view.features[0][0].double().numpy() for view in given)
    # The first is seen in both frames; two landmarks span two directions, so two channels are enough.
    means_lc = np.stack([(one[:, 3, 2] + other[:, 3, 2]) / 2, one[:, 5, 7]])
    with torch.no_grad():
        logits_lhw = head(given[0].features).logits_blhw[0]
    np.testing.assert_allclose(logits_lhw[:2].flatten(1).numpy(), discriminants(given, means_lc), rtol=1e-4, atol=1e-4)


def test_a_landmark_that_no_frame_shows_is_never_found():
    given = views()
    head = filled(HeadConfig(LANDMARKS, (8,), (CHANNELS,), width=0, linear_width=4), given)
    with torch.no_grad():
        maps = head(given[0].features)
    np.testing.assert_allclose(maps.logits_blhw[0, 2].numpy(), -50.0, atol=1e-4)
    assert float(head.find(maps).score_bl[0, 2]) < 1e-6


def test_fewer_channels_than_landmarks_keep_what_tells_most_of_them_apart():
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.normal(size=(1, CHANNELS, ROWS, COLUMNS))).float()
    maps[0, :, 3, 2] += torch.tensor([9.0, 0, 0, 0, 0])
    maps[0, :, 5, 7] += torch.tensor([0, 9.0, 0, 0, 0])
    maps[0, :, 6, 10] += torch.tensor([0, 0, 0.3, 0, 0])
    pixels_l2 = np.array([[19.5, 27.5], [59.5, 43.5], [83.5, 51.5]])
    view = PlainView([maps], pixels_l2, np.full(3, SEEN))
    head = filled(HeadConfig(3, (8,), (CHANNELS,), width=0, linear_width=2), [view])
    with torch.no_grad():
        best_l = head([maps]).logits_blhw[0].flatten(1).argmax(dim=1)
    assert best_l[:2].tolist() == [3 * COLUMNS + 2, 5 * COLUMNS + 7]


def test_finer_and_coarser_maps_are_read_as_the_head_reads_them():
    rng = torch.Generator().manual_seed(0)
    features = [torch.randn(1, 3, 64 // stride, 96 // stride, generator=rng) for stride in (4, 8, 16)]
    view = PlainView(features, np.array([[19.5, 27.5], [59.5, 43.5]]), np.array([SEEN, SEEN]))
    head = filled(HeadConfig(2, (4, 8, 16), (3, 3, 3), width=0, linear_width=4), [view])
    with torch.no_grad():
        logits_lhw = head(features).logits_blhw[0]
    # At its own place a detector with one observation says half the squared distance from the mean, whitened.
    norm_l = head.linear_heatmap.weight[:, :, 0, 0].detach().square().sum(dim=1)
    assert logits_lhw[0, 3, 2].item() == pytest.approx(0.5 * norm_l[0].item(), rel=1e-3)
    assert logits_lhw[1, 5, 7].item() == pytest.approx(0.5 * norm_l[1].item(), rel=1e-3)


def test_the_learned_part_says_nothing_before_it_has_learned():
    given = views()
    plain = filled(HeadConfig(LANDMARKS, (8,), (CHANNELS,), width=0, linear_width=4), given)
    both = filled(HeadConfig(LANDMARKS, (8,), (CHANNELS,), width=16, dilations=(1,), linear_width=4), given)
    with torch.no_grad():
        torch.testing.assert_close(both(given[0].features).logits_blhw, plain(given[0].features).logits_blhw)


def test_features_between_cells_are_linear_and_at_their_centres_exact():
    row = torch.arange(12.0).repeat(8, 1)
    maps = torch.stack([row, 2 * row])[None]
    found_n2 = features_at([maps], [8], torch.tensor([[19.5, 27.5], [23.5, 27.5], [-3.0, 0.0]]))
    np.testing.assert_allclose(found_n2, [[2, 4], [2.5, 5], [0, 0]], atol=1e-5)  # the border goes on outside


def test_cell_centres_are_pixels():
    np.testing.assert_allclose(cell_centres(16, 24, 8), [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5],
                                                         [11.5, 11.5], [19.5, 11.5]])  # fmt: skip
    np.testing.assert_allclose(cell_centres(16, 24, 8, step=4), [[3.5, 3.5], [11.5, 11.5]])


def test_whitened_samples_have_unit_covariance_but_for_the_ridge():
    samples_nc = torch.from_numpy(np.random.default_rng(0).normal([1, 2], [2, 3], (4000, 2)))
    statistics = Covariance()
    for part in samples_nc.split(700):
        statistics.add(part)
    np.testing.assert_allclose(statistics.mean_c, samples_nc.mean(dim=0), atol=1e-4)
    root_cc = statistics.whitening().numpy()
    np.testing.assert_allclose(root_cc, root_cc.T, atol=1e-12)
    S_cc = np.cov(samples_nc.T.numpy(), bias=True)
    S_cc += 0.1 * np.trace(S_cc) / 2 * np.eye(2)
    np.testing.assert_allclose(root_cc @ S_cc @ root_cc, np.eye(2), atol=1e-4)


def test_not_visible_is_a_little_above_what_views_say_that_cannot_show_it():
    """With logits that are all the same a map says that value plus log of its 96 cells."""
    head = LandmarkHead(HeadConfig(3, (8,), (1,), width=0, linear_width=1)).eval()
    with torch.no_grad():
        head.linear_project[0].weight.fill_(1.0)
        head.linear_project[0].bias.zero_()
        head.linear_heatmap.weight.fill_(1.0)
        head.linear_heatmap.bias.zero_()
    # Eleven views say 0, 1, ..., 10. The first landmark is hidden in all of them, the second in the first six, the
    # third in none.
    states = [np.array([HIDDEN, HIDDEN if value < 6 else SEEN, UNKNOWN]) for value in range(11)]
    given = [
        PlainView([torch.full((1, 1, ROWS, COLUMNS), float(value))], np.zeros((3, 2)), states[value])
        for value in range(11)
    ]
    fill_not_visible(head, given)
    # Nine tenths of 0..10 is 9, of 0..5 is 4.5; where it is hidden nowhere the highest, 10; and the margin of 1.
    expected_l = np.log(96) + np.array([9.0, 4.5, 10.0]) + 1.0
    np.testing.assert_allclose(head.invisible_l.detach().numpy(), expected_l, atol=1e-4)
