"""A recording through the real node: a `localization_node` process, real DDS, images at the bag's own rate. Where the
true depth of its images is known, a `depth_node` in the same process is measured, too.

Latency is from just before an image is published to the moment its pose is received, both on the monotonic clock that
all processes of a machine share. The publisher is a process of its own with its messages made ahead.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geo_perception.errors import InputError
from geo_perception.geometry import pose_from_quaternion
from geo_perception.ros.messages import stamp_ns
from geo_training.console import progress_bar, say
from geo_training.evaluation.localization.pictures import worst_frames
from geo_training.evaluation.localization.summary import Evaluation
from geo_training.evaluation.replay import live_depth
from geo_training.evaluation.replay.bag_input import BagInput
from geo_training.evaluation.replay.config import ReplayConfig
from geo_training.evaluation.replay.patience import Deadline
from geo_training.evaluation.replay.process import Process, graph_of_its_own
from geo_training.evaluation.replay.replay import evaluation_of, explain
from geo_training.evaluation.replay.scenes import scene_at
from geo_training.metrics.pose import FrameOutcome, LengthUnit

NODE = "localization_node"
NO_ANSWER = "no pose came: not localized, or replaced by a newer frame"
_SPIN_S = 0.05
_CONNECT_TIMEOUT_S = 60.0
_DIAGNOSTICS_PERIOD_S = 1.5  # the node's diagnostics come once a second
_ASK_S = 2.0


@dataclass
class LiveRun:
    """What a live run gave. Times are seconds on the monotonic clock, by image stamp in nanoseconds; `counts` are the
    node's own (received, processed, replaced, rejected); `scenes_since_s` says of a folder of scenes since which image
    it was in each, as its diagnostics did once a second."""

    published_s: dict[int, float] = field(default_factory=dict)
    received_s: dict[int, float] = field(default_factory=dict)
    poses: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    depth: live_depth.DepthRun = field(default_factory=live_depth.DepthRun)
    scenes_since_s: dict[float, str] = field(default_factory=dict)


def run_live(bag: BagInput, config: ReplayConfig) -> LiveRun:
    """Starts the node, waits until it is active, plays the recording into it and gathers its poses. Time limits are
    those of a free machine (see `Deadline`).

    Raises InputError with one line when the node ends, does not become active in time, or takes no images.
    """
    import rclpy

    with graph_of_its_own() as environment, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        stack.callback(rclpy.try_shutdown, context=context)
        node_process = stack.enter_context(Process(_node_command(bag, config, Path(folder)), environment, NODE))
        client = _Client(context)
        stack.callback(client.close)
        client.wait_until_active(node_process, config.start_timeout_s)
        if config.depth is not None:
            client.wait_until_active(node_process, config.start_timeout_s, live_depth.NODE)
            info = bag.infos[0]
            client.listen_to_depth((info.width, info.height))
        say(f"{NODE} is active; playing {bag.image_topic.count} images at {config.rate:g} times the bag's rate")
        publisher_command = _publisher_command(bag, config, Path(folder))
        publisher = stack.enter_context(Process(publisher_command, environment, "publisher"))
        return _gather(client, node_process, publisher, bag, config)


def evaluate_live(localizer, bag: BagInput, config: ReplayConfig, extra_metadata: dict[str, str]) -> Evaluation:
    """A live run of a recording, measured. `localizer` holds the same scene as the node: it only draws the detections
    of the worst frames, since the node publishes none."""
    truth = _depth_truth(bag, config)
    run = run_live(bag, config)
    outcomes = live_outcomes(bag, run)
    settings = {**config.model_dump(mode="json"), "live": True}
    title = f"Live replay of {bag.sequence}"
    parts = bag, outcomes, localizer.landmarks_map_l3, localizer.metric, title, extra_metadata, settings
    evaluation = evaluation_of(*parts)
    metrics = live_metrics(run, outcomes, evaluation.length_unit)
    if truth is not None:
        found = live_depth.depth_metrics(run.depth, truth, run.published_s)
        say(live_depth.depth_sentence(found))
        metrics |= found
    explained = {o.name: o for o in explain(localizer, bag, worst_frames(evaluation), config.seed)}
    shown = [explained.get(o.name, o) for o in outcomes]
    return replace(evaluation, outcomes=shown, metrics=evaluation.metrics | metrics)


def _depth_truth(bag: BagInput, config: ReplayConfig) -> live_depth.DepthTruth | None:
    """Read before the run: a dataset that does not fit is told at once."""
    if config.depth is None:
        return None
    return live_depth.DepthTruth(Path(config.depth), [stamp for _, stamp, _ in bag.messages()])


def live_outcomes(bag: BagInput, run: LiveRun) -> list[FrameOutcome]:
    """One outcome for every published image; an image that no pose came for is a miss."""
    outcomes = []
    for name, stamp, _ in bag.messages():
        if stamp not in run.published_s:
            continue
        T_estimated, covariance_66 = run.poses.get(stamp, (None, None))
        latency_s = run.received_s.get(stamp, float("nan")) - run.published_s[stamp]
        verdict = "localized" if T_estimated is not None else NO_ANSWER
        outcomes.append(
            FrameOutcome(
                name, bag.sequence, stamp, verdict, bag.true_pose(stamp), T_estimated, covariance_66,
                latency_s=latency_s, scene=scene_at(stamp, run.scenes_since_s) if T_estimated is not None else "",
            )
        )  # fmt: skip
    return outcomes


def live_metrics(run: LiveRun, outcomes: list[FrameOutcome], length_unit: LengthUnit) -> dict[str, float]:
    """Published, taken, answered and dropped frames, and the recall among the frames that the node worked on.

    A dropped frame was never looked at: a newer one replaced it, or it was lost on the way. It is a miss in the plain
    recall, and left out of `taken_recall_*`; `answered_recall_*` is the share of right ones among the answered frames
    with a true pose (`answered_with_truth`).
    """
    published = len(run.published_s)
    processed = max(run.counts.get("processed", 0), len(run.poses))  # the newest count may lag behind the poses
    metrics: dict[str, float] = {
        "frames_published": published,
        "frames_received": run.counts.get("received", 0),
        "frames_processed": processed,
        "frames_answered": len(run.poses),
        "frames_replaced": run.counts.get("replaced by a newer frame", 0),
        "frames_rejected": run.counts.get("rejected", 0),
        "frames_dropped": max(0, published - processed - run.counts.get("rejected", 0)),
        "answered_share": len(run.poses) / published if published else float("nan"),
        "processed_share": processed / published if published else float("nan"),
    }
    stamps_s = sorted(run.published_s.values())
    if len(stamps_s) > 1:
        metrics["published_hz"] = (len(stamps_s) - 1) / (stamps_s[-1] - stamps_s[0])
    truths = [o for o in outcomes if o.T_true is not None]
    share = len(truths) / len(outcomes) if outcomes else 0.0  # frames without truth cannot be right or wrong
    metrics["answered_with_truth"] = answered = sum(o.localized for o in truths)
    for threshold in length_unit.thresholds:
        right = sum(o.error[0] <= threshold.distance and o.error[1] <= threshold.degrees for o in truths)
        metrics[f"taken_{threshold.key}"] = min(1.0, right / (processed * share)) if processed * share else float("nan")
        metrics[f"answered_{threshold.key}"] = right / answered if answered else float("nan")
    return metrics


def _gather(client: _Client, node: Process, publisher: Process, bag: BagInput, config: ReplayConfig) -> LiveRun:
    run = client.run
    with progress_bar("replaying live", bag.image_topic.count) as advance:
        shown = 0
        while publisher.process.poll() is None:
            client.spin(_SPIN_S)
            node.check()
            advance(len(publisher.lines) - shown, note=f"{len(run.poses)} poses")
            shown = len(publisher.lines)
    publisher.join()
    if publisher.process.returncode:
        raise InputError(f"the recording could not be played: {publisher.last_line()}")
    for line in publisher.lines:
        entry = json.loads(line)
        run.published_s.setdefault(int(entry["stamp_ns"]), float(entry["published_s"]))
    limit = Deadline(config.answer_timeout_s)
    settled_s = time.monotonic() + _DIAGNOSTICS_PERIOD_S
    # Enough is known when every image has its pose, or when the node's newest count shows that none is being worked on.
    while not limit.passed():
        client.spin(_SPIN_S)
        node.check()
        idle = client.counted_s > settled_s and run.counts.get("in work", 0) == 0
        known = config.depth is None and len(run.poses) >= len(run.published_s)  # depth may come later than poses
        if idle and (known or client.counted_s > settled_s + _DIAGNOSTICS_PERIOD_S):
            break
    return run


class _Client:
    """The rclpy side: asks for the node's state, receives its poses and its diagnostics."""

    def __init__(self, context):
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseWithCovarianceStamped
        from lifecycle_msgs.srv import GetState
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        self.run = LiveRun()
        self.counted_s = 0.0
        self._node = Node("replay_receiver", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._node.create_subscription(PoseWithCovarianceStamped, f"/{NODE}/pose", self._on_pose, profile)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, profile)
        self._service, self._profile = GetState, profile

    def spin(self, seconds: float) -> None:
        """Handles what comes within the time."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def listen_to_depth(self, image_size_px: tuple[int, int]) -> None:
        """Gathers what the depth node publishes in metres, and the landmarks it has them from."""
        from sensor_msgs.msg import Image, PointCloud2

        run = self.run.depth

        def on_image(into: dict[int, np.ndarray], message, is_depth: bool = False) -> None:
            stamp = stamp_ns(message.header.stamp)
            if is_depth:
                run.received_s.setdefault(stamp, time.monotonic())
            into.setdefault(stamp, live_depth.image_numbers(message))

        def on_landmarks(message) -> None:
            stamp, shares_n2 = live_depth.landmark_shares(message, image_size_px)
            run.landmarks.setdefault(stamp, shares_n2)

        add, name = self._node.create_subscription, f"/{live_depth.NODE}"
        add(Image, f"{name}/depth", lambda message: on_image(run.depth_m, message, True), self._profile)
        add(Image, f"{name}/depth_sigma", lambda message: on_image(run.sigma, message), self._profile)
        add(Image, f"{name}/confidence", lambda message: on_image(run.confidence, message), self._profile)
        add(PointCloud2, f"/{NODE}/matched_landmarks", on_landmarks, self._profile)

    def wait_until_active(self, process: Process, timeout_s: float, node: str = NODE) -> None:
        service = self._node.create_client(self._service, f"/{node}/get_state")
        limit, state, asked = Deadline(timeout_s), "not there", []
        while not limit.passed():
            process.check()
            if service.service_is_ready():
                asked.append(service.call_async(self._service.Request()))
                self._executor.spin_until_future_complete(asked[-1], timeout_sec=_ASK_S)
                # Of a busy node an earlier question's answer may come only now, and still counts.
                answers = [question.result() for question in asked if question.done()]
                asked = [question for question in asked if not question.done()]
                if answers and answers[-1] is not None:
                    state = answers[-1].current_state.label
                    if state == "active":
                        return
                    refusal = process.last_error()
                    if refusal and state in ("unconfigured", "finalized"):
                        raise InputError(f"{node} did not start: {refusal}")
            self.spin(0.2)
        raise InputError(
            f"{node} was {state}, not active, after {timeout_s:g} s ({process.last_line()}); mend that, or raise "
            "start_timeout_s"
        )

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()

    def _on_pose(self, message) -> None:
        received_s = time.monotonic()
        stamp = stamp_ns(message.header.stamp)
        position, q = message.pose.pose.position, message.pose.pose.orientation
        try:
            T_map_camera = pose_from_quaternion((position.x, position.y, position.z), (q.x, q.y, q.z, q.w))
        except InputError:  # no pose: the frame stays a miss
            return
        self.run.received_s.setdefault(stamp, received_s)
        self.run.poses.setdefault(stamp, (T_map_camera, np.array(message.pose.covariance).reshape(6, 6)))

    def _on_diagnostics(self, message) -> None:
        for status in message.status:
            if NODE in status.name:
                values = {value.key: value.value for value in status.values}
                with contextlib.suppress(KeyError, ValueError):  # of one scene, or of none yet
                    self.run.scenes_since_s[float(values["scene since (s)"])] = values["scene"]
                self.run.counts |= {key: int(value) for key, value in values.items() if value.isdigit()}
                self.counted_s = time.monotonic()


def _node_command(bag: BagInput, config: ReplayConfig, folder: Path) -> list[str]:
    parameters = {
        "scene": str(Path(config.scene).resolve()),
        "device": config.device,
        "image_transport": "compressed" if bag.compressed else "raw",
        "allow_unknown_scale": True,
        "rectified": config.rectified,
        "image_bits": config.image_bits,
        **config.node_parameters,
    }
    shared = {key: parameters[key] for key in ("device", "image_transport", "rectified", "image_bits")}
    given = {NODE: parameters, live_depth.NODE: shared | config.depth_parameters}
    path = folder / "parameters.yaml"
    path.write_text(json.dumps({f"/{node}": {"ros__parameters": values} for node, values in given.items()}))  # is YAML
    image, info = _topics(bag)
    image_name = "image/compressed" if bag.compressed else "image"
    rules = [f"{image_name}:={image}", f"camera_info:={info}"]
    command = [sys.executable, "-m", "geo_perception.localization.node"]
    if config.depth is not None:
        command = [sys.executable, "-m", "geo_perception.ros.container", "localization", "depth"]
        topics = {"matched_landmarks": f"/{NODE}/matched_landmarks", "camera_pose": f"/{NODE}/pose"}
        rules += [f"{live_depth.NODE}:{name}:={topic}" for name, topic in topics.items()]
    remaps = [word for rule in rules for word in ("-r", rule)]
    return [*command, "--ros-args", "--params-file", str(path), *remaps]


def _publisher_command(bag: BagInput, config: ReplayConfig, folder: Path) -> list[str]:
    image, info = _topics(bag)
    job = {
        "bag": str(bag.path),
        "image": bag.image_topic.name,
        "camera_info": bag.info_topic,
        "image_topic": image,
        "info_topic": info,
        "rate": config.rate,
        "connect_timeout_s": _CONNECT_TIMEOUT_S,
        "linger_s": 1.0,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return [sys.executable, "-m", "geo_training.evaluation.replay.live_publisher", str(path)]


def _topics(bag: BagInput) -> tuple[str, str]:
    return tuple(name if name.startswith("/") else f"/{name}" for name in (bag.image_topic.name, bag.info_topic))
