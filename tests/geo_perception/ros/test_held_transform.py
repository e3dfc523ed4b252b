"""map to odom as TF's users need it: known at the present between two fixes, and gone when it holds no more."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from node_peer import HostingPeer
from ros_support import stamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from slow_node import SlowNode

from geo_perception.geometry import make_pose, pose_from_quaternion, so3_exp
from geo_perception.ros import held_transform
from geo_perception.ros.frames import NoTransform, Transforms
from geo_perception.ros.held_transform import HeldTransform
from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.worker import Frame

if importlib.util.find_spec("tf2_ros") is None:
    sys.path.append(str(Path(__file__).resolve().parents[2] / "support" / "tf2_standin"))
import tf2_ros

T_MAP_ODOM = make_pose(so3_exp(np.array([0.0, 0.0, 0.5])), [3.0, -2.0, 0.0])
SECOND = 10**9
TOLERANCE_S = 0.5  # more than a busy machine takes to deliver a message


class Sender(SlowNode):
    """A node that holds a transform when its test says so."""

    own_parameters = held_transform.PARAMETERS

    def load(self) -> None:
        super().load()
        self.transforms = Transforms(self, broadcast=True)
        self.held = HeldTransform(self, self.transforms, "map", "odom")

    def fix(self, stamp_ns_: int, T=T_MAP_ODOM) -> None:
        self.held.hold(T, Frame(stamped(Image(), stamp_ns_, ""), 0.0, self.epoch))


class Listener(HostingPeer):
    """Hears /tf beside the node, with the time at which each transform came."""

    def __init__(self, **parameters):
        super().__init__(Sender, "listener", **parameters)
        self.sender = self.hosted
        self.buffer = tf2_ros.Buffer()
        self.listener = tf2_ros.TransformListener(self.buffer, self.node)
        self.heard: list[tuple[int, int, object]] = []  # stamp, the node's clock, transform
        inner = self.buffer.set_transform
        self.node.destroy_subscription(self.listener.tf_sub)
        self.node.create_subscription(type(_example()), "/tf", lambda message: self._hear(message, inner), 100)
        self.start()
        assert self.spin_until(lambda: self.node.count_publishers("/tf") > 0)

    def _hear(self, message, inner) -> None:
        self.heard.append((stamp_ns(message.header.stamp), self.now_ns(), message))
        inner(message)

    def now_ns(self) -> int:
        return self.sender.get_clock().now().nanoseconds


def _example():
    from geometry_msgs.msg import TransformStamped

    return TransformStamped()


@pytest.fixture
def listener() -> Iterator[Listener]:
    if "tf2_standin" not in tf2_ros.__file__:
        pytest.skip("this listens as the stand-in sends")
    with Listener(transform_max_age_s=1.0, transform_tolerance_s=TOLERANCE_S) as listener:
        yield listener


class TestBetweenFixes:
    def test_it_is_sent_at_a_steady_rate_post_dated_and_the_same(self, listener):
        fix_ns = listener.now_ns()
        listener.sender.fix(fix_ns)
        listener.spin_for(0.9)
        assert 10 <= len(listener.heard) <= 20  # 20 a second, on a machine that has time
        for stamp, heard_ns, message in listener.heard:
            ahead_s = (stamp - heard_ns) * 1e-9
            assert 0.0 < ahead_s <= TOLERANCE_S, "stamped with the present plus the tolerance, less the way here"
            assert (message.header.frame_id, message.child_frame_id) == ("map", "odom")
            t, q = message.transform.translation, message.transform.rotation
            T = pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            np.testing.assert_allclose(T, T_MAP_ODOM, atol=1e-12)
        stamps = [stamp for stamp, *_ in listener.heard]
        assert stamps == sorted(set(stamps))
        assert stamps[0] >= fix_ns + round(TOLERANCE_S * SECOND)

    def test_it_can_be_looked_up_at_the_present_at_any_time(self, listener):
        listener.sender.fix(listener.now_ns())
        assert listener.spin_until(lambda: len(listener.heard) > 0)
        listener.spin_for(TOLERANCE_S + 0.1)  # past the first transform's own stamp
        asked = 0
        while asked < 20:
            listener.spin_for(0.02)
            now = listener.sender.get_clock().now()
            listener.buffer.lookup_transform("map", "odom", now)  # raises where it is not known
            asked += 1

    def test_a_new_fix_is_sent_at_once(self, listener):
        listener.sender.fix(listener.now_ns())
        listener.spin_for(0.2)
        moved = make_pose(np.eye(3), [9.0, 0.0, 0.0])
        listener.heard.clear()
        listener.sender.fix(listener.now_ns(), moved)
        assert listener.spin_until(lambda: bool(listener.heard), 1)
        listener.spin_for(0.1)
        assert listener.heard[-1][2].transform.translation.x == 9.0


class TestWhenItHoldsNoMore:
    def check_silence(self, listener) -> None:
        listener.spin_for(0.1)  # what is on its way
        listener.heard.clear()
        listener.spin_for(0.3)
        assert listener.heard == []
        assert listener.sender.held.age_s() is None

    def test_it_ends_with_the_fix_too_old(self, listener):
        fix_ns = listener.now_ns()
        listener.sender.fix(fix_ns)
        assert 0 <= listener.sender.held.age_s() < 0.5
        listener.spin_for(1.1)
        self.check_silence(listener)
        assert listener.heard == []

    def test_its_last_one_is_of_the_fix_s_last_moment(self, listener):
        fix_ns = listener.now_ns()
        listener.sender.fix(fix_ns)
        listener.spin_for(1.2)
        assert 0.8 < (listener.heard[-1][0] - fix_ns) * 1e-9 - TOLERANCE_S <= 1.0

    def test_another_parent_takes_over_at_once_and_the_former_is_not_sent_any_more(self, listener):
        listener.sender.fix(listener.now_ns())
        listener.spin_for(0.2)
        frame = Frame(stamped(Image(), listener.now_ns(), ""), 0.0, listener.sender.epoch)
        listener.sender.held.hold(T_MAP_ODOM, frame, "map/lab")
        listener.spin_for(0.4)
        parents = [message.header.frame_id for _, _, message in listener.heard]
        at = parents.index("map/lab")
        assert set(parents[:at]) == {"map"}
        assert set(parents[at:]) == {"map/lab"}
        assert len(parents) > at + 2

    def test_it_ends_with_a_reset(self, listener):
        listener.sender.fix(listener.now_ns())
        listener.sender.reset("asked")
        self.check_silence(listener)

    def test_it_ends_with_deactivation_and_does_not_come_back(self, listener):
        listener.sender.fix(listener.now_ns())
        listener.sender.trigger_deactivate()
        self.check_silence(listener)
        listener.sender.trigger_activate()
        self.check_silence(listener)

    def test_a_fix_of_an_earlier_epoch_is_never_sent(self, listener):
        frame = Frame(Image(), 0.0, listener.sender.epoch - 1)
        listener.sender.held.hold(T_MAP_ODOM, frame)
        self.check_silence(listener)


def test_in_simulated_time_it_follows_the_clock():
    if "tf2_standin" not in tf2_ros.__file__:
        pytest.skip("this listens as the stand-in sends")
    with Listener(transform_max_age_s=1.0, use_sim_time=True) as listener:
        clocks = listener.node.create_publisher(Clock, "/clock", 10)

        def tell(seconds: float) -> None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(round(seconds * 1e9), SECOND)
            clocks.publish(message)
            listener.spin_for(0.05)

        assert listener.spin_until(lambda: clocks.get_subscription_count() > 0)
        tell(100.0)
        listener.sender.fix(100 * SECOND - SECOND // 10)
        listener.spin_for(0.3)
        listener.sender.fix(100 * SECOND - SECOND // 20)
        listener.spin_for(0.1)
        assert [stamp for stamp, *_ in listener.heard] == [round(100.2 * SECOND)]  # once while the clock stands
        tell(100.5)
        listener.spin_for(0.1)
        assert listener.heard[-1][0] == round(100.7 * SECOND)
        tell(101.5)
        listener.heard.clear()
        listener.spin_for(0.2)
        assert listener.heard == []  # 1.6 s old by the simulated clock
        listener.sender.fix(round(101.5 * SECOND))
        tell(100.0)  # rewound
        listener.heard.clear()
        listener.spin_for(0.2)
        assert listener.heard == []


def test_images_of_another_time_than_the_clocks_are_gone_on_from(listener):
    """A recording that is played without /clock: TF stays in the time of its images and of its odometry."""
    listener.sender.fix(1000 * SECOND)
    listener.spin_for(0.5)
    stamps_s = [stamp * 1e-9 for stamp, *_ in listener.heard]
    assert stamps_s[0] == pytest.approx(1000 + TOLERANCE_S, abs=0.05)
    assert stamps_s[-1] == pytest.approx(1000.45 + TOLERANCE_S, abs=0.1)
    listener.spin_for(0.8)
    listener.heard.clear()
    listener.spin_for(0.2)
    assert listener.heard == []


class TestLookingUp:
    @pytest.mark.parametrize(("target", "source"), [("", "camera"), ("odom", ""), ("odom", "/")])
    def test_a_frame_without_a_name_is_said_at_once(self, listener, target, source):
        with pytest.raises(NoTransform, match="a frame without a name; set frame_id in the messages"):
            listener.sender.transforms.lookup(target, source, Image().header.stamp, 60.0)

    def test_what_is_no_pose_is_no_transform(self, listener):
        message = _example()
        message.header.frame_id, message.child_frame_id = "odom", "camera"
        message.transform.translation.x = float("nan")
        message.transform.rotation.w = 1.0
        tf2_ros.TransformBroadcaster(listener.node).sendTransform(message)
        stamp = message.header.stamp
        buffer = listener.sender.transforms._buffer
        assert listener.spin_until(lambda: bool(buffer._poses), 3)
        with pytest.raises(NoTransform, match="the transform from camera to odom is of no use"):
            listener.sender.transforms.lookup("odom", "/camera", stamp, 0.0)
