"""A scene that several cameras recorded is learned, calibrated and run at one focal length."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.localization.fit import HeadTask, fit_head
from geo_training.localization.views import scene_focal_px
from geo_training.mapping.landmark_set import LandmarkSet
from geo_training.mapping.scene_map import SceneMap, Tracks

from geo_perception.geometry import Camera, make_pose
from geo_perception.localization.estimator import Localizer
from geo_perception.localization.network_view import MAX_NETWORK_PIXELS, network_camera_at
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.runtime.backbone import create_backbone

# 7 frames of a camera, 4 of one with a longer lens, one of a large picture.
USUAL = Camera(320, 224, 200.0, 200.0, 159.5, 111.5)
LONG = Camera(320, 224, 320.0, 320.0, 159.5, 111.5)
LARGE = Camera(640, 448, 450.0, 450.0, 319.5, 223.5)
CAMERAS = [LONG, USUAL, USUAL, LARGE, USUAL, LONG, USUAL, LONG, USUAL, USUAL, LONG, USUAL]
CONFIG = HeadTrainingConfig(
    width=16, dilations=(1,), fine_width=0, network_width_px=320, views=1, steps=1, batch=2, held_out=0.2,
    evaluations=1, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve frames that look straight at a wall 2 m away, where 24 landmarks are."""
    root = tmp_path_factory.mktemp("cameras") / "data"
    rng = np.random.default_rng(0)
    points_l3 = np.c_[rng.uniform(-0.4, 0.4, (24, 2)), np.full(24, 2.0)]
    poses = [make_pose(np.eye(3), np.array([0.02 * i, 0.0, 0.0])) for i in range(len(CAMERAS))]
    with SceneWriter(root, ["three cameras"]) as writer:
        for i, camera in enumerate(CAMERAS):
            image = rng.integers(0, 255, (camera.height_px, camera.width_px, 3), np.uint8)
            camera_id = writer.add_camera(camera)
            writer.add_frame("walk", i, camera_id, image_rgb=image, T_world_camera=poses[i], split="train")
        writer.describe(scale="metric", scale_source="made so")
    dataset = SceneDataset(root)
    names = [frame.name for frame in dataset.frames]
    pixels_fl2 = np.stack([c.project(points_l3 - T[:3, 3]) for c, T in zip(CAMERAS, poses, strict=True)])
    seen_fl = np.ones(pixels_fl2.shape[:2], np.int8)
    landmarks = LandmarkSet(points_l3.astype(np.float32), np.ones(24, np.float32), names, seen_fl, pixels_fl2)
    none = np.zeros(0, np.int32)
    scene_map = SceneMap(
        dict(zip(names, poses, strict=True)), dict(zip(names, CAMERAS, strict=True)), points_l3, np.zeros(24),
        Tracks(none, none, np.zeros((0, 2))), True,
    )  # fmt: skip
    return HeadData(dataset, landmarks, scene_map, CONFIG)


def test_every_cameras_views_have_the_focal_length_of_most_frames(data):
    assert data.network_focal_px == 200.0
    for index, camera in enumerate(CAMERAS):
        view = data.view(index, 0, 0)
        assert (view.camera.fx_px, view.camera.fy_px) == (200.0, 200.0)
        # Two landmarks are as far apart in the network's pixels, whichever camera saw them: 200 px * distance / 2 m.
        apart_px = np.linalg.norm(view.pixels_l2[0] - view.pixels_l2[1])
        apart_m = np.linalg.norm(data.landmarks.points_world_l3[0] - data.landmarks.points_world_l3[1])
        assert apart_px == pytest.approx(200 * apart_m / 2, rel=1e-5)
        assert view.camera == network_camera_at(camera, 200.0)


def test_the_field_of_view_stays_that_of_each_camera(data):
    sizes = {camera: data.network_camera(index) for index, camera in enumerate(CAMERAS)}
    assert (sizes[USUAL].width_px, sizes[USUAL].height_px) == (320, 224)
    assert (sizes[LONG].width_px, sizes[LONG].height_px) == (192, 128)  # 200 x 140 in multiples of 32
    assert (sizes[LARGE].width_px, sizes[LARGE].height_px) == (288, 192)  # 284 x 199


def test_the_scene_runs_as_it_was_learned_and_calibrated(data, tmp_path):
    fit_head(data, tmp_path / "scene.safetensors", CONFIG)
    scene = Scene.load(tmp_path / "scene.safetensors")
    assert scene.network_focal_px == 200.0
    assert scene.mapping_camera["fx"] == 200.0  # of the seven frames, though the first is of another
    assert scene.network_size_px == (320, 224)
    assert [(c["fx"], c["frames"]) for c in scene.header["other_cameras"]] == [(320.0, 4), (450.0, 1)]
    localizer = Localizer(scene, "cpu")
    for index, camera in enumerate(CAMERAS):
        assert localizer.network_camera(camera) == data.view(index, 0, 0).camera
    held_out = HeadTask(data, scene.backbone, localizer.device).held_out_views(scene.head)
    assert {round(view.camera.fx_px, 9) for view in held_out[::4]} == {200.0}


def test_memory_is_counted_by_the_pixels_of_every_camera(data):
    """The first learned frame is of the long lens, whose views are less than half as large as the usual camera's."""
    task = HeadTask(data, create_backbone(), torch.device("cpu"))
    task.prepare()
    held = sum(feature.nbytes for slot in task.buffer._slots.values() for feature in slot.features)
    assert task.buffer.bytes_a_view == held == task.buffer._storage.nbytes


def test_the_one_frame_of_a_camera_is_learned_too(data):
    """The large picture's views have a size of their own, of which there are fewer than a batch."""
    task = HeadTask(data, create_backbone(), torch.device("cpu"))
    shapes = [batch.features[0].shape for batch in task.buffer.batches(0)]
    assert len({tuple(shape[2:]) for shape in shapes}) == 3
    assert {shape[0] for shape in shapes} == {CONFIG.batch}


def test_the_floor_of_the_noise_is_a_share_of_the_distance_where_the_scale_is_unknown(data):
    """Landmarks are 2 m away: 3 mm at 3 m is 2 mm there, and 1000 times that in a unit of a millimetre."""
    assert data.usual_noise == NoiseModel()
    unit = 1000.0
    poses = {name: make_pose(T[:3, :3], unit * T[:3, 3]) for name, T in data.map.T_world_camera.items()}
    points_l3 = data.landmarks.points_world_l3 * np.float32(unit)
    unknown = HeadData(
        data.dataset, replace(data.landmarks, points_world_l3=points_l3),
        replace(data.map, T_world_camera=poses, metric=False), CONFIG,
    )  # fmt: skip
    assert unknown.usual_noise.floor_m == pytest.approx(2.0, rel=0.03)
    assert unknown.usual_noise.floor_rad == NoiseModel().floor_rad


def test_the_focal_length_is_the_middle_one_of_the_frames():
    assert scene_focal_px([USUAL], 640) == 200.0
    assert scene_focal_px([LARGE], 320) == 225.0  # made smaller
    assert scene_focal_px([USUAL, LONG], 640) == 200.0
    assert scene_focal_px([USUAL, LONG, LONG], 640) == 320.0
    broken = Camera(320, 224, 3.0, 3.0, 159.5, 111.5)
    assert scene_focal_px([broken, USUAL, USUAL], 640) == 200.0


def test_a_wide_camera_among_long_ones_does_not_fill_the_memory():
    wide = Camera(1280, 960, 300.0, 300.0, 639.5, 479.5)
    view = network_camera_at(wide, 900.0)
    assert view.fx_px == 900.0
    assert 0.9 * MAX_NETWORK_PIXELS < view.width_px * view.height_px < 1.1 * MAX_NETWORK_PIXELS
    assert abs(view.cx_px - (view.width_px - 1) / 2) < 1  # the middle is kept
