"""One image to one pose, with a small scene that was really trained."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_scene import CAMERA, tiny_pose, tiny_view

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, pose_error
from geo_perception.localization.estimator import Localizer, LocalizerOptions
from geo_perception.localization.places import Places
from geo_perception.localization.result import Verdict
from geo_perception.localization.scene import NoiseModel, Scene
from geo_perception.runtime.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def localizer(tiny_scene) -> Localizer:
    return Localizer.load(tiny_scene.scene_path, "cpu")


@pytest.fixture(scope="module")
def queries(tiny_scene):
    dataset = tiny_scene.dataset
    return [(dataset.image(f), dataset.camera(f), f.T_world_camera) for f in dataset.of_split("test")]


def test_images_that_training_did_not_see_are_placed(localizer, queries):
    errors = []
    for image, camera, T_true in queries:
        result = localizer.estimate(image, camera)
        assert result.localized, result.detail
        assert result.detections.inlier_n.sum() >= 20
        errors.append(pose_error(T_true, result.T_map_camera))
    distance_m, angle_rad = np.median(errors, axis=0)
    assert distance_m < 0.06
    assert np.degrees(angle_rad) < 1.5


@pytest.fixture(scope="module")
def landmarks_only(tiny_scene) -> Localizer:
    return Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(second_look=False))


def test_the_second_look_is_nearer_and_says_what_it_searched_and_found(localizer, landmarks_only, queries):
    errors = []
    for image, camera, T_true in queries:
        looked, plain = localizer.estimate(image, camera), landmarks_only.estimate(image, camera)
        assert 100 < 0.8 * looked.searched_points < looked.agreeing_points <= looked.searched_points
        agreeing = int(looked.detections.inlier_n.sum())
        assert looked.detail == (
            f"{looked.agreeing_points} of {looked.searched_points} map points and {agreeing} landmarks agree"
        )
        assert (plain.searched_points, plain.agreeing_points) == (0, 0)
        assert set(looked.timings_s) == {"prepare", "network", "pose", "second_look", "total"}
        parts_s = [seconds for name, seconds in looked.timings_s.items() if name != "total"]
        assert sum(parts_s) == pytest.approx(looked.timings_s["total"])
        errors.append([pose_error(T_true, result.T_map_camera)[0] for result in (looked, plain)])
    looked_m, plain_m = np.median(errors, axis=0)
    assert looked_m < 0.005
    assert looked_m < 0.5 * plain_m


def test_a_scene_without_map_points_is_localized_by_its_landmarks(tiny_scene, landmarks_only, queries):
    scene = Scene.load(tiny_scene.scene_path)
    scene.points = scene.places = None
    image, camera, _ = queries[0]
    result = Localizer(scene, "cpu").estimate(image, camera)
    # A scene that was made by hand is not run as one graph, which rounds otherwise.
    np.testing.assert_allclose(result.T_map_camera, landmarks_only.estimate(image, camera).T_map_camera, atol=2e-3)


def test_a_pose_with_too_little_confidence_is_refused(tiny_scene, queries):
    strict = Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(min_confidence=1.0))
    result = strict.estimate(*queries[0][:2])
    assert result.verdict is Verdict.NO_CONSENSUS
    assert result.T_map_camera is None
    assert 100 < result.agreeing_points < result.searched_points
    assert 0.9 < result.confidence < 1.0
    assert result.detail == (
        f"{result.agreeing_points} of {result.searched_points} map points are where the likeliest pose has them; its "
        f"confidence is {result.confidence:.2f}, 1.00 is needed"
    )


def test_confidence_is_told_with_the_pose_and_is_none_without_a_second_look(tiny_scene, queries):
    image, camera, _ = queries[0]
    assert Localizer.load(tiny_scene.scene_path, "cpu").estimate(image, camera).confidence > 0.9
    alone = Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(second_look=False))
    assert np.isnan(alone.estimate(image, camera).confidence)


def test_an_image_of_elsewhere_is_not_localized(tiny_scene, queries):
    image, camera, _ = queries[0]
    mirrored = Localizer.load(tiny_scene.scene_path, "cpu").estimate(np.ascontiguousarray(image[:, ::-1]), camera)
    assert not mirrored.localized
    assert not mirrored.confidence > 0.3


def test_landmarks_that_are_confused_everywhere_do_not_pass_the_map_points(tiny_scene, queries):
    """The landmarks have a wrong place, all of them alike; what is seen there is something else."""
    scene = Scene.load(tiny_scene.scene_path)
    scene.landmarks_map_l3 = scene.landmarks_map_l3 + [0.0, 0.0, 1.0]
    image, camera, T_true = queries[0]
    assert not Localizer(scene, "cpu", LocalizerOptions(places=0)).estimate(image, camera).localized
    assert Localizer(scene, "cpu", LocalizerOptions(second_look=False)).estimate(image, camera).localized
    # The map points of a place, looked for in the whole image, give the pose that the landmarks do not.
    found = Localizer(scene, "cpu").estimate(image, camera)
    assert found.localized
    assert found.detections.inlier_n.sum() == 0
    assert pose_error(T_true, found.T_map_camera)[0] < 0.01


def test_places_are_asked_where_the_whole_scene_gives_no_pose(tiny_scene, queries):
    image, camera, T_true = queries[0]
    # With a score that none reaches, the landmarks of the whole scene are too few; those of a place need less.
    asked, not_asked = (
        Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(min_score=2.0, places=places))
        for places in (4, 0)
    )
    result = asked.estimate(image, camera)
    assert result.localized
    assert pose_error(T_true, result.T_map_camera)[0] < 0.01
    assert not_asked.estimate(image, camera).verdict is Verdict.TOO_FEW_LANDMARKS


def test_a_camera_of_another_size_and_focal_length_is_placed_too(localizer, queries):
    import cv2

    image, camera, T_true = queries[0]
    large = cv2.resize(image, (800, 560), interpolation=cv2.INTER_CUBIC)
    result = localizer.estimate(large, camera.resized(800, 560))
    assert result.localized
    assert pose_error(T_true, result.T_map_camera)[0] < 0.12
    pixels_n2 = result.detections.pixels_n2[result.detections.inlier_n]
    assert pixels_n2.max() > 400  # detections are in the pixels of the image as it came


def view_of(localizer, image, camera, monkeypatch) -> np.ndarray:
    """What the network sees of an image."""
    views = []
    monkeypatch.setattr(localizer.viewer, "network", lambda view_hw3: views.append(view_hw3) or stop())
    with pytest.raises(StopIteration):
        localizer.estimate(image, camera)
    return views[0].astype(float)


def stop():
    raise StopIteration


@pytest.mark.parametrize("forward_m", [1.5, 1.65])
def test_from_less_than_half_the_distance_the_pose_is_found_in_the_half_of_the_image(
    localizer, landmarks_only, forward_m
):
    T_true = tiny_pose(forward_m)
    image = tiny_view(T_true)
    assert landmarks_only.estimate(image, CAMERA).verdict is Verdict.TOO_FEW_LANDMARKS
    result = localizer.estimate(image, CAMERA)
    assert result.localized, result.detail
    assert pose_error(T_true, result.T_map_camera)[0] < 0.01


@pytest.mark.parametrize("shrink", [2, 3, 5])
def test_the_network_sees_the_mean_of_all_pixels_of_a_large_image(localizer, queries, monkeypatch, shrink):
    camera = localizer.network_camera(queries[0][1])
    width_px, height_px = camera.width_px, camera.height_px
    image = np.random.default_rng(0).integers(0, 256, (height_px * shrink, width_px * shrink, 3)).astype(np.uint8)
    image[: height_px * shrink // 2] = np.where(np.indices(image.shape[:2]).sum(0) % 2, 255, 0)[
        : len(image) // 2, :, None
    ]
    view = view_of(localizer, image, camera.resized(width_px * shrink, height_px * shrink), monkeypatch)
    means = image.reshape(height_px, shrink, width_px, shrink, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(view, means, atol=1)


def test_a_lens_that_shrinks_the_image_is_averaged_too(localizer, queries, monkeypatch):
    camera = localizer.network_camera(queries[0][1]).resized(960, 672)
    lens = Camera(960, 672, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, "plumb_bob", (-0.1, 0.01, 0, 0, 0))
    squares = np.where(np.indices((672, 960)).sum(0) % 2, 255, 0).astype(np.uint8)
    view = view_of(localizer, np.repeat(squares[..., None], 3, axis=2), lens, monkeypatch)
    inner = view[40:-40, 40:-40]
    assert abs(inner.mean() - 127.5) < 1
    assert inner.std() < 12  # one sample a pixel shows patterns of black and white, 40 strong


def test_a_distorted_camera_is_undistorted(localizer, queries):
    import cv2

    image, camera, T_true = queries[1]
    lens = Camera(camera.width_px, camera.height_px, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px,
                  "plumb_bob", (-0.25, 0.06, 0.001, -0.001, 0.0))  # fmt: skip
    distorted = cv2.remap(image, *camera.remap_to(lens), cv2.INTER_LINEAR)
    honest, ignorant = localizer.estimate(distorted, lens), localizer.estimate(distorted, camera)
    assert honest.localized
    error_m = pose_error(T_true, honest.T_map_camera)[0]
    assert error_m < 0.12
    assert not ignorant.localized or ignorant.reprojection_px > honest.reprojection_px


def test_the_same_image_gives_the_same_answer(localizer, queries):
    image, camera, _ = queries[0]
    first, second = localizer.estimate(image, camera, seed=3), localizer.estimate(image, camera, seed=3)
    np.testing.assert_array_equal(first.T_map_camera, second.T_map_camera)


def test_the_covariance_is_symmetric_positive_and_never_zero(localizer, queries):
    for image, camera, _ in queries:
        covariance_66 = localizer.estimate(image, camera).covariance_66
        np.testing.assert_allclose(covariance_66, covariance_66.T, rtol=1e-6, atol=1e-15)
        assert np.linalg.eigvalsh(covariance_66)[0] > 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((224, 320, 3), np.uint8),
        np.full((224, 320, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (224, 320, 3), np.uint8),
        np.tile(np.uint8([[[255, 0, 0], [0, 0, 255]]]), (224, 160, 1)),
    ],
    ids=["black", "white", "noise", "stripes"],
)
def test_an_image_of_another_place_is_not_localized(localizer, image):
    result = localizer.estimate(image, Camera(320, 224, 210.0, 210.0, 159.5, 111.5))
    assert not result.localized
    assert result.T_map_camera is None
    assert result.detail


@given(
    arrays(st.sampled_from([np.uint8, np.float32, np.uint16, bool]), array_shapes(min_dims=0, max_dims=4, max_side=40))
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_array_however_strange_raises(localizer, image):
    result = localizer.estimate(image, Camera(320, 224, 210.0, 210.0, 159.5, 111.5))
    assert not result.localized


@pytest.mark.parametrize(
    "image", [None, "image", 3, b"", np.zeros((0, 320, 3), np.uint8), np.zeros((40000, 40, 3), np.uint8)]
)
def test_what_is_no_image_is_a_verdict(localizer, image):
    result = localizer.estimate(image, Camera(320, 224, 210.0, 210.0, 159.5, 111.5))
    assert result.verdict is Verdict.BAD_IMAGE


def test_a_pose_that_is_too_uncertain_is_not_given(tiny_scene, queries):
    strict = Localizer.load(tiny_scene.scene_path, "cpu", LocalizerOptions(max_sigma_m=1e-4))
    image, camera, _ = queries[0]
    result = strict.estimate(image, camera)
    assert result.verdict is Verdict.TOO_UNCERTAIN
    assert "m and" in result.detail


def test_a_wide_camera_is_seen_at_the_focal_length_of_the_map(localizer):
    wide = localizer.network_camera(Camera(1280, 960, 400.0, 400.0, 639.5, 479.5))
    assert wide.fx_px == pytest.approx(localizer.scene.network_focal_px)
    assert wide.width_px % 32 == wide.height_px % 32 == 0
    assert wide.width_px * wide.height_px <= 1.1 * (1 << 20)


def test_a_scene_file_survives_a_round_trip(tiny_scene, tmp_path, queries):
    scene = Scene.load(tiny_scene.scene_path)
    scene.save(tmp_path / "again.safetensors")
    scene.save(tmp_path / "whole.safetensors", embed_backbone=True)
    image, camera, _ = queries[0]
    poses = [
        Localizer.load(path, "cpu").estimate(image, camera).T_map_camera
        for path in (tiny_scene.scene_path, tmp_path / "again.safetensors", tmp_path / "whole.safetensors")
    ]
    np.testing.assert_array_equal(poses[0], poses[1])
    np.testing.assert_array_equal(poses[0], poses[2])
    assert tiny_scene.scene_path.stat().st_size < 1e6


def test_a_scene_that_a_localizer_uses_is_saved_as_it_was(tiny_scene, tmp_path, queries):
    """Inside, normalization is folded into convolutions; the file and the backbone's checksum know nothing of it."""
    scene = Scene.load(tiny_scene.scene_path)
    state = {name: value.clone() for name, value in scene.head.state_dict().items()}
    Localizer(scene, "cpu").estimate(*queries[0][:2])
    assert scene.head.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in scene.head.state_dict().items())
    scene.save(tmp_path / "after.safetensors", embed_backbone=True)
    again = Scene.load(tmp_path / "after.safetensors")  # refused where the backbone's weights have another checksum
    assert again.backbone.checksum == scene.backbone.checksum


def test_what_the_localizer_finds_is_what_the_scene_s_networks_find(tiny_scene, queries, monkeypatch):
    monkeypatch.setattr("geo_perception.runtime.device.half_precision", lambda device: None)
    scene = Scene.load(tiny_scene.scene_path)
    localizer = Localizer(scene, "cpu")
    image = queries[0][0]
    with torch.inference_mode():
        image_b3hw = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        expected = scene.head.find(scene.head(scene.backbone(image_b3hw)))
        found = localizer._find(localizer.frozen(image))
    seen = expected.score_bl > 0.1
    assert seen.sum() > 20
    torch.testing.assert_close(found.pixels_bl2[seen], expected.pixels_bl2[seen], rtol=0, atol=0.01)
    torch.testing.assert_close(found.score_bl, expected.score_bl, rtol=1e-3, atol=1e-4)


def test_a_scene_made_with_another_backbone_is_refused(tiny_scene, tmp_path):
    scene = Scene.load(tiny_scene.scene_path)
    scene.backbone.checksum = "0" * 64
    scene.save(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="other weights of tf_efficientnet_lite0"):
        Scene.load(tmp_path / "other.safetensors")


def test_a_scene_that_lacks_a_tensor_is_refused(tiny_scene, tmp_path):
    tensors, header = load_weights(tiny_scene.scene_path, "scene", 1)
    del tensors["head.heatmap.weight"]
    save_weights(tmp_path / "cut.safetensors", tensors, header)
    with pytest.raises(InputError, match="lacks parts of a scene"):
        Scene.load(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    "name", ["points.point_a", "points.descriptors_ad", "points.low_high_23", "points.projection_dc"]
)
def test_a_scene_that_lacks_a_part_of_its_map_points_is_refused_in_one_line(tiny_scene, tmp_path, name):
    tensors, header = load_weights(tiny_scene.scene_path, "scene", 1)
    del tensors[name]
    save_weights(tmp_path / "cut.safetensors", tensors, header)
    with pytest.raises(InputError, match="lacks parts of a scene; make it again") as told:
        Scene.load(tmp_path / "cut.safetensors")
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("points.descriptors_ad", np.s_[:-1]),
        ("points.offset_d", np.s_[:-1]),
        ("points.descriptors_ad", np.s_[:, 0]),
        ("places.visible_kl", np.s_[0]),
        ("places.poses_k34", np.s_[:-1]),
    ],
)
def test_a_scene_whose_map_points_do_not_fit_together_is_refused(tiny_scene, tmp_path, name, part):
    tensors, header = load_weights(tiny_scene.scene_path, "scene", 1)
    tensors[name] = tensors[name][part]
    save_weights(tmp_path / "cut.safetensors", tensors, header)
    with pytest.raises(InputError, match="lacks parts of a scene"):
        Scene.load(tmp_path / "cut.safetensors")


def test_a_scene_of_before_there_were_map_points_loads(tiny_scene, tmp_path, queries):
    tensors, header = load_weights(tiny_scene.scene_path, "scene", 1)
    new = ("points.", "places.", "head.linear_")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(new)}
    del header["look_noise"], header["head"]["linear_width"]
    save_weights(tmp_path / "old.safetensors", tensors, header)
    scene = Scene.load(tmp_path / "old.safetensors")
    assert not scene.head.has_linear
    assert scene.points is scene.places is None
    assert scene.look_noise == scene.noise
    assert Localizer(scene, "cpu").estimate(*queries[0][:2]).searched_points == 0


def test_what_a_scene_carries_for_the_second_look_survives_its_file(tiny_scene, tmp_path):
    scene = Scene.load(tiny_scene.scene_path)
    assert scene.look_noise != scene.noise
    L = len(scene.landmarks_map_l3)
    scene.places = Places(np.random.default_rng(0).random((5, L)) < 0.3, np.tile(np.eye(4), (5, 1, 1)))
    scene.save(tmp_path / "again.safetensors")
    again = Scene.load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(again.places.visible_kl, scene.places.visible_kl)
    assert again.look_noise == scene.look_noise
    np.testing.assert_allclose(again.points.points_map_a3, scene.points.points_map_a3, atol=1e-9)
    np.testing.assert_array_equal(again.points.descriptors_ad, scene.points.descriptors_ad)


def test_a_file_of_another_program_is_refused(tmp_path):
    save_file({"a": torch.zeros(3)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(InputError, match="not a scene file"):
        Scene.load(tmp_path / "foreign.safetensors")


def test_the_header_tells_what_the_scene_is(tiny_scene):
    with safe_open(str(tiny_scene.scene_path), framework="numpy") as file:
        header = json.loads(file.metadata()["geo_perception"])
    assert (header["kind"], header["metric"], header["frame_id"]) == ("scene", True, "map")
    assert header["backbone"]["name"] == "tf_efficientnet_lite0"
    assert len(header["backbone"]["sha256"]) == 64


def test_pixel_noise_is_linear_between_scores():
    noise = NoiseModel((0.0, 1.0), (4.0, 2.0))
    np.testing.assert_allclose(noise.sigma_of(np.array([0.0, 0.5, 1.0, 2.0])), [4.0, 3.0, 2.0, 2.0])
