"""Runs nodes in one process until a signal comes, and ends them in order."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from geo_perception.errors import InputError

_LOOK_S = 0.5  # rclpy's wait is not interrupted by Python's signal handlers


def run_nodes(factories: Sequence[Callable[[], object]], arguments: Sequence[str] | None = None) -> int:
    """Makes the nodes and spins them in one executor. Returns the exit code: 0 after SIGINT or SIGTERM, 1 when a node
    could not be made (said in one line).

    Transitions are run down before ROS shuts down, so nothing publishes into a context that is gone. A second signal
    ends the process at once.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.logging import get_logger
    from rclpy.signals import SignalHandlerOptions

    stopping = []

    def on_signal(number, _frame) -> None:
        stopping.append(number)
        signal.signal(number, signal.SIG_DFL)

    earlier = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    executor, nodes = SingleThreadedExecutor(), []
    try:
        for factory in factories:
            nodes.append(factory())
            executor.add_node(nodes[-1])
        while not stopping and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=_LOOK_S)
            except Exception:
                # rclpy raises out of its own services, too: a forbidden transition must not end the process.
                get_logger("geo_perception").error(f"a callback of rclpy failed: {_last_line()}")
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for node in nodes:
            _end(node)
        executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _end(node) -> None:
    try:
        if node.state in ("unconfigured", "inactive", "active"):
            node.trigger_shutdown()
        node.destroy_node()
    except Exception:
        print(f"ending {node.get_name()} failed: {_last_line()}", file=sys.stderr)


def _last_line() -> str:
    return traceback.format_exc().strip().splitlines()[-1]
