"""`perception_health`: whether perception nodes are active, as an exit code. For the health check of a container, a
watchdog, or whoever waits until a robot is ready."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from geo_perception.errors import InputError

PERCEPTION_NODES = ("calibration_node", "localization_node", "depth_node")
_GET_STATE = "/get_state"
_SETTLED_S = 1.0  # without names: nodes of one graph are found within so long of each other
_ASK_AGAIN_S = 1.0
_SPIN_S = 0.05


def node_states(names: Sequence[str], timeout_s: float) -> dict[str, str]:
    """The lifecycle states of these nodes by their full names; empty for one that does not answer in time.

    Without names, those of all perception nodes that are found and stay. A name without a slash is one outside any
    namespace. Raises InputError where ROS does not start, or for a name that no node can have.
    """
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor

    wanted = [name if name.startswith("/") else f"/{name}" for name in names]
    context = Context()
    try:
        # A log file each time would fill the memory that a container keeps them in.
        rclpy.init(args=["--ros-args", "--disable-external-lib-logs"], context=context)
        # Its name starts with an underscore: tools do not list it.
        node = rclpy.create_node(
            f"_perception_health_{os.getpid()}",
            context=context,
            enable_rosout=False,
            start_parameter_services=False,
            use_global_arguments=False,
        )
    except Exception as error:
        context.try_shutdown()
        raise InputError(f"ROS does not start: {' '.join(str(error).split())}; is a distribution sourced?") from error
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        return _asked(node, executor, wanted, time.monotonic() + timeout_s)
    finally:
        executor.shutdown(timeout_sec=0.0)
        node.destroy_node()
        context.try_shutdown()


def _asked(node: Any, executor: Any, wanted: list[str], deadline_s: float) -> dict[str, str]:
    states = dict.fromkeys(wanted, "")
    questions = {name: _Question(node, name) for name in wanted}
    changed_s = time.monotonic()
    while time.monotonic() < deadline_s:
        if not wanted:
            found = _found(node)
            for name in found:
                if name not in states:
                    states[name], questions[name], changed_s = "", _Question(node, name), time.monotonic()
            for name in set(states).difference(found):  # one that was just being ended, or has died
                del states[name], questions[name]
        for name, question in questions.items():
            states[name] = states[name] or question.go_on()
        answered = bool(states) and all(states.values())
        if answered and (wanted or time.monotonic() - changed_s > _SETTLED_S):
            break
        executor.spin_once(timeout_sec=_SPIN_S)
    return states


def _found(node: Any) -> list[str]:
    """The full names of the perception nodes of this graph. Not by its services: one that only a client asks for is
    listed as well."""
    present = node.get_node_names_and_namespaces()
    return sorted({f"{namespace.rstrip('/')}/{name}" for name, namespace in present if name in PERCEPTION_NODES})


class _Question:
    """Asks one node for its state, again where no answer comes: one may be lost while peers find each other."""

    def __init__(self, node: Any, name: str):
        from lifecycle_msgs.srv import GetState

        self._request = GetState.Request()
        try:
            self._client = node.create_client(GetState, name + _GET_STATE)
        except Exception as error:
            reason = str(error).strip().split("\n")[0].rstrip(":")
            raise InputError(
                f"'{name}' is not the name of a node: {reason}; give one as `ros2 node list` does"
            ) from error
        self._asked_s, self._future = -math.inf, None

    def go_on(self) -> str:
        """Its state, or nothing yet."""
        if self._future is not None and self._future.done():
            return self._future.result().current_state.label
        if time.monotonic() - self._asked_s > _ASK_AGAIN_S and self._client.service_is_ready():
            self._asked_s, self._future = time.monotonic(), self._client.call_async(self._request)
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every node that is asked for is active, 1 when one is not or none is there."""
    parser = argparse.ArgumentParser(
        prog="perception_health",
        description="Says whether perception nodes are active: exit code 0 when all are, 1 when one is not.",
        epilog="Example: perception_health localization_node /rear/depth_node",
    )
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="which nodes; without any, all that are found")
    parser.add_argument("--timeout", type=float, default=8.0, metavar="S", help="seconds to wait for answers (8)")
    given = parser.parse_args(arguments)
    if not 0 < given.timeout < math.inf:
        parser.error(f"--timeout is {given.timeout:g}; give seconds, 8 say")
    try:
        states = node_states(given.nodes, given.timeout)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, state in states.items():
        print(f"{name}: {state or 'no answer'}")
    if not states:
        print(f"no perception node was found in {given.timeout:g} s")
    return 0 if states and set(states.values()) == {"active"} else 1


if __name__ == "__main__":
    sys.exit(main())
