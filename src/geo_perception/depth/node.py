"""The depth node: images in; relative depth out, and metric depth where the robot knows a scale."""

from __future__ import annotations

if __name__ == "__main__":  # a signal must end the process while what follows is loaded, too
    from geo_perception.runtime.interruption import watch_signals

    watch_signals()

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Float64

from geo_perception.depth.cloud import point_cloud
from geo_perception.depth.network_scale import with_network_scale
from geo_perception.depth.node_parameters import PARAMETERS, SCALE_PARAMETERS, SOURCE_PARAMETERS
from geo_perception.depth.overlay import draw_depth
from geo_perception.depth.result import RelativeDepth
from geo_perception.depth.scale import SOURCES, RememberedScale, Scale, ScaleOptions
from geo_perception.depth.scale_inputs import ScaleInputs
from geo_perception.depth.scale_tracker import ScaleTracker, SeenDepth, TrackerOptions
from geo_perception.drawing import write_caption
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.codec import fill_image
from geo_perception.ros.frame_statistics import Reason
from geo_perception.ros.image_input import Dropped
from geo_perception.ros.messages import camera_info_message, depth_image, float_image
from geo_perception.ros.node_base import Outcome, PerceptionNode
from geo_perception.ros.point_cloud import point_cloud_message
from geo_perception.ros.remembered import Remembered, number
from geo_perception.ros.run import run_nodes
from geo_perception.ros.worker import Frame
from geo_perception.runtime.quick_imports import quick_imports


@dataclass(frozen=True)
class _Seen:
    """What the diagnostics hold of the last frame."""

    scale: Scale | None
    trusted: bool
    confident_share: float
    verdict: str
    points: Counter[str] | None = None  # of the field, by source; None: metres were made by one factor


class DepthNode(PerceptionNode):
    """Publishes `~/depth`, `~/points`, `~/depth_sigma`, `~/relative_depth`, `~/confidence`, `~/camera_info`, `~/scale`
    and `~/overlay`. See docs/nodes.md.

    Raises InputError when a parameter given at start-up cannot be used.
    """

    own_parameters = PARAMETERS
    rank = 2  # the first to give way

    def __init__(self, **kwargs):
        self._estimator = None
        self._tracker, self._tracker_epoch = ScaleTracker(), -1  # of the worker's thread alone
        self._seen: _Seen | None = None
        self._looked_back, self._landmarks_used_s = 0, 0.0
        self._remembered, self._recalled, self._weights = Remembered(self, "a scale", interval_s=2.0), None, ""
        super().__init__("depth_node", **kwargs)
        self._inputs = ScaleInputs(self)

    def prepare(self) -> Any:
        with quick_imports():
            from geo_perception.depth.onnx_estimator import load_depth_estimator

        path = os.path.expanduser(self.value("weights")) or None
        estimator = load_depth_estimator(path, self.device, self.value("engine"))
        estimator.warm_up()
        return estimator

    def load(self) -> None:
        from geo_perception.depth.estimator import reference_weights  # `prepare` has loaded it

        self.adopt(self.prepared)
        path = os.path.expanduser(self.value("weights"))
        self.hardware_id = os.path.basename(path.rstrip("/")) or "reference weights"
        self._weights = _identity(path or reference_weights())
        self._inputs.configure()
        self._depths = self.output(Image, "~/depth")
        self._points = self.output(PointCloud2, "~/points")
        self._sigmas = self.output(Image, "~/depth_sigma")
        self._scales = self.output(Float64, "~/scale")
        self._relatives = self.output(Image, "~/relative_depth")
        self._confidences = self.output(Image, "~/confidence")
        self._infos = self.output(CameraInfo, "~/camera_info")
        self._overlay = self.output(Image, "~/overlay")

    def adopt(self, prepared: Any) -> None:
        self._estimator = prepared
        self.tell_engine(prepared)

    def use_smaller_input(self, smaller: bool) -> bool:
        return self._estimator.use_smaller_input(smaller)

    def on_activated(self) -> None:
        self._begin_anew()  # the robot may have been carried elsewhere while the node was not active
        self._remembered.recall(self._take_state)

    def release(self) -> None:
        self._remembered.close()
        self._estimator = None
        self.hardware_id = "none"
        self._inputs.close()

    def reset_state(self) -> None:
        self._begin_anew()
        self._remembered.forget()

    def _begin_anew(self) -> None:
        # The tracker is reset by its own thread, which sees the new epoch.
        self._inputs.clear()
        self._seen = self._recalled = None

    def _take_state(self, state: dict) -> None:
        """Goes on with a scale of before, where it is of the same network."""
        if state["weights"] != self._weights:
            raise InputError("the scale kept there is that of other weights; nothing is remembered")
        known = RememberedScale(*(number(state, name) for name in ("log_scale", "sigma")), str(state["source"]),
                                number(state, "stamp_s"))  # fmt: skip
        view_2 = number(state["view"], "fx"), number(state["view"], "fy")
        if not known.usable or min(view_2) <= 0:
            raise ValueError("no scale of a camera")
        self._recalled = known, view_2

    def _keep_state(self) -> None:
        """For after a restart. The worker's thread."""
        known = self._tracker.known()
        if known is not None:
            scale, (fx, fy) = known
            self._remembered.keep(asdict(scale) | {"view": {"fx": fx, "fy": fy}, "weights": self._weights})

    def diagnostic_values(self) -> dict[str, str]:
        seen, tracker = self._seen, self._tracker
        values = {"scale": "none", "scale sigma (%)": "none", "scale from": "none", "scale age (s)": "none"}
        if seen is None:
            return values | {"metres": "withheld", "completion": "none", "confident pixels": "none"}
        if seen.scale is not None:
            values = {
                "scale": f"{seen.scale.factor:.4g}",
                "scale sigma (%)": f"{100 * seen.scale.sigma:.1f}",
                "scale from": seen.scale.source,
                "scale age (s)": f"{seen.scale.age_s:.2f}",
            }
        values["metres"] = "published" if seen.trusted else "withheld"
        values["completion"] = ("scale" if seen.points is None else "field") if seen.trusted else "none"
        if seen.trusted and seen.points is not None:
            named = ", ".join(f"{count} {source}" for source, count in sorted(seen.points.items()))
            values["points of the field"] = named or "none"
            values["motions refused"] = str(tracker.field.refused)
        values["confident pixels"] = "none" if np.isnan(seen.confident_share) else f"{seen.confident_share:.3f}"
        for source in SOURCES:
            values[f"measured by {source}"] = str(tracker.used[source])
            values[f"left out of {source}"] = str(tracker.left_out[source])
        return values | {
            "landmarks without a depth map": str(tracker.unmatched),
            "images looked at afterwards": str(self._looked_back),
            "unusable messages about the scale": str(self._inputs.unusable),
            "state file": self._remembered.verdict,
            "restarts": str(tracker.restarts),
            "last restart": tracker.last_restart or "none",
        }

    def compute(self, image_hw3: np.ndarray, camera: Camera, frame: Frame) -> RelativeDepth:
        return self._estimator.estimate(image_hw3, camera)

    def publish(self, result: RelativeDepth, image_hw3: np.ndarray, camera: Camera, frame: Frame) -> Outcome:
        tracker = self._fresh_tracker(frame)
        if result.estimated and not np.isfinite(result.depth_hw).any():
            raise Dropped(Reason.DEFECT, "the estimated depth holds no number")
        self.check_epoch(frame)
        if result.estimated:
            self._publish_relative(result, frame)  # which needs no scale, and waits for none
        completed = self.value("completion") == "field"
        metres_wanted = any(_wanted(output) for output in (self._depths, self._points, self._sigmas, self._scales))
        if completed and metres_wanted:
            self._wait_for_pose(frame)
        for measurement in self._inputs.take(frame.epoch, frame.header.frame_id):
            tracker.add(measurement)
        if not result.estimated:
            verdict = f"{result.verdict.value}: {result.detail}"
            self._seen = _Seen(tracker.scale(frame.stamp_ns), False, float("nan"), verdict)
            return Outcome(False, verdict)
        restarts = tracker.restarts
        landmarks_used = tracker.used["landmarks"]
        seen = SeenDepth(frame.stamp_ns, result, camera)
        tracker.update(
            seen,
            lambda pose, at_ns: self._inputs.camera_on_base(frame.header.frame_id, pose, at_ns),
        )
        if tracker.restarts > restarts:
            self.get_logger().warning(f"{tracker.last_restart}: the scale is forgotten")
        if tracker.used["landmarks"] > landmarks_used:
            self._landmarks_used_s = time.monotonic()
        self.check_epoch(frame)
        own_sigma = self.value("network_scale_sigma") if self._estimator.metric else 0.0
        self._keep_state()
        scale = with_network_scale(tracker.scale(frame.stamp_ns), own_sigma, self.value("scale.gate_sigma"))
        trusted = scale is not None and np.isfinite(scale.factor) and scale.sigma <= self.value("max_scale_sigma")
        verdict = f"{result.verdict.value}; {self._scale_label(scale, trusted)}"
        metric = tracker.complete(seen, scale) if completed and trusted and self._field_wanted() else None
        confidence_hw = result.confidence_hw
        if metric is not None and (metric.points or confidence_hw is None):
            confidence_hw = metric.depth.confidence_hw  # without a point the network knows better where it is right
        self._publish_looks(result, confidence_hw, verdict, frame)
        if trusted:
            depth_m_hw = result.depth_hw * np.float32(scale.factor)
            if metric is not None:
                too_uncertain_hw = metric.depth.sigma_hw > self.value("max_depth_sigma")
                depth_m_hw = np.where(too_uncertain_hw, np.float32(np.nan), metric.depth.depth_hw)
                if _wanted(self._sigmas):
                    self._sigmas.publish(float_image(frame.header, metric.depth.sigma_hw))
            self._publish_metres(result, depth_m_hw, confidence_hw, scale.factor, frame)
        share = float("nan")
        if confidence_hw is not None:
            share = float((confidence_hw >= self.value("min_confidence")).mean())
        self._seen = _Seen(scale, trusted, share, verdict, metric and metric.points)
        self._use_missed_landmarks(frame)
        return Outcome(trusted or not metres_wanted, verdict)

    def _wait_for_pose(self, frame: Frame) -> None:
        if not self._inputs.wait_for_pose(frame.epoch, frame.stamp_ns, 0.0):
            with self.pace.waiting():  # the localizer may be in this process
                self._inputs.wait_for_pose(frame.epoch, frame.stamp_ns, self.value("pose_wait_s"))

    def _fresh_tracker(self, frame: Frame) -> ScaleTracker:
        """The tracker, with the present parameters and nothing of an earlier epoch."""
        if frame.epoch != self._tracker_epoch:
            self._tracker_epoch, self._looked_back, self._landmarks_used_s = frame.epoch, 0, 0.0
            self._tracker.reset()
            if self._recalled is not None:
                self._tracker.remember(*self._recalled, self.value("state_max_age_s"))
        scale = ScaleOptions(**{s.name.removeprefix("scale."): self.value(s.name) for s in SCALE_PARAMETERS})
        self._tracker.options = TrackerOptions(scale, **{s.name: self.value(s.name) for s in SOURCE_PARAMETERS})
        return self._tracker

    def _scale_label(self, scale: Scale | None, trusted: bool) -> str:
        if scale is None:
            return "no scale, so no metres: neither landmarks nor odometry nor the floor tell it"
        label = f"scale {scale.factor:.3g} within {100 * scale.sigma:.0f} % from {scale.source}"
        return label if trusted else f"{label}, too uncertain for metres"

    def _publish_relative(self, result: RelativeDepth, frame: Frame) -> None:
        if _wanted(self._infos):
            self._infos.publish(camera_info_message(frame.header, result.camera))
        if _wanted(self._relatives):
            self._relatives.publish(float_image(frame.header, result.depth_hw))

    def _publish_looks(self, result: RelativeDepth, confidence_hw, verdict: str, frame: Frame) -> None:
        header = frame.header
        if confidence_hw is not None and _wanted(self._confidences):
            self._confidences.publish(float_image(header, confidence_hw))
        if _wanted(self._overlay):
            picture_hw3 = draw_depth(result.depth_hw, result.view_hw3)
            write_caption(picture_hw3, verdict)
            self._overlay.publish(fill_image(Image(header=header), picture_hw3))

    def _field_wanted(self) -> bool:
        return any(_wanted(output) for output in (self._depths, self._points, self._sigmas, self._confidences))

    def _publish_metres(
        self, result: RelativeDepth, depth_m_hw: np.ndarray, confidence_hw, factor: float, frame: Frame
    ) -> None:
        header, max_depth_m = frame.header, self.value("max_depth_m")
        if _wanted(self._scales):
            self._scales.publish(Float64(data=factor))
        if not (_wanted(self._depths) or _wanted(self._points)):
            return
        with np.errstate(invalid="ignore"):
            depth_m_hw[depth_m_hw > max_depth_m] = np.inf
        if _wanted(self._depths):
            self._depths.publish(depth_image(header, depth_m_hw, self.value("depth_encoding")))
        if _wanted(self._points):
            points_n = point_cloud(
                depth_m_hw, result.camera, confidence_hw, self.value("min_confidence"), self.value("point_stride_px"),
                result.view_hw3, max_depth_m,
            )  # fmt: skip
            self._points.publish(point_cloud_message(header, points_n))

    def _use_missed_landmarks(self, frame: Frame) -> None:
        """Looks at the image of landmarks that passed by while the worker was busy, when none were used for a while."""
        interval_s, now_s = self.value("landmark_interval_s"), time.monotonic()
        if interval_s == 0 or now_s - self._landmarks_used_s < interval_s:
            return
        frames = self._inputs.frames()
        landmarks = self._tracker.take_missed(set(frames)) if frames else None
        if landmarks is None:
            return
        self._landmarks_used_s, self._looked_back = now_s, self._looked_back + 1
        missed = frames[landmarks.stamp_ns]
        try:
            image_hw3 = self.images.decode(missed.message)
            camera = self.images.camera_of(missed, *image_hw3.shape[1::-1])
        except InputError:  # logged where it is the newest image
            return
        depth = self._estimator.estimate(image_hw3, camera)
        if depth.estimated and frame.epoch == self.epoch:
            self._tracker.measure(landmarks, SeenDepth(missed.stamp_ns, depth, camera))


def _identity(path: str | Path) -> str:
    """Of a weights file or folder: its name, and when it was written."""
    path = os.path.expanduser(str(path).rstrip("/"))
    found = os.stat(path)
    return f"{os.path.basename(path)} {found.st_size} {found.st_mtime_ns}"


def _wanted(publisher) -> bool:
    return publisher.get_subscription_count() > 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run_nodes([DepthNode], arguments)


if __name__ == "__main__":
    sys.exit(main())
