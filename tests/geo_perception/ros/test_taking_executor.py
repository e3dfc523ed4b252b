"""A message that cannot be taken is lost, and nothing more: over real DDS."""

from ros_support import Peer
from std_msgs.msg import Float64, String

from geo_perception.ros.taking_executor import TakingExecutor


def test_a_message_that_cannot_be_taken_leaves_the_node_able_to_hear():
    with Peer() as peer:
        lost, heard = [], []
        executor = TakingExecutor(lambda topic, error: lost.append((topic, str(error))), context=peer.context)
        node = peer.node
        peer.executor.remove_node(node)
        executor.add_node(node)
        broken = node.create_subscription(Float64, "number", heard.append, 10)
        broken.msg_type = object  # so that nothing can be made of it
        node.create_subscription(String, "word", heard.append, 10)
        numbers, words = node.create_publisher(Float64, "number", 10), node.create_publisher(String, "word", 10)
        peer.executor = executor
        peer.spin_until(lambda: numbers.get_subscription_count() and words.get_subscription_count(), 10)
        for _ in range(2):
            numbers.publish(Float64(data=1.0))
            assert peer.spin_until(lambda count=len(lost): len(lost) > count, 10)
        words.publish(String(data="still here"))
        assert peer.spin_until(lambda: bool(heard), 10)
        assert [message.data for message in heard] == ["still here"]
        assert {topic for topic, _ in lost} == {"/number"}
