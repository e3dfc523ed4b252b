"""Perspective fields: by hand, against the renderer's rays, and their derivatives against differences."""

import numpy as np
import pytest
import torch
from geo_training.calibration.data.crops import CropSpec, _directions

from geo_perception.calibration.fields import (
    fields_with_jacobians,
    image_grid,
    image_scale,
    perspective_fields,
    tangent_basis,
)
from geo_perception.calibration.solve import moved
from geo_perception.geometry import up_from_attitude


def camera(log_focal, pitch_rad, roll_rad):
    """One camera, float64."""
    return torch.tensor([float(log_focal)], dtype=torch.float64), torch.tensor(
        up_from_attitude([pitch_rad], [roll_rad])
    )


def fields_at(xy, log_focal=0.0, pitch_rad=0.0, roll_rad=0.0):
    up_bn2, sine_bn = perspective_fields(
        *camera(log_focal, pitch_rad, roll_rad), torch.tensor([xy], dtype=torch.float64)
    )
    return up_bn2[0, 0].numpy(), float(torch.rad2deg(torch.asin(sine_bn[0, 0])))


def test_the_grid_is_the_centres_of_the_cells():
    grid = image_grid(32, 64, 16)
    # 2 x 4 cells of 16 pixels; half the side of a square of the same area is sqrt(32 * 64) / 2.
    scale = np.sqrt(2048) / 2
    assert image_scale(32, 64) == pytest.approx(scale)
    expected = [(x, y) for y in (-8, 8) for x in (-24, -8, 8, 24)]
    np.testing.assert_allclose(grid.numpy() * scale, expected, atol=1e-5)


def test_a_square_image_of_90_degrees_has_a_log_focal_of_nought():
    """Its edge lies at 1, so that the focal length is half the side."""
    assert image_scale(224, 224) == 112


def test_the_level_camera_by_hand():
    up, latitude = fields_at((0, 0))
    assert (list(up), latitude) == (pytest.approx([0, -1]), pytest.approx(0))
    # 90 degrees of field of view: the middle of the upper edge looks 45 degrees up.
    up, latitude = fields_at((0, -1))
    assert (list(up), latitude) == (pytest.approx([0, -1]), pytest.approx(45))
    # The upper right corner: the ray (1, -1, 1) rises by asin(1 / sqrt 3).
    up, latitude = fields_at((1, -1))
    assert (list(up), latitude) == (pytest.approx([0, -1]), pytest.approx(35.26439))


def test_a_pitched_camera_by_hand():
    """Looking 45 degrees up: the lower edge is level, the upper edge looks at the zenith."""
    _, latitude = fields_at((0, 1), pitch_rad=np.pi / 4)
    assert latitude == pytest.approx(0, abs=1e-9)
    _, latitude = fields_at((0, -0.999999), pitch_rad=np.pi / 4)
    assert latitude == pytest.approx(90, abs=1e-3)
    # At the image's right edge all verticals run to the zenith at (0, -1): from (1, 0) towards (-1, -1).
    up, latitude = fields_at((1, 0), pitch_rad=np.pi / 4)
    assert list(up) == pytest.approx([-np.sqrt(0.5), -np.sqrt(0.5)])
    assert latitude == pytest.approx(30)  # asin(sin 45 / sqrt 2)


def test_a_rolled_camera_by_hand():
    up, latitude = fields_at((-1, 0), roll_rad=np.pi / 2)
    assert list(up) == pytest.approx([-1, 0])  # up is at the left
    assert latitude == pytest.approx(45)


def test_a_longer_focal_length_makes_latitudes_smaller():
    _, latitude = fields_at((0, -1), log_focal=np.log(2))
    assert latitude == pytest.approx(np.degrees(np.arctan(0.5)))


@pytest.mark.parametrize(
    "spec",
    [
        CropSpec(64, 48, 40.0, 0.5, 0.3, 1.0),
        CropSpec(32, 96, 70.0, -1.3, -0.7),
        CropSpec(64, 64, 25.0, 1.5, 3.0),
        CropSpec(96, 32, 400.0, 0.0, 0.0),
    ],
    ids=["wide", "tall", "steep", "level"],
)
def test_latitudes_are_those_the_crops_are_rendered_with(spec):
    elevation_hw = -np.concatenate([below_hw for _, _, below_hw in _directions(spec, 1)])
    log_focal_b = torch.tensor([np.log(spec.focal_px / image_scale(spec.height_px, spec.width_px))])
    up_b3 = torch.tensor(up_from_attitude([spec.pitch_rad], [spec.roll_rad]))
    _, sine_bn = perspective_fields(log_focal_b, up_b3, image_grid(spec.height_px, spec.width_px, 1).double())
    np.testing.assert_allclose(sine_bn[0].reshape(spec.height_px, -1), np.sin(elevation_hw), atol=2e-6)


@pytest.mark.parametrize(("log_focal", "pitch", "roll"), [(0, 0.3, -0.2), (1.5, -1.2, 2.5), (-1, 0.9, 0.7)])
def test_up_is_where_a_point_moves_when_it_is_lifted(log_focal, pitch, roll):
    """A point on each ray, lifted a little along the up-vector and projected again."""
    log_focal_b, up_b3 = camera(log_focal, pitch, roll)
    xy_n2 = image_grid(96, 64, 32).double()
    up_bn2, _ = perspective_fields(log_focal_b, up_b3, xy_n2)
    focal = torch.exp(log_focal_b)
    lifted_n3 = torch.cat([xy_n2 / focal, torch.ones(len(xy_n2), 1)], -1) + 1e-6 * up_b3
    moved_n2 = lifted_n3[:, :2] / lifted_n3[:, 2:] * focal - xy_n2
    np.testing.assert_allclose(up_bn2[0], torch.nn.functional.normalize(moved_n2, dim=-1), atol=1e-5)


CAMERAS = [(0.3, 0.2, -0.4), (-1.0, -1.1, 2.0), (2.0, 0.0, 0.0), (0.5, 1.3, -3.0), (0.8, -0.9, 0.1)]


@pytest.mark.parametrize(("log_focal", "pitch", "roll"), CAMERAS)
def test_derivatives_are_the_differences(log_focal, pitch, roll):
    log_focal_b, up_b3 = camera(log_focal, pitch, roll)
    xy_n2 = image_grid(96, 160, 32).double()
    fields_bn3, jacobian_bn33 = fields_with_jacobians(log_focal_b, up_b3, xy_n2)
    up_bn2, sine_bn = perspective_fields(log_focal_b, up_b3, xy_n2)
    np.testing.assert_array_equal(fields_bn3, torch.cat([up_bn2, sine_bn[..., None]], -1))
    for index in range(3):
        step_b3 = torch.zeros(1, 3, dtype=torch.float64)
        step_b3[0, index] = 1e-6
        more = fields_with_jacobians(*moved(log_focal_b, up_b3, step_b3), xy_n2)[0]
        less = fields_with_jacobians(*moved(log_focal_b, up_b3, -step_b3), xy_n2)[0]
        np.testing.assert_allclose(jacobian_bn33[..., index], (more - less) / 2e-6, atol=1e-6)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.6, -0.5), (-1.4, 2.9), (np.pi / 2, 0.0), (-np.pi / 2, 1.0)])
def test_the_tangent_directions_are_perpendicular_units(pitch, roll):
    _, up_b3 = camera(0, pitch, roll)
    frame_33 = torch.cat([tangent_basis(up_b3)[0], up_b3[0][:, None]], -1)
    np.testing.assert_allclose(frame_33.T @ frame_33, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.6, -0.5), (-1.2, 2.9)])
def test_the_first_direction_is_a_roll_and_the_second_a_pitch(pitch, roll):
    basis_32 = tangent_basis(camera(0, pitch, roll)[1])[0].numpy()
    by_roll = (up_from_attitude(pitch, roll + 1e-6) - up_from_attitude(pitch, roll - 1e-6)) / 2e-6
    by_pitch = (up_from_attitude(pitch + 1e-6, roll) - up_from_attitude(pitch - 1e-6, roll)) / 2e-6
    np.testing.assert_allclose(basis_32[:, 0] * np.cos(pitch), by_roll, atol=1e-9)
    np.testing.assert_allclose(basis_32[:, 1], by_pitch, atol=1e-9)


def test_looking_straight_up_all_is_finite_even_at_the_zenith_itself():
    up_b3, log_focal_b = torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1)
    xy_n2 = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, -1.0]])
    fields_bn3, jacobian_bn33 = fields_with_jacobians(log_focal_b, up_b3, xy_n2)
    assert torch.isfinite(fields_bn3).all()
    assert torch.isfinite(jacobian_bn33).all()
    # Away from the zenith up runs towards it.
    assert fields_bn3[0, 1:].numpy() == pytest.approx(np.array([[-1, 0, 1 / np.sqrt(1.25)], [0, 1, np.sqrt(0.5)]]))
