"""From fields to a camera: exact where the fields are, honest about noise, deaf to outliers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geo_perception.calibration.fields import image_grid, perspective_fields, tangent_basis
from geo_perception.calibration.solve import (
    MAX_LOG_FOCAL,
    MIN_LOG_FOCAL,
    Observations,
    cost,
    differentiable_step,
    solve,
)
from geo_perception.geometry import up_from_attitude

LEVEL_3 = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


def cameras(count, seed=0, pitch_deg=80, roll_deg=50):
    """`count` cameras, float64: log focal lengths from -0.7 to 1.9 (127 to 17 degrees), and up-vectors."""
    rng = np.random.default_rng(seed)
    pitch = np.radians(rng.uniform(-pitch_deg, pitch_deg, count))
    roll = np.radians(rng.uniform(-roll_deg, roll_deg, count))
    return torch.tensor(rng.uniform(-0.7, 1.9, count)), torch.tensor(up_from_attitude(pitch, roll))


def observed(log_focal_b, up_b3, size_px=(96, 96), stride=8, weight=100.0):
    """Exact fields of equal weight, and a prior that counts for nothing."""
    xy_n2 = image_grid(*size_px, stride).double()
    up_bn2, sine_bn = perspective_fields(log_focal_b, up_b3, xy_n2)
    fields_bn3 = torch.cat([up_bn2, sine_bn[..., None]], -1)
    count = len(log_focal_b)
    nothing = torch.zeros(count, dtype=torch.float64)
    return Observations(
        xy_n2, fields_bn3, torch.full_like(fields_bn3, weight), nothing, LEVEL_3.expand(count, 3),
        torch.full((count, 2), 1e-9, dtype=torch.float64),
    )  # fmt: skip


def poor_start(count):
    """A level camera of 60 degrees, whatever the truth."""
    return torch.full((count,), 0.55, dtype=torch.float64), LEVEL_3.expand(count, 3).clone()


def angle_rad(a_b3, b_b3):
    return torch.atan2(torch.linalg.cross(a_b3, b_b3).norm(dim=-1), (a_b3 * b_b3).sum(-1))


def errors(solution, log_focal_b, up_b3):
    """(B, 3) in the solution's own tangent directions."""
    tangent_b2 = torch.einsum("bij,bi->bj", tangent_basis(solution.up_b3), up_b3 - solution.up_b3)
    return torch.cat([(log_focal_b - solution.log_focal_b)[:, None], tangent_b2], -1)


@pytest.mark.parametrize("size_px", [(96, 96), (64, 192), (192, 64), (96, 128)])
def test_exact_fields_give_the_exact_camera_from_a_poor_start(size_px):
    focal_b, up_b3 = cameras(40)
    solution = solve(observed(focal_b, up_b3, size_px, 16), *poor_start(40), steps=40)
    assert (solution.log_focal_b - focal_b).abs().max() < 1e-5
    assert angle_rad(solution.up_b3, up_b3).max() < 1e-5
    assert solution.misfit_b.max() < 1e-9


def test_the_steps_of_the_estimator_are_enough_for_a_moderate_tilt():
    focal_b, up_b3 = cameras(60, pitch_deg=45, roll_deg=45)
    solution = solve(observed(focal_b, up_b3), *poor_start(60))
    assert (solution.log_focal_b - focal_b).abs().max() < 1e-5
    assert angle_rad(solution.up_b3, up_b3).max() < 1e-5


def test_straight_up_and_down_are_nothing_special():
    focal_b = torch.tensor([0.3, 0.3], dtype=torch.float64)
    up_b3 = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    start = focal_b + 0.4, torch.nn.functional.normalize(up_b3 + 0.6 * LEVEL_3, dim=-1)
    solution = solve(observed(focal_b, up_b3), *start, steps=20)
    assert (solution.log_focal_b - focal_b).abs().max() < 1e-5
    assert angle_rad(solution.up_b3, up_b3).max() < 1e-5


def test_stated_covariances_are_those_of_the_errors():
    """NEES: e^T H e has the mean of a chi-squared of three degrees of freedom, 3, within 3 standard errors of 0.12."""
    count, sigma = 400, 0.1
    focal_b, up_b3 = cameras(count, seed=3, pitch_deg=40)  # at the zenith itself up is far from linear
    seen = observed(focal_b, up_b3, weight=sigma**-2)
    noise = torch.randn(seen.fields_bn3.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    solution = solve(replace(seen, fields_bn3=seen.fields_bn3 + sigma * noise), focal_b, up_b3, steps=8)
    error_b3 = errors(solution, focal_b, up_b3)
    nees_b = torch.einsum("bi,bij,bj->b", error_b3, solution.information_b33, error_b3)
    assert float(nees_b.mean()) == pytest.approx(3.0, abs=0.37)
    assert float(solution.misfit_b.mean()) == pytest.approx(1.0, abs=0.1)


def test_wrong_cells_barely_matter():
    """30 % of the cells say anything at all. Least squares, which a tiny weight makes of Huber's cost, follows them."""
    focal_b, up_b3 = cameras(30, seed=7, pitch_deg=40)
    seen = observed(focal_b, up_b3, weight=1e4)
    rng = np.random.default_rng(1)
    wrong_bn = torch.tensor(rng.random(seen.fields_bn3.shape[:2]) < 0.3)
    angle_bn = rng.uniform(-np.pi, np.pi, wrong_bn.shape)
    anything = torch.tensor(np.stack([np.cos(angle_bn), np.sin(angle_bn), rng.uniform(-1, 1, wrong_bn.shape)], -1))
    seen = replace(seen, fields_bn3=torch.where(wrong_bn[..., None], anything, seen.fields_bn3))
    robust = solve(seen, *poor_start(30), steps=30)
    plain = solve(replace(seen, weights_bn3=torch.full_like(seen.weights_bn3, 1e-3)), *poor_start(30), steps=30)
    robust_rad, plain_rad = angle_rad(robust.up_b3, up_b3), angle_rad(plain.up_b3, up_b3)
    assert robust_rad.max() < np.radians(0.5)
    assert (robust.log_focal_b - focal_b).abs().max() < 0.03
    assert plain_rad.median() > 10 * robust_rad.median()
    assert (plain.log_focal_b - focal_b).abs().median() > 10 * (robust.log_focal_b - focal_b).abs().median()


def test_the_cost_never_rises():
    """From starts on the far side with the shortest focal length, where many a step overshoots."""
    count = 40
    focal_b, up_b3 = cameras(count, seed=11)
    seen = observed(focal_b, up_b3, (192, 64), 16, weight=1e4)
    other_b3 = torch.nn.functional.normalize(0.1 * cameras(count, seed=12)[1] - up_b3, dim=-1)
    start = torch.full_like(focal_b, MIN_LOG_FOCAL), other_b3
    costs = [cost(*start, seen)]
    for steps in range(1, 11):
        solution = solve(seen, *start, steps=steps)
        costs.append(cost(solution.log_focal_b, solution.up_b3, seen))
    change = torch.diff(torch.stack(costs), dim=0)
    assert (change <= 0).all()
    assert (change < 0).any(dim=0).all()  # each went down at least once
    assert (change[:5] == 0).any()  # and somewhere a step was refused


def test_with_the_prior_alone_the_answer_is_the_prior():
    focal_b, up_b3 = cameras(20, seed=4)
    seen = observed(torch.zeros(20, dtype=torch.float64), LEVEL_3.expand(20, 3), stride=32, weight=0.0)
    weight_b2 = torch.tensor([[25.0, 400.0]], dtype=torch.float64).expand(20, 2)
    seen = replace(seen, prior_focal_b=focal_b, prior_up_b3=up_b3, prior_weight_b2=weight_b2)
    solution = solve(seen, *poor_start(20), steps=30)
    assert (solution.log_focal_b - focal_b).abs().max() < 1e-6
    assert angle_rad(solution.up_b3, up_b3).max() < 1e-6
    wanted = torch.diag(torch.tensor([25.0, 400.0, 400.0], dtype=torch.float64)).expand(20, 3, 3)
    np.testing.assert_allclose(solution.information_b33, wanted)


def test_prior_and_cells_are_weighed():
    """One unknown, by hand: cells that say nothing of the focal length but level, the prior alone decides it; two
    opinions on up, of equal information, meet half way."""
    up_b3 = torch.tensor(up_from_attitude([0.02], [0.0]))
    seen = observed(torch.tensor([0.5], dtype=torch.float64), LEVEL_3[None], weight=50.0)
    seen = replace(seen, prior_focal_b=torch.tensor([0.5], dtype=torch.float64), prior_up_b3=up_b3)
    information = solve(seen, *poor_start(1), steps=20).information_b33[0, 2, 2]
    seen = replace(seen, prior_weight_b2=torch.tensor([[1e9, 1.0]], dtype=torch.float64) * torch.stack(
        [torch.ones((), dtype=torch.float64), information]))  # fmt: skip
    middle = solve(seen, *poor_start(1), steps=20).up_b3[0, 2]
    assert float(torch.asin(middle)) == pytest.approx(0.01, rel=0.01)


def test_the_focal_length_stays_within_what_lenses_can():
    focal_b, up_b3 = torch.tensor([-3.0, 5.0], dtype=torch.float64), LEVEL_3.expand(2, 3)
    solution = solve(observed(focal_b, up_b3), *poor_start(2), steps=30)
    assert solution.log_focal_b.tolist() == pytest.approx([MIN_LOG_FOCAL, MAX_LOG_FOCAL], abs=1e-6)


def test_single_precision_stays_finite_where_nothing_is_known():
    seen = observed(*(value.float() for value in cameras(5)), weight=0.0)
    seen = Observations(*(value.float() for value in vars(seen).values()))
    seen = replace(seen, prior_weight_b2=torch.zeros(5, 2))
    solution = solve(seen, torch.zeros(5), LEVEL_3.float().expand(5, 3))
    assert torch.isfinite(solution.log_focal_b).all()
    assert torch.isfinite(solution.up_b3).all()


def noisy_minimum(sigma):
    """A problem whose residuals are all within Huber's square, and its minimum to the last digit."""
    focal_b, up_b3 = cameras(1, seed=21, pitch_deg=30)
    seen = observed(focal_b, up_b3, (64, 96), 16, weight=4.0)
    noise = torch.randn(seen.fields_bn3.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    seen = replace(seen, fields_bn3=seen.fields_bn3 + sigma * noise)
    return seen, solve(seen, focal_b, up_b3, steps=30)


def test_the_differentiable_step_stands_still_at_the_minimum():
    seen, solution = noisy_minimum(0.05)
    focal_b, up_b3, information_b33 = differentiable_step(solution, seen)
    assert (focal_b - solution.log_focal_b).abs().max() < 1e-6
    assert angle_rad(up_b3, solution.up_b3).max() < 1e-6
    np.testing.assert_allclose(information_b33, solution.information_b33, rtol=1e-6)


@pytest.mark.parametrize(("name", "sigma", "tolerance"), [("fields_bn3", 0.0, 1e-3), ("fields_bn3", 0.02, 0.05),
                                                          ("weights_bn3", 0.02, 0.05)])  # fmt: skip
def test_its_gradient_is_how_the_minimum_moves(name, sigma, tolerance):
    """Gauss-Newton leaves out the curvature of the fields, which counts as much as the residuals are large."""
    seen, solution = noisy_minimum(sigma)
    leaf = getattr(seen, name).clone().requires_grad_()
    focal_b, up_b3, _ = differentiable_step(solution, replace(seen, **{name: leaf}))
    pull_3 = torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64)
    (focal_b.sum() + (up_b3 @ pull_3).sum()).backward()
    direction = torch.randn(leaf.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    sides = []
    for sign in (1, -1):
        moved = replace(seen, **{name: getattr(seen, name) + sign * 1e-3 * direction})
        found = solve(moved, solution.log_focal_b, solution.up_b3, steps=30)
        sides.append(float(found.log_focal_b.sum() + (found.up_b3 @ pull_3).sum()))
    assert float((leaf.grad * direction).sum()) == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=tolerance)
