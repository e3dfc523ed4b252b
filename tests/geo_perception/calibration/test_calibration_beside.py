"""Points are tracked beside the calibrator, on the same image, and what they measure goes into that image's answer."""

import threading

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
from geo_perception.ros.image_input import Dropped
from geo_perception.ros.worker import Frame

PICTURE = random_patches(0)
TURN = RotationMeasurement(300.0, 0.03, 0.2)


class Tracker:
    """Says that the camera turned; tells when it was asked, and goes on when it is let."""

    def __init__(self):
        self.asked, self.go_on, self.seen = threading.Event(), threading.Event(), []

    def update(self, image_hw3):
        self.seen.append(image_hw3)
        self.asked.set()
        assert self.go_on.wait(10)
        return TURN

    def reset(self):
        pass


class Calibrator:
    """Has its answer once points are being tracked: it would wait in vain for them to be tracked before or after."""

    def __init__(self, tracker):
        self.options, self._tracker = CalibratorOptions(), tracker

    def estimate(self, image_hw3, known=None):
        assert self._tracker.asked.wait(10)
        self._tracker.go_on.set()
        return Calibration(CalibrationVerdict.TOO_UNCERTAIN, "a test", 320, 240)


@pytest.fixture
def node():
    peer = HostingPeer(CalibrationNode, "camera", driver_camera="ignored")
    node = peer.hosted
    node._turns = Tracker()
    node._calibrator = Calibrator(node._turns)
    yield node
    peer.close()


def frame(node):
    return Frame(stamped(fill_image(Image(), PICTURE), 10**11), 0.0, node.epoch)


def test_points_are_tracked_while_the_calibrator_works(node):
    asked, tracker = frame(node), node._turns
    result = node.compute(PICTURE, None, asked)
    fused = node._fuse(result, PICTURE, asked)
    assert node._turns_measured == 1
    assert fused.focal_px == pytest.approx(300.0)  # by the turn of this very image
    assert np.array_equal(tracker.seen[0], PICTURE)


def test_a_reset_meanwhile_is_not_held_up_and_tracks_anew(node):
    asked, tracker = frame(node), node._turns
    node._calibrator.estimate = lambda *_: Calibration(CalibrationVerdict.TOO_UNCERTAIN, "a test", 320, 240)
    result = node.compute(PICTURE, None, asked)
    node.reset("asked by a test")  # the tracker of before is at work
    assert node._turns is not tracker
    tracker.go_on.set()
    with pytest.raises(Dropped, match="reset or stopped"):
        node._fuse(result, PICTURE, asked)
    assert node._turns_measured == 0


def test_without_turns_no_points_are_tracked(node):
    tracker = node._turns
    tracker.asked.set()
    node.set_parameters([Parameter("use_turns", value=False)])
    asked = frame(node)
    node._fuse(node.compute(PICTURE, None, asked), PICTURE, asked)
    assert tracker.seen == []
    assert node._turns_measured == 0
