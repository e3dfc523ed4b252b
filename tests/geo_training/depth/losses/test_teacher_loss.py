"""Terms that ask for another network's depth, by hand: what it cannot know must not cost, what it says must."""

import math

import pytest
import torch
from geo_training.depth.losses.supervision import SCALE_SHARE
from geo_training.depth.losses.teacher_loss import aligned_error, masked_median, teacher_gradient_loss, teacher_loss
from tiny_clips import DOUBLE, clips, constant, losses, seen, still

KINDS = ("depth", "metric", "disparity")


def random_inverse(*shape) -> torch.Tensor:
    return 0.2 + torch.rand(*shape, dtype=DOUBLE)


def row(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)[None, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_teacher_says_costs_nothing(kind):
    inverse = random_inverse(2, 1, 6, 7)
    assert teacher_loss(1 / inverse, inverse, kind).item() == pytest.approx(0, abs=1e-12)
    assert teacher_gradient_loss(1 / inverse, inverse, kind).item() == pytest.approx(0, abs=1e-12)


def test_a_factor_costs_nothing_where_the_teacher_does_not_know_it_and_its_share_where_it_does():
    inverse = random_inverse(2, 1, 6, 7)
    depth = torch.tensor([2.0, 0.5], dtype=DOUBLE)[:, None, None, None] / inverse
    assert teacher_loss(depth, inverse, "depth").item() == pytest.approx(0, abs=1e-12)
    assert teacher_loss(depth, inverse, "disparity").item() == pytest.approx(0, abs=1e-12)
    assert teacher_loss(depth, inverse, "metric").item() == pytest.approx(SCALE_SHARE * math.log(2))
    assert teacher_gradient_loss(depth, inverse, "metric").item() == pytest.approx(0, abs=1e-12)


def test_a_shift_of_inverse_depth_costs_nothing_where_it_is_not_known_alone():
    inverse = random_inverse(2, 1, 6, 7)
    depth = 1 / (3 * inverse + 0.7)
    for loss in (teacher_loss, teacher_gradient_loss):
        assert loss(depth, inverse, "disparity").item() == pytest.approx(0, abs=1e-12)
        assert loss(depth, inverse, "depth").item() > 0.01


def test_a_shift_costs_its_share_where_it_is_to_be_none():
    """s / t of 1, 2, 6 is 5/6, that of 4, 5, 9 is 1/3: log 2.5 apart."""
    depth, inverse = 1 / row(4.0, 5.0, 9.0), row(1.0, 2.0, 6.0)
    assert teacher_loss(depth, inverse, "disparity").item() == pytest.approx(0, abs=1e-12)
    assert teacher_loss(depth, inverse, "disparity", 0.3).item() == pytest.approx(0.3 * math.log(2.5))
    assert teacher_loss(depth / 7, inverse, "disparity", 0.3).item() == pytest.approx(0.3 * math.log(2.5))
    assert teacher_loss(5 / inverse, inverse, "disparity", 0.3).item() == pytest.approx(0, abs=1e-12)
    for kind in ("depth", "metric"):
        assert teacher_loss(depth, inverse, kind, 0.3) == teacher_loss(depth, inverse, kind)


def test_a_wrong_shape_up_to_a_factor_by_hand():
    depth = torch.exp(row(0.0, 1.0, 4.0))  # errors of the logarithm about their median: -1, 0, 3
    ones = torch.ones_like(depth)
    assert teacher_loss(depth, ones, "depth").item() == pytest.approx(4 / 3)
    assert teacher_loss(depth, ones, "metric").item() == pytest.approx(4 / 3 + SCALE_SHARE * 1)
    # Neighbours 1 apart differ by 1 and 3, those 2 apart by 4; of eight kinds of neighbours only these are there.
    assert teacher_gradient_loss(depth, ones, "depth").item() == pytest.approx((2 + 4) / 8)


def test_a_wrong_shape_up_to_a_factor_and_a_shift_by_hand():
    """(d - t) / s: of 1, 2, 6 with t = 2 and s = 5/3 it is -0.6, 0, 2.4; of 1, 2, 3 with s = 2/3 it is -1.5, 0, 1.5."""
    depth = 1 / row(1.0, 2.0, 6.0)
    assert teacher_loss(depth, row(1.0, 2.0, 3.0), "disparity").item() == pytest.approx((0.9 + 0 + 0.9) / 3)
    # The aligned errors are 0.9, 0, 0.9.
    expected = (0.9 + 0) / 8
    assert teacher_gradient_loss(depth, row(1.0, 2.0, 3.0), "disparity").item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_teacher_says_nothing_nothing_is_asked(kind):
    inverse = random_inverse(2, 1, 6, 7)
    inverse[0, :, :, :3] = 0
    inverse[1] = 0
    depth = (1 / inverse.clamp(min=0.1)).clone()
    depth[0, :, :, :3] = 77.0
    depth[1] = torch.rand(1, 6, 7, dtype=DOUBLE)
    depth.requires_grad_()
    value = teacher_loss(depth, inverse, kind) + teacher_gradient_loss(depth, inverse, kind)
    assert value.item() == pytest.approx(0, abs=1e-12)
    other = 1 / random_inverse(2, 1, 6, 7)
    other.requires_grad_()
    (teacher_loss(other, inverse, kind, 0.3) + teacher_gradient_loss(other, inverse, kind)).backward()
    assert torch.isfinite(other.grad).all()
    assert not other.grad[0, :, :, :3].any()
    assert not other.grad[1].any()
    assert other.grad[0, :, :, 3:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_without_any_answer_gives_zero_and_no_gradient(kind):
    depth = (1 / random_inverse(2, 1, 6, 7)).requires_grad_()
    nothing = torch.zeros(2, 1, 6, 7, dtype=DOUBLE)
    value = teacher_loss(depth, nothing, kind, 0.3) + teacher_gradient_loss(depth, nothing, kind)
    assert value.item() == 0
    value.backward()
    assert not depth.grad.any()


def test_a_flat_answer_up_to_a_shift_says_nothing_of_shape():
    depth = (1 / random_inverse(1, 1, 6, 7)).requires_grad_()
    value = teacher_loss(depth, torch.full_like(depth, 3.0).detach(), "disparity")
    assert value.item() == 0
    assert not aligned_error(depth, torch.full_like(depth, 3.0), "disparity")[1].any()
    assert teacher_loss(depth, torch.full_like(depth, 3.0), "depth").item() > 0.05


def test_a_flat_first_guess_has_a_finite_loss_and_gradient():
    depth = torch.full((1, 1, 6, 7), 2.0, dtype=DOUBLE, requires_grad=True)
    value = teacher_loss(depth, random_inverse(1, 1, 6, 7), "disparity", 0.3)
    value.backward()
    assert math.isfinite(value.item())
    assert torch.isfinite(depth.grad).all()


def test_images_count_alike_however_much_the_teacher_says_of_them():
    inverse = torch.ones(2, 1, 3, 3, dtype=DOUBLE)
    inverse[1, :, 1:] = 0
    depth = torch.ones(2, 1, 3, 3, dtype=DOUBLE)
    depth[1, 0, 0] = torch.exp(torch.tensor([0.0, 1.0, 4.0], dtype=DOUBLE))
    assert teacher_loss(depth, inverse, "depth").item() == pytest.approx((0 + 4 / 3) / 2)


def test_medians_are_of_the_known_alone():
    values = torch.tensor([5.0, 1.0, 9.0, 2.0, 4.0, 4.0]).reshape(2, 1, 1, 3)
    known = torch.tensor([True, True, False, False, False, False]).reshape(2, 1, 1, 3)
    assert masked_median(values, known).flatten().tolist() == [1.0, 0.0]


def test_every_scale_is_asked_and_coarser_ones_half_as_much():
    inverse = random_inverse(1, 1, 16, 16)
    batch = clips(constant(0.5), constant(0.5), teacher=inverse, teacher_kind="depth")
    disparity = [torch.ones(1, 1, 16 >> s, 16 >> s, dtype=DOUBLE) for s in range(4)]
    term = losses(weights={"teacher": 1.0, "teacher_gradient": 1.0})
    terms = term(seen(disparity, still()), batch)
    flat = teacher_loss(torch.ones_like(inverse), inverse, "depth").item()
    assert terms["teacher"].item() == pytest.approx(flat * (1 + 1 / 2 + 1 / 4 + 1 / 8))
    assert terms["teacher_gradient"].item() == pytest.approx(
        teacher_gradient_loss(torch.ones_like(inverse), inverse, "depth").item()
    )
    single = losses(weights={"teacher": 1.0}, scales="single")
    assert single(seen(disparity, still()), batch)["teacher"].item() == pytest.approx(flat)
