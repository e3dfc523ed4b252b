"""Real processes and real DDS for tests: each test process has a ROS domain of its own, limited to this host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Domains up to 101 keep clear of the ports that Linux gives away. One for each test process: the workers of one run,
# gw0 and on, count from the process that started them all, so that no two of them ever share one.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
DOMAIN_ID = 1 + (os.getppid() + int(_WORKER.removeprefix("gw")) if _WORKER else os.getpid()) % 50
ENVIRONMENT = {
    "ROS_DOMAIN_ID": str(DOMAIN_ID),
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "RCUTILS_COLORIZED_OUTPUT": "0",
}
PROFILE_VARIABLES = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"  # until Jazzy, from Kilted on
if "fastrtps" in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
    # rmw_fastrtps adds shared memory to every participant of the range LOCALHOST, whatever its profile says.
    # This one has the loopback interface only, so that its subnet is this host.
    _DISCOVERY = dict.fromkeys(PROFILE_VARIABLES, str(Path(__file__).with_name("fastdds_loopback.xml")))
    _DISCOVERY["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
else:
    _DISCOVERY = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
ENVIRONMENT |= _DISCOVERY
# How a test's camera publishes, where nothing else is its subject: reliably, ten messages deep. Nobody sends again what
# a busy machine loses of a best-effort image, and the nodes take what is offered reliably that way.
CAMERA_QOS = 10
os.environ |= {"ROS_DOMAIN_ID": str(DOMAIN_ID)} | _DISCOVERY  # before rclpy reads them


class NodeProcess:
    """A node as a process of its own: `python -m MODULE --ros-args ...`. Its output goes to a file."""

    def __init__(self, module: str, *arguments: str, log: Path):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=os.environ | ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_for_text(self, text: str, timeout_s: float = 30.0) -> None:
        """Waits until the process has said this. Fails with its output when it ends or the time is over."""
        deadline_s = time.monotonic() + timeout_s
        while text not in self.text:
            assert self.running() or text in self.text, f"the process ended:\n{self.text}"
            assert time.monotonic() < deadline_s, f"'{text}' was not said in {timeout_s} s:\n{self.text}"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 15.0) -> int:
        """Sends a signal and returns the exit code."""
        if self.running():
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the process did not end:\n{self.text}") from None


@contextlib.contextmanager
def node_process(module: str, *arguments: str, log: Path) -> Iterator[NodeProcess]:
    """Runs a node as a process, and kills it when the test is over and it still runs."""
    process = NodeProcess(module, *arguments, log=log)
    try:
        yield process
    finally:
        if process.running():
            process.process.kill()
            process.process.wait()


@contextlib.contextmanager
def active_node(module: str, *arguments: str, log: Path) -> Iterator[NodeProcess]:
    """A node process once it is active; at the end it stops in order, without a traceback."""
    with node_process(module, *arguments, log=log) as process:
        process.wait_for_text("activate: done", 240)
        yield process
        assert process.stop(timeout_s=60) == 0, process.text
        assert "Traceback" not in process.text, process.text


def stamped(message, stamp_ns: int, frame_id: str = "camera_optical"):
    """The message with this header."""
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


class Peer:
    """A node on the test's side. Spins only while it waits, so nothing happens behind a test's back."""

    def __init__(self, name: str = "test_peer", namespace: str = ""):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN_ID)
        self.node = rclpy.create_node(name, context=self.context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._collecting: dict[int, tuple[list, object]] = {}

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        self.context.try_shutdown()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def spin_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Spins until the condition holds. False when the time is over."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            self.executor.spin_once(timeout_sec=min(left_s, 0.1))
        return True

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def collect(self, kind, topic: str, profile=10) -> list:
        """A list that the messages of a topic are appended to while this node spins."""
        messages: list = []
        subscription = self.node.create_subscription(kind, topic, messages.append, profile)
        self._collecting[id(messages)] = messages, subscription
        return messages

    def stop_collecting(self, messages: list) -> None:
        """Ends the subscription that fills this list."""
        self.node.destroy_subscription(self._collecting.pop(id(messages))[1])

    def clear(self) -> None:
        """Empties what was collected."""
        for messages, _ in self._collecting.values():
            messages.clear()

    def call(self, kind, service: str, request, timeout_s: float = 10.0):
        """Calls a service and returns its response."""
        client = self.node.create_client(kind, service)
        try:
            assert self.spin_until(client.service_is_ready, timeout_s), f"no service {service}"
            future = client.call_async(request)
            assert self.spin_until(future.done, timeout_s), f"no answer from {service}"
            return future.result()
        finally:
            self.node.destroy_client(client)
