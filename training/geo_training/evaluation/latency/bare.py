"""The bare estimators, in a process of their own: they decode the same messages and answer them at the same pace, with
the threads and the engines of a node, and without ROS.

`python -m geo_training.evaluation.latency.bare JOB` reads a JSON job (`pictures`, `scene`, `device`, `nodes`), loads,
and says in one line of JSON what runs each network. Then each line on its input asks for a slice (`transport`,
`rate_hz`, `count`, `first`), and is answered by one line with what each image took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geo_perception.geometry import Camera
from geo_perception.ros.cores import share_cores

Estimate = Callable[[np.ndarray, Camera], bool]  # whether a node would publish what it says


def main(arguments: list[str]) -> int:
    job = json.loads(Path(arguments[0]).read_text())
    threads = share_cores(len(job["nodes"]))  # before the libraries are loaded, as a node does
    from geo_perception.ros.codec import ImageDecoder
    from geo_training.evaluation.latency.pictures import COMPRESSED, RAW, Pictures

    pictures = Pictures.load(Path(job["pictures"]))
    messages = {transport: pictures.encoded(transport) for transport in (RAW, COMPRESSED)}
    estimates, choices = {}, {}
    for name in job["nodes"]:
        estimates[name], choices[name] = _loaded(name, job, pictures)
    _say({"threads": threads, "engines": choices})
    for line in sys.stdin:
        asked = json.loads(line)
        frames = _run(estimates, ImageDecoder(), messages[asked["transport"]], pictures.camera, asked)
        _say({"frames": frames})
    return 0


def _loaded(name: str, job: Mapping[str, Any], pictures: Any) -> tuple[Estimate, dict[str, str]]:
    """An estimator that has answered a picture before, and what runs it."""
    from geo_perception.runtime.quick_imports import quick_imports

    estimate: Estimate
    with quick_imports():
        if name == "localization":
            from geo_perception.localization.estimator import Localizer

            localizer = Localizer.load(job["scene"], job["device"])
            estimator: Any = localizer
            estimate = lambda image_hw3, camera: localizer.estimate(image_hw3, camera).localized  # noqa: E731
        elif name == "calibration":
            from geo_perception.calibration.estimator import Calibrator

            calibrator = Calibrator.load(None, job["device"])
            estimator = calibrator
            estimate = lambda image_hw3, camera: bool(np.isfinite(calibrator.estimate(image_hw3).focal_px))  # noqa: E731
        else:
            from geo_perception.depth.estimator import DepthEstimator

            depth = DepthEstimator.load(None, job["device"])
            estimator = depth
            estimate = lambda image_hw3, camera: depth.estimate(image_hw3, camera).estimated  # noqa: E731
    estimator.warm_up()
    estimate(np.array(pictures.images_nhw3[0]), pictures.camera)
    return estimate, {"engine": estimator.choice.name, "because": estimator.choice.why}


def _run(estimates: Mapping[str, Estimate], decoder: Any, messages: list, camera: Camera, asked: dict) -> list[dict]:
    """Answers the images of a slice when they are due, and the newest one where several are."""
    from geo_training.evaluation.latency.pictures import forth_and_back

    period_s, count, first, done = 1 / asked["rate_hz"], asked["count"], asked["first"], []
    began_s, number = time.monotonic(), 0
    while number < count:
        due_s, now_s = began_s + number * period_s, time.monotonic()
        if now_s < due_s:
            time.sleep(due_s - now_s)
        else:
            number = min(count - 1, int((now_s - began_s) / period_s))
        started_s = time.monotonic()
        image_hw3 = decoder.decode(messages[forth_and_back(len(messages), first + number)])
        before_s = time.monotonic()
        frame: dict[str, Any] = {"decode_s": before_s - started_s, "work_s": {}, "good": []}
        for name, estimate in estimates.items():
            if estimate(image_hw3, camera):
                frame["good"].append(name)
            frame["work_s"][name] = time.monotonic() - before_s
            before_s = time.monotonic()
        done.append(frame)
        number += 1
    return done


def _say(content: dict) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
