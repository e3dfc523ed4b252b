"""The nodes as commands. A signal ends them from the first moment on, before what they import has been loaded."""

from __future__ import annotations

from collections.abc import Sequence

from geo_perception.runtime.interruption import watch_signals


def calibration_node(arguments: Sequence[str] | None = None) -> int:
    return _run_node("calibration", arguments)


def localization_node(arguments: Sequence[str] | None = None) -> int:
    return _run_node("localization", arguments)


def depth_node(arguments: Sequence[str] | None = None) -> int:
    return _run_node("depth", arguments)


def perception_container(arguments: Sequence[str] | None = None) -> int:
    watch_signals()
    from geo_perception.ros.container import main

    return main(arguments)


def _run_node(capability: str, arguments: Sequence[str] | None) -> int:
    watch_signals()
    from geo_perception.ros.container import node_class
    from geo_perception.ros.cores import share_cores
    from geo_perception.ros.run import run_nodes

    share_cores()
    return run_nodes([node_class(capability)], arguments)
