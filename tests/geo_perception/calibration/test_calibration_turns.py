"""Points are tracked behind the answer to their image, and what they measure goes into the next answer."""

import numpy as np
import pytest
from node_peer import HostingPeer
from pictures import random_patches
from rclpy.parameter import Parameter
from ros_support import stamped
from sensor_msgs.msg import Image

from geo_perception.calibration.estimator import CalibratorOptions
from geo_perception.calibration.node import CalibrationNode
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement
from geo_perception.ros.codec import fill_image
from geo_perception.ros.worker import Frame

PICTURE = random_patches(0)
TURN = RotationMeasurement(300.0, 0.03, 0.2)


class Tracker:
    """Says of every image that the camera turned before it."""

    def __init__(self):
        self.seen, self.meanwhile = [], lambda: None

    def update(self, image_hw3):
        self.seen.append(image_hw3)
        self.meanwhile()
        return TURN


class Calibrator:
    """Is certain of nothing, so that turns alone tell the focal length."""

    options = CalibratorOptions()

    def estimate(self, image_hw3, known=None):
        return Calibration(CalibrationVerdict.TOO_UNCERTAIN, "a test", 320, 240)

    def bend_costs(self, image_hw3):
        return None  # too few lines to tell


@pytest.fixture
def node():
    peer = HostingPeer(CalibrationNode, "camera", driver_camera="ignored")
    peer.hosted._turns, peer.hosted._calibrator = Tracker(), Calibrator()
    yield peer.hosted
    peer.close()


def answer(node, stamp_s):
    """What is fused from an image of this stamp, with all that the node does for it but publish."""
    frame = Frame(stamped(fill_image(Image(), PICTURE), round(stamp_s * 1e9)), 0.0, node.epoch)
    fused = node._fuse(node.compute(PICTURE, None, frame), PICTURE, frame)
    node.follow_up(frame)
    return fused


def test_a_turn_speaks_with_the_next_answer(node):
    tracker = node._turns
    assert np.isnan(answer(node, 100.0).focal_px)
    assert np.array_equal(tracker.seen[0], PICTURE)
    assert answer(node, 100.1).focal_px == pytest.approx(300.0)
    assert node._turns_measured == 1


def test_a_turn_waits_for_an_image_that_shows_something(node, monkeypatch):
    answer(node, 100.0)
    covered = Calibration(CalibrationVerdict.NO_STRUCTURE, "a covered lens", 320, 240)
    monkeypatch.setattr(node._turns, "update", lambda image_hw3: None)
    with monkeypatch.context() as dark:
        dark.setattr(node._calibrator, "estimate", lambda image_hw3, known=None: covered)
        assert np.isnan(answer(node, 100.1).focal_px)
    assert answer(node, 100.2).focal_px == pytest.approx(300.0)


def test_images_that_follow_fast_are_not_all_tracked_and_no_turn_speaks_twice(node):
    tracker = node._turns
    for stamp_s in (100.0, 100.033, 100.067, 100.1):
        answer(node, stamp_s)
    assert len(tracker.seen) == 2
    assert node._turns_measured == 1


def test_stamps_that_go_back_are_tracked(node):
    tracker = node._turns
    answer(node, 100.0)
    answer(node, 50.0)
    assert len(tracker.seen) == 2


def test_a_turn_of_before_a_reset_is_not_told(node):
    node._turns.meanwhile = lambda: node.reset("asked by a test")
    answer(node, 100.0)
    assert node._turn is None
    assert not isinstance(node._turns, Tracker)


def test_without_turns_no_points_are_tracked(node):
    tracker = node._turns
    node.set_parameters([Parameter("use_turns", value=False)])
    answer(node, 100.0)
    answer(node, 100.1)
    assert tracker.seen == []
    assert node._turns_measured == 0
