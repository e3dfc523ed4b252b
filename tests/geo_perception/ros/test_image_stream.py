"""Several nodes of one process take the same images: one subscription, one decoding, each its own mailbox."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from node_pair import OTHER, PICTURE, RELIABLE, NodePair, answered, picture
from node_peer import NodePeer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile
from ros_support import ENVIRONMENT, stamped
from sensor_msgs.msg import Image
from std_msgs.msg import Float64

from geo_perception.errors import InputError
from geo_perception.ros import image_stream
from geo_perception.ros.codec import fill_image
from geo_perception.ros.image_stream import SharedDecoder

SUPPORT = Path(__file__).resolve().parents[2] / "support"
# Nodes in a process of their own, as in perception_container.
CONTAINER = """
import sys
from geo_perception.ros.run import run_nodes
from slow_node import SlowNode

names, arguments = sys.argv[1].split(","), sys.argv[2:]
factories = [lambda name=name: SlowNode(namespace=name) for name in names]
sys.exit(run_nodes(factories, ["x", "--ros-args", "-p", "lazy:=false", "-r", "image:=/image", *arguments]))
"""


@contextlib.contextmanager
def container(names: str, *arguments: str) -> Iterator[subprocess.Popen]:
    paths = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", CONTAINER, names, *arguments]
    process = subprocess.Popen(command, env=os.environ | ENVIRONMENT | {"PYTHONPATH": paths})
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_container_of_two_nodes_decodes_each_image_once():
    nodes = "/left/slow_node", "/right/slow_node"
    with container("left,right"), NodePeer(nodes[0]) as peer:
        images = peer.node.create_publisher(Image, "/image", RELIABLE)
        for name in nodes:
            peer.wait_for(lambda values: values["image subscription"].startswith("reliable, last 5"), 60, name)
        assert peer.spin_until(lambda: images.get_subscription_count() == 1)
        answers = [peer.collect(Float64, f"{name}/answer") for name in nodes]
        answers_ready = [f"{name}/answer" for name in nodes]
        assert peer.spin_until(lambda: all(peer.node.count_publishers(topic) for topic in answers_ready))
        for second in range(100, 120):
            images.publish(picture(second))
            assert peer.spin_until(lambda count=second - 99: all(len(each) == count for each in answers))
        for name in nodes:
            values = peer.wait_for(lambda values: values["processed"] == "20", name=name)
            assert values["received"] == "20"
            assert values["decoded for all nodes of the process"] == "20"
        assert images.get_subscription_count() == 1


@pytest.fixture
def pair() -> Iterator[NodePair]:
    with NodePair() as pair:
        yield pair


def test_a_deactivated_node_receives_no_more_and_the_other_goes_on(pair):
    pair.start_both()
    first, other = pair.hosted, pair.other
    assert pair.is_answered(pair.show(), first, other)
    assert first.trigger_deactivate() == TransitionCallbackReturn.SUCCESS  # whose subscription it was
    assert pair.spin_until(lambda: pair.images.get_subscription_count() == 1)
    assert pair.is_answered(pair.show(), other)
    assert len(first.published) == 1
    assert first.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert pair.is_answered(pair.show(), first, other)
    assert pair.images.get_subscription_count() == 1
    for slow in (first, other):
        assert slow.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert pair.spin_until(lambda: pair.images.get_subscription_count() == 0)
    assert not any(image_stream._streams.values())


def test_one_that_is_busy_does_not_hold_the_other_up(pair):
    """Each has its own newest frame."""
    pair.start_both()
    pair.hosted.go_on.clear()
    first = pair.show()
    assert pair.spin_until(pair.hosted.begun.is_set)

    def go_on_without() -> bool:
        pair.show()
        pair.spin_for(0.05)
        return len(pair.other.published) > 3

    assert pair.spin_until(go_on_without, 10)
    assert pair.hosted.published == []
    pair.hosted.go_on.set()
    last = pair.show()
    assert pair.is_answered(last, pair.hosted)
    assert answered(pair.hosted)[0] == first
    assert len(pair.hosted.published) <= 3  # what came meanwhile was replaced by the newest


def test_nodes_that_ask_for_something_else_have_a_subscription_of_their_own(pair):
    pair.start_both()
    pair.name = OTHER
    assert pair.set("image_queue_depth", 2).successful
    assert pair.spin_until(lambda: pair.images.get_subscription_count() == 2)
    assert pair.is_answered(pair.show(), pair.hosted, pair.other)
    assert pair.set("image_queue_depth", 5).successful
    assert pair.spin_until(lambda: pair.images.get_subscription_count() == 1)
    assert pair.is_answered(pair.show(), pair.hosted, pair.other)


def test_what_is_lost_on_the_way_is_counted_and_warned_of():
    """A burst that a paused process has no room for: what came and what was lost are all of it. Each image is one
    datagram, since of one that comes in part Fast DDS does not always tell."""
    sent = fill_image(Image(), np.zeros((120, 160, 3), np.uint8))
    qos = "qos_overrides./image.subscription"
    given = "-p", f"{qos}.reliability:=best_effort", "-p", f"{qos}.history:=keep_all"  # what came is not replaced
    with container("left", *given) as process, NodePeer("/left/slow_node") as peer:
        images = peer.node.create_publisher(Image, "/image", QoSProfile(depth=1))
        peer.wait_for(lambda values: values["image subscription"].startswith("best effort"), 60)
        peer.wait_for_listeners(images)
        images.publish(picture(99))  # what was sent before the first that comes is not known to be lost
        peer.wait_for(lambda values: values["received"] == "1")
        process.send_signal(signal.SIGSTOP)
        try:
            for second in range(100, 500):
                images.publish(stamped(sent, second * 10**9))
        finally:
            process.send_signal(signal.SIGCONT)
        seconds = itertools.count(500)

        def tell(spin_s: float) -> int:
            """Shows a small picture, since a loss is seen with the next that comes; how many were shown so far."""
            second = next(seconds)
            images.publish(picture(second))
            peer.spin_for(spin_s)
            return second - 98

        def warned() -> bool:
            tell(0.1)
            return "of the images on /image do not arrive" in peer.values()["message"]

        assert peer.spin_until(warned, 10), peer.values()
        assert peer.values()["level"] == 1

        def all_are_counted() -> bool:
            shown = tell(0.0)

            def counted() -> bool:
                values = peer.values()
                return int(values["received"]) + int(values["lost on the way"]) == shown

            return peer.spin_until(counted, 3.0)  # diagnostics come once a second, on a busy machine later

        assert peer.spin_until(all_are_counted, 30), peer.values()
        assert int(peer.values()["lost on the way"]) > 7


class TestSharedDecoder:
    def test_two_threads_that_want_one_message_get_one_array(self):
        decoder, found, message = SharedDecoder(), [], picture(1)
        threads = [threading.Thread(target=lambda: found.append(decoder.decode(message))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert decoder.decoded == 1
        assert all(image_hw3 is found[0] for image_hw3 in found)
        assert np.array_equal(found[0], PICTURE)

    def test_nobody_can_write_into_what_others_read(self):
        with pytest.raises(ValueError, match="read-only"):
            SharedDecoder().decode(picture(1))[0, 0] = 0

    def test_what_cannot_be_decoded_is_tried_once_and_told_to_each(self):
        decoder, message = SharedDecoder(), picture(1)
        message.encoding = "none"
        for _ in range(2):
            with pytest.raises(InputError, match="encoding 'none' is not supported"):
                decoder.decode(message)
        assert decoder.decoded == 1

    def test_an_equal_message_is_another(self):
        decoder = SharedDecoder()
        decoder.decode(picture(1))
        decoder.decode(picture(1))
        assert decoder.decoded == 2
