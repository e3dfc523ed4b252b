"""The calibration node: images in, the camera's focal length and attitude out."""

from __future__ import annotations

if __name__ == "__main__":  # a signal must end the process while what follows is loaded, too
    from geo_perception.runtime.interruption import watch_signals

    watch_signals()

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, Imu
from std_msgs.msg import Float64

from geo_perception.calibration.focal_pool import NEW_VIEW
from geo_perception.calibration.fusion import CalibrationFusion, FusedCalibration, FusionOptions, RememberedFocal
from geo_perception.calibration.lens import ENOUGH_VIEWS, TOO_BENT, LensBend, LensPool
from geo_perception.calibration.overlay import describe, draw_calibration
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationMeasurement, RotationSelfCalibration
from geo_perception.calibration.view_change import ViewChange
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import UncalibratedCamera
from geo_perception.ros.camera_source import NoCamera
from geo_perception.ros.codec import fill_image
from geo_perception.ros.messages import attitude_message, camera_info_message
from geo_perception.ros.node_base import Outcome, PerceptionNode
from geo_perception.ros.parameters import Change, Spec
from geo_perception.ros.remembered import STATE_PARAMETERS, Remembered, number
from geo_perception.ros.run import run_nodes
from geo_perception.ros.worker import Frame
from geo_perception.runtime.quick_imports import quick_imports

TRACKING_INTERVAL_S = 0.08  # a camera turns far too slowly for points to get lost within
TRUSTED, COMPARED, IGNORED = "trusted", "compared", "ignored"
_USUAL = FusionOptions()
FUSION_PARAMETERS = (
    Spec("correlation_s", _USUAL.correlation_s, "images closer in time than this are taken to be wrong in the same "
         "way, so that many of them do not feign certainty", low=1e-3, high=3600.0),
    Spec("shared_error", _USUAL.shared_error, "part of the error variance of pitch and roll that every image of the "
         "same view repeats", low=0.0, high=0.95),
    Spec("place_error", _USUAL.place_error, "part of an image's error variance of the focal length that all views of a "
         "place have in common, so that many views do not feign certainty", low=0.0, high=1.0),
    Spec("image_focal_sigma", _USUAL.image_focal_sigma, "no image is believed more exactly than to this share of the "
         "focal length, however sure it is", low=0.0, high=1.0),
    Spec("focal_walk", _USUAL.focal_walk, "how far the focal length wanders in one second, as a share of it; 0: never",
         low=0.0, high=1.0),
    Spec("attitude_walk_rad", _USUAL.attitude_walk_rad, "how far pitch and roll wander in one second; 0: the camera "
         "stands fixed", low=0.0, high=10.0),
    Spec("gate_sigma", _USUAL.gate_sigma, "an image further off than so many standard deviations is left out",
         low=1.0, high=100.0),
    Spec("focal_restart_frames", _USUAL.focal_restart_frames, "so many images of several views that contradict the "
         "focal length, and agree with each other, start the estimate anew: the zoom was moved; of one view five times "
         "as many", low=1, high=1000),
    Spec("attitude_restart_frames", _USUAL.attitude_restart_frames, "so many images in a row that contradict only the "
         "attitude let it jump: the camera was turned fast", low=1, high=1000),
    Spec("min_frames", _USUAL.min_frames, "images before the focal length counts as settled", low=1, high=1000),
    Spec("max_focal_sigma", _USUAL.max_focal_sigma, "the focal length is settled, and CameraInfo published, while its "
         "standard deviation is at most this share of it", low=1e-4, high=1.0),
    Spec("max_attitude_sigma_rad", _USUAL.max_attitude_sigma_rad, "the attitude is published while the standard "
         "deviations of pitch and roll are at most this", low=1e-4, high=3.2),
)  # fmt: skip
PARAMETERS = (
    Spec("weights", "", "file with the network's weights; nothing: the reference weights in the package",
         Change.UNCONFIGURED),
    Spec("attitude_frame", "", "frame in the camera's housing with x forward, y left, z up (camera_link, say) that "
         "~/attitude is for; nothing: the optical frame, as named in the image", Change.UNCONFIGURED),
    Spec("use_lines", True, "let the straight lines of an image refine what the network says; weights that do not say "
         "how far to believe lines leave them out"),
    Spec("use_turns", True, "also measure the focal length by geometry, wherever the camera turns without moving far"),
    Spec("use_lens", True, "find out in the first views, by straight lines, whether the lens bends: then images are "
         "freed of it, and CameraInfo says so; not with use_lines off or a driver's camera that is trusted"),
    Spec("driver_camera", COMPARED, "what the driver's CameraInfo is for: trusted (right to 1 %, lens included, "
         "which makes pitch and roll more exact), compared with the estimate, or ignored",
         choices=(TRUSTED, COMPARED, IGNORED)),
    *FUSION_PARAMETERS,
    *STATE_PARAMETERS,
    Spec("disagreement_sigma", 3.0, "the driver's focal length is doubted when it is further off than so many standard "
         "deviations", low=1.0, high=100.0),
    Spec("disagreement_floor", 0.05, "a focal length that differs by no more than this share is never doubted, however "
         "certain the estimate", low=0.0, high=1.0),
)  # fmt: skip


class CalibrationNode(PerceptionNode):
    """Publishes `~/camera_info`, `~/attitude`, `~/focal_length`, `~/pitch`, `~/roll` and `~/horizon`. See
    docs/nodes.md.

    Raises InputError when a parameter given at start-up cannot be used.
    """

    own_parameters = PARAMETERS
    needs_camera = False
    optional_camera_info = True
    rank = 1

    def __init__(self, **kwargs):
        self._calibrator = None
        self._fusion, self._view = CalibrationFusion(), ViewChange()
        self._remembered = Remembered(self, "a focal length", interval_s=10.0)
        self._lock = threading.Lock()  # a reset comes in the executor's thread, images in the worker's
        self._forget_all()
        super().__init__("calibration_node", **kwargs)

    def prepare(self) -> Any:
        with quick_imports():
            from geo_perception.calibration.estimator import Calibrator

        path = os.path.expanduser(self.value("weights")) or None
        calibrator = Calibrator.load(path, self.device, engine=self.value("engine"))
        calibrator.warm_up()
        return calibrator

    def load(self) -> None:
        from geo_perception.calibration.known import KnownCamera

        self._known = KnownCamera
        self.adopt(self.prepared)
        path = os.path.expanduser(self.value("weights"))
        self.hardware_id = os.path.basename(path) or "reference weights"
        self._infos = self.output(CameraInfo, "~/camera_info")
        self._attitude = self.output(Imu, "~/attitude")
        self._numbers = [self.output(Float64, f"~/{name}") for name in ("focal_length", "pitch", "roll")]
        self._overlay = self.output(Image, "~/horizon")

    def adopt(self, prepared: Any) -> None:
        self._calibrator = prepared
        self.tell_engine(prepared)

    def on_activated(self) -> None:
        self._begin_anew()  # another camera may have come while the node was not active
        self._remembered.recall(self._take_state)

    def release(self) -> None:
        self._remembered.close()
        self._calibrator = None
        self.hardware_id = "none"

    def reset_state(self) -> None:
        self._begin_anew()
        self._remembered.forget()

    def _begin_anew(self) -> None:
        with self._lock:
            self._forget_all()
        self.inconsistency = ""

    def diagnostic_values(self) -> dict[str, str]:
        values, fused = {}, self._fused
        if fused is not None and np.isfinite(fused.focal_px):
            values = {
                "focal length (px)": f"{fused.focal_px:.1f}",
                "focal length sigma (%)": f"{100 * fused.sigma_focal_px / fused.focal_px:.2f}",
                "pitch (deg)": f"{np.degrees(fused.pitch_rad):.2f}",
                "pitch sigma (deg)": f"{np.degrees(fused.sigma_pitch_rad):.2f}",
                "roll (deg)": f"{np.degrees(fused.roll_rad):.2f}",
                "roll sigma (deg)": f"{np.degrees(fused.sigma_roll_rad):.2f}",
            }
        return values | {
            "fusion": "none" if fused is None else fused.detail,
            "images fused": "0" if fused is None else str(fused.frames),
            "images left out as outliers": str(self._outliers),
            "lines of the last image": str(self._lines),
            "turns measured": str(self._turns_measured),
            "evidence": ", ".join(self._evidence) or "none",
            "lens": self._describe_lens(),
            "restarts": str(self._restarts),
            "last restart": self._last_restart or "none",
            "camera_info": "published" if fused is not None and fused.focal_settled else "withheld",
            "driver's focal length (px)": self._driver or "none",
            "state file": self._remembered.verdict,
        }

    def compute(self, image_hw3: np.ndarray, camera: Camera | None, frame: Frame) -> Calibration:
        self._calibrator.options = replace(self._calibrator.options, lines=self.value("use_lines"))
        height_px, width_px = image_hw3.shape[:2]
        self._driver_camera = self._camera_of_driver(frame, width_px, height_px)
        self._recall_lens((width_px, height_px), frame.stamp_ns * 1e-9)
        known, lens = None, self._lens if self._frees_of_lens else None
        if self._trusts_driver:
            known, lens = self._known(self._driver_camera), None
        elif lens is not None and not lens.beyond:
            known = self._known().with_lens(lens, width_px, height_px)
        self._plain_hw3 = image_hw3 if known is None else known.plain_image(image_hw3)
        result = self._calibrator.estimate(self._plain_hw3, known and known.of_plain_image)
        if lens is not None and lens.beyond:
            result = replace(result, verdict=CalibrationVerdict.BENT, detail=TOO_BENT)
        return replace(result, lens=lens)

    def publish(self, result: Calibration, image_hw3: np.ndarray, camera: Camera | None, frame: Frame) -> Outcome:
        fused = self._fuse(result, image_hw3, frame)
        header = frame.header
        if fused.event:
            self.get_logger().warning(f"{fused.event}; outputs follow when the estimate is certain enough")
            if not fused.focal_settled:
                self._remembered.forget()
        self._compare_with_driver(fused)
        # The focal length stays what it was while the lens is covered; the attitude may not.
        if fused.focal_settled:
            trusted = self._trusts_driver and not self.inconsistency
            camera = self._driver_camera if trusted else replace(fused, lens=result.lens).camera
            self._infos.publish(camera_info_message(header, camera))
        attitude_published = fused.used and fused.attitude_good
        if attitude_published:
            frame_id = self.value("attitude_frame")
            angles = fused.pitch_rad, fused.roll_rad, fused.covariance_33
            self._attitude.publish(attitude_message(frame_id or header.frame_id, header.stamp, *angles, bool(frame_id)))
        if fused.used:
            for publisher, value in zip(
                self._numbers, (fused.focal_px, fused.pitch_rad, fused.roll_rad), strict=True
            ):  # fmt: skip
                publisher.publish(Float64(data=value))
        verdict = f"{result.verdict.value}: {result.detail}" if result.detail else result.verdict.value
        if result.trusted:
            verdict = fused.detail if fused.used else f"left out: {fused.detail}"
        if self._overlay.get_subscription_count() > 0:
            shown, caption = (fused, describe(fused)) if fused.used else (result, verdict)
            self._overlay.publish(fill_image(Image(header=header), draw_calibration(image_hw3, shown, caption)))
        return Outcome(fused.used and (attitude_published or fused.focal_settled), verdict)

    def _fuse(self, result: Calibration, image_hw3: np.ndarray, frame: Frame) -> FusedCalibration:
        with self._lock:
            self.check_epoch(frame)
            turn = None  # an image that shows nothing changes nothing
            if result.verdict not in (CalibrationVerdict.BAD_IMAGE, CalibrationVerdict.NO_STRUCTURE):
                turn, self._turn = self._turn, None
            self._fusion.options = FusionOptions(**{spec.name: self.value(spec.name) for spec in FUSION_PARAMETERS})
            ncc = self._view.ncc(image_hw3) if result.trusted else 0.0
            fused = self._fusion.update(result, frame.stamp_ns * 1e-9, ncc, turn)
            self._learn_lens(ncc, (result.width_px, result.height_px))  # of which the next image is freed
            self._turns_measured += turn is not None
            self._fused, self._lines = fused, result.lines
            self._evidence = self._evidence_of(result)
            self._outliers += result.trusted and not fused.used
            if fused.event:
                self._restarts, self._last_restart = self._restarts + 1, fused.event
            self._remembered.keep(self._state())
        return fused

    def follow_up(self, frame: Frame) -> None:
        """What the answer need not wait for, and the next one hears: whether the lens bends, and how points moved."""
        if self._asks_lens and self._frees_of_lens and not self._trusts_driver:  # then the plain image is the image
            said = [self._calibrator.bend_costs(self._plain_hw3)]
            with self._lock:
                if self._asks_lens and frame.epoch == self.epoch:
                    self._lens_said = said
        # Images that follow fast need not all be looked at for points.
        turns, stamp_s = self._turns, frame.stamp_ns * 1e-9
        since_s = stamp_s - self._tracked_s
        if not self.value("use_turns") or 0 <= since_s < TRACKING_INTERVAL_S:
            return
        turn = turns.update(self._plain_hw3)
        with self._lock:
            if turns is self._turns:  # else there was a reset meanwhile
                self._turn, self._tracked_s = turn or self._turn, stamp_s

    def _state(self) -> dict | None:
        """What is to be remembered; None while nothing is settled."""
        focal = self._fusion.settled_focal()
        return None if focal is None else {**asdict(focal), "lens": self._lens and asdict(self._lens)}

    def _take_state(self, state: dict) -> None:
        """Goes on with a focal length of before, and with the lens that its images were freed of."""
        sizes = int(state["width_px"]), int(state["height_px"])
        known = RememberedFocal(number(state, "focal_px"), number(state, "sigma"), *sizes, number(state, "stamp_s"))
        bend = state["lens"]
        if bend is not None and not self._frees_of_lens:
            raise InputError("the focal length kept there is of images freed of their bend, which is switched off")
        lens = bend and LensBend(number(bend, "bend"), number(bend, "sigma"), bool(bend["beyond"]))
        with self._lock:
            self._recalled_lens = lens and (known, lens)
            self._fusion.remember(known, self.value("state_max_age_s"))

    def _recall_lens(self, size_px: tuple[int, int], stamp_s: float) -> None:
        """Takes the lens that is remembered, at the first image, where the focal length is believed."""
        with self._lock:
            recalled, self._recalled_lens = self._recalled_lens, None
            if recalled is not None and recalled[0].holds(size_px, stamp_s, self.value("state_max_age_s")):
                self._lens, self._lens_size_px = recalled[1], size_px

    @property
    def _frees_of_lens(self) -> bool:
        """Whether the parameters let images be freed of a bend that lines show."""
        return self.value("use_lens") and self.value("use_lines")

    @property
    def _trusts_driver(self) -> bool:
        """Whether the driver says which camera took the last image, and is believed."""
        return self._driver_camera is not None and self.value("driver_camera") == TRUSTED

    def _evidence_of(self, result: Calibration) -> list[str]:
        """What spoke: in the last image, and by turns before it."""
        if not result.trusted:
            return ["turns"] if self._turns_measured else []
        spoke = {
            "network": True, "lines": result.lines, "driver": self._trusts_driver, "turns": self._turns_measured,
        }  # fmt: skip
        return [name for name, so in spoke.items() if so]

    def _learn_lens(self, ncc: float, size_px: tuple[int, int]) -> None:
        """Adds what the view that was asked last says of the lens, and decides whether this one is asked: the first
        views are, until enough have been."""
        if size_px != self._lens_size_px:
            self._forget_lens()
            self._lens_size_px = size_px
        if self._lens_said:
            for costs_k in self._lens_said:
                if costs_k is not None:  # else the view shows too few lines to tell
                    self._lens_pool.add(costs_k)
            self._lens_said, self._alike = [], 1.0
            lens = self._lens_pool.bend()
            if lens is not None and self._lens is None:
                self._lens = lens
                self._fusion.reset()  # what it heard, and what was tracked, was of bent images
                self._forget_turns()
                self.get_logger().warning(f"the lens bends ({self._describe_lens()}); the estimate starts anew")
        self._alike *= ncc
        self._asks_lens = self._lens is None and len(self._lens_pool.views) < ENOUGH_VIEWS and self._alike < NEW_VIEW

    def _forget_lens(self) -> None:
        self._lens_pool = LensPool()
        self._lens: LensBend | None = None
        self._lens_said: list[np.ndarray | None] = []  # of the last image, where it was asked
        self._alike, self._asks_lens = 0.0, False

    def _forget_turns(self) -> None:
        self._turns = RotationSelfCalibration()  # a new one: that of before may be at work
        self._turn: RotationMeasurement | None = None  # not yet told
        self._tracked_s = -np.inf

    def _describe_lens(self) -> str:
        if self._lens is None:
            return f"no bend seen in {len(self._lens_pool.views)} views"
        if self._lens.beyond:
            return TOO_BENT
        return f"bends by {self._lens.bend:.3f} +- {self._lens.sigma:.3f}"

    def _forget_all(self) -> None:
        self._fusion.reset()
        self._view.reset()
        self._forget_turns()
        self._turns_measured = self._lines = 0
        self._fused: FusedCalibration | None = None
        self._evidence: list[str] = []
        self._driver_camera: Camera | None = None
        self._outliers = self._restarts = 0
        self._last_restart = self._driver = ""
        self._lens_size_px: tuple[int, int] | None = None
        self._recalled_lens: tuple[RememberedFocal, LensBend] | None = None
        self._forget_lens()

    def _camera_of_driver(self, frame: Frame, width_px: int, height_px: int) -> Camera | None:
        """The camera by the driver's CameraInfo; None where there is none that can be used, or where it is ignored."""
        if self.value("driver_camera") == IGNORED:
            self._driver = "ignored"
            return None
        try:
            camera = self.images.cameras.of(frame, width_px, height_px).camera
        except NoCamera:
            self._driver = "none"
        except UncalibratedCamera:
            self._driver = "none: its K is zero"
        except InputError as error:
            self._driver = f"unusable: {error}"
        else:
            self._driver = f"{camera.focal_px:.1f}"
            return camera
        return None

    def _compare_with_driver(self, fused: FusedCalibration) -> None:
        """Compares the driver's CameraInfo with the estimate, and notes an inconsistency between them."""
        inconsistency = ""
        if self._driver_camera is not None and fused.focal_settled:
            driver_px = self._driver_camera.focal_px
            sigma = fused.sigma_focal_px / fused.focal_px
            allowed = max(self.value("disagreement_sigma") * sigma, self.value("disagreement_floor"))
            if abs(np.log(driver_px / fused.focal_px)) > allowed:
                inconsistency = (
                    f"the driver's CameraInfo says a focal length of {driver_px:.0f} px, the images "
                    f"{fused.focal_px:.0f} px within {fused.sigma_focal_px:.0f} px; check its calibration and zoom"
                )
        self.inconsistency = inconsistency


def main(arguments: Sequence[str] | None = None) -> int:
    return run_nodes([CalibrationNode], arguments)


if __name__ == "__main__":
    sys.exit(main())
