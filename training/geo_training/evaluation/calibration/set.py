"""What a calibrator is measured on: crops of panoramas, drawn once and for all by a seed; photographs whose camera and
gravity are known; crops on disk. All become the same queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geo_perception.errors import InputError
from geo_training.calibration.data.crop_set import CropFolder, CropSetConfig, crop_spec
from geo_training.calibration.data.crops import CropDistribution, CropSpec, render_crop
from geo_training.calibration.data.panoramas import Panorama, cached_panorama
from geo_training.calibration.data.photographs import CalibrationExample
from geo_training.evaluation.predictions import Seen
from geo_training.metrics.calibration import TrueCamera

if TYPE_CHECKING:
    from geo_perception.calibration.known import KnownCamera  # torch: seconds


@dataclass(frozen=True)
class CalibrationQuery:
    """One image whose camera is known. `load` gives its RGB pixels (H, W, 3); it is not part of the latency. `known` is
    what the calibrator is told beforehand."""

    name: str
    domain: str
    truth: TrueCamera
    load: Callable[[], np.ndarray] = field(repr=False, compare=False)
    image_path: Path | None = field(default=None, compare=False)
    known: KnownCamera | None = field(default=None, compare=False)

    @property
    def seen(self) -> Seen:
        more = asdict(self.truth)  # a crop shows what its true camera sees
        if self.known is not None and self.known.camera is not None:
            more |= {"known_focal_px": self.known.camera.focal_px, "known_focal_sigma": self.known.focal_sigma}
        return Seen(self.name, self.image_path, more)


def panorama_crops(
    panoramas: Sequence[Panorama], distribution: CropDistribution, count_per_panorama: int, seed: int = 0
) -> list[CalibrationQuery]:
    """The same number of crops of each panorama, in order, rendered when they are loaded.

    They are those of `geo-train calibration crops` with this distribution and seed: the crops of a panorama depend on
    the seed and on its name, not on what other panoramas there are.
    """
    config = CropSetConfig(crops=distribution, seed=seed)
    queries = []
    for panorama in panoramas:
        for number in range(count_per_panorama):
            spec = crop_spec(config, panorama.name, number)
            name, load = f"{panorama.name}/{number:04d}", partial(_render, panorama, spec)
            queries.append(CalibrationQuery(name, panorama.domain, true_camera(spec), load, panorama.path))
    return queries


def crops_on_disk(folder: CropFolder, split: str | None = None) -> list[CalibrationQuery]:
    """The crops of a folder made by `geo-train calibration crops`, of one split or of all.

    Raises InputError when there is none.
    """
    crops = folder.of(split)
    if not crops:
        there = ", ".join(sorted({crop.split for crop in folder.crops})) or "none"
        raise InputError(f"{folder.root} has no crops of the split '{split}'; there are {there}")
    return [
        CalibrationQuery(c.file, c.domain, true_camera(c.spec), partial(folder.image, c), folder.root / c.file)
        for c in crops
    ]


def photographs(examples: Sequence[CalibrationExample], domain: str = "photographs") -> list[CalibrationQuery]:
    """Photographs with known K and gravity (`geo_training.calibration.data.photographs` finds them), in order.

    Pitch and roll are those of the optical axis, and the vertical field of view is 2 atan(H / 2 f), both whatever the
    principal point; the calibrator takes the principal point for the image's centre, so an offset is part of its error
    (`largest_offset_deg` says how much it can be). The horizon is the true one, with the true principal point.
    """
    queries = []
    for example in examples:
        camera = example.camera
        attitude_rad = example.pitch_rad, example.roll_rad
        truth = TrueCamera(
            camera.width_px, camera.height_px, example.focal_px, *attitude_rad, camera.cx_px, camera.cy_px
        )
        queries.append(CalibrationQuery(example.name, domain, truth, example.image, example.image_path))
    return queries


def true_camera(spec: CropSpec) -> TrueCamera:
    """The camera of a crop; its principal point is the centre."""
    return TrueCamera(spec.width_px, spec.height_px, spec.focal_px, spec.pitch_rad, spec.roll_rad)


def largest_offset_deg(queries: Sequence[CalibrationQuery]) -> float:
    """The largest angle between an optical axis and the ray through the centre of its image; 0 for no query."""
    offsets_deg = [0.0]
    for query in queries:
        truth = query.truth
        cx_px, cy_px = truth.principal_point_2
        offset_px = np.hypot(cx_px - (truth.width_px - 1) / 2, cy_px - (truth.height_px - 1) / 2)
        offsets_deg.append(float(np.degrees(np.arctan2(offset_px, truth.focal_px))))
    return max(offsets_deg)


def _render(panorama: Panorama, spec: CropSpec) -> np.ndarray:
    return render_crop(cached_panorama(panorama.path), spec)
