"""What every process that publishes a camera's images has around it: its job, DDS, and one line where it cannot."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from geo_perception.errors import InputError
from geo_training.evaluation.replay.patience import Deadline

_LOOK_S = 0.05


def run_publisher(play: Callable[[dict], None], arguments: list[str]) -> int:
    """`play` with the JSON job in the file that the first argument names. Exit code 0; 1, with one line on standard
    error, where it raises InputError."""
    import rclpy

    job = json.loads(Path(arguments[0]).read_text())
    rclpy.init(args=[])
    try:
        play(job)
        return 0
    except InputError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()


def wait_for_subscribers(publishers: Sequence[Any], timeout_s: float, topic: str) -> None:
    """Until each of the publishers has one. Raises InputError where that takes too long."""
    limit = Deadline(timeout_s)
    while not all(publisher.get_subscription_count() for publisher in publishers):
        if limit.passed():
            raise InputError(f"no node took images from {topic} within {timeout_s:g} s")
        time.sleep(_LOOK_S)
