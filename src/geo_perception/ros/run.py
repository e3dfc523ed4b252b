"""Runs nodes in one process until a signal comes, and ends them in order."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence

from geo_perception.errors import InputError
from geo_perception.ros.frame_statistics import RateLimiter
from geo_perception.runtime.interruption import SignalWatch, ended_by_signals
from geo_perception.runtime.memory import give_memory_back, memory_shortage, use_few_arenas

_POLL_S = 0.2  # rclpy's wait is not interrupted by a signal
_SAID_AGAIN_S = 5.0


def run_nodes(factories: Sequence[Callable[[], object]], arguments: Sequence[str] | None = None) -> int:
    """Makes the nodes and spins them in one executor. Returns the exit code: 0 after SIGINT or SIGTERM, 1 when a node
    could not be made (said in one line).

    Transitions are run down before ROS shuts down, so nothing publishes into a context that is gone. What takes longer
    to end, such as a scene that is being loaded or an inference, is not waited for; nor is anything after a second
    signal.
    """
    use_few_arenas()
    with ended_by_signals() as watch:
        return _run(factories, arguments, watch)


def _run(factories: Sequence[Callable[[], object]], arguments: Sequence[str] | None, watch: SignalWatch) -> int:
    import rclpy
    from rclpy.logging import get_logger
    from rclpy.signals import SignalHandlerOptions

    from geo_perception.ros.taking_executor import TakingExecutor

    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    logger, limiter = get_logger("geo_perception"), RateLimiter(_SAID_AGAIN_S)

    def lost(where: str, error: Exception) -> None:
        if limiter.allow("lost", time.monotonic()) is not None:
            give_memory_back()
            logger.warning(f"what came on {where} is lost, it cannot be taken: {' '.join(str(error).split())[:200]}")

    executor, nodes = TakingExecutor(lost), []
    watch.end_in_order(lambda: _responsive(nodes))
    try:
        for factory in factories:
            nodes.append(factory())
            executor.add_node(nodes[-1])
        while not watch.asked and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=_POLL_S)
            except Exception as error:
                # rclpy raises out of its own services, too: a forbidden transition must not end the process.
                if memory_shortage(error):
                    lost("its way to a callback", error)
                else:
                    logger.error(f"a callback of rclpy failed: {_last_line()}")
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for node in nodes:
            _end(node)
        executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()


def _responsive(nodes: Sequence) -> bool:
    """Whether the nodes can be asked to end. While one loads a scene they answer nothing; only one at work is worth the
    time that may be lost then."""
    return not any(node.configuring for node in nodes) or any(node.state == "active" for node in nodes)


def _end(node) -> None:
    try:
        if node.state in ("unconfigured", "inactive", "active"):
            node.trigger_shutdown()
        node.destroy_node()
    except Exception:
        print(f"ending {node.get_name()} failed: {_last_line()}", file=sys.stderr)


def _last_line() -> str:
    return traceback.format_exc().strip().splitlines()[-1]
