"""Calibration on a walk, as the node does it: what the images of a moving camera give together, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.fusion import CalibrationFusion, FusedCalibration
from geo_perception.calibration.known import KnownCamera
from geo_perception.calibration.lens import LensBend
from geo_perception.calibration.rotation_calibration import RotationSelfCalibration
from geo_perception.calibration.scale import image_scale
from geo_perception.calibration.view_change import ViewChange
from geo_perception.geometry import Camera, wrap_rad
from geo_training.calibration.data.photographs import CalibrationExample, folder_examples
from geo_training.console import track
from geo_training.experiments.bench import Benchmark, BenchOptions, BenchResult, StageCache

HOUSE, WALKS = "house", ("walk_a", "walk_b", "walk_c")
HOUSE_DOWN = (0.0, 0.0, -1.0)
RATE_HZ = 10.0
SECONDS = (1, 2, 5, 10, 20)
BENT_WALK, BENT_IMAGES = "walk_b", 15
LENSES = {"none": 0.0, "little": -0.03, "some": -0.08, "much": -0.2, "cushion": 0.03}  # name: bend
_LEVEL_SIGMA = 1.645  # nine of ten normal errors are within


def run(data_root: Path, stages: StageCache, options: BenchOptions) -> BenchResult:
    """The three walks through the house, ten images a second, each through calibrator and fusion with the node's
    defaults; then with the driver's camera trusted.

    `bent_` are metrics of images of walk_b that were bent by computation, as a lens with each of `LENSES` would: by how
    much the bend that all of them together tell is off, and its standard deviation; 0 and infinite where none is told.

    How views are pooled was chosen on walk_a and walk_c. Raises InputError when the data cannot be read.
    """
    calibrator = Calibrator.load(device=options.device)
    calibrator.warm_up()
    metrics: dict[str, float] = {}
    for walk in WALKS:
        frames = folder_examples(data_root / HOUSE / walk, HOUSE_DOWN, "images")
        metrics |= {f"{walk}_{key}": value for key, value in walk_metrics(calibrator, frames).items()}
        trusted = walk_metrics(calibrator, frames, KnownCamera(frames[0].camera))
        metrics |= {f"{walk}_trusted_{key}": trusted[key] for key in _ATTITUDE_KEYS}
        if walk == BENT_WALK:
            chosen = [frames[n] for n in np.linspace(0, len(frames) - 1, BENT_IMAGES).round().astype(int)]
            for name, bend in LENSES.items():
                told = lens_metrics(calibrator, chosen, bend)
                metrics |= {f"bent_{name}_{key}": value for key, value in told.items()}
    config = {"rate_hz": RATE_HZ, "fusion": vars(CalibrationFusion().options), "walks": list(WALKS)}
    return BenchResult(metrics, config)


def walk_metrics(
    calibrator: Calibrator, frames: Sequence[CalibrationExample], known: KnownCamera | None = None
) -> dict[str, float]:
    """Of the fused focal length: its error after so many seconds, the largest from 2 s on, the share of them within the
    stated 90 % interval, and how often it began anew; of fused and of single attitudes the median errors."""
    fusion, view, turns = CalibrationFusion(), ViewChange(), RotationSelfCalibration()
    fused: list[FusedCalibration] = []
    alone_n2, restarts = [], 0
    for number, frame in enumerate(track(frames, f"calibrating {frames[0].sequence}")):
        image_hw3 = frame.image()
        found = calibrator.estimate(image_hw3, known)
        ncc = view.ncc(image_hw3) if found.trusted else 0.0
        fused.append(fusion.update(found, number / RATE_HZ, ncc, turns.update(image_hw3)))
        restarts += "focal length changed" in fused[-1].event
        alone_n2.append([found.pitch_rad - frame.pitch_rad, wrap_rad(found.roll_rad - frame.roll_rad)])
    error_n = np.array([np.log(one.focal_px / frame.focal_px) for one, frame in zip(fused, frames, strict=True)])
    sigma_n = np.array([one.sigma_focal_px / one.focal_px for one in fused])
    attitude_n2 = [
        [one.pitch_rad - frame.pitch_rad, wrap_rad(one.roll_rad - frame.roll_rad)]
        for one, frame in zip(fused, frames, strict=True)
    ]
    later = slice(min(round(2 * RATE_HZ), len(frames) - 1), None)
    pitch_deg, roll_deg = _medians_deg(attitude_n2)
    alone_pitch_deg, alone_roll_deg = _medians_deg(alone_n2)
    percent_n = 100 * np.abs(np.expm1(error_n))
    return {
        **{f"focal_error_pct_{s}s": float(percent_n[min(round(s * RATE_HZ), len(frames) - 1)]) for s in SECONDS},
        "focal_error_pct_end": float(percent_n[-1]),
        "focal_error_pct_max": float(np.max(np.where(np.isfinite(percent_n), percent_n, np.inf)[later])),
        "focal_sigma_pct_2s": float(100 * sigma_n[later][0]),
        "focal_interval": float(np.mean((np.abs(error_n) <= _LEVEL_SIGMA * sigma_n)[later])),
        "focal_restarts": float(restarts),
        "settled_s": next((n / RATE_HZ for n, one in enumerate(fused) if one.focal_settled), float("inf")),
        "pitch_median_deg": pitch_deg,
        "roll_median_deg": roll_deg,
        "alone_pitch_median_deg": alone_pitch_deg,
        "alone_roll_median_deg": alone_roll_deg,
    }


def lens_metrics(calibrator: Calibrator, frames: Sequence[CalibrationExample], bend: float) -> dict[str, float]:
    """Of images as a lens with this bend would take them: the bend that is told, and how certain it is."""
    images = [bent_image(frame.image(), frame.camera, bend) for frame in frames]
    lens = next((answer.lens for answer in calibrator.estimate_many(images) if answer.lens is not None), None)
    if lens is None:
        return {"told": 0.0, "error": abs(bend), "sigma": float("inf")}
    return {"told": lens.bend, "error": abs(lens.bend - bend), "sigma": lens.sigma}


def bent_image(image_hw3: np.ndarray, camera: Camera, bend: float) -> np.ndarray:
    """The image (of a centred pinhole) through a lens that bends: as much larger that its corners are the image's."""
    if bend == 0:
        return image_hw3
    width_px, height_px = camera.width_px, camera.height_px
    corner = float(np.hypot(width_px, height_px)) / 2 / image_scale(height_px, width_px)
    lens = LensBend(bend, 0.0).camera(camera.focal_px * max(1 / (1 + bend * corner**2), 1.0), width_px, height_px)
    columns_hw, rows_hw = np.meshgrid(np.arange(width_px), np.arange(height_px))
    pixels_n2 = np.stack([columns_hw, rows_hw], axis=-1).reshape(-1, 2).astype(np.float64)
    source_n2 = camera.project(lens.bearings(pixels_n2))
    source_hw2 = source_n2.reshape(height_px, width_px, 2).astype(np.float32)
    return cv2.remap(image_hw3, source_hw2, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _medians_deg(error_n2: Sequence[Sequence[float]]) -> tuple[float, float]:
    """An image without an answer is infinitely wrong."""
    size_n2 = np.abs(np.degrees(np.asarray(error_n2, np.float64)))
    pitch_deg, roll_deg = np.median(np.where(np.isfinite(size_n2), size_n2, np.inf), axis=0)
    return float(pitch_deg), float(roll_deg)


_ATTITUDE_KEYS = ("pitch_median_deg", "roll_median_deg", "alone_pitch_median_deg", "alone_roll_median_deg")
_WALK_KEYS = (
    *(f"focal_error_pct_{s}s" for s in SECONDS), "focal_error_pct_end", "focal_error_pct_max", "focal_sigma_pct_2s",
    "focal_interval", "focal_restarts", "settled_s", *_ATTITUDE_KEYS,
)  # fmt: skip

BENCHMARK = Benchmark(
    name="calibration-walk",
    summary="the reference calibration weights and the node's fusion on three walks through a rendered house",
    data=(HOUSE,),
    needs="house/ (walk_a, walk_b and walk_c: rgb/, K.txt, poses.txt)",
    duration="3 minutes on 2 cores; nothing is trained",
    metrics=(
        *(f"{walk}_{key}" for walk in WALKS for key in _WALK_KEYS),
        *(f"{walk}_trusted_{key}" for walk in WALKS for key in _ATTITUDE_KEYS),
        *(f"bent_{name}_{key}" for name in LENSES for key in ("told", "error", "sigma")),
    ),
    run=run,
)
