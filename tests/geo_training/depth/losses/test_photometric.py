"""How two images differ and what of it counts, by hand on images of a few pixels."""

import math

import pytest
import torch
from geo_training.depth.losses.photometric import (
    minimum_reprojection_loss,
    photometric_error,
    ssim_distance,
    summed_reprojection_loss,
)

DOUBLE = torch.float64


def maps(*rows) -> torch.Tensor:
    """2x2 maps of one image, (1, S, 2, 2)."""
    return torch.tensor(rows, dtype=DOUBLE)[None]


def everywhere(errors: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(errors, dtype=torch.bool)


def test_ssim_of_identical_images_is_no_distance():
    image = torch.rand(2, 3, 5, 6, dtype=DOUBLE)
    assert ssim_distance(image, image).abs().max() < 1e-12


def test_ssim_of_a_3x3_image_by_hand():
    """At the middle: means, variances and covariance of all nine pixels, as Wang et al. have it."""
    a_9 = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    b_9 = [0.9, 0.1, 0.4, 0.3, 0.5, 0.2, 0.6, 0.7, 0.8]
    mean_a, mean_b = sum(a_9) / 9, sum(b_9) / 9
    variance_a, variance_b = (sum((v - m) ** 2 for v in x) / 9 for x, m in ((a_9, mean_a), (b_9, mean_b)))
    covariance = sum((p - mean_a) * (q - mean_b) for p, q in zip(a_9, b_9, strict=True)) / 9
    ssim = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    ssim /= (mean_a**2 + mean_b**2 + 1e-4) * (variance_a + variance_b + 9e-4)
    a, b = (torch.tensor(x, dtype=DOUBLE).reshape(1, 1, 3, 3) for x in (a_9, b_9))
    assert ssim_distance(a, b)[0, 0, 1, 1].item() == pytest.approx((1 - ssim) / 2, abs=1e-12)


def test_ssim_of_stripes_and_their_opposite_by_hand():
    """Each 3x3 surroundings have means 1/3 and 2/3, variances 2/9 and a covariance of -2/9."""
    stripes = (torch.arange(36).reshape(6, 6) % 2).to(DOUBLE)[None, None]
    ssim = (4 / 9 + 1e-4) * (-4 / 9 + 9e-4) / ((5 / 9 + 1e-4) * (4 / 9 + 9e-4))
    torch.testing.assert_close(ssim_distance(stripes, 1 - stripes), torch.full_like(stripes, (1 - ssim) / 2))


def test_l1_is_the_mean_over_the_colours():
    a, b = torch.zeros(1, 3, 2, 2), torch.tensor([0.3, 0.6, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    torch.testing.assert_close(photometric_error(a, b, "l1"), torch.full((1, 1, 2, 2), 0.3))


def test_ssim_and_l1_are_mixed_85_to_15():
    a, b = torch.rand(2, 1, 3, 5, 5, dtype=DOUBLE)
    expected = 0.85 * ssim_distance(a, b).mean(1, keepdim=True) + 0.15 * (a - b).abs().mean(1, keepdim=True)
    torch.testing.assert_close(photometric_error(a, b, "ssim"), expected)


def test_sources_are_summed_and_what_lies_outside_counts_nothing():
    errors = maps([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]])
    inside = everywhere(errors).clone()
    inside[0, 1, 0, 0] = False
    assert summed_reprojection_loss(errors, everywhere(errors)).item() == pytest.approx((10 + 26) / 4)
    assert summed_reprojection_loss(errors, inside).item() == pytest.approx((10 + 21) / 4)


def test_the_mask_weighs_every_pixel_of_every_source():
    errors = maps([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]])
    explained = maps([[1.0, 0.5], [0.0, 0.25]], [[0.1, 0.0], [1.0, 0.0]])
    assert summed_reprojection_loss(errors, everywhere(errors), explained).item() == pytest.approx(
        (1 + 1 + 0 + 1 + 0.5 + 7) / 4
    )


def test_the_least_error_of_any_source_counts():
    errors = maps([[1.0, 6.0], [3.0, 8.0]], [[5.0, 2.0], [7.0, 4.0]])
    error, counted = minimum_reprojection_loss(errors, everywhere(errors), None)
    assert error.item() == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert counted.all()


def test_a_source_that_does_not_show_a_pixel_is_not_its_least():
    errors = maps([[1.0, 6.0], [3.0, 8.0]], [[5.0, 2.0], [7.0, 4.0]])
    inside = everywhere(errors).clone()
    inside[0, 0, 0, 0] = False  # 5 is left
    inside[0, :, 1, 1] = False  # nothing is left
    error, counted = minimum_reprojection_loss(errors, inside, None)
    assert error.item() == pytest.approx((5 + 2 + 3) / 3)
    assert counted[0, 0].tolist() == [[True, True], [True, False]]


def test_pixels_that_the_identity_reprojection_explains_as_well_are_left_out():
    errors = maps([[1.0, 6.0], [3.0, 8.0]], [[5.0, 2.0], [7.0, 4.0]])
    identity = maps([[9.0, 2.0], [9.0, 9.0]], [[9.0, 9.0], [2.5, 9.0]])  # as good at the 2nd, better at the 3rd
    error, counted = minimum_reprojection_loss(errors, everywhere(errors), identity)
    assert counted[0, 0].tolist() == [[True, False], [False, True]]
    assert error.item() == pytest.approx((1 + 4) / 2)


def test_weights_multiply_but_are_not_counted():
    errors = maps([[1.0, 2.0], [3.0, 4.0]])
    weight = maps([[1.0, 0.5], [0.0, 1.0]])
    error, _ = minimum_reprojection_loss(errors, everywhere(errors), None, weight)
    assert error.item() == pytest.approx((1 + 1 + 0 + 4) / 4)


def test_without_a_pixel_that_counts_the_error_is_0_with_a_gradient_of_0():
    errors = maps([[1.0, 2.0], [3.0, 4.0]]).requires_grad_()
    for inside, identity in ((~everywhere(errors), None), (everywhere(errors), torch.zeros_like(errors))):
        error, counted = minimum_reprojection_loss(errors, inside, identity)
        (gradient,) = torch.autograd.grad(error, errors)
        assert error.item() == 0
        assert not counted.any()
        assert not gradient.any()


@pytest.mark.parametrize("kind", ["l1", "ssim"])
def test_the_gradient_of_a_difference_is_exact(kind):
    torch.manual_seed(0)
    a, b = (torch.rand(1, 3, 4, 5, dtype=DOUBLE, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: photometric_error(a, b, kind), (a, b))


def test_no_difference_is_finite_for_black_images():
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = photometric_error(black, torch.zeros(1, 3, 4, 4), "ssim").sum()
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(black.grad).all()
