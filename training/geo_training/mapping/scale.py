"""The scale of a map and its place in the recorded world, and what either says against the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap

from geo_perception.errors import InputError
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.mapping.align import robust_similarity
from geo_training.mapping.colmap_io import registered_poses
from geo_training.mapping.known_distances import KnownDistance, scale_from_distances
from geo_training.mapping.report import ScaleReport

# Recorded poses that agree with a map made without them; with fewer the map is said to be bent, and refused when fewer
# than the second share agree: then neither its shape nor its scale can be relied on.
MOST_POSES, ENOUGH_POSES = 0.8, 2 / 3
SCALE_SURE = 0.03  # a standard deviation of the scale above this is warned of


def set_scale(
    dataset: SceneDataset,
    frames: list[Frame],
    model: pycolmap.Reconstruction,
    registered: set[str],
    poses: str,
    known_distances: tuple[KnownDistance, ...],
    keep_largest: bool,
    problems: list[str],
    warnings: list[str],
) -> tuple[ScaleReport, list[float] | None]:
    """Brings the model into the recorded world, or to a known scale; says how its scale is known and where gravity
    points. Adds what speaks against the map to `problems` and `warnings`."""
    metric = dataset.info.scale == "metric"
    gravity = list(dataset.info.gravity_world) if dataset.info.gravity_world is not None else None
    if poses == "known":
        return ScaleReport(metric, f"recorded poses, kept as they are ({dataset.info.scale_source})"), gravity
    T_map_camera = registered_poses(model)
    both = [f for f in frames if f.name in registered and f.T_world_camera is not None]
    scale = ScaleReport(False, "unknown: no recorded poses and no known distances")
    if both:
        try:
            recorded_n44 = np.stack([frame.T_world_camera for frame in both])
            fit = robust_similarity(np.stack([T_map_camera[frame.name] for frame in both]), recorded_n44)
        except InputError as error:
            if poses == "prior":  # the adjustment itself holds the scale
                return ScaleReport(metric, f"recorded poses, as priors ({error})"), gravity
            warnings.append(f"the map could not be brought into the recorded world: {error}")
            return replace(scale, source=f"unknown: {error}"), None
        s = fit.similarity
        if poses == "prior":
            source = "recorded poses, as priors; the factor that would fit them best is told, not applied"
        else:
            model.transform(pycolmap.Sim3d(s.scale, pycolmap.Rotation3d(s.R_33), s.t_3))
            source = "recorded poses by a robust similarity"
        source += "" if metric else ", whose own scale is unknown"
        agree, total = int(fit.inlier_n.sum()), len(both)
        scale = ScaleReport(
            metric,
            source,
            s.scale,
            fit.scale_spread,
            fit.residual,
            fit.residual_rad,
            fit.residual_p90,
            agree,
            total,
        )
        if fit.scale_spread > SCALE_SURE:
            warnings.append(
                f"the recorded poses tell the scale of the map within {fit.scale_spread:.0%} only: the walk is short "
                "for their errors, or some are wrong"
            )
        if agree < MOST_POSES * total:
            sentence = (
                f"only {agree} of {total} recorded poses agree with the map, a tenth is off by more than "
                f"{fit.residual_p90:.3g}: the map is bent, or the recorded poses drift; --poses known keeps those"
            )
            if agree < ENOUGH_POSES * total and not keep_largest and poses != "prior":
                problems.append(sentence + ", --keep-largest keeps this map")
            else:
                warnings.append(sentence)
    else:
        gravity = None
    if known_distances:
        placed = {name: T for name, T in registered_poses(model).items() if name in registered}
        factor, disagreement = scale_from_distances(placed, list(known_distances))
        model.transform(pycolmap.Sim3d(factor, pycolmap.Rotation3d(), np.zeros(3)))
        source = f"{len(known_distances)} known distances"
        scale = ScaleReport(True, source, scale.factor * factor, disagreement)
        if both:
            warnings.append(f"the map is {factor:.4g} times as large as the recorded poses, whose scale is unknown")
    return scale, gravity
