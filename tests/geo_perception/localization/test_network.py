"""Heatmaps and their peaks, against hand-computed values."""

import pytest
import torch

from geo_perception.localization.network import CELL_PX, HeadConfig, HeadMaps, LandmarkHead, find_peaks, fine_window
from geo_perception.runtime.folding import fold_normalization


def flat_logits(value: float = -20.0) -> torch.Tensor:
    return torch.full((1, 2, 6, 8), value)


def test_a_single_sharp_cell_is_found_at_its_centre():
    logits = flat_logits()
    logits[0, 0, 2, 5] = 20.0
    peaks = find_peaks(logits, torch.zeros(2))
    # The centre of cell 5 is 5.5 cells of 8 px from the edge, and pixel centres are whole numbers: 5.5 * 8 - 0.5.
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([43.5, 19.5], abs=1e-3)
    assert float(peaks.score_bl[0, 0]) == pytest.approx(1.0, abs=1e-6)
    assert float(peaks.spread_px_bl[0, 0]) == pytest.approx(0.0, abs=1e-2)


def test_two_equal_neighbours_give_the_place_between_them():
    logits = flat_logits()
    logits[0, 0, 2, 4] = logits[0, 0, 2, 5] = 20.0
    peaks = find_peaks(logits, torch.zeros(2))
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([39.5, 19.5], abs=1e-3)
    assert float(peaks.spread_px_bl[0, 0]) == pytest.approx(CELL_PX * 0.5 / 2**0.5, abs=1e-2)


def test_a_far_second_peak_takes_score_but_does_not_move_the_first():
    logits = flat_logits()
    logits[0, 0, 1, 1], logits[0, 0, 5, 7] = 20.0, 19.0
    peaks = find_peaks(logits, torch.zeros(2))
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([11.5, 11.5], abs=1e-3)
    assert float(peaks.score_bl[0, 0]) == pytest.approx(1 / (1 + torch.exp(torch.tensor(-1.0)).item()), abs=1e-4)


def test_the_not_visible_class_takes_the_score():
    logits = flat_logits()
    logits[0, 1, 3, 3] = 5.0
    peaks = find_peaks(logits, torch.tensor([0.0, 5.0]))
    assert float(peaks.score_bl[0, 0]) < 1e-6
    assert float(peaks.score_bl[0, 1]) == pytest.approx(0.5, abs=1e-4)


def test_a_peak_in_the_corner_stays_in_the_image():
    logits = flat_logits()
    logits[0, 0, 0, 0] = 20.0
    assert find_peaks(logits, torch.zeros(2)).pixels_bl2[0, 0].tolist() == pytest.approx([3.5, 3.5], abs=1e-3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("invisible", [-30.0, 4.0, 30.0])
def test_scores_and_places_are_those_of_the_plain_formula(memory_format, invisible):
    torch.manual_seed(0)
    logits = (torch.randn(2, 7, 6, 9) * 4).to(memory_format=memory_format)
    peaks = find_peaks(logits, torch.full((7,), invisible))
    for image in range(2):
        for landmark in range(7):
            map_hw = logits[image, landmark].double()
            p_hw = map_hw.exp() / (map_hw.exp().sum() + torch.tensor(invisible).double().exp())
            row, column = divmod(int(map_hw.argmax()), 9)
            rows, columns = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
            p_hw = p_hw * (((rows - row).abs() <= 2) & ((columns - column).abs() <= 2))
            x, y = (p_hw * columns).sum() / p_hw.sum(), (p_hw * rows).sum() / p_hw.sum()
            spread = ((p_hw * ((columns - x) ** 2 + (rows - y) ** 2)).sum() / p_hw.sum() / 2).sqrt()
            assert float(peaks.score_bl[image, landmark]) == pytest.approx(float(p_hw.sum()), rel=1e-4)
            place = [float(x) * 8 + 3.5, float(y) * 8 + 3.5]
            assert peaks.pixels_bl2[image, landmark].tolist() == pytest.approx(place, abs=1e-3)
            assert float(peaks.spread_px_bl[image, landmark]) == pytest.approx(float(spread) * 8, abs=1e-3)


def test_maps_of_channels_last_give_the_same_logits_with_the_cells_of_a_landmark_together():
    torch.manual_seed(0)
    head = LandmarkHead(HeadConfig(5, (8, 16), (3, 4), 16, fine_width=0, linear_width=6)).eval()
    features = [torch.randn(2, 3, 6, 8), torch.randn(2, 4, 3, 4)]
    logits = head([f.to(memory_format=torch.channels_last) for f in features]).logits_blhw
    assert logits.is_contiguous()
    torch.testing.assert_close(logits, head(features).logits_blhw)
    by_convolutions = head.heatmap(head.trunk(features)) + head.linear_heatmap(head.descriptors(features))
    torch.testing.assert_close(logits, by_convolutions)
    torch.testing.assert_close(head(features, torch.tensor([3, 1])).logits_blhw, by_convolutions[:, [3, 1]])


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16), (8,)])
def test_the_head_answers_at_eight_pixels_a_cell_whatever_strides_it_is_given(strides):
    config = HeadConfig(landmarks=7, strides=strides, channels=(6,) * len(strides), width=8, dilations=(1, 2))
    features = [torch.randn(2, 6, 64 // stride, 96 // stride) for stride in strides]
    head = LandmarkHead(config)
    maps = head(features)
    assert maps.logits_blhw.shape == (2, 7, 8, 12)
    assert maps.invisible_l.shape == (7,)
    assert (maps.fine_bdhw is not None) == (4 in strides)
    assert head.find(maps).pixels_bl2.shape == (2, 7, 2)


def fine_head() -> LandmarkHead:
    """A head whose landmark 0 looks like the first fine channel."""
    head = LandmarkHead(HeadConfig(2, (4, 8), (6, 6), 16, (1,), fine_width=3))
    with torch.no_grad():
        head.fine_landmark_ld.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
    return head


def test_the_fine_map_moves_a_coarse_peak_to_its_place():
    logits = torch.full((1, 2, 6, 8), -20.0)
    logits[0, 0, 2, 5] = 20.0  # the coarse peak: pixel (43.5, 19.5)
    fine = torch.zeros(1, 3, 12, 16)
    fine[0, 0, 6, 9] = 40.0  # the fine cell (9, 6): pixel (9.5 * 4 - 0.5, 6.5 * 4 - 0.5)
    peaks = fine_head().find(HeadMaps(logits, torch.zeros(2), fine))
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([37.5, 25.5], abs=1e-3)
    assert float(peaks.score_bl[0, 0]) == pytest.approx(1.0, abs=1e-6)


def test_the_fine_map_is_read_near_the_coarse_peak_only():
    logits = torch.full((1, 2, 6, 8), -20.0)
    logits[0, 0, 2, 5] = 20.0
    fine = torch.zeros(1, 3, 12, 16)
    fine[0, 0, 5, 11] = 30.0  # near
    fine[0, 0, 5, 1] = 99.0  # far away
    peaks = fine_head().find(HeadMaps(logits, torch.zeros(2), fine))
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([45.5, 21.5], abs=1e-3)


def test_a_peak_that_scores_next_to_nothing_is_not_read_in_the_fine_map():
    logits = torch.full((1, 2, 6, 8), -20.0)
    logits[0, 0, 2, 5], logits[0, 1, 2, 5] = -6.0, -4.0  # beside "not visible" at 0: 0.0025 and 0.018
    fine = torch.zeros(1, 3, 12, 16)
    fine[0, :, 6, 9] = 40.0
    peaks = fine_head().find(HeadMaps(logits, torch.zeros(2), fine))
    assert peaks.pixels_bl2[0, 0].tolist() == pytest.approx([43.5, 19.5], abs=1e-2)
    assert peaks.pixels_bl2[0, 1].tolist() == pytest.approx([37.5, 25.5], abs=1e-2)


def test_fine_cells_outside_the_map_are_never_chosen():
    head, fine = fine_head(), torch.zeros(1, 3, 12, 16)
    rows, columns = fine_window(torch.tensor([[0.0, 0.0]]))
    logits = head.fine_logits(fine, torch.tensor([0]), torch.tensor([0]), rows, columns)
    outside = (rows < 0) | (columns < 0)
    assert torch.isinf(logits[outside]).all()
    assert torch.isfinite(logits[~outside]).all()


def test_a_head_config_survives_its_header():
    config = HeadConfig(5, (8, 16), (3, 4), 16, (1, 2, 4))
    header = {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_header().items()}
    assert HeadConfig.from_header(header) == config


def test_a_header_of_before_there_was_a_linear_part_means_a_head_without_one():
    header = HeadConfig(5, (4, 8), (3, 4), 16, (1,)).to_header()
    del header["linear_width"]
    head = LandmarkHead(HeadConfig.from_header(header))
    assert not head.has_linear
    assert not any(name.startswith("linear") for name in head.state_dict())
    head.load_state_dict(LandmarkHead(HeadConfig(5, (4, 8), (3, 4), 16, (1,))).state_dict())


def head_of(width: int, linear_width: int) -> LandmarkHead:
    return LandmarkHead(HeadConfig(7, (4, 8, 32), (3, 4, 6), width, (1,), linear_width=linear_width)).eval()


def test_a_head_of_two_parts_says_the_sum_of_what_each_says():
    torch.manual_seed(0)
    both, learned, linear = head_of(16, 5), head_of(16, 0), head_of(0, 5)
    for part in (learned, linear):
        part.load_state_dict({name: value for name, value in both.state_dict().items() if name in part.state_dict()})
    features = [torch.randn(2, c, 64 // stride, 96 // stride) for c, stride in ((3, 4), (4, 8), (6, 32))]
    for landmarks in (None, torch.tensor([4, 1])):
        with torch.no_grad():
            maps, one, other = (head(features, landmarks) for head in (both, learned, linear))
        torch.testing.assert_close(maps.logits_blhw, one.logits_blhw + other.logits_blhw)
        torch.testing.assert_close(maps.fine_bdhw, one.fine_bdhw)
        assert other.fine_bdhw is None


def test_the_linear_part_averages_finer_features_over_a_cell_and_spreads_coarser_ones():
    head = LandmarkHead(HeadConfig(1, (4, 8, 16), (1, 1, 1), width=0, linear_width=1))
    with torch.no_grad():
        for project in head.linear_project:
            project.weight.fill_(1.0)
        head.linear_project[0].bias.fill_(100.0)
        head.linear_heatmap.weight.fill_(2.0)
        head.linear_heatmap.bias.fill_(0.5)
    fine = torch.zeros(1, 1, 4, 4)
    fine[0, 0, 2:, :2] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])  # the mean of the lower left cell is 3
    own = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]])
    coarse = torch.full((1, 1, 1, 1), 1000.0)
    with torch.no_grad():
        logits_hw = head([fine, own, coarse]).logits_blhw[0, 0]
    # Twice the sum of the fine mean, the own value, 1000 and the bias of 100, and a half.
    assert logits_hw.tolist() == [[2220.5, 2240.5], [2 * (3 + 30 + 1000 + 100) + 0.5, 2280.5]]


@pytest.mark.parametrize("linear_width", [0, 5])
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16), (32, 8)])
def test_a_head_without_its_normalizations_answers_the_same(strides, linear_width):
    torch.manual_seed(0)
    config = HeadConfig(7, strides, (6,) * len(strides), width=24, dilations=(1, 2), linear_width=linear_width)
    head = LandmarkHead(config).eval()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn_like(tensor))
            module.running_var.uniform_(0.5, 2.0)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    folded = fold_normalization(head)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    features = [torch.randn(2, 6, 64 // stride, 96 // stride) for stride in strides]
    for landmarks in (None, torch.tensor([4, 1])):
        with torch.no_grad():
            expected, answer = head(features, landmarks), folded(features, landmarks)
        for one, other in zip(expected, answer, strict=True):
            if one is None:
                assert other is None
            else:
                torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.detach().abs().max()))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
