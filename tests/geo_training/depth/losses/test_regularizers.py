"""Smoothness, masks, consistency and confidence, by hand."""

import math

import pytest
import torch
from geo_training.depth.losses.regularizers import (
    edge_aware_smoothness,
    inconsistency,
    laplace_likelihood,
    mask_regularization,
    second_order_smoothness,
)

DOUBLE = torch.float64


def plane(height=5, width=6, slope_x=0.3, slope_y=-0.2, at=4.0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height, dtype=DOUBLE), torch.arange(width, dtype=DOUBLE), indexing="ij")
    return (at + slope_x * x + slope_y * y)[None, None]


def test_a_plane_is_smooth_in_the_second_order():
    assert second_order_smoothness(plane()).item() == pytest.approx(0, abs=1e-12)


def test_second_differences_by_hand():
    disparity = torch.tensor([[[[0.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]])
    # xx of the rows: 1, -4, 0; yy of the columns: 0, -4, 1; xy and yx of the four squares: 2, -3, -2, 2.
    assert second_order_smoothness(disparity).item() == pytest.approx(5 / 3 + 5 / 3 + 2 * 9 / 4)


def test_the_edge_aware_smoothness_by_hand():
    disparity = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])  # mean 2: d* is 0.5 and 1.5
    image = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None] * torch.tensor([0.0, 1.0])  # |dx| 0.5 over colours
    image = image.expand(1, 3, 2, 2)
    assert edge_aware_smoothness(disparity, torch.zeros(1, 3, 2, 2)).item() == pytest.approx(1.0)
    assert edge_aware_smoothness(disparity, image).item() == pytest.approx(math.exp(-0.5))
    assert edge_aware_smoothness(disparity.transpose(2, 3), image).item() == pytest.approx(1.0)  # no edge down there


def test_the_edge_aware_smoothness_does_not_pay_for_shrinking_disparity():
    disparity, image = 1 + torch.rand(2, 1, 6, 7, dtype=DOUBLE), torch.rand(2, 3, 6, 7, dtype=DOUBLE)
    factors = torch.tensor([0.01, 100.0], dtype=DOUBLE)[:, None, None, None]
    once, scaled = (edge_aware_smoothness(d, image).item() for d in (disparity, factors * disparity))
    assert once > 0.01
    # Up to the 1e-7 that keeps the division finite.
    assert scaled == pytest.approx(once, rel=1e-5)


def test_the_mask_is_asked_to_be_1_by_cross_entropy_summed_over_the_sources():
    explained = torch.tensor([[[[1.0, 0.5]], [[0.25, 0.25]]]])  # (1, 2, 1, 2)
    assert mask_regularization(explained).item() == pytest.approx(math.log(2) / 2 + math.log(4))
    assert mask_regularization(torch.ones(2, 2, 3, 3)).item() == 0


def test_a_mask_of_0_costs_much_but_stays_finite():
    assert mask_regularization(torch.zeros(1, 1, 2, 2)).item() == pytest.approx(math.log(1e6), rel=1e-4)


def test_the_mask_term_is_the_cross_entropy_of_the_softmax_of_two_logits():
    logits = torch.randn(2, 2, 4, 5, dtype=DOUBLE)  # one source: not explained, explained
    ones = torch.ones(2, 4, 5, dtype=torch.long)
    expected = torch.nn.functional.cross_entropy(logits, ones)
    torch.testing.assert_close(mask_regularization(torch.softmax(logits, 1)[:, 1:]), expected)


def test_two_views_disagree_by_their_difference_over_their_sum():
    computed, seen = torch.tensor([1.0, 3.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 6.0, 5.0])
    got = inconsistency(computed.reshape(1, 1, 2, 2), seen.reshape(1, 1, 2, 2)).flatten()
    assert got.tolist() == pytest.approx([0, 0.5, 0.5, 1.0])


def test_disagreement_does_not_depend_on_the_unit():
    a, b = torch.rand(2, 1, 1, 4, 4, dtype=DOUBLE) + 0.1
    torch.testing.assert_close(inconsistency(7 * a, 7 * b), inconsistency(a, b))


def test_the_likelihood_by_hand_and_only_where_it_counts():
    error = torch.tensor([[[[0.5, -1.0, 100.0]]]])
    log_sigma = torch.log(torch.tensor([[[[0.5, 2.0, 1.0]]]]))
    counted = torch.tensor([[[[True, True, False]]]])
    expected = ((1 + math.log(0.5)) + (0.5 + math.log(2))) / 2
    assert laplace_likelihood(error, log_sigma, counted).item() == pytest.approx(expected)
    assert laplace_likelihood(error, log_sigma, torch.zeros_like(counted)).item() == 0


def test_the_likeliest_scale_is_the_mean_absolute_error():
    error = torch.tensor([0.1, -0.4, 0.7, 0.4], dtype=DOUBLE).reshape(1, 1, 2, 2)
    log_sigma = torch.full_like(error, math.log(0.4)).requires_grad_()
    laplace_likelihood(error, log_sigma, torch.ones_like(error, dtype=torch.bool)).backward()
    assert log_sigma.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_gradients_are_exact():
    torch.manual_seed(0)
    disparity = (1 + torch.rand(2, 1, 5, 6, dtype=DOUBLE)).requires_grad_()
    image = torch.rand(2, 3, 5, 6, dtype=DOUBLE)
    explained = (0.1 + 0.8 * torch.rand(2, 2, 3, 4, dtype=DOUBLE)).requires_grad_()
    other = 2 + torch.rand(2, 1, 5, 6, dtype=DOUBLE)
    log_sigma = torch.randn(2, 1, 5, 6, dtype=DOUBLE).requires_grad_()
    counted = torch.rand(2, 1, 5, 6) > 0.3
    assert torch.autograd.gradcheck(second_order_smoothness, disparity)
    assert torch.autograd.gradcheck(lambda d: edge_aware_smoothness(d, image), disparity)
    assert torch.autograd.gradcheck(mask_regularization, explained)
    assert torch.autograd.gradcheck(lambda d: inconsistency(d, other), disparity)
    assert torch.autograd.gradcheck(lambda d, s: laplace_likelihood(d, s, counted), (disparity, log_sigma))
