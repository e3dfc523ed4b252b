import pytest
import torch
from geo_training.depth.losses.boundary_loss import boundary_loss, boundary_pyramid, disparity_gradient

from geo_perception.errors import InputError


def _step(height=1.0, size=8, at=4):
    """Disparity 0 on the left, `height` from column `at` on."""
    disparity = torch.zeros(1, 1, size, size, dtype=torch.float64)
    disparity[..., at:] = height
    return disparity


def _band(size=8, columns=(3, 4), value=1.0):
    boundary = torch.zeros(1, 1, size, size, dtype=torch.float64)
    boundary[..., list(columns)] = value
    return boundary


def _plane(size=8, slope_x=0.3, slope_y=-0.2):
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    return (slope_x * x + slope_y * y + 5)[None, None]


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_answers_its_height_on_both_sides_and_nowhere_else(order):
    assert torch.allclose(disparity_gradient(_step(0.7), order), 0.7 * _band())
    upright = disparity_gradient(_step(0.7).transpose(2, 3), order)
    assert torch.allclose(upright, 0.7 * _band().transpose(2, 3))


def test_a_plane_answers_twice_its_slope_everywhere_in_the_first_order():
    answer = disparity_gradient(_plane(), 1)
    assert torch.allclose(answer, torch.full_like(answer, 2 * (0.3**2 + 0.2**2) ** 0.5))


def test_a_plane_answers_nothing_in_the_second_order_not_even_at_the_border():
    assert disparity_gradient(_plane(), 2).abs().max() < 1e-12


def test_the_second_order_sees_a_twisted_surface():
    y, x = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    answer = disparity_gradient((x * y).double()[None, None], 2)  # only the mixed derivative, 1, which counts twice
    assert torch.allclose(answer, torch.full_like(answer, 2**0.5))


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_of_one_where_the_object_ends_costs_nothing(order):
    assert boundary_loss(_step(1.0), _band(), order).item() == 0


@pytest.mark.parametrize("order", [1, 2])
def test_the_loss_of_a_step_too_small_is_the_mean_of_what_is_missing(order):
    # Two of eight columns with G1 = 0.8 and G2 = 0.3: 0.25 x 0.8^2 x 0.5.
    loss = boundary_loss(_step(0.3), _band(value=0.8), order)
    assert loss.item() == pytest.approx(0.25 * 0.64 * 0.5)


def test_a_gradient_elsewhere_or_a_larger_one_costs_nothing_more():
    assert boundary_loss(_step(3.0), _band()).item() == 0
    assert boundary_loss(_step(3.0, at=2), torch.zeros(1, 1, 8, 8)).item() == 0


def test_the_loss_does_not_depend_on_the_size_of_the_image():
    small = boundary_loss(_step(0.3), _band())
    tiled = boundary_loss(_step(0.3).repeat(1, 1, 3, 1), _band().repeat(1, 1, 3, 1))
    assert tiled.item() == pytest.approx(small.item())


def test_images_without_a_map_do_not_count():
    disparity = torch.cat([_step(0.3), _step(0.0)])
    boundary = torch.cat([_band(), _band()])
    loss = boundary_loss(disparity, boundary, has_boundary_b=torch.tensor([True, False]))
    assert loss.item() == pytest.approx(boundary_loss(_step(0.3), _band()).item())


def test_a_batch_without_any_map_has_no_loss_and_no_gradient():
    disparity = _step(0.3).requires_grad_()
    loss = boundary_loss(disparity, torch.full((1, 1, 8, 8), float("nan")), has_boundary_b=torch.tensor([False]))
    loss.backward()
    assert loss.item() == 0
    assert disparity.grad.abs().max() == 0


@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_is_that_of_the_loss(order):
    torch.manual_seed(0)
    disparity = torch.rand(2, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    boundary = torch.rand(2, 1, 6, 7, dtype=torch.float64)
    has_boundary = torch.tensor([True, True])
    assert boundary_loss(disparity, boundary, order, has_boundary) > 0
    assert torch.autograd.gradcheck(lambda d: disparity_gradient(d, order), disparity)
    assert torch.autograd.gradcheck(lambda d: boundary_loss(d, boundary, order, has_boundary), disparity)


@pytest.mark.parametrize("order", [1, 2])
def test_flat_disparity_has_a_finite_gradient(order):
    disparity = torch.ones(1, 1, 8, 8, requires_grad=True)
    boundary_loss(disparity, _band().float(), order).backward()
    assert torch.isfinite(disparity.grad).all()


def test_descending_the_loss_makes_the_edge_sharper():
    torch.manual_seed(0)
    disparity = (0.01 * torch.rand(1, 1, 8, 8)).requires_grad_()
    before = boundary_loss(disparity, _band().float()).item()
    optimizer = torch.optim.SGD([disparity], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        boundary_loss(disparity, _band().float()).backward()
        optimizer.step()
    assert boundary_loss(disparity, _band().float()).item() < 0.2 * before


def test_half_precision_is_computed_in_single():
    loss = boundary_loss(_step(0.3).half(), _band().half())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.25 * 0.7, rel=1e-3)


def test_a_coarser_map_keeps_its_edges_at_one():
    halves = boundary_pyramid(_band(), [(8, 8), (4, 4), (2, 2)])
    assert torch.equal(halves[0], _band())
    assert halves[1][0, 0, 0].tolist() == [0, 1, 1, 0]
    assert halves[2].shape == (1, 1, 2, 2)
    assert halves[2].min() == 1


def test_a_map_of_another_size_is_brought_to_the_disparitys():
    same = boundary_loss(_step(0.3), boundary_pyramid(_band(16, (7, 8)), [(8, 8)])[0])
    assert boundary_loss(_step(0.3), _band(16, (7, 8))).item() == same.item() > 0


def test_another_order_is_refused():
    with pytest.raises(InputError, match="choose 1 or 2"):
        disparity_gradient(_step(), 3)
