"""One image to focal length, pitch and roll, without ROS: what a node, a notebook, a test and the evaluation use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geo_perception.calibration.angles import camera_term, camera_values, joint_values, to_angles
from geo_perception.calibration.graph import CalibrationGraph, output_of
from geo_perception.calibration.joint import CameraTerm, JointOptions, solve_joint, tangents
from geo_perception.calibration.known import UNKNOWN_SIGMA, KnownCamera
from geo_perception.calibration.lens import BENDS, ENOUGH_VIEWS, MIN_SEGMENTS, TOO_BENT, LensBend, pooled_bend
from geo_perception.calibration.network import CalibrationNetwork, NetworkConfig, NetworkOutput
from geo_perception.calibration.network_view import SIDE_MULTIPLE_PX, network_view
from geo_perception.calibration.pooling import combined, pooled_log_focal
from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.calibration.rotation_calibration import RotationSelfCalibration
from geo_perception.calibration.scale import image_scale
from geo_perception.calibration.segments import NO_SEGMENTS, Segments, find_segments
from geo_perception.calibration.solve import CameraSolution, solve
from geo_perception.calibration.uncertainty import LinesUncertainty, Uncertainty
from geo_perception.errors import InputError
from geo_perception.runtime.device import pick_device
from geo_perception.runtime.engine import Choice
from geo_perception.runtime.frozen import FrozenNetwork
from geo_perception.runtime.image import contrast_problem, image_problem
from geo_perception.runtime.onnx_engine import graph_beside
from geo_perception.runtime.weights import load_weights, packaged_weights, save_weights, state_checksum

KIND, FORMAT_VERSION = "calibration", 1
REFERENCE_WEIGHTS = "calibration-reference.safetensors"
# (log focal in units of the image's scale, pitch, roll) where nothing is known: level, 53 degrees across a square.
_ANY_CAMERA_3, _ANY_SIGMA_3 = (np.log(2.0), 0.0, 0.0), (0.5, 0.35, 0.25)


@dataclass(frozen=True)
class CalibratorOptions:
    """What counts as calibrated: the largest standard deviations of an answer that is trusted. And what speaks."""

    max_sigma_focal: float = 0.4  # of the focal length itself
    max_sigma_rad: float = 0.2  # of pitch and of roll
    lines: bool = True  # let the straight lines of an image refine what the network says
    network: bool = True  # without it lines begin from a guess that fits most cameras: for comparison only
    joint: JointOptions = field(default_factory=JointOptions)


@dataclass(frozen=True)
class _Seen:
    """What an image says: the network's (log focal in units of the image's scale, pitch, roll) with their calibrated
    covariance, and the straight segments."""

    size_px: tuple[int, int]
    values_3: np.ndarray
    covariance_33: np.ndarray
    segments: Segments
    timings_s: dict[str, float]


@dataclass(frozen=True)
class LinesAnswer:
    """(log focal in units of the image's scale, pitch, roll) by network and lines together, and what tells how far to
    believe it: the covariance of the solver, and what `LinesUncertainty` looks at. `lines` of them spoke, about."""

    values_3: np.ndarray
    covariance_33: np.ndarray
    strays: float
    disagreement: float
    lines: int


class Calibrator:
    """Calibrates single images. Not safe to call from several threads at once.

    `fields` and `direct` say which of the network's answers the solver uses; both is the best (docs/calibration.md).
    `uncertainty` is that of the network's answer, `lines_uncertainty` that of one that lines refined: without it lines
    do not speak, since nobody could tell how far to believe them.
    """

    def __init__(
        self,
        network: CalibrationNetwork,
        uncertainty: Uncertainty | None = None,
        device: str = "auto",
        options: CalibratorOptions | None = None,
        header: dict[str, Any] | None = None,
        lines_uncertainty: LinesUncertainty | None = None,
    ):
        self.options, self.uncertainty = options or CalibratorOptions(), uncertainty or Uncertainty()
        self.lines_uncertainty = lines_uncertainty
        self.header, self.size_bytes = header or {}, 0
        self.fields = self.direct = True
        self.device = pick_device(device)
        self.network = network.to(self.device).eval()
        self.frozen = FrozenNetwork(CalibrationGraph(self.network), self.device)  # of the weights as they are now

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        options: CalibratorOptions | None = None,
        engine: str = "auto",
    ) -> Calibrator:
        """Reads a weights file; the reference weights of the package where none is given. `engine`: what is to run them
        (`runtime.engine`), known after the first image.

        Raises InputError when it or the device cannot be used.
        """
        path = reference_weights() if path is None else Path(path)
        tensors, header = load_weights(path, KIND, FORMAT_VERSION)
        try:
            network = CalibrationNetwork(NetworkConfig(**header["network"]))
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
            uncertainty = Uncertainty.of_header(header["uncertainty"])
            of_lines = header.get("lines_uncertainty")
            lines_uncertainty = None if of_lines is None else LinesUncertainty.of_header(of_lines)
        except (InputError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} does not fit the calibration network ({reason}); make it again") from None
        calibrator = cls(network, uncertainty, device, options, header, lines_uncertainty)
        calibrator.size_bytes = path.stat().st_size
        graph = CalibrationGraph(network, state_checksum(network))
        calibrator.frozen = FrozenNetwork(graph, calibrator.device, engine, graph_beside(path), few_sizes=True)
        return calibrator

    def save(self, path: str | Path, metadata: dict[str, Any]) -> None:
        """Writes the weights in float16, with `metadata` in the header (see `load`)."""
        state = self.network.state_dict()
        tensors = {
            name: value.cpu().half().numpy() if value.is_floating_point() else value.cpu().numpy()
            for name, value in state.items()
        }
        header = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "network": self.network.config_dict(),
            "uncertainty": asdict(self.uncertainty),
            "lines_uncertainty": None if self.lines_uncertainty is None else asdict(self.lines_uncertainty),
            **metadata,
        }
        save_weights(path, tensors, header)

    @property
    def choice(self) -> Choice:
        """What runs the network, and why it."""
        return self.frozen.choice

    def warm_up(self) -> None:
        """Runs once, so that the first image does not pay for set-up."""
        self.estimate(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (192, 1, 3)))

    def estimate(self, image_hw3: np.ndarray, known: KnownCamera | None = None) -> Calibration:
        """The camera that took `image_hw3` (RGB uint8, any size and format), taken for a pinhole with square pixels and
        the principal point in the centre.

        What is `known` of it is believed as far as it says. With a known camera the image is first freed of its lens:
        the answer is of the plain camera of the same focal length.

        Never raises on any image: what cannot be used comes back as `CalibrationVerdict.BAD_IMAGE`. Raises InputError
        when the known camera is one of another size.
        """
        return self._answered(self._seen(image_hw3, known), known)

    def estimate_many(
        self,
        images: Iterable[np.ndarray],
        shared_intrinsics: bool = True,
        known: KnownCamera | None = None,
        in_order: bool = False,
    ) -> list[Calibration]:
        """The calibration of each image. With `shared_intrinsics` one camera took them all: they have one focal length
        and one lens, told by all of them together, and an attitude each. What is `known` holds for every image.

        Where straight lines ask for it, and the lens is not known, images are freed of a bending lens first: then the
        answers say which (`lens`), or that it bends too strongly.

        `in_order` says that each image was taken shortly after the one before it: then the focal length is also
        measured by geometry wherever the camera turned (`RotationSelfCalibration`).

        Raises InputError when images of one camera are of several sizes.
        """
        if not shared_intrinsics:
            return [self.estimate(image_hw3, known) for image_hw3 in images]
        images = list(images)
        seen = [self._seen(image_hw3, known) for image_hw3 in images]
        sizes = {one.size_px for one in seen if isinstance(one, _Seen)}
        if len(sizes) > 1:
            named = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
            raise InputError(f"one camera took images of several sizes ({named}); calibrate each size by itself")
        lens = None
        if sizes and (known is None or not known.knows_lens):
            lens = self._lens_of([one for one in seen if isinstance(one, _Seen)])
        if lens is not None and not lens.beyond:
            known = (known or KnownCamera()).with_lens(lens, *next(iter(sizes)))
            seen = [self._seen(image_hw3, known) for image_hw3 in images]
        answers = self._answered_together(images, seen, known, in_order)
        if lens is None:
            return answers
        return [_with_lens(answer, lens) for answer in answers]

    def bend_costs(self, image_hw3: np.ndarray) -> np.ndarray | None:
        """How unlikely an image is for each bend of a lens (`lens.BENDS`; twice the negative log likelihood, but for a
        constant); None where it shows too few segments to tell. Takes several times as long as `estimate`."""
        seen = self._seen(image_hw3, None, always_lines=True)
        return None if isinstance(seen, Calibration) else self._bend_costs(seen)

    def _bend_costs(self, seen: _Seen) -> np.ndarray | None:
        if len(seen.segments) < MIN_SEGMENTS:
            return None
        network, options = camera_term(seen.values_3, seen.covariance_33), self.options.joint
        return np.array([solve_joint([network], seen.segments.straightened(bend), options).cost for bend in BENDS])

    def _lens_of(self, seen: list[_Seen]) -> LensBend | None:
        """The bend that images of one camera ask for; those with the most segments are asked."""
        if not self.options.lines or self.lines_uncertainty is None:
            return None
        most = sorted(seen, key=lambda one: -len(one.segments))[:ENOUGH_VIEWS]
        costs = [self._bend_costs(one) for one in most]
        return pooled_bend([one for one in costs if one is not None])

    def _answered_together(
        self, images: list[np.ndarray], seen: list[_Seen | Calibration], known: KnownCamera | None, in_order: bool
    ) -> list[Calibration]:
        """The answers with one focal length, by all that the images and what is known say."""
        turns, measured = RotationSelfCalibration(), []
        for image_hw3, one in zip(images if in_order else (), seen, strict=False):
            turn = None
            if isinstance(one, _Seen):
                turn = turns.update(image_hw3 if known is None else known.plain_image(image_hw3))
            if turn is not None:
                measured.append(turn)
        # Its focal length is known once, not once an image.
        alone = None if known is None or known.camera is None else replace(known, focal_sigma=UNKNOWN_SIGMA)
        usable = [self._answered(one, alone or known) for one in seen if isinstance(one, _Seen)]
        told = [(answer.focal_px, answer.sigma_focal_px) for answer in usable if answer.covariance_33 is not None]
        if not told:
            return [self._answered(one, known) for one in seen]
        focal_n, sigma_n = np.transpose(told)
        opinions = [pooled_log_focal(np.log(focal_n), sigma_n / focal_n)]
        opinions += [(float(np.log(turn.focal_px)), turn.sigma_log_focal) for turn in measured]
        if known is not None and known.camera is not None:
            opinions.append((float(np.log(known.camera.focal_px)), known.focal_sigma))
        log_focal, sigma = combined(opinions)
        size_px = usable[0].width_px, usable[0].height_px
        shared = (known or KnownCamera()).with_focal(float(np.exp(log_focal)), sigma, *size_px)
        return [self._answered(one, shared, (log_focal, sigma)) for one in seen]

    def lines_answer(self, image_hw3: np.ndarray) -> LinesAnswer | None:
        """What network and lines say of an image before anything is calibrated; None where no line speaks. It is what
        `lines_uncertainty` is fitted to, and needs none."""
        seen = self._seen(image_hw3, None, always_lines=True)
        if isinstance(seen, Calibration) or not len(seen.segments):
            return None
        found = self._lines_answer(camera_term(seen.values_3, seen.covariance_33), seen.segments)
        return found if found.lines else None

    def _seen(
        self, image_hw3: np.ndarray, known: KnownCamera | None, always_lines: bool = False
    ) -> _Seen | Calibration:
        """What network and lines say of an image; the answer already where it shows nothing to go by."""
        started_s = time.perf_counter()
        if problem := image_problem(image_hw3, SIDE_MULTIPLE_PX):
            height_px, width_px = (*getattr(image_hw3, "shape", ())[:2], 0, 0)[:2]
            return Calibration(CalibrationVerdict.BAD_IMAGE, problem, width_px, height_px)
        height_px, width_px = image_hw3.shape[:2]
        if known is not None:
            image_hw3 = known.plain_image(image_hw3)
        view_hw3, shrink = network_view(image_hw3)
        if problem := contrast_problem(view_hw3):
            return Calibration(CalibrationVerdict.NO_STRUCTURE, problem, width_px, height_px)
        prepared_s = time.perf_counter()
        if self.options.network:
            values_3, covariance_33 = camera_values(self.solve(self.run(view_hw3)), self.uncertainty)
            # From the units of the view to those of the image.
            values_3[0] += np.log(image_scale(*view_hw3.shape[:2]) / shrink / image_scale(height_px, width_px))
        else:
            values_3, covariance_33 = np.array(_ANY_CAMERA_3), np.diag(np.square(_ANY_SIGMA_3))
        if not (np.isfinite(values_3).all() and is_covariance(covariance_33)):
            problem = "no camera fits what the image shows"
            return Calibration(CalibrationVerdict.NO_STRUCTURE, problem, width_px, height_px)
        seen_s = time.perf_counter()
        segments = NO_SEGMENTS
        if always_lines or (self.options.lines and self.lines_uncertainty is not None):
            segments = find_segments(image_hw3)
        if len(segments) < self.options.joint.min_segments:
            segments = NO_SEGMENTS
        timings_s = {
            "prepare": prepared_s - started_s,
            "network": seen_s - prepared_s,
            "lines": time.perf_counter() - seen_s,
        }
        return _Seen((width_px, height_px), values_3, covariance_33, segments, timings_s)

    def _answered(
        self, seen: _Seen | Calibration, known: KnownCamera | None, focal_2: tuple[float, float] | None = None
    ) -> Calibration:
        """The answer by what was seen, and by what is known; with just the focal length `focal_2` (logarithm of pixels,
        standard deviation) where it is given, of which the image is a part."""
        if isinstance(seen, Calibration):
            return seen
        started_s = time.perf_counter()
        values_3, covariance_33, lines = self._refined(seen, known)
        if focal_2 is not None:
            values_3[0] = focal_2[0] - np.log(image_scale(*reversed(seen.size_px)))
            scale_3 = np.array([focal_2[1] / np.sqrt(covariance_33[0, 0]), 1.0, 1.0])
            covariance_33 = covariance_33 * np.outer(scale_3, scale_3)
        result = self._assess(values_3, covariance_33, lines, seen.size_px)
        timings_s = dict(seen.timings_s)
        timings_s["lines"] += time.perf_counter() - started_s
        focal_known = known is not None and known.knows_focal
        return replace(result, focal_known=focal_known, timings_s=timings_s | {"total": sum(timings_s.values())})

    @torch.inference_mode()
    def run(self, view_hw3: np.ndarray) -> NetworkOutput:
        """What the network says of an image (RGB uint8) whose sides are multiples of 32 pixels."""
        return output_of(self.frozen(view_hw3), view_hw3.shape[:2])

    @torch.inference_mode()
    def solve(self, output: NetworkOutput) -> CameraSolution:
        """The camera of a network's output: the direct guess is refined on what the fields say."""
        seen = output.observations(self.network.correlation, self.fields, self.direct)
        return solve(seen, output.log_focal_b, output.up_b3)

    def _refined(self, seen: _Seen, known: KnownCamera | None) -> tuple[np.ndarray, np.ndarray, int]:
        """What the lines of an image and what is known make of the network's answer (log focal in units of the image's
        scale, pitch, roll) and its covariance; and how many lines spoke."""
        values_3, covariance_33 = seen.values_3.copy(), seen.covariance_33
        if not len(seen.segments) and known is None:
            return values_3, covariance_33, 0
        network = camera_term(values_3, covariance_33)
        terms = [] if known is None else [known.term(network.up_3)]
        found = self._lines_answer(network, seen.segments, terms)
        if found.lines and self.lines_uncertainty is not None:
            values_3 = found.values_3
            covariance_33 = self.lines_uncertainty.calibrated(found.covariance_33, found.strays, found.disagreement)
        elif known is not None:  # else the answer stays the network's, with its own certainty
            values_3 = found.values_3
        for term in terms:
            to_tangents_33 = np.linalg.inv(to_angles(values_3[1]))
            information_33 = np.linalg.inv(covariance_33) + to_tangents_33.T @ term.information_33 @ to_tangents_33
            covariance_33 = np.linalg.inv(information_33)
        return values_3, covariance_33, found.lines

    def _lines_answer(self, network: CameraTerm, segments: Segments, known: Sequence[CameraTerm] = ()) -> LinesAnswer:
        joint = solve_joint([network], segments, self.options.joint, known)
        off_3 = np.append(joint.log_focal - network.log_focal, tangents(network.up_3).T @ (joint.up_3 - network.up_3))
        disagreement = float(np.sqrt(max(off_3 @ network.information_33 @ off_3, 0.0)))
        return LinesAnswer(*joint_values(joint), joint.strays, disagreement, round(joint.lines))

    def _assess(
        self, values_3: np.ndarray, covariance_33: np.ndarray, lines: int, size_px: tuple[int, int]
    ) -> Calibration:
        """The result of (log focal in units of the image's scale, pitch, roll) and their calibrated covariance, for an
        image of this width and height."""
        log_focal, pitch_rad, roll_rad = values_3
        focal_px = float(np.exp(log_focal) * image_scale(*reversed(size_px)))
        if not (np.isfinite(values_3).all() and is_covariance(covariance_33)):
            return Calibration(CalibrationVerdict.NO_STRUCTURE, "no camera fits what the image shows", *size_px)
        to_px = np.array([focal_px, 1.0, 1.0])
        covariance_33 = covariance_33 * np.outer(to_px, to_px)
        sigma_focal, sigma_pitch_rad, sigma_roll_rad = np.sqrt(np.diag(covariance_33))
        verdict = CalibrationVerdict.CALIBRATED
        if (
            sigma_focal > self.options.max_sigma_focal * focal_px
            or max(sigma_pitch_rad, sigma_roll_rad) > self.options.max_sigma_rad
        ):
            verdict = CalibrationVerdict.TOO_UNCERTAIN
        pitch, roll, sigma_pitch, sigma_roll = np.degrees([pitch_rad, roll_rad, sigma_pitch_rad, sigma_roll_rad])
        detail = (
            f"f {focal_px:.0f} +- {sigma_focal:.0f} px, pitch {pitch:.1f} +- {sigma_pitch:.1f}, "
            f"roll {roll:.1f} +- {sigma_roll:.1f} deg"
        )
        attitude_rad = float(pitch_rad), float(roll_rad)
        return Calibration(verdict, detail, *size_px, focal_px, *attitude_rad, covariance_33, lines=lines)


def _with_lens(answer: Calibration, lens: LensBend) -> Calibration:
    """The answer of a camera whose lens bends. Where it does so too strongly, no pinhole's answer is trusted."""
    if not lens.beyond or answer.covariance_33 is None:
        return replace(answer, lens=lens)
    return replace(answer, lens=lens, verdict=CalibrationVerdict.BENT, detail=TOO_BENT)


def is_covariance(covariance_33: np.ndarray) -> bool:
    """Whether these are numbers, with positive variances."""
    return bool(np.isfinite(covariance_33).all() and np.diag(covariance_33).min() > 0)


def reference_weights() -> Path:
    """The weights that come with the package. Raises InputError where the package was built without them."""
    return packaged_weights("geo_perception.calibration", REFERENCE_WEIGHTS, "geo-train calibration fit")
