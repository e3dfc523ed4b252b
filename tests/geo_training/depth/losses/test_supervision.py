"""Terms that ask for the true depth, by hand."""

import math

import pytest
import torch
from geo_training.depth.losses.supervision import (
    SCALE_SHARE,
    centred,
    choice_loss,
    depth_loss,
    gradient_loss,
    log_error,
)

from geo_perception.depth.sharpener import DepthChoice

DOUBLE = torch.float64


def random_depth(*shape) -> torch.Tensor:
    return 1 + 3 * torch.rand(*shape, dtype=DOUBLE)


def test_errors_are_of_the_logarithm_and_only_where_the_truth_is_known():
    depth, true = torch.tensor([[[[2.0, 3.0, 1.0]]]]), torch.tensor([[[[1.0, 3.0, 0.0]]]])
    error, known = log_error(depth, true)
    assert error.flatten().tolist() == pytest.approx([math.log(2), 0, 0])
    assert known.flatten().tolist() == [True, True, False]


def test_centred_errors_have_no_mean_over_their_image():
    error = torch.tensor([1.0, 3.0, 8.0, 0.5, 0.5, 0.0]).reshape(2, 1, 1, 3)
    known = torch.tensor([True, True, False, True, True, False]).reshape(2, 1, 1, 3)
    rest, mean = centred(torch.where(known, error, 0.0), known)
    assert mean.flatten().tolist() == [2.0, 0.5]
    assert rest.flatten().tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_true_depth_costs_nothing():
    true = random_depth(2, 1, 6, 7)
    assert depth_loss(true, true).item() == 0
    assert gradient_loss(true, true).item() == 0


def test_a_wrong_scale_costs_its_share_of_its_logarithm_and_no_gradient():
    true = random_depth(2, 1, 6, 7)
    factors = torch.tensor([2.0, 0.5], dtype=DOUBLE)[:, None, None, None]
    assert depth_loss(factors * true, true).item() == pytest.approx(SCALE_SHARE * math.log(2))
    assert gradient_loss(factors * true, true).item() == pytest.approx(0, abs=1e-12)


def test_a_wrong_shape_by_hand():
    true = torch.ones(1, 1, 1, 2)
    depth = torch.tensor([[[[math.e, math.exp(3)]]]])  # errors 1 and 3: mean 2, rest 1 and 1
    assert depth_loss(depth, true).item() == pytest.approx(1 + SCALE_SHARE * 2)
    # Only neighbours in x at a distance of 1 are there: |3 - 1| over the six kinds of neighbours.
    assert gradient_loss(depth, true).item() == pytest.approx(2 / 6)


def test_images_count_alike_however_many_of_their_pixels_are_known():
    true = random_depth(2, 1, 4, 4)
    true[1, :, 1:] = 0
    depth = true.clone()
    depth[0], depth[1] = 2 * depth[0], 8 * depth[1].clamp(min=0.1)
    assert depth_loss(depth, true).item() == pytest.approx(SCALE_SHARE * (math.log(2) + math.log(8)) / 2)


def test_an_image_without_known_depth_does_not_count():
    true = random_depth(2, 1, 4, 4)
    depth = 2 * true
    true[1] = 0
    assert depth_loss(depth, true).item() == pytest.approx(SCALE_SHARE * math.log(2))
    nothing = torch.zeros_like(true)
    depth.requires_grad_()
    (depth_loss(depth, nothing) + gradient_loss(depth, nothing)).backward()
    assert not depth.grad.any()


def test_differences_across_unknown_pixels_do_not_count():
    true = torch.tensor([[[[1.0, 0.0, 1.0, 1.0]]]])
    depth = torch.tensor([[[[1.0, 50.0, math.e, 1.0]]]])
    # Known pairs: at distance 1 the last two (1), at distance 2 the first and third (1).
    assert gradient_loss(depth, true).item() == pytest.approx((1 + 1) / 6)


def test_gradients_are_exact():
    torch.manual_seed(0)
    depth, true = random_depth(2, 1, 6, 7).requires_grad_(), random_depth(2, 1, 6, 7)
    true[0, :, :2] = 0
    assert torch.autograd.gradcheck(lambda d: depth_loss(d, true), depth)
    assert torch.autograd.gradcheck(lambda d: gradient_loss(d, true), depth)


class TestChoice:
    """The expected error of the candidate that a pixel takes."""

    def choice(self, log_k2: list[list[float]], weight_k2: list[list[float]]) -> DepthChoice:
        """Of an image of two pixels, by the logarithms of depth of its candidates."""
        return DepthChoice(-torch.tensor(log_k2)[None, :, None], torch.tensor(weight_k2)[None, :, None])

    def loss(self, choice: DepthChoice, log_true_2: list[float]) -> float:
        depth = torch.exp(-choice.mean_b1hw())
        return choice_loss(choice, depth, torch.exp(torch.tensor(log_true_2))[None, None, None]).item()

    def test_by_hand(self):
        # Means 1.0 and 0.25: errors 0 and 0.25, whose (lower) median is 0. Expected: 0.5 * (1 + 1) and 0.75 * 0 + 0.25.
        choice = self.choice([[0.0, 0.0], [2.0, 1.0]], [[0.5, 0.75], [0.5, 0.25]])
        assert self.loss(choice, [1.0, 0.0]) == pytest.approx((1.0 + 0.25) / 2)

    def test_its_gradient_is_exact(self):
        torch.manual_seed(0)
        logit, log_disparity = (torch.randn(1, 3, 4, 5, dtype=DOUBLE, requires_grad=True) for _ in range(2))
        true = random_depth(1, 1, 4, 5)
        true[..., 0] = 0

        depth = random_depth(1, 1, 4, 5)  # the same for all: its median is taken as it is

        def value(logit, log_disparity):
            return choice_loss(DepthChoice(log_disparity, torch.softmax(logit, 1)), depth, true)

        gradients = torch.autograd.grad(value(logit, log_disparity), (logit, log_disparity))
        assert all(gradient.any() for gradient in gradients)
        assert torch.autograd.gradcheck(value, (logit, log_disparity))

    def test_a_mean_of_two_surfaces_is_no_better_than_either(self):
        between = self.choice([[0.0, 0.0], [2.0, 2.0]], [[0.5, 1.0], [0.5, 0.0]])
        decided = self.choice([[0.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [0.0, 0.0]])
        assert self.loss(between, [1.0, 0.0]) == self.loss(decided, [1.0, 0.0]) == pytest.approx(0.5)

    def test_the_scale_of_the_image_costs_nothing(self):
        choice = self.choice([[0.0, 1.0], [2.0, 5.0]], [[1.0, 1.0], [0.0, 0.0]])
        assert self.loss(choice, [0.7, 1.7]) == pytest.approx(0, abs=1e-6)

    def test_only_pixels_of_known_depth_count_and_none_costs_nothing(self):
        choice = self.choice([[0.0, 9.0]], [[1.0, 1.0]])
        depth, true = torch.exp(-choice.mean_b1hw()), torch.tensor([[[[1.0, 0.0]]]])
        assert choice_loss(choice, depth, true).item() == 0
        assert choice_loss(choice, depth, torch.zeros_like(true)).item() == 0
