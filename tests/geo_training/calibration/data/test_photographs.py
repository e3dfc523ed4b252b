"""Photographs with known K and gravity: pitch and roll from the pose, and crops whose labels stay exact."""

import cv2
import numpy as np
import pytest
from geo_training.calibration.data.photographs import (
    CalibrationExample,
    RecropConfig,
    centred,
    draw_recrop,
    examples,
    folder_examples,
    recrop,
    render_recrop,
)
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, attitude_from_up, make_pose, rotation_gravity_camera, up_from_attitude

CAMERA = Camera(90, 60, 80.0, 80.0, 44.5, 29.5)
Z_DOWN = (0.0, 0.0, -1.0)
# z up; the camera looks along +y: its x is +x, its y (down) is -z, its z is +y.
LEVEL_33 = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def about_x(angle_deg):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_z(angle_deg):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def dataset(folder, rotations, gravity_world=Z_DOWN, camera=CAMERA, known=True):
    with SceneWriter(folder, sources=["test"]) as writer:
        writer.describe(gravity_world=gravity_world)
        camera_id = writer.add_camera(camera, known=known)
        for index, R in enumerate(rotations):
            image = np.full((camera.height_px, camera.width_px, 3), 10 * index, np.uint8)
            pose = None if R is None else make_pose(R, [1.0, 2.0, 3.0])
            writer.add_frame("walk", index, camera_id, image_rgb=image, T_world_camera=pose)
    return SceneDataset(folder)


def test_pitch_and_roll_of_known_poses(tmp_path):
    # +angle about the camera's x (right) lifts its z from +y towards +z; +angle about its z turns the picture the other
    # way, so that the left end of the horizon sinks.
    turns = [LEVEL_33, LEVEL_33 @ about_x(20), LEVEL_33 @ about_x(-35), LEVEL_33 @ about_z(15),
             LEVEL_33 @ about_x(20) @ about_z(-40), None]  # fmt: skip
    found = examples(dataset(tmp_path / "d", turns))
    attitudes = np.degrees([(example.pitch_rad, example.roll_rad) for example in found])
    assert attitudes == pytest.approx(np.array([[0, 0], [20, 0], [-35, 0], [0, 15], [20, -40]]), abs=1e-6)
    assert [example.name for example in found] == [f"walk/00000{n}.jpg" for n in range(5)]  # the last has no pose
    assert (found[0].sequence, found[0].focal_px) == ("walk", pytest.approx(80))


def test_looking_up_puts_a_point_at_eye_height_below_the_centre(tmp_path):
    example = examples(dataset(tmp_path / "d", [LEVEL_33 @ about_x(20)]))[0]
    ahead_camera = (LEVEL_33 @ about_x(20)).T @ [0.0, 1.0, 0.0]
    assert example.camera.project(ahead_camera)[0] == pytest.approx([44.5, 29.5 + 80 * np.tan(example.pitch_rad)])


def test_gravity_may_be_given_and_any_axis_may_be_down(tmp_path):
    scene = dataset(tmp_path / "d", [np.eye(3)], gravity_world=None)
    assert examples(scene, gravity_world=(0, 2.0, 0))[0].pitch_rad == pytest.approx(0)  # y is down, of any length
    assert np.degrees(examples(scene, gravity_world=(1, 0, 0))[0].roll_rad) == pytest.approx(90)  # the right is down
    for wrong in ((0, 0, 0), (0, 1), (np.nan, 0, 1)):
        with pytest.raises(InputError, match="is no direction"):
            examples(scene, gravity_world=wrong)


def test_images_are_read_when_asked_for(tmp_path):
    scene = dataset(tmp_path / "d", [LEVEL_33, LEVEL_33])
    found = examples(scene)
    assert np.abs(found[1].image().astype(int) - 10).max() <= 1
    found[1].image_path.unlink()
    with pytest.raises(InputError, match=r"000001\.jpg cannot be read"):
        found[1].image()
    cv2.imwrite(str(found[0].image_path), np.zeros((60, 91, 3), np.uint8))
    with pytest.raises(InputError, match="91 x 60 pixels, which do not fit its K"):
        found[0].image()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gravity_world": None}, "does not say where down is"),
        ({"known": False}, "is a guess"),
        ({"rotations": [None]}, "has no poses"),
    ],
)
def test_a_dataset_that_cannot_tell_is_refused(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        examples(dataset(tmp_path / "d", **({"rotations": [LEVEL_33]} | changes)))


def test_a_folder_with_an_off_centre_principal_point(tmp_path):
    (tmp_path / "rgb").mkdir()
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "rgb" / "0.png"), image[..., ::-1])
    np.savetxt(tmp_path / "K.txt", [[80, 0, 44.5], [0, 82, 25.25], [0, 0, 1]])
    np.savetxt(tmp_path / "poses.txt", make_pose(LEVEL_33 @ about_x(-10), [0, 0, 0]).reshape(1, 16))
    example = folder_examples(tmp_path, Z_DOWN)[0]
    assert np.degrees(example.pitch_rad) == pytest.approx(-10)
    assert example.principal_offset_px == pytest.approx((0, -4.25))
    assert example.focal_px == pytest.approx(np.sqrt(80 * 82))
    middle = centred(example)
    assert (middle.camera.width_px, middle.camera.height_px) == (90, 52)  # 8 rows less, at the bottom
    assert middle.principal_offset_px == pytest.approx((0, -0.25))
    assert (middle.image() == image[:52]).all()
    assert middle.pitch_rad == example.pitch_rad
    assert centred(middle) == middle


def test_what_lies_left_and_above_is_cut_as_well():
    example = CalibrationExample("a", None, Camera(90, 60, 80.0, 80.0, 47.5, 33.5), 0.0, 0.0)
    middle = centred(example)
    assert (middle.window_px, middle.camera.width_px, middle.camera.height_px) == ((6, 8), 84, 52)
    assert middle.principal_offset_px == (0, 0)
    with pytest.raises(InputError, match="principal point lies outside"):
        centred(CalibrationExample("a", None, Camera(90, 60, 80.0, 80.0, 95.0, 29.5), 0.0, 0.0))


def test_a_folder_without_poses_or_with_a_bent_lens_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        folder_examples(tmp_path / "nowhere", Z_DOWN)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((60, 90, 3), np.uint8))
    with pytest.raises(InputError, match="both a K and a pose"):
        folder_examples(tmp_path, Z_DOWN)
    (tmp_path / "transforms.json").write_text(
        '{"fl_x": 80, "k1": 0.2, "frames": [{"file_path": "0.png", "transform_matrix": '
        "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}"
    )
    with pytest.raises(InputError, match="the lens bends"):
        folder_examples(tmp_path, Z_DOWN)


PHOTO = Camera(540, 360, 495.0, 500.0, 269.5, 169.0)
EXAMPLE = CalibrationExample("photo", None, PHOTO, np.radians(-24.0), np.radians(8.0))


def photo_with_dot(direction_3):
    """Black, with a round blot at the pixel of a direction in the photograph's optical frame."""
    rows, columns = np.mgrid[: PHOTO.height_px, : PHOTO.width_px]
    x, y = PHOTO.project(direction_3)[0]
    blot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.repeat(np.rint(blot).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(6))
def test_a_crops_labels_agree_with_where_a_known_direction_appears(seed):
    spec, R_photo_crop = draw_recrop(EXAMPLE, np.random.default_rng(seed), RecropConfig())
    towards_crop = np.array([0.03, -0.04, 1.0])
    crop = render_recrop(photo_with_dot(R_photo_crop @ towards_crop), PHOTO, spec, R_photo_crop)[..., 0].astype(float)
    rows, columns = np.mgrid[: spec.height_px, : spec.width_px]
    seen = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    assert seen == pytest.approx(spec.camera.project(towards_crop)[0], abs=0.3)
    # Up is one direction, seen from both cameras.
    up_photo = R_photo_crop @ up_from_attitude(spec.pitch_rad, spec.roll_rad)
    assert attitude_from_up(up_photo) == (pytest.approx(EXAMPLE.pitch_rad), pytest.approx(EXAMPLE.roll_rad))


def test_a_crop_that_is_only_tilted_has_the_pitch_that_was_added():
    level = CalibrationExample("level", None, PHOTO, 0.0, 0.0)
    rng = np.random.default_rng(3)
    spec, R_photo_crop = draw_recrop(level, rng, RecropConfig(roll_deg=0))
    axis_level = rotation_gravity_camera(0.0, 0.0) @ R_photo_crop[:, 2]  # x ahead, y left, z up
    assert spec.pitch_rad == pytest.approx(np.arcsin(axis_level[2]))
    assert 0 < abs(np.degrees(spec.pitch_rad)) < 12


def test_a_crop_lies_within_its_photograph_and_touches_it_without_zoom():
    image = np.full((360, 540, 3), 200, np.uint8)
    image[:2], image[-2:], image[:, :2], image[:, -2:] = 0, 0, 0, 0
    for seed in range(12):
        spec, R_photo_crop = draw_recrop(EXAMPLE, np.random.default_rng(seed), RecropConfig(zoom=1))
        x, y = np.array([-0.5, spec.width_px - 0.5]), np.array([-0.5, spec.height_px - 0.5])
        corners = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        pixels = PHOTO.project(spec.camera.bearings(corners) @ R_photo_crop.T)
        room_4 = np.stack([pixels, [539, 359] - pixels]).min(axis=1)
        assert room_4.min() == pytest.approx(0, abs=1e-6)


def test_the_focal_length_is_at_most_zoom_times_that_of_the_widest_crop():
    for seed in range(12):
        widest = draw_recrop(EXAMPLE, np.random.default_rng(seed), RecropConfig(zoom=1))[0]
        zoomed = draw_recrop(EXAMPLE, np.random.default_rng(seed), RecropConfig(zoom=3))[0]
        assert widest.focal_px <= zoomed.focal_px <= 3 * widest.focal_px
        assert (widest.pitch_rad, widest.roll_rad) == (zoomed.pitch_rad, zoomed.roll_rad)


def test_a_large_photograph_is_averaged_not_aliased():
    large = Camera(1080, 720, 1000.0, 1000.0, 539.5, 359.5)
    rows, columns = np.mgrid[:720, :1080]
    checker = np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, axis=2)
    example = CalibrationExample("large", None, large, 0.0, 0.0)
    crop, spec = recrop(
        example, np.random.default_rng(0), RecropConfig(sizes_px=((96, 64),), zoom=1), image_hw3=checker
    )
    assert crop.shape == (64, 96, 3)
    assert large.fx_px / spec.focal_px > 5
    assert crop.mean() == pytest.approx(127.5, abs=2)
    assert crop.std() < 6


def test_a_narrow_photograph_is_turned_less():
    tele = CalibrationExample("tele", None, Camera(90, 60, 2000.0, 2000.0, 44.5, 29.5), 0.1, 0.0)  # 1.7 degrees high
    for seed in range(8):
        spec, R_photo_crop = draw_recrop(tele, np.random.default_rng(seed), RecropConfig())
        assert np.degrees(np.arccos(R_photo_crop[2, 2])) < 1.6
        assert spec.focal_px > 2000
    outside = CalibrationExample("bad", None, Camera(90, 60, 80.0, 80.0, 200.0, 29.5), 0.0, 0.0)
    with pytest.raises(InputError, match="principal point lies outside"):
        draw_recrop(outside, np.random.default_rng(0), RecropConfig(turn_deg=0))


def test_draws_repeat():
    image = np.random.default_rng(0).integers(0, 255, (360, 540, 3), np.uint8)
    first, second = (recrop(EXAMPLE, np.random.default_rng(5), image_hw3=image) for _ in range(2))
    assert first[1] == second[1]
    assert (first[0] == second[0]).all()


def test_the_office_has_a_pitch_and_a_roll_for_every_frame(shared_data):
    found = folder_examples(shared_data / "office", gravity_world=(0, -1, 0))
    assert len(found) == 373
    pitch_deg = np.degrees([example.pitch_rad for example in found])
    roll_deg = np.degrees([example.roll_rad for example in found])
    assert -35 < np.median(pitch_deg) < -10  # a head that looks down at desks
    assert np.median(np.abs(roll_deg)) < 5
    assert found[0].image().shape == (360, 540, 3)
    assert found[0].principal_offset_px == pytest.approx((0.0, -10.31), abs=0.01)
    crop, spec = recrop(found[100], np.random.default_rng(0))
    assert crop.shape == (spec.height_px, spec.width_px, 3)
