"""One process for several perception nodes: they share the executor, the libraries and the GPU's context.

rclpy has no component container, so this is an executable: `perception_container calibration localization --ros-args
...`. What only one of them may receive is given to it by name: `-r localization_node:camera_info:=...`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from geo_perception.ros.cores import share_cores
from geo_perception.ros.run import run_nodes
from geo_perception.runtime.interruption import watch_signals

# Each capability and the class of its node.
NODES = {
    "calibration": "geo_perception.calibration.node:CalibrationNode",
    "localization": "geo_perception.localization.node:LocalizationNode",
    "depth": "geo_perception.depth.node:DepthNode",
}


def node_class(capability: str):
    """The class of a capability's node."""
    module, name = NODES[capability].split(":")
    return getattr(importlib.import_module(module), name)


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    split = arguments.index("--ros-args") if "--ros-args" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="perception_container",
        description="Runs several perception nodes in one process.",
        epilog="Example: perception_container localization --ros-args -p scene:=office.safetensors "
        "-r image:=/camera/image_raw",
    )
    parser.add_argument("nodes", nargs="*", metavar="NODE", help=f"which nodes ({', '.join(NODES)}); without any, all")
    chosen = parser.parse_args(arguments[:split]).nodes or list(NODES)
    for name in chosen:
        if name not in NODES:
            parser.error(f"node '{name}' is not known; use one of {', '.join(NODES)}")
    chosen = list(dict.fromkeys(chosen))
    share_cores(len(chosen))  # before the libraries are loaded
    factories = [node_class(name) for name in chosen]
    return run_nodes(factories, ["perception_container", *arguments[split:]])


if __name__ == "__main__":
    watch_signals()
    sys.exit(main())
