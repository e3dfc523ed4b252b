"""How images are asked for: by what publishers offer, over real DDS. The node lives in this process."""

from collections.abc import Iterator

import numpy as np
import pytest
from node_peer import HostingPeer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import stamped
from sensor_msgs.msg import CameraInfo, Image
from slow_node import SlowNode
from std_msgs.msg import Float64

from geo_perception.ros.codec import fill_image
from geo_perception.ros.input_qos import wanted_qos

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
PICTURE = np.full((8, 8, 3), 90, np.uint8)
DEPTH_OVERRIDE = "qos_overrides./image.subscription.depth"
RELIABILITY_OVERRIDE = "qos_overrides./image.subscription.reliability"


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        ("choice", "offered", "now_reliable", "reliable"),
        [
            ("auto", [RELIABLE], False, True),
            ("auto", [BEST_EFFORT], True, False),
            ("auto", [RELIABLE, RELIABLE], False, True),
            ("auto", [RELIABLE, BEST_EFFORT], True, False),
            ("auto", [], True, True),  # who comes back is most likely as it was
            ("auto", [], False, False),
            ("auto", [ReliabilityPolicy.SYSTEM_DEFAULT], False, False),
            ("best_effort", [RELIABLE], False, False),
            ("reliable", [BEST_EFFORT], False, True),
        ],
    )
    def test_by_choice_and_by_what_is_offered(self, choice, offered, now_reliable, reliable):
        assert wanted_qos(choice, 5, offered, now_reliable).reliable is reliable

    def test_the_reason_is_told(self):
        assert (
            str(wanted_qos("auto", 5, [RELIABLE], False)) == "reliable, last 5 (auto: 1 of 1 publisher offers reliable)"
        )
        said = str(wanted_qos("auto", 2, [RELIABLE, BEST_EFFORT], True))
        assert said == "best effort, last 2 (auto: 1 of 2 publishers offer reliable)"


class Rig(HostingPeer):
    """Hosts a node that takes images, and shows it some."""

    def __init__(self, **parameters):
        super().__init__(SlowNode, "camera", lazy=False, **parameters)
        self.answers = self.collect(Float64, "/slow_node/answer")
        self.second = 100

    def publisher(self, reliability: ReliabilityPolicy, topic: str = "image", kind: type = Image):
        return self.node.create_publisher(kind, topic, QoSProfile(depth=5, reliability=reliability))

    def asked(self, words: str) -> str:
        """What the subscription asks for, once that holds these words."""
        return self.wait_for(lambda values: words in values["image subscription"])["image subscription"]

    def is_heard(self, publisher) -> bool:
        """Whether the node answers to an image from this publisher."""
        self.second += 1
        stamp_s = float(self.second)
        publisher.publish(stamped(fill_image(Image(), PICTURE), self.second * 10**9))
        return self.spin_until(lambda: any(answer.data == stamp_s for answer in self.answers), 2)

    def subscribed_as(self, topic: str = "/image") -> list[ReliabilityPolicy]:
        infos = self.node.get_subscriptions_info_by_topic(topic)
        return [info.qos_profile.reliability for info in infos if info.node_name == "slow_node"]


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


class TestAuto:
    @pytest.mark.parametrize(
        ("offered", "words"), [(RELIABLE, "reliable, last 5"), (BEST_EFFORT, "best effort, last 5")]
    )
    def test_one_publisher_is_asked_for_what_it_offers(self, rig, offered, words):
        publisher = rig.publisher(offered)
        rig.start(publisher)
        assert rig.asked(words).startswith(words)
        assert rig.spin_until(lambda: rig.subscribed_as() == [offered])
        assert rig.is_heard(publisher)
        assert rig.wait_for()["incompatible QoS"] == "none"

    def test_two_that_differ_are_both_heard(self, rig):
        one, other = rig.publisher(RELIABLE), rig.publisher(BEST_EFFORT)
        rig.start(one, other)
        assert rig.asked("1 of 2 publishers offer reliable").startswith("best effort")
        assert rig.is_heard(one)
        assert rig.is_heard(other)

    def test_it_follows_as_publishers_come_and_go(self, rig):
        """Without a transition, and without forgetting anything."""
        rig.start()
        assert rig.asked("nobody publishes").startswith("best effort")
        one = rig.publisher(RELIABLE)
        assert rig.asked("reliable, last").startswith("reliable")
        assert rig.spin_until(lambda: one.get_subscription_count() == 1)
        assert rig.is_heard(one)
        other = rig.publisher(BEST_EFFORT)  # which a reliable subscription would not hear
        assert rig.asked("1 of 2").startswith("best effort")
        assert rig.spin_until(lambda: rig.subscribed_as() == [BEST_EFFORT] and other.get_subscription_count() == 1)
        assert rig.is_heard(other)
        assert rig.is_heard(one)
        rig.node.destroy_publisher(other)
        assert rig.asked("1 of 1").startswith("reliable")
        assert rig.spin_until(lambda: rig.subscribed_as() == [RELIABLE] and one.get_subscription_count() == 1)
        assert rig.is_heard(one)
        values = rig.wait_for()
        assert (values["received"], values["resets"], values["incompatible QoS"]) == ("4", "0", "none")

    def test_no_image_is_lost_or_counted_twice_when_the_subscription_is_replaced(self, rig):
        publisher, count = rig.publisher(RELIABLE), 0
        rig.start(publisher)
        rig.asked("reliable, last 5")
        assert rig.spin_until(lambda: rig.subscribed_as() == [RELIABLE])
        assert rig.is_heard(publisher)
        for depth in (6, 7, 8):  # each asks for another subscription
            assert rig.set("image_queue_depth", depth).successful
            for _ in range(50):
                count += 1
                stamp_ns = rig.second * 10**9 + count * 10**7
                publisher.publish(stamped(fill_image(Image(), PICTURE), stamp_ns))
                rig.spin_for(0.01)
        values = rig.wait_for(lambda values: "last 8" in values["image subscription"])
        assert (values["received"], values["rejected"]) == (str(count + 1), "0")
        assert rig.spin_until(lambda: rig.subscribed_as() == [RELIABLE])

    def test_what_is_published_once_while_a_subscription_is_replaced_is_not_lost(self, rig):
        rig.hosted.needs_camera = True
        rig.start()
        infos = rig.publisher(RELIABLE, "camera_info", CameraInfo)
        source = rig.hosted.images.cameras.source
        assert rig.spin_until(lambda: len(rig.subscribed_as("/camera_info")) == 2)  # the former, and its successor
        infos.publish(CameraInfo())
        assert rig.spin_until(source.ready)
        assert rig.spin_until(lambda: rig.subscribed_as("/camera_info") == [RELIABLE])

    def test_camera_info_follows_too(self, rig):
        rig.hosted.needs_camera = True
        infos = rig.publisher(RELIABLE, "camera_info", CameraInfo)
        rig.start(infos)
        assert rig.spin_until(lambda: rig.subscribed_as("/camera_info") == [RELIABLE])
        rig.publisher(BEST_EFFORT, "camera_info", CameraInfo)
        assert rig.spin_until(lambda: rig.subscribed_as("/camera_info") == [BEST_EFFORT])

    def test_a_deactivated_node_does_not_subscribe_again(self, rig):
        rig.start()
        assert rig.hosted.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        publisher = rig.publisher(RELIABLE)
        rig.spin_for(0.6)
        assert publisher.get_subscription_count() == 0


class TestGiven:
    def test_best_effort_stays_best_effort_and_can_be_changed_while_it_runs(self, rig):
        publisher = rig.publisher(RELIABLE)
        rig.start(publisher)
        assert rig.set("reliability", "best_effort").successful
        assert rig.asked("parameter").startswith("best effort, last 5 (as the parameter")
        assert rig.set("image_queue_depth", 3).successful
        assert rig.asked("last 3")
        assert rig.spin_until(lambda: rig.subscribed_as() == [BEST_EFFORT] and publisher.get_subscription_count() == 1)
        assert rig.is_heard(publisher)

    def test_reliable_is_kept_and_the_publisher_that_does_not_fit_is_told(self):
        with Rig(reliability="reliable") as rig:
            publisher = rig.publisher(BEST_EFFORT)
            rig.start()
            values = rig.wait_for(lambda values: values["incompatible QoS"] != "none")
            assert values["incompatible QoS"] == "/image (RELIABILITY)"
            assert not rig.is_heard(publisher)
            assert rig.set("reliability", "auto").successful
            assert rig.asked("auto: 0 of 1").startswith("best effort")
            assert rig.wait_for()["incompatible QoS"] == "none"

    def test_a_word_that_is_none_is_refused_while_it_runs(self, rig):
        answer = rig.set("reliability", "sure")
        assert not answer.successful
        assert answer.reason == "reliability is 'sure'; use one of auto, best_effort, reliable"


class TestOverrides:
    """As rclpy has them for every topic, `__` standing for the dots in a test's keyword."""

    def test_they_win_and_do_not_follow(self):
        with Rig(**{RELIABILITY_OVERRIDE: "best_effort", DEPTH_OVERRIDE: 2}) as rig:
            publisher = rig.publisher(RELIABLE)
            rig.start(publisher)
            assert rig.asked("qos_overrides") == "best effort, last 2 (as qos_overrides says)"
            assert rig.is_heard(publisher)
            assert rig.hosted.get_parameter(DEPTH_OVERRIDE).value == 2

    def test_of_the_depth_alone_leave_the_reliability_to_auto(self):
        with Rig(**{DEPTH_OVERRIDE: 2}) as rig:
            rig.start()
            publisher = rig.publisher(RELIABLE)
            assert rig.asked("reliable, last 2").startswith("reliable")
            assert rig.spin_until(lambda: rig.subscribed_as() == [RELIABLE])
            assert publisher.get_subscription_count() == 1

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [(RELIABILITY_OVERRIDE, "sure", "use reliable or best_effort"), (DEPTH_OVERRIDE, 0, "give a whole number")],
    )
    def test_what_makes_no_sense_is_refused_in_one_line(self, name, value, words):
        with Rig(**{name: value}) as rig:
            assert rig.hosted.trigger_configure() == TransitionCallbackReturn.FAILURE
            assert rig.hosted.failure.startswith(f"cannot configure: parameter {name} is '{value}'; {words}")
            assert "\n" not in rig.hosted.failure
