"""Of a replay into a folder of scenes: which of them answered, and when the robot went from one into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from geo_training.console import say, warn
from geo_training.evaluation.localization.summary import Evaluation, median_label
from geo_training.metrics.pose import FrameOutcome


def scene_at(stamp_ns: int, scenes_since_s: Mapping[float, str]) -> str:
    """The scene in which a node was at a stamp, by the stamps since which it was in each; "" before the first."""
    since_s = [since_s for since_s in scenes_since_s if round(since_s, 3) <= round(stamp_ns * 1e-9, 3)]
    return scenes_since_s[max(since_s)] if since_s else ""


def switches(outcomes: Sequence[FrameOutcome]) -> list[tuple[FrameOutcome, str]]:
    """The first frame in every other scene, with the scene of before. Outcomes are in the order of their stamps."""
    answered = [outcome for outcome in outcomes if outcome.scene]
    return [(after, before.scene) for before, after in pairwise(answered) if before.scene != after.scene]


def with_scenes(evaluation: Evaluation, localizer) -> Evaluation:
    """The evaluation with a line for each scene that answered, and one for the switches. Warns where poses are in
    several frames, so that recorded ones are true in one of them at most."""
    if not hasattr(localizer, "standing"):
        return evaluation
    lines = {}
    for name, figures in evaluation.by_scene.items():
        known = f"; {median_label(figures, evaluation.length_unit)}" if figures["frames_with_truth"] else ""
        lines[f"in {name}"] = f"{figures['frames']} frames localized{known}"
    first_s = evaluation.outcomes[0].stamp_s
    moved = [
        f"at {o.stamp_s - first_s:.2f} s from {former} to {o.scene}" for o, former in switches(evaluation.outcomes)
    ]
    lines["scene switches"] = "; ".join(moved) or "none"
    for name, words in lines.items():
        say(f"{name}: {words}")
    frames = {localizer.folder.frames.frame_of(name) for name in evaluation.by_scene}
    if len(frames) > 1 and evaluation.metrics["frames_with_truth"]:
        warn(
            f"poses are in the frames {', '.join(sorted(frames))}, and recorded ones true in one of them at most; "
            f"place the scenes in {localizer.folder.path}/scenes.yaml"
        )
    metrics = evaluation.metrics | {"scene_switches": len(moved)}
    return replace(evaluation, metrics=metrics, metadata=evaluation.metadata | lines)
