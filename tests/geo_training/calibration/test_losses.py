"""The losses of the calibration network: hand-computed numbers, and gradients against differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from geo_training.calibration.config import LOSS_WEIGHTS
from geo_training.calibration.losses import (
    TrueCameras,
    _solved,
    calibration_losses,
    camera_likelihood,
    cell_likelihood,
    direct_likelihood,
    distillation_loss,
)

from geo_perception.calibration.fields import image_grid, perspective_fields
from geo_perception.calibration.network import NetworkOutput
from geo_perception.calibration.solve import differentiable_step, solve
from geo_perception.geometry import up_from_attitude


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def level(log_focal=0.0, pitch_rad=0.0):
    return TrueCameras(doubles(log_focal), torch.tensor(up_from_attitude([pitch_rad], [0.0])))


def output_of(truth, xy_n2, log_weight=0.0):
    """A network that says the truth."""
    up_bn2, sine_bn = perspective_fields(truth.log_focal_b, truth.up_b3, xy_n2)
    fields_bn3 = torch.cat([up_bn2, sine_bn[..., None]], -1)
    return NetworkOutput(
        xy_n2, fields_bn3, torch.full_like(fields_bn3[..., :2], log_weight), truth.log_focal_b.clone(),
        truth.up_b3.clone(), torch.zeros(len(fields_bn3), 2, dtype=torch.float64),
    )  # fmt: skip


def test_cells_by_hand():
    """One cell: w = 2 with e^2 = 0.09 + 0.16, and w = 4 with e = 0.5: 1/2 (2 * 0.25 - 2 log 2 + 4 * 0.25 - log 4)."""
    loss = cell_likelihood(
        doubles(0.3, -0.4)[None, None], doubles(0.5)[None], doubles(np.log(2), np.log(4))[None, None]
    )
    assert float(loss) == pytest.approx(0.5 * (0.5 - 2 * np.log(2) + 1.0 - np.log(4)))


def test_cells_are_best_where_the_weight_is_the_inverse_of_the_squared_error():
    up_error, sine_error = doubles(0.3, -0.4)[None, None], doubles(0.5)[None]
    log_w = doubles(np.log(2 / 0.25), np.log(1 / 0.25))[None, None].requires_grad_()
    cell_likelihood(up_error, sine_error, log_w).backward()
    assert log_w.grad.abs().max() < 1e-12


def test_a_camera_by_hand():
    """Errors of 0.2 in log focal, and 0.1 in pitch as the sine of an angle; H = diag(50, 7, 300):
    7/2 log(1 + (50 * 0.04 + 300 * 0.01) / 4) - 1/2 log(50 * 7 * 300)."""
    truth = level(0.7, np.arcsin(0.1))
    loss = camera_likelihood(doubles(0.5), doubles(0, -1, 0)[None], torch.diag(doubles(50, 7, 300))[None], truth)
    assert float(loss) == pytest.approx(3.5 * np.log(1 + 5 / 4) - 0.5 * np.log(50 * 7 * 300), abs=1e-5)


def test_a_roll_counts_in_the_first_tangent_direction():
    truth = TrueCameras(doubles(0.0), torch.tensor(up_from_attitude([0.0], [np.arcsin(0.1)])))
    loss = camera_likelihood(doubles(0.0), doubles(0, -1, 0)[None], torch.diag(doubles(50, 100, 9))[None], truth)
    assert float(loss) == pytest.approx(3.5 * np.log(1 + 1 / 4) - 0.5 * np.log(50 * 100 * 9), abs=1e-5)


def test_the_direct_guess_by_hand():
    """Weights of 100 (log focal) and 25 (up): an error of 0.1 in the first alone: 1; log det is log(100 * 25^2)."""
    truth = level(0.6)
    output = replace(output_of(truth, doubles(0.0, 0.0)[None]), log_focal_b=doubles(0.5),
                     log_weight_b2=doubles(np.log(100), np.log(25))[None])  # fmt: skip
    expected = 3.5 * np.log(1.25) - 0.5 * np.log(100 * 625)
    assert float(direct_likelihood(output, truth)) == pytest.approx(expected, abs=1e-5)


def test_the_errors_of_the_fields_by_hand():
    """Two cells of a level camera of 90 degrees; the first says the truth. The second lies at the middle of the upper
    edge: up is (0, -1) and the sine of its latitude 1 / sqrt 2. It says (0.6, -0.8) and 0.5."""
    truth = level()
    output = output_of(truth, doubles(0.0, 0.0, 0.0, -1.0).reshape(2, 2))
    said = output.fields_bn3.clone()
    said[0, 1] = doubles(0.6, -0.8, 0.5)
    terms = calibration_losses(replace(output, fields_bn3=said), doubles(0.0)[0], truth)
    assert set(terms) == set(LOSS_WEIGHTS)
    assert float(terms["up"]) == pytest.approx((0.6 + 0.2) / 2)
    sine_error = np.sqrt(0.5) - 0.5
    assert float(terms["latitude"]) == pytest.approx(sine_error / 2)
    # Both stated variances are 1: 1/2 (0.36 + 0.04 + error^2), halved by the other cell.
    assert float(terms["cells"]) == pytest.approx(0.25 * (0.4 + sine_error**2))


def test_at_the_truth_the_solved_terms_are_but_the_determinant():
    truth = level(0.4, 0.2)
    output = output_of(truth, image_grid(64, 64, 16).double())
    terms = calibration_losses(output, doubles(1.0)[0], truth)
    for name, direct in (("fields", False), ("fused", True)):
        seen = output.observations(doubles(1.0)[0], direct=direct)
        information_b33 = solve(seen, truth.log_focal_b, truth.up_b3).information_b33
        assert float(terms[name]) == pytest.approx(-0.5 * float(torch.logdet(information_b33 + 1e-4 * torch.eye(3))))


def test_the_stated_variances_do_not_change_the_errors():
    """The `cells` term teaches doubt, not the fields; `up` and `latitude` teach the fields, not doubt."""
    truth = level()
    output = output_of(truth, image_grid(64, 64, 32).double())
    said = (output.fields_bn3 + 0.1).requires_grad_()
    doubt = output.log_weights_bn2.clone().requires_grad_()
    terms = calibration_losses(replace(output, fields_bn3=said, log_weights_bn2=doubt), doubles(0.0)[0], truth)
    of_said, of_doubt = torch.autograd.grad(terms["cells"], (said, doubt), allow_unused=True, retain_graph=True)
    assert of_said is None
    assert of_doubt.abs().sum() > 0
    of_said, of_doubt = torch.autograd.grad(terms["up"] + terms["latitude"], (said, doubt), allow_unused=True)
    assert of_said.abs().sum() > 0
    assert of_doubt is None


def problem():
    """Two level cameras, and fields with small errors; gradients are compared where no cell is an outlier. At a pitch
    of nought the tangent directions do not turn (to first order), which the losses take for granted."""
    truth = TrueCameras(doubles(0.2, 0.6), torch.tensor(up_from_attitude([0.0, 0.0], [0.3, -0.2])))
    output = output_of(truth, image_grid(64, 96, 32).double(), log_weight=2.0)
    noise = torch.randn(output.fields_bn3.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return truth, replace(output, fields_bn3=output.fields_bn3 + 0.01 * noise, log_focal_b=truth.log_focal_b + 0.02)


def test_gradients_of_the_camera_likelihood():
    truth, _ = problem()
    mix = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    information_b33 = (mix @ mix.mT + torch.eye(3)).requires_grad_()
    log_focal_b = (truth.log_focal_b + 0.1).requires_grad_()

    def loss(log_focal_b, information_b33):
        return camera_likelihood(log_focal_b, truth.up_b3, information_b33, truth)

    assert torch.autograd.gradcheck(loss, (log_focal_b, information_b33))


def test_the_gradient_by_up_is_that_of_the_angle():
    """H = diag(1, 9, 9), a pitch too low by t: 7/2 log(1 + 9 sin(t)^2 / 4), whose slope is 63/4 t / (1 + ...) for a
    small t."""
    t = 0.01
    up_b3 = doubles(0, -1, 0)[None].requires_grad_()
    camera_likelihood(doubles(0.0), up_b3, torch.diag(doubles(1, 9, 9))[None], level(0.0, t)).backward()
    # d loss / d up along the true direction (0, 0, 1).
    assert float(up_b3.grad[0, 2]) == pytest.approx(-63 / 4 * t / (1 + 9 / 4 * t**2), rel=1e-3)


@pytest.mark.parametrize("direct", [False, True])
def test_gradients_through_the_solver(direct):
    """By the fields, the stated variances and the correlation, at a solution that stands still."""
    truth, output = problem()
    correlation = doubles(1.0)[0].requires_grad_()
    fields = output.fields_bn3.clone().requires_grad_()
    doubt = output.log_weights_bn2.clone().requires_grad_()
    with torch.no_grad():
        seen = output.observations(correlation, direct=direct)
    solution = solve(seen, truth.log_focal_b, truth.up_b3, 12)

    def loss(fields, doubt, correlation):
        said = replace(output, fields_bn3=fields, log_weights_bn2=doubt).observations(correlation, direct=direct)
        return camera_likelihood(*differentiable_step(solution, said), truth)

    assert torch.autograd.gradcheck(loss, (fields, doubt, correlation), rtol=2e-2, atol=1e-4)
    # That is what the training takes, which solves on its own.
    said = replace(output, fields_bn3=fields, log_weights_bn2=doubt)
    ours = torch.autograd.grad(_solved(said, correlation, truth, direct), (fields, doubt, correlation))
    wanted = torch.autograd.grad(loss(fields, doubt, correlation), (fields, doubt, correlation))
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_camera_that_is_far_off_does_not_decide_the_step():
    """Student's t: ten times the error hardly pulls more, where a normal distribution would pull ten times as much."""
    pulls = []
    for error in (1.0, 10.0):
        log_focal_b = doubles(error).requires_grad_()
        camera_likelihood(log_focal_b, doubles(0, -1, 0)[None], torch.eye(3)[None].double() * 100, level()).backward()
        pulls.append(float(log_focal_b.grad))
    # (nu + 3) e H / (nu + H e^2): 700 / 104 and 7000 / 10004.
    assert pulls == pytest.approx([700 / 104, 7000 / 10004])


def test_what_has_moved_is_measured_on_fields_and_guess():
    def output(up_x, sine, log_focal):
        return NetworkOutput(
            torch.zeros(1, 2), torch.tensor([[[up_x, -1.0, sine]]]), torch.zeros(1, 1, 2), torch.tensor([log_focal]),
            torch.tensor([[0.0, -1.0, 0.0]]), torch.zeros(1, 2),
        )  # fmt: skip

    # |0.1| + |0.2| in the one cell, |0.5| in the focal length, nothing in the up-vector.
    assert distillation_loss(output(0.1, 0.3, 1.0), output(0.0, 0.1, 0.5)).item() == pytest.approx(0.8)
