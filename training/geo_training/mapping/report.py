"""The quality of a map: the values in map.json, the verdict, and both as a person reads them."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pycolmap

    from geo_training.mapping.refine import PoseRefinement

FORMAT_VERSION = 1
# A frame with fewer points is placed, but nothing says that it is placed right.
MIN_POINTS_A_FRAME = 15
# Below the first share a map is refused, below the second it is warned of.
MIN_REGISTERED = 0.5
GOOD_REGISTERED = 0.8
# Frames outside the largest component that are left without a word.
MAX_ELSEWHERE = 0.05
# Above this factor the error by measured depth speaks against refined poses.
CLEARLY_WORSE = 1.03
# Of verified matches that fit the recorded poses. Good RGB-D poses reach 0.98, another convention 0.1.
MIN_FITTING = 0.5


@dataclass(frozen=True)
class ScaleReport:
    """`metric`: distances are metres. `source`: how that is known, or why it is not. `spread`: relative standard
    deviation, None where nothing tells. `residual`: median distance between
    recorded and mapped positions over those that agree, `residual_p90` the ninth decile over all."""

    metric: bool
    source: str
    factor: float = 1.0
    spread: float | None = None
    residual: float | None = None
    residual_rad: float | None = None
    residual_p90: float | None = None
    poses_agree: int | None = None
    poses_total: int | None = None


@dataclass(frozen=True)
class MapReport:
    """map.json. `matches_fit_poses`: of the matches found in the images, the share that fits the recorded poses.
    `refinement`: what became of poses that were a prior (`PoseRefinement`).
    `taken`: how many frames were found and used, and why the others were left out."""

    poses: str
    mapper: str
    pairing: str
    pairs: int
    frames: int
    registered: int
    registered_share: float
    components: list[int]
    points: int
    observations: int
    mean_track_length: float
    reprojection_mean_px: float
    reprojection_median_px: float
    points_per_frame_median: float
    scale: ScaleReport
    gravity_world: list[float] | None
    sequences: dict[str, dict[str, int]]
    cameras: dict[str, dict]
    seconds: dict[str, float]
    versions: dict[str, str]
    matches_fit_poses: float | None = None
    refinement: dict | None = None
    taken: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems

    def to_json(self) -> dict:
        content = asdict(self)
        return {"format_version": FORMAT_VERSION, "good": self.good, "metric": self.scale.metric} | content


def well_placed(model: pycolmap.Reconstruction) -> set[str]:
    """Names of the frames that have a pose and see at least MIN_POINTS_A_FRAME points."""
    images = model.images.values()
    return {image.name for image in images if image.has_pose and image.num_points3D >= MIN_POINTS_A_FRAME}


def verdict(
    frames: int, registered: int, components: list[int], elsewhere: int, keep_largest: bool
) -> tuple[list[str], list[str]]:
    """Problems, which refuse the map, and warnings. `elsewhere`: frames that only smaller components hold."""
    problems, warnings = [], []
    share = registered / max(frames, 1)
    if elsewhere > MAX_ELSEWHERE * frames:
        sizes = ", ".join(map(str, components))
        sentence = (
            f"the map breaks into {len(components)} components of {sizes} frames, which share no place or scale; "
        )
        if keep_largest:
            warnings.append(sentence + f"only the largest is kept, {elsewhere} frames are lost")
        else:
            problems.append(sentence + "use recorded poses (--poses known), record more overlap, or --keep-largest")
    if share < MIN_REGISTERED:
        sentence = f"only {registered} of {frames} frames ({share:.0%}) could be placed; "
        if keep_largest and registered >= 3:
            warnings.append(sentence + "the map covers no more than those")
        else:
            remedy = "sharper images, more texture or more overlap are needed, or --keep-largest"
            problems.append(sentence + remedy)
    elif share < GOOD_REGISTERED:
        warnings.append(f"{frames - registered} of {frames} frames could not be placed; they are left out")
    return problems, warnings


def pose_problems(agreement: float, which: str = "recorded") -> list[str]:
    """What is wrong with poses, recorded or refined, that only this share of the matches fits."""
    if agreement >= MIN_FITTING:
        return []
    return [
        f"only {agreement:.0%} of the matches between images fit the {which} poses; are those recorded of this camera, "
        "in the optical convention? `geo-train dataset check` tells, --poses none maps without them"
    ]


def refinement_warnings(refinement: PoseRefinement) -> list[str]:
    """What speaks against refined poses."""
    keeps = "--poses known keeps those"
    warnings = []
    if refinement.verdict != "improved":
        warnings.append(
            f"matches that the adjustment did not see fit the refined poses no better "
            f"({refinement.epipolar_after_px:.2f} px) than the recorded ones ({refinement.epipolar_before_px:.2f} px); "
            + keeps
        )
    before_px, after_px = refinement.transfer_before_px, refinement.transfer_after_px
    if before_px is not None and after_px is not None and after_px > CLEARLY_WORSE * before_px:
        warnings.append(
            f"measured depth puts such matches further off by the refined poses ({after_px:.2f} px) than by the "
            f"recorded ones ({before_px:.2f} px): the camera or the depth may be wrong; {keeps}"
        )
    return warnings


def model_statistics(model: pycolmap.Reconstruction) -> dict:
    """Statistics of one model: points, observations, mean track length, reprojection errors, points a frame."""
    points = list(model.points3D.values())
    errors = np.array([point.error for point in points])
    lengths = np.array([point.track.length() for point in points])
    a_frame = [image.num_points3D for image in model.images.values() if image.has_pose]
    return {
        "points": len(points),
        "observations": int(lengths.sum()),
        "mean_track_length": float(lengths.mean()) if len(points) else 0.0,
        "reprojection_mean_px": float(errors.mean()) if len(points) else float("nan"),
        "reprojection_median_px": float(np.median(errors)) if len(points) else float("nan"),
        "points_per_frame_median": float(np.median(a_frame)) if a_frame else 0.0,
    }


def versions() -> dict[str, str]:
    """What made the map."""
    packages = {name: importlib.metadata.version(name) for name in ("geo_perception", "pycolmap", "numpy")}
    return packages | {"python": platform.python_version()}


def readable(report: MapReport) -> list[str]:
    """The report in lines for a terminal."""
    scale = report.scale
    unit = "m" if scale.metric else "units"
    components = f"{len(report.components)} component{'s' if len(report.components) != 1 else ''}"
    if len(report.components) > 1:
        components += f" of {', '.join(map(str, report.components))} frames"
    size = "metric" if scale.metric else "unknown"
    details = [scale.source]
    if scale.spread is not None and np.isfinite(scale.spread):
        details.append(f"spread {scale.spread:.2%}")
    if scale.residual is not None:
        degrees = f" and {np.degrees(scale.residual_rad):.2f} deg" if scale.residual_rad is not None else ""
        details.append(
            f"{scale.poses_agree} of {scale.poses_total} poses agree, median {scale.residual:.3g} {unit}{degrees}, "
            f"90 % of all within {scale.residual_p90:.3g} {unit}"
        )
    lines = [
        f"frames        {report.registered} of {report.frames} placed ({report.registered_share:.0%}), {components}",
        f"points        {report.points}, mean track {report.mean_track_length:.1f} frames, "
        f"{report.points_per_frame_median:.0f} a frame",
        _reprojection(report),
        f"scale         {size}: {'; '.join(details)}",
        f"gravity       {_gravity(report.gravity_world)}",
        f"mapping       poses {report.poses}, {report.mapper}, {report.pairs} {report.pairing} pairs",
        "seconds       " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items()),
    ]
    if report.matches_fit_poses is not None:
        lines.insert(-1, f"poses         {report.matches_fit_poses:.0%} of the matches fit the recorded poses")
    if report.refinement is not None:
        lines[-1:-1] = _refinement(report.refinement, "cm" if scale.metric else "units", 100 if scale.metric else 1)
    if len(report.sequences) > 1:
        counts = ", ".join(f"{name} {c['registered']}/{c['frames']}" for name, c in report.sequences.items())
        lines.insert(1, f"sequences     {counts}")
    return lines


def _refinement(refinement: dict, unit: str, factor: float) -> list[str]:
    source = refinement["sigma_source"]
    motion = ", ".join(
        f"{factor * sigma['sigma']:.2g} {unit} and {sigma['sigma_deg']:.2g} deg over {step}"
        for step, sigma in refinement["sigma_motion"].items()
    )
    transfer = ""
    if refinement["transfer_before_px"] is not None:
        transfer = (
            f"; by measured depth {refinement['transfer_after_px']:.2f} px, before "
            f"{refinement['transfer_before_px']:.2f} px"
        )
    how = "given" if source["motion"] == source["motion_rad"] == "given" else "estimated"
    return [
        f"refined       {refinement['verdict']}: held-out matches fit within {refinement['epipolar_after_px']:.2f} px, "
        f"the recorded ones {refinement['epipolar_before_px']:.2f} px (median of {refinement['epipolar_matches']})"
        + transfer,
        f"moved         {factor * refinement['moved_median']:.2g} {unit} and {refinement['turned_median_deg']:.2g} deg "
        f"(median), at most {factor * refinement['moved_max']:.2g} {unit} and {refinement['turned_max_deg']:.2g} deg",
        f"drift         {motion} frames ({how}, one sigma)",
    ]


def _reprojection(report: MapReport) -> str:
    if not report.points:
        return "reprojection  nothing to measure, since the map has no points"
    return f"reprojection  mean {report.reprojection_mean_px:.2f} px, median {report.reprojection_median_px:.2f} px"


def _gravity(gravity: list[float] | None) -> str:
    return "unknown" if gravity is None else "points to " + ", ".join(f"{g:.3f}" for g in gravity)
