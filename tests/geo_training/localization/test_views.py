"""Training views: what is drawn is what is labelled."""

import cv2
import numpy as np
import pytest
from geo_training.localization.config import AugmentationConfig
from geo_training.localization.views import make_view, scene_focal_px

from geo_perception.geometry import Camera, make_pose, so3_exp
from geo_perception.localization.network_view import network_camera_at

CAMERA = Camera(320, 224, 210.0, 210.0, 159.5, 111.5)
POSE = make_pose(so3_exp(np.array([0.1, 0.2, -0.1])), np.array([0.3, -0.2, 1.0]))
GEOMETRY_ONLY = AugmentationConfig(
    gamma=0, shading=0, brightness=0, contrast=0, colour=0, blur=0, grey=0, noise=0, erase=0
)


def network_camera_alone(camera: Camera, longest_px: int) -> Camera:
    """What the network sees of a camera that is the only one of its scene."""
    return network_camera_at(camera, scene_focal_px([camera], longest_px))


def dots(camera: Camera):
    """White dots on black at known pixels, and the world points that they are images of."""
    pixels_n2 = np.array([[60.0, 50.0], [160.0, 110.0], [250.0, 60.0], [90.0, 170.0], [240.0, 180.0]])
    image = np.zeros((camera.height_px, camera.width_px, 3), np.uint8)
    for x, y in pixels_n2.astype(int):
        cv2.circle(image, (int(x), int(y)), 4, (255, 255, 255), -1, cv2.LINE_AA)
    local_n3 = np.c_[camera.normalize(pixels_n2), np.ones(5)] * 2.5
    return image, local_n3 @ POSE[:3, :3].T + POSE[:3, 3]


def centroid(image_hw3, pixel_2, radius: int = 9) -> np.ndarray:
    x, y = np.rint(pixel_2).astype(int)
    patch = image_hw3[y - radius : y + radius + 1, x - radius : x + radius + 1, 0].astype(float)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.array([x + (columns * patch).sum() / patch.sum(), y + (rows * patch).sum() / patch.sum()])


@pytest.mark.parametrize(
    "camera",
    [CAMERA, Camera(320, 224, 210.0, 210.0, 159.5, 111.5, "plumb_bob", (-0.2, 0.03, 0.001, -0.001, 0.0))],
    ids=["pinhole", "distorted"],
)
@pytest.mark.parametrize("seed", range(6))
def test_landmarks_are_where_the_view_shows_them(camera, seed):
    image, points_l3 = dots(camera)
    rng = np.random.default_rng(seed)
    view = make_view(
        image, camera, POSE, points_l3, np.ones(5, np.int8), network_camera_alone(camera, 640), GEOMETRY_ONLY, rng
    )
    seen = np.flatnonzero((view.state_l == 1) & view.camera.contains(view.pixels_l2, 12))
    assert len(seen) >= 1
    for index in seen:
        np.testing.assert_allclose(centroid(view.image_hw3, view.pixels_l2[index]), view.pixels_l2[index], atol=0.4)


def test_the_pose_of_a_view_projects_the_landmarks_to_its_pixels():
    image, points_l3 = dots(CAMERA)
    rng = np.random.default_rng(1)
    view = make_view(image, CAMERA, POSE, points_l3, np.ones(5, np.int8), CAMERA, GEOMETRY_ONLY, rng)
    local_l3 = (points_l3 - view.T_world_camera[:3, 3]) @ view.T_world_camera[:3, :3]
    np.testing.assert_allclose(view.camera.project(local_l3), view.pixels_l2, atol=1e-9)
    np.testing.assert_allclose(view.T_world_camera[:3, 3], POSE[:3, 3])  # the camera turns in its place


def test_a_landmark_outside_the_view_cannot_be_seen():
    image, points_l3 = dots(CAMERA)
    behind_13 = (POSE[:3, 3] - POSE[:3, 2])[None]
    points = np.concatenate([points_l3, behind_13])
    view = make_view(image, CAMERA, POSE, points, np.ones(6, np.int8), CAMERA, None, np.random.default_rng(0))
    assert view.state_l.tolist() == [1, 1, 1, 1, 1, -1]


def test_where_the_source_has_no_pixels_nothing_can_be_seen():
    image, points_l3 = dots(CAMERA)
    wide = Camera(640, 448, 210.0, 210.0, 319.5, 223.5)
    beyond_2 = np.array([[600.0, 400.0]])  # inside the wide view, outside the source image
    local_13 = np.c_[wide.normalize(beyond_2), 1.0] * 2.0
    points = np.concatenate([points_l3, local_13 @ POSE[:3, :3].T + POSE[:3, 3]])
    view = make_view(image, CAMERA, POSE, points, np.ones(6, np.int8), wide, None, np.random.default_rng(0))
    assert view.state_l.tolist() == [1, 1, 1, 1, 1, -1]


def test_a_covered_box_hides_its_landmarks():
    image, points_l3 = dots(CAMERA)
    covering = GEOMETRY_ONLY.model_copy(update={"erase": 1.0, "roll_deg": 0.0, "tilt_deg": 0.0, "zoom": 1.0})
    hidden = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        view = make_view(image, CAMERA, POSE, points_l3, np.ones(5, np.int8), CAMERA, covering, rng)
        for index in range(5):
            x, y = np.rint(view.pixels_l2[index]).astype(int)
            dot_is_there = view.image_hw3[y, x].tolist() == [255, 255, 255]
            assert dot_is_there == (view.state_l[index] == 1)
            hidden += view.state_l[index] == -1
    assert hidden > 0


def test_the_same_seed_makes_the_same_view():
    image, points_l3 = dots(CAMERA)
    views = [
        make_view(
            image, CAMERA, POSE, points_l3, np.ones(5, np.int8), CAMERA, AugmentationConfig(), np.random.default_rng(3)
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(views[0].image_hw3, views[1].image_hw3)


def test_the_network_camera_keeps_the_field_of_view_with_sides_of_32():
    seen = network_camera_alone(Camera(1280, 720, 900.0, 900.0, 639.5, 359.5), 640)
    assert (seen.width_px, seen.height_px) == (640, 352)
    assert seen.fx_px == pytest.approx(450.0)
    assert (seen.cx_px, seen.cy_px) == pytest.approx((319.5, 175.5))


SHARP = GEOMETRY_ONLY.model_copy(update={"roll_deg": 12.0, "tilt_deg": 6.0, "zoom": 1.2})


@pytest.mark.parametrize("distortion", [(), (-0.1, 0.01, 0.0, 0.0)], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("augmentation", [None, SHARP], ids=["plain", "turned"])
def test_what_shrinks_is_averaged_as_the_localizer_does(distortion, augmentation):
    # Four pixels of the image to one of the view, and squares of one pixel: nothing but their mean is right.
    camera = Camera(1280, 896, 840.0, 840.0, 639.5, 447.5, "plumb_bob" if distortion else "pinhole", distortion)
    squares = np.where(np.indices((896, 1280)).sum(0) % 2, 255, 0).astype(np.uint8)
    image = np.repeat(squares[..., None], 3, axis=2)
    target = network_camera_alone(camera, 640)
    view = make_view(
        image, camera, POSE, np.zeros((1, 3)), np.ones(1, np.int8), target, augmentation, np.random.default_rng(1)
    )
    inner = view.image_hw3[120:-120, 120:-120].astype(float)
    assert abs(inner.mean() - 127.5) < 1.5
    assert inner.std() < 12  # one sample a pixel: 40 and more


def test_a_plain_view_is_the_exact_mean():
    camera = Camera(960, 672, 630.0, 630.0, 479.5, 335.5)
    image = np.random.default_rng(0).integers(0, 256, (672, 960, 3)).astype(np.uint8)
    target = network_camera_alone(camera, 320)
    view = make_view(image, camera, POSE, np.zeros((1, 3)), np.ones(1, np.int8), target, None, np.random.default_rng(0))
    np.testing.assert_allclose(view.image_hw3, image.reshape(224, 3, 320, 3, 3).mean(axis=(1, 3)), atol=1)
