"""The depth node corrects its map by measured points, over real DDS, and carries them where it knows the motion."""

from collections.abc import Iterator

import numpy as np
import pytest
from depth_peer import CAMERA, RobotPeer, depth_weights, numbers
from pictures import random_patches
from ros_support import active_node

MODULE = "geo_perception.depth.node"
LEFT_SHARE = 0.3  # of the width
LEFT_FACTOR, RIGHT_FACTOR = 2.8, 2.2  # of that part of the map and the rest: no single factor is right


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Iterator[RobotPeer]:
    place = tmp_path_factory.mktemp("field")
    weights = depth_weights(place / "varied.safetensors")
    arguments = ("--ros-args", "-p", f"weights:={weights}", "-p", "device:=cpu", "-r", "image:=/camera/image_raw")
    with active_node(MODULE, *arguments, log=place / "node.log") as process, RobotPeer() as peer:
        yield peer
        assert process.running(), process.text


@pytest.fixture
def peer(robot) -> RobotPeer:
    robot.camera = CAMERA
    robot.wait_until_connected()
    robot.reset()
    return robot


def truth(relative_hw: np.ndarray) -> np.ndarray:
    left_w = np.arange(relative_hw.shape[1]) < LEFT_SHARE * relative_hw.shape[1]
    return relative_hw * np.where(left_w, LEFT_FACTOR, RIGHT_FACTOR)


def told(peer: RobotPeer, then: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Shows an image, tells landmarks of it that no single factor fits, and shows it `then` more times with the pose of
    a camera that stands; returns the last metres and the truth."""
    relative_hw = peer.show_and_wait(random_patches(0))
    peer.tell_true_depths(truth(relative_hw), 1.0, count=80)
    peer.spin_for(0.2)
    peer.tell_camera_pose(np.eye(4), peer.stamp_ns)
    for _ in range(then):
        peer.tell_camera_pose(np.eye(4), peer.stamp_ns + 10**8)
        relative_hw = peer.show_and_wait(random_patches(0))
    assert peer.spin_until(lambda: peer.newest(peer.depths) == peer.stamp_ns, 5), peer.values()
    return numbers(peer.depths[-1]), truth(relative_hw)


def off(found_hw: np.ndarray, true_hw: np.ndarray) -> float:
    """Of the median pixel in the part that the common factor does not fit, away from where it ends."""
    left = np.s_[:, : round(0.7 * LEFT_SHARE * found_hw.shape[1])]
    return float(np.median(np.abs(found_hw[left] / true_hw[left] - 1)))


class TestWithPoses:
    def test_landmarks_of_an_earlier_image_correct_the_later_ones(self, peer):
        found_hw, true_hw = told(peer, then=2)
        assert off(found_hw, true_hw) < 0.05
        values = peer.wait_for(lambda values: values["processed"] == "3")
        assert values["completion"] == "field"
        assert values["points of the field"].endswith(" carried")
        assert values["motions refused"] == "0"

    def test_every_pixel_says_how_uncertain_it_is(self, peer):
        found_hw, true_hw = told(peer, then=2)
        assert peer.newest(peer.sigmas) == peer.newest(peer.confidences) == peer.stamp_ns
        sigma_hw, confidence_hw = numbers(peer.sigmas[-1]), numbers(peer.confidences[-1])
        assert sigma_hw.shape == found_hw.shape
        assert (np.abs(np.log(found_hw / true_hw)) <= 1.645 * sigma_hw).mean() > 0.85
        assert np.corrcoef(sigma_hw.ravel(), confidence_hw.ravel())[0, 1] < -0.9

    def test_pixels_that_are_too_uncertain_are_not_there(self, peer):
        assert peer.set("max_depth_sigma", 0.1).successful
        try:
            found_hw, _ = told(peer, then=2)
            sigma_hw = numbers(peer.sigmas[-1])
            np.testing.assert_array_equal(np.isnan(found_hw), sigma_hw > 0.1)
            assert 0.02 < np.isnan(found_hw).mean() < 0.98
        finally:
            peer.set("max_depth_sigma", 0.5)

    def test_by_one_factor_where_that_is_asked_for(self, peer):
        assert peer.set("completion", "scale").successful
        try:
            found_hw, true_hw = told(peer, then=2)
            ratio_hw = found_hw / numbers(peer.relatives[-1])
            np.testing.assert_allclose(ratio_hw, peer.scales[-1].data, rtol=1e-5)
            assert off(found_hw, true_hw) > 0.15
            assert not peer.sigmas
            assert peer.wait_for(lambda values: values["processed"] == "3")["completion"] == "scale"
        finally:
            peer.set("completion", "field")

    def test_reset_forgets_the_points(self, peer):
        told(peer, then=2)
        peer.call_reset()
        peer.clear()
        for _ in range(2):
            peer.show_and_wait(random_patches(0))
        assert not any((peer.depths, peer.sigmas))


def test_without_poses_it_is_one_factor(peer):
    relative_hw = peer.show_and_wait(random_patches(0))
    peer.tell_true_depths(truth(relative_hw), 1.0, count=80)
    peer.spin_for(0.2)
    relative_hw = peer.show_and_wait(random_patches(0))
    assert peer.spin_until(lambda: peer.newest(peer.depths) == peer.stamp_ns, 5), peer.values()
    np.testing.assert_allclose(numbers(peer.depths[-1]), peer.scales[-1].data * relative_hw, rtol=1e-5)
    values = peer.wait_for(lambda values: values["processed"] == "2")
    assert (values["completion"], values["points of the field"]) == ("field", "none")
