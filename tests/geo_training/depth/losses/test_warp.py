"""Where pixels land through depth and motion, checked on numbers by hand, against OpenCV and on a rendered room."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from geo_training.depth.losses.warp import back_project, pixel_grid, project, sample, scaled_intrinsics
from geo_training.depth.networks.pose_network import motion_matrix
from geo_training.synthetic.lighting import Lighting
from geo_training.synthetic.paths import camera_pose
from geo_training.synthetic.render import Render, render
from geo_training.synthetic.room import Room
from geo_training.synthetic.surfaces import Place, Surfaces
from torch.nn.functional import max_pool2d

from geo_perception.geometry import Camera, invert_pose

K_33 = torch.tensor([[40.0, 0, 7.5], [0, 50.0, 5.5], [0, 0, 1]], dtype=torch.float64)


def moved(x=0.0, y=0.0, z=0.0) -> torch.Tensor:
    T_144 = torch.eye(4, dtype=torch.float64)[None].clone()
    T_144[0, :3, 3] = torch.tensor([x, y, z])
    return T_144


def test_a_pixel_is_its_ray_times_its_depth():
    points_13hw = back_project(torch.full((1, 1, 12, 16), 2.0, dtype=torch.float64), K_33[None])
    expected = [2 * (3 - 7.5) / 40, 2 * (9 - 5.5) / 50, 2.0]
    assert points_13hw[0, :, 9, 3].tolist() == pytest.approx(expected)


def test_without_motion_every_pixel_lands_on_itself():
    depth_11hw = torch.rand(1, 1, 12, 16, dtype=torch.float64) + 0.5
    pixels_12hw, z_11hw = project(back_project(depth_11hw, K_33[None]), K_33[None], moved())
    torch.testing.assert_close(pixels_12hw[0], pixel_grid(12, 16, dtype=torch.float64))
    torch.testing.assert_close(z_11hw, depth_11hw)


def test_a_sideways_step_moves_pixels_by_focal_length_over_depth():
    depth_11hw = torch.full((1, 1, 12, 16), 4.0, dtype=torch.float64)
    pixels_12hw, _ = project(back_project(depth_11hw, K_33[None]), K_33[None], moved(x=0.3, y=-0.2))
    apart = pixels_12hw[0] - pixel_grid(12, 16, dtype=torch.float64)
    torch.testing.assert_close(apart[0], torch.full_like(apart[0], 40 * 0.3 / 4))
    torch.testing.assert_close(apart[1], torch.full_like(apart[1], -50 * 0.2 / 4))


def test_points_agree_with_opencv_under_any_motion():
    rng = np.random.default_rng(0)
    rotation_3, translation_3 = np.array([0.2, -0.1, 0.3]), np.array([0.1, 0.05, -0.2])
    depth_11hw = torch.from_numpy(rng.uniform(1, 4, (1, 1, 12, 16)))
    points_13hw = back_project(depth_11hw, K_33[None])
    T_144 = motion_matrix(torch.from_numpy(rotation_3)[None], torch.from_numpy(translation_3)[None])
    pixels_12hw, _ = project(points_13hw, K_33[None], T_144)
    points_n3 = points_13hw[0].flatten(1).T.numpy()
    expected_n2 = cv2.projectPoints(points_n3, rotation_3, translation_3, K_33.numpy(), None)[0][:, 0]
    np.testing.assert_allclose(pixels_12hw[0].flatten(1).T.numpy(), expected_n2, atol=1e-9)


def test_points_behind_the_camera_land_nowhere_and_have_a_finite_gradient():
    depth_11hw = torch.full((1, 1, 4, 4), 1.0, dtype=torch.float64, requires_grad=True)
    pixels_12hw, z_11hw = project(back_project(depth_11hw, K_33[None]), K_33[None], moved(z=-2.0))
    assert (z_11hw < 0).all()
    warped, inside = sample(torch.ones(1, 1, 4, 4, dtype=torch.float64), pixels_12hw)
    assert not inside.any()
    warped.sum().backward()
    assert torch.isfinite(depth_11hw.grad).all()


def test_samples_are_bilinear_and_take_the_border_outside():
    image_11hw = torch.tensor([[[[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]]]])
    at = torch.tensor([[0.0, 0.0], [2.0, 1.0], [0.25, 0.5], [-3.0, 0.0], [2.0, 1.01]])
    warped, inside = sample(image_11hw, at.T[None, :, None])
    assert warped.flatten().tolist() == pytest.approx([0.0, 12.0, 5.25, 0.0, 12.0], abs=1e-5)
    assert inside.flatten().tolist() == [True, True, True, False, False]


def test_a_resized_camera_shows_the_same_point_at_the_same_place_of_the_sensor():
    camera = Camera(64, 48, 50.0, 52.0, 30.0, 25.0)
    got = scaled_intrinsics(torch.from_numpy(camera.K)[None], 0.5, 0.25)
    np.testing.assert_allclose(got[0].numpy(), camera.resized(32, 12).K, atol=1e-12)


@pytest.mark.parametrize("angle_rad", [0.0, 1e-9, 1e-4, 9.9e-4, 1.1e-3, 0.7, 3.0])
def test_rotation_vectors_are_those_of_opencv_and_motions_rigid(angle_rad):
    rotation_3 = angle_rad * np.array([2.0, -1.0, 2.0]) / 3
    T_144 = motion_matrix(torch.from_numpy(rotation_3)[None], torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64))
    np.testing.assert_allclose(T_144[0, :3, :3].numpy(), cv2.Rodrigues(rotation_3)[0], atol=1e-14)
    R_33 = T_144[0, :3, :3]
    torch.testing.assert_close(R_33.T @ R_33, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("angle_rad", [0.0, 0.3])
def test_the_gradient_of_the_warp_is_exact(angle_rad):
    """Through depth, rotation and translation, also where the rotation is zero."""
    torch.manual_seed(0)
    image_12hw = torch.rand(1, 2, 6, 7, dtype=torch.float64)
    K_133 = torch.tensor([[[6.0, 0, 3.1], [0, 6.0, 2.4], [0, 0, 1]]], dtype=torch.float64)
    depth_11hw = 2 + torch.rand(1, 1, 6, 7, dtype=torch.float64)
    rotation_13 = angle_rad * torch.tensor([[0.5, -0.6, 0.62]], dtype=torch.float64)
    translation_13 = torch.tensor([[0.11, -0.07, 0.05]], dtype=torch.float64)

    def warped(depth, rotation, translation):
        pixels, z = project(back_project(depth, K_133), K_133, motion_matrix(rotation, translation))
        return sample(image_12hw, pixels)[0], z

    inputs = [tensor.requires_grad_() for tensor in (depth_11hw, rotation_13, translation_13)]
    assert torch.autograd.gradcheck(warped, inputs)


class TestRoom:
    """Two nearby views of a rendered room, with the depth and the motion they were rendered with."""

    CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)

    @pytest.fixture(scope="class")
    def views(self):
        T_world_target = camera_pose(np.array([-0.1, 0.0, 1.3]), np.pi / 2 + 0.05, -0.1)
        T_world_source = camera_pose(np.array([0.1, 0.06, 1.35]), np.pi / 2 + 0.08, -0.12, 0.02)
        target, source = (rendered(self.CAMERA, T) for T in (T_world_target, T_world_source))
        # The exact picture half a pixel to the right and below, to tell what interpolation costs.
        between = rendered(replace(self.CAMERA, cx_px=79.0, cy_px=59.0), T_world_target)
        return target, source, between, invert_pose(T_world_source) @ T_world_target

    def reproject(self, views, depth_factor=1.0):
        depth_11hw = depth_factor * torch.from_numpy(views[0].depth_m.astype(np.float64))[None, None]
        K_133 = torch.from_numpy(self.CAMERA.K)[None]
        return project(back_project(depth_11hw, K_133), K_133, torch.from_numpy(views[3])[None])

    def seen_by_both(self, views):
        """By the source's own depth: around where a pixel lands, it shows the same surface."""
        pixels, z = self.reproject(views)
        depth_11hw = torch.from_numpy(views[1].depth_m.astype(np.float64))[None, None]
        nearest, inside = sample(-max_pool2d(-depth_11hw, 3, 1, 1), pixels)
        farthest, _ = sample(max_pool2d(depth_11hw, 3, 1, 1), pixels)
        return ((nearest > 0.95 * z) & (farthest < 1.05 * z) & inside)[0, 0]

    def error(self, views, depth_factor=1.0):
        """Mean absolute difference of linear light on the pixels that both views see."""
        pixels, _ = self.reproject(views, depth_factor)
        warped, inside = sample(light(views[1]), pixels)
        chosen_hw = self.seen_by_both(views) & inside[0, 0]
        return float((warped - light(views[0])).abs().mean(1)[0][chosen_hw].mean())

    def interpolation_error(self, views):
        """What bilinear sampling costs at worst: half way between the pixels of the same view."""
        grid_12hw = pixel_grid(120, 160, dtype=torch.float64)[None] + 0.5
        warped, inside = sample(light(views[0]), grid_12hw)
        return float((warped - light(views[2])).abs().mean(1)[0][inside[0, 0]].mean())

    def test_most_pixels_are_seen_twice_and_some_are_hidden(self, views):
        pixels, _ = self.reproject(views)
        _, inside = sample(light(views[1]), pixels)
        seen_hw = self.seen_by_both(views)
        assert seen_hw.double().mean() > 0.6
        assert (inside[0, 0] & ~seen_hw).double().mean() > 0.02  # beside the card

    def test_true_depth_and_pose_warp_at_the_level_of_interpolation(self, views):
        assert self.error(views) < self.interpolation_error(views)

    @pytest.mark.parametrize("factor", [0.95, 1.05])
    def test_depth_that_is_5_percent_off_is_clearly_worse(self, views, factor):
        assert self.error(views, factor) > 4 * self.error(views)

    def test_the_depth_that_lands_is_the_one_seen_there(self, views):
        """Disparity is linear in the image on a plane, so that sampling it is exact there."""
        pixels, z = self.reproject(views)
        disparity, _ = sample(1 / torch.from_numpy(views[1].depth_m.astype(np.float64))[None, None], pixels)
        off = (z * disparity - 1).abs()[0, 0][self.seen_by_both(views)]
        assert float(off.quantile(0.9)) < 1e-5


def rendered(camera: Camera, T_world_camera: np.ndarray) -> Render:
    """A wall, a floor and a card before the wall, with smooth patterns."""
    surfaces, rng = Surfaces(), np.random.default_rng(0)

    def pattern(height_px: int, width_px: int) -> np.ndarray:
        noise = cv2.GaussianBlur(rng.normal(size=(height_px, width_px, 3)), (0, 0), 2.5)
        return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)

    surfaces.quad(Place(), (-4, 3.0, 4), (8, 0, 0), (0, 0, -4.5), pattern, 1, pixels_per_m=50)
    surfaces.quad(Place(), (-4, 3.5, 0), (8, 0, 0), (0, -4, 0), pattern, 2, pixels_per_m=50)
    surfaces.quad(Place(), (-0.4, 2.0, 1.6), (0.7, 0, 0.1), (0, 0, -0.6), pattern, 3, pixels_per_m=50)
    room = Room(0, (8.0, 8.0, 2.7), tuple(surfaces.quads), ("nothing", "wall", "floor", "card"), (), (), (), ())
    return render(room, camera, T_world_camera, Lighting((), (1.0, 1.0, 1.0)), supersample=3)


def light(view: Render) -> torch.Tensor:
    return torch.from_numpy(view.radiance_hw3.astype(np.float64)).permute(2, 0, 1)[None]
