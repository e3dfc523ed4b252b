"""The localization node: images in, the pose in the map out."""

from __future__ import annotations

if __name__ == "__main__":  # a signal must end the process while what follows is loaded, too
    from geo_perception.runtime.interruption import watch_signals

    watch_signals()

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.agreement import Agreement
from geo_perception.localization.matched import matched_landmarks
from geo_perception.localization.overlay import draw_localization
from geo_perception.localization.present_scene import PresentScene
from geo_perception.localization.result import Detections, Localization
from geo_perception.ros import held_transform, qos
from geo_perception.ros.codec import fill_image
from geo_perception.ros.frame_statistics import Reason
from geo_perception.ros.frames import TF_MODES, NoTransform, Transforms, map_to_odom, transport_covariance
from geo_perception.ros.held_transform import HeldTransform
from geo_perception.ros.image_input import Dropped
from geo_perception.ros.messages import landmark_diameter_m, landmark_markers, pose_message
from geo_perception.ros.node_base import Outcome, PerceptionNode
from geo_perception.ros.parameters import Change, Spec
from geo_perception.ros.point_cloud import point_cloud_message
from geo_perception.ros.remembered import STATE_PARAMETERS
from geo_perception.ros.run import run_nodes
from geo_perception.ros.worker import Frame
from geo_perception.runtime.quick_imports import quick_imports

PARAMETERS = (
    Spec("scene", "", "the scene file to localize in, or a folder of scenes, of which the right one is found",
         Change.UNCONFIGURED),
    Spec("backbone_file", "", "weights of the backbone, where the scene needs others than those installed",
         Change.UNCONFIGURED),
    Spec("allow_unknown_scale", False, "use a scene whose scale is not known; positions are then in the scene's units, "
         "not in metres", Change.UNCONFIGURED),
    Spec("map_frame", "", "frame of the pose; nothing: the one named in the scene, or in the folder's scenes.yaml",
         Change.UNCONFIGURED),
    Spec("base_frame", "", "publish the pose of this frame, by TF from the camera's; nothing: the pose of the camera's "
         "optical frame", Change.UNCONFIGURED),
    Spec("odom_frame", "odom", "odometry's frame, for tf_mode map_odom", Change.UNCONFIGURED),
    Spec("tf_mode", "none", "broadcast nothing, map_frame to odom_frame (where odometry exists), or map_frame to "
         "base_frame", Change.UNCONFIGURED, choices=TF_MODES),
    *held_transform.PARAMETERS,
    Spec("min_score", 0.05, "detections with a lower score are not used", low=0.0, high=1.0),
    Spec("min_inliers", 10, "landmarks that must be found, and agree with the pose where there is no second look",
         low=4, high=10000),
    Spec("second_look", True, "refine and confirm the first pose by map points around their projections, where the "
         "scene carries them", Change.UNCONFIGURED),
    Spec("min_confidence", 0.3, "probability of being right, by the map points that should be seen and are not, below "
         "which a pose of the second look is refused", low=0.0, high=1.0),
    Spec("agreeing_frames", 2, "frames whose poses must fit together before one is published, when the last four gave "
         "none, or another pose; 1: every pose is published", low=1, high=4),
    Spec("max_position_sigma_m", 0.5, "largest standard deviation of the position, in its worst direction", low=1e-4,
         high=1e4),
    Spec("max_rotation_sigma_rad", 0.15, "largest standard deviation of the rotation, about its worst axis", low=1e-4,
         high=3.2),
    Spec("scene_memory_mb", 512.0, "of a folder: memory for the scenes that are loaded; those not used for the longest "
         "are put away, the present one never", Change.UNCONFIGURED, low=1.0, high=1e6),
    Spec("scene_tries", 3, "of a folder: proposed scenes in which a frame is looked for, where the present one has no "
         "pose", Change.UNCONFIGURED, low=1, high=1000),
    Spec("scene_switch_frames", 3, "of a folder: frames in a row in which another scene must be proposed before the "
         "present one, or have a pose alone, until it takes over", Change.UNCONFIGURED, low=1, high=1000),
    Spec("scene_folder_period_s", 5.0, "of a folder: seconds between two looks at what was added to it, replaced or "
         "removed while the node runs; 0: never", Change.UNCONFIGURED, low=0.0, high=86400.0),
    *STATE_PARAMETERS,
)  # fmt: skip


class LocalizationNode(PerceptionNode):
    """Publishes `~/pose`, `~/landmarks`, `~/matched_landmarks`, `~/detections` and TF. See docs/nodes.md.

    Raises InputError when a parameter given at start-up cannot be used.
    """

    own_parameters = PARAMETERS
    rank = 0  # the last to give way

    def __init__(self, **kwargs):
        self._localizer = self._transforms = self._map_odom = None
        self._looked: Localization | None = None
        self._agreement, self._without_tf = Agreement(), 0
        self._scenes: PresentScene | None = None  # of a folder
        self._pose_frame = ""  # of the last pose
        super().__init__("localization_node", **kwargs)

    def prepare(self) -> Any:
        path = os.path.expanduser(self.value("scene"))
        if not path:
            raise InputError("no scene is given; set the parameter scene to a scene file, or to a folder of them")
        mode = self.value("tf_mode")
        if mode == "map_base" and not self.value("base_frame"):
            raise InputError("tf_mode map_base needs base_frame; give the robot's frame (base_link, say)")
        if mode == "map_odom" and not self.value("odom_frame"):
            raise InputError("tf_mode map_odom needs odom_frame; give odometry's frame (odom, say)")
        with quick_imports():
            from geo_perception.localization.estimator import LocalizerOptions
            from geo_perception.localization.scene_choice import SceneChoiceOptions
            from geo_perception.localization.scene_set import SceneSetOptions, load_localizer

        backbone = os.path.expanduser(self.value("backbone_file")) or None
        options = LocalizerOptions(second_look=self.value("second_look"))
        choice = SceneChoiceOptions(self.value("scene_tries"), self.value("scene_switch_frames"))
        localizer = load_localizer(
            path, self.device, options, backbone, self.value("engine"),
            SceneSetOptions(choice, self.value("scene_memory_mb")), self.value("map_frame"),
        )  # fmt: skip
        if not localizer.metric and not self.value("allow_unknown_scale"):
            raise InputError(
                f"the scale of {path} is not known, so its positions are not in metres; map it with poses or with "
                "--scale-from, or set allow_unknown_scale to true"
            )
        localizer.warm_up()
        return localizer

    def load(self) -> None:
        self.adopt(self.prepared)
        mode = self.value("tf_mode")
        if mode != "none" or self.value("base_frame"):
            self._transforms = Transforms(self, broadcast=mode != "none")
        if mode == "map_odom":
            tolerance_s, rate_hz = self.value("transform_tolerance_s"), self.value("transform_rate_hz")
            if tolerance_s * rate_hz < 1:
                self.get_logger().warning(
                    f"transform_tolerance_s is {tolerance_s:g}, less than the pause between two sends at "
                    f"transform_rate_hz {rate_hz:g}; TF will not always know the present"
                )
            self._map_odom = HeldTransform(self, self._transforms, self.map_frame, self.value("odom_frame"))
        path = os.path.expanduser(self.value("scene"))
        self.hardware_id = os.path.basename(path)
        self._pose = self.output(PoseWithCovarianceStamped, "~/pose")
        self._overlay = self.output(Image, "~/detections")
        # True depths for whoever needs a scale, so only where the scene's is known.
        metric = self._localizer.metric
        self._matched = self.output(PointCloud2, "~/matched_landmarks", is_result=metric)
        self._landmarks = self.output(MarkerArray, "~/landmarks", qos.LATCHED_OUT, is_result=False)

    def adopt(self, prepared: Any) -> None:
        self._localizer = prepared
        if hasattr(prepared, "standing"):
            self._scenes = self._scenes or PresentScene(self, self._show_landmarks)
            self._scenes.adopt(prepared)
        self.tell_engine(prepared)

    def on_activated(self) -> None:
        if self._scenes is not None:
            self._scenes.activated()
        else:
            self._show_landmarks(self.map_frame, self._localizer.landmarks_map_l3)

    def _show_landmarks(self, frame_id: str, points_l3: np.ndarray) -> None:
        stamp = self.get_clock().now().to_msg()
        self._landmarks.publish(landmark_markers(frame_id, stamp, points_l3, landmark_diameter_m(points_l3)))

    def release(self) -> None:
        self._localizer = self._looked = None
        self._agreement.clear()
        self._pose_frame, self.scene_problem, self.scene_conflict = "", "", ""
        if self._scenes is not None:
            self._scenes.close()
            self._scenes = None
        self.hardware_id = "none"
        if self._map_odom is not None:
            self._map_odom.close()
            self._map_odom = None
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None

    def reset_state(self) -> None:
        self._looked = None
        self._agreement.clear()
        self._without_tf, self.shortfall = 0, ""
        if self._scenes is not None:
            self._scenes.forget()
        if self._transforms is not None:
            self._transforms.clear()

    def diagnostic_values(self) -> dict[str, str]:
        told, looked = ("none", "none", "none"), self._looked
        if looked is not None:
            told = str(looked.agreeing_points), str(looked.searched_points), f"{looked.confidence:.2f}"
        values = dict(zip(("map points agreeing", "map points searched", "confidence"), told, strict=True))
        if self._scenes is not None:
            values |= self._scenes.values()
        if self._map_odom is None:
            return values
        age_s = self._map_odom.age_s()
        return values | {
            "age of map to odom (s)": "none is sent" if age_s is None else f"{age_s:.2f}",
            "poses without map to odom": str(self._without_tf),
        }

    def demanded(self) -> bool:
        return self.value("tf_mode") != "none" or super().demanded()

    @property
    def map_frame(self) -> str:
        if self._scenes is not None:
            return self._scenes.map_frame
        return self.value("map_frame") or self._localizer.scene.frame_id

    def compute(self, image_hw3: np.ndarray, camera: Camera, frame: Frame) -> Localization:
        localizer = self._localizer
        localizer.options = replace(
            localizer.options,
            min_score=self.value("min_score"),
            min_inliers=self.value("min_inliers"),
            min_confidence=self.value("min_confidence"),
            max_sigma_m=self.value("max_position_sigma_m"),
            max_sigma_rad=self.value("max_rotation_sigma_rad"),
        )
        if self._scenes is None:
            return localizer.estimate(image_hw3, camera)
        self._scenes.begin(frame)
        result = localizer.estimate(image_hw3, camera)
        self.check_epoch(frame)
        self._scenes.end(result, frame)
        return result

    def publish(self, result: Localization, image_hw3: np.ndarray, camera: Camera, frame: Frame) -> Outcome:
        self._looked = replace(result, detections=Detections.none()) if result.searched_points else None
        if result.localized and not _is_pose(result):
            raise Dropped(Reason.DEFECT, "the estimated pose or its covariance is not finite")
        if self._overlay.get_subscription_count() > 0:
            self._overlay.publish(fill_image(Image(header=frame.header), draw_localization(image_hw3, result)))
        verdict = f"{result.verdict.value}: {result.detail}"
        stamp_s = frame.stamp_ns / 1e9
        self.check_epoch(frame)  # a frame of before a reset must not agree with one of after it
        if not result.localized:
            self._agreement.lost(stamp_s)
            return Outcome(False, verdict)
        needed = replace(self._agreement.options, frames=self.value("agreeing_frames"))
        if not self._localizer.metric:
            needed = replace(needed, max_speed_m_s=float("inf"))  # how far a robot moves is not known in its units
        self._agreement.options = needed
        if result.map_frame != self._pose_frame:  # poses of two frames cannot be compared
            self._agreement.clear()
            self._pose_frame = result.map_frame
        if not self._agreement.believes(stamp_s, result.T_map_camera, result.covariance_66):
            return Outcome(False, f"waits for frames that agree: {result.detail}")
        if self._localizer.metric and self._matched.get_subscription_count() > 0:
            self._matched.publish(point_cloud_message(frame.header, matched_landmarks(result)))
        self._publish_pose(result, frame)
        return Outcome(True, f"{verdict}; {self.shortfall}" if self.shortfall else verdict)

    def _lookup(self, target: str, source: str, stamp, wait_s: float) -> np.ndarray:
        """The transform at a stamp; other nodes may compute while it is on its way. Raises NoTransform."""
        with contextlib.suppress(NoTransform):
            return self._transforms.lookup(target, source, stamp, 0.0)
        with self.pace.waiting():
            return self._transforms.lookup(target, source, stamp, wait_s)

    def _publish_pose(self, result: Localization, frame: Frame) -> None:
        """The pose first, then TF: a broadcast that lacks odometry does not hold the pose back, and the frame counts.
        Raises Dropped where the pose itself lacks a transform."""
        stamp, camera_frame = frame.header.stamp, frame.header.frame_id
        T_map_body, covariance_66 = result.T_map_camera, result.covariance_66
        base_frame, mode, map_frame = (
            self.value("base_frame"),
            self.value("tf_mode"),
            result.map_frame or self.map_frame,
        )
        wait_s = self.value("transform_wait_s")
        if base_frame:
            try:
                T_camera_base = self._lookup(camera_frame, base_frame, stamp, wait_s)
            except NoTransform as error:
                raise Dropped(Reason.NO_TRANSFORM, str(error)) from None
            covariance_66 = transport_covariance(T_map_body, T_camera_base, covariance_66)
            T_map_body = T_map_body @ T_camera_base
        self.check_epoch(frame)
        self._pose.publish(pose_message(map_frame, stamp, T_map_body, covariance_66))
        if mode == "map_base":
            self._transforms.broadcast(map_frame, base_frame, T_map_body, stamp)
        elif mode == "map_odom":
            try:
                T_odom_camera = self._lookup(self.value("odom_frame"), camera_frame, stamp, wait_s)
            except NoTransform as error:
                self._without_tf += 1
                self.shortfall = f"the pose is published, but no map to odom: {error}"
                self.warn("no map to odom", self.shortfall)
                return
            self.shortfall = ""
            self._map_odom.hold(map_to_odom(result.T_map_camera, T_odom_camera), frame, map_frame)


def _is_pose(result: Localization) -> bool:
    """Whether every number is one, so that no filter is fed with others."""
    return bool(np.isfinite(result.T_map_camera).all() and np.isfinite(result.covariance_66).all())


def main(arguments: Sequence[str] | None = None) -> int:
    return run_nodes([LocalizationNode], arguments)


if __name__ == "__main__":
    sys.exit(main())
