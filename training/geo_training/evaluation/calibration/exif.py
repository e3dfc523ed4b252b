"""The focal length that photographs say in their EXIF: as a weak prior, and as something to compare answers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geo_perception.calibration.estimator import Calibrator
from geo_perception.calibration.known import KnownCamera
from geo_perception.errors import InputError
from geo_perception.geometry import fov_rad
from geo_training.console import track
from geo_training.datasets.importers.account import CUT_SHORT
from geo_training.datasets.importers.source import list_images
from geo_training.datasets.pictures import (
    EXIF_SIGMA,
    PictureHeader,
    is_cut_short,
    read_header,
    read_upright,
)
from geo_training.evaluation.calibration.set import CalibrationQuery
from geo_training.metrics.consistency import coverage

_NONE_SAYS = "no photograph in {} says its focal length in EXIF (FocalLengthIn35mmFilm); leave out --exif"


def with_exif(queries: Sequence[CalibrationQuery], data: str) -> tuple[list[CalibrationQuery], str]:
    """The queries with what their files say of the focal length as known, and a line on how right those are.

    Raises InputError where none says anything.
    """
    known, errors = [], []
    for query in queries:
        focal_px = None if query.image_path is None else _header(query.image_path).focal_px
        if focal_px is not None:
            size_px = query.truth.width_px, query.truth.height_px
            query = replace(query, known=KnownCamera.of_focal(focal_px, *size_px, EXIF_SIGMA))
            errors.append(abs(focal_px / query.truth.focal_px - 1))
        known.append(query)
    if not errors:
        raise InputError(_NONE_SAYS.format(data))
    median_pct = 100 * float(np.median(errors))
    return known, f"{len(errors)} of {len(known)} say their focal length, half of them within {median_pct:.1f} %"


@dataclass(frozen=True)
class ExifComparison:
    """Answers against EXIF, which is near, not exact: `figures` of all photographs, and a row for each."""

    figures: dict[str, float]
    rows: list[dict]

    @property
    def headline(self) -> str:
        figures = self.figures
        return (
            f"{figures['frames']} photographs say their focal length ({figures['frames_silent']} do not); median "
            f"difference of the answers: {figures['focal_median_pct']:.1f} %, {figures['fov_median_deg']:.2f}° of the "
            f"vertical field of view; {figures['trusted_share']:.1%} trusted; EXIF lies inside the 90 % interval of "
            f"{figures['coverage_90']:.1%}"
        )


def compare_with_exif(calibrator: Calibrator, folder: Path) -> ExifComparison:
    """What a calibrator says of the photographs in a folder, without their EXIF, beside what that says.

    Its own uncertainty is added to that of an answer. A photograph without an answer is infinitely far off. Raises
    InputError when none says its focal length, or one cannot be read.
    """
    found = [(path, _header(path)) for path in list_images(folder)]
    telling = [(path, header) for path, header in found if header.focal_px is not None]
    if not telling:
        raise InputError(_NONE_SAYS.format(folder))
    rows = []
    for path, header in track(telling, "calibrating"):
        image_hw3 = _pixels(path, header)
        answer, height_px = calibrator.estimate(image_hw3), image_hw3.shape[0]
        sigma = np.hypot(answer.sigma_focal_px / answer.focal_px, EXIF_SIGMA)
        apart_rad = abs(fov_rad(height_px, answer.focal_px) - fov_rad(height_px, header.focal_px))
        rows.append(
            {
                "name": path.name,
                "verdict": answer.verdict.value,
                "focal_px": answer.focal_px,
                "exif_focal_px": header.focal_px,
                "focal_difference_pct": _or_infinite(100 * abs(answer.focal_px / header.focal_px - 1)),
                "fov_difference_deg": _or_infinite(float(np.degrees(apart_rad))),
                "normalized_square": _or_infinite(float((np.log(answer.focal_px / header.focal_px) / sigma) ** 2)),
                "trusted": answer.trusted,
            }
        )
    squares = np.array([row["normalized_square"] for row in rows])
    figures = {
        "frames": len(rows),
        "frames_silent": len(found) - len(rows),
        "focal_median_pct": float(np.median([row["focal_difference_pct"] for row in rows])),
        "fov_median_deg": float(np.median([row["fov_difference_deg"] for row in rows])),
        "trusted_share": float(np.mean([row["trusted"] for row in rows])),
        "coverage_90": coverage(squares, 0.9, 1),
    }
    return ExifComparison(figures, rows)


def _header(path: Path) -> PictureHeader:
    with _named(path):
        return read_header(path)


def _pixels(path: Path, header: PictureHeader) -> np.ndarray:
    with _named(path):
        if is_cut_short(path, header):
            raise InputError(CUT_SHORT)
        return read_upright(path, header)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What is against a picture, with its name and what to do."""
    try:
        yield
    except InputError as reason:
        raise InputError(f"{path}: {reason}; take it out of the folder, or mend it") from None


def _or_infinite(value: float) -> float:
    return value if np.isfinite(value) else float("inf")
