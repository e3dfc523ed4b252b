"""A recording through the estimator in process: every frame, one after another, the same answer every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geo_perception.errors import InputError
from geo_perception.localization.result import Verdict
from geo_training.console import track, warn
from geo_training.evaluation.localization.evaluate import length_unit_of, outcome_of
from geo_training.evaluation.localization.predictions import Estimator
from geo_training.evaluation.localization.set import Query
from geo_training.evaluation.localization.summary import Evaluation, make_evaluation
from geo_training.evaluation.predictions import predict, warm_up
from geo_training.evaluation.replay.bag_input import BagInput
from geo_training.metrics.pose import FrameOutcome, LengthUnit


def replay_bag(
    estimator: Estimator,
    bag: BagInput,
    landmarks_map_l3: np.ndarray,
    metric: bool = True,
    seed: int = 0,
    title: str = "Replay",
    extra_metadata: dict[str, str] | None = None,
    config: dict | None = None,
) -> Evaluation:
    """Localizes every image of the recording. An image that cannot be decoded, or has no usable camera, is a miss.

    Raises InputError when the recording holds no image at all.
    """
    warm_up(estimator)
    outcomes = [
        _answer(estimator, bag, name, stamp_ns, message, seed)
        for name, stamp_ns, message in track(bag.messages(), "replaying", bag.image_topic.count)
    ]
    for sentence in (*bag.losses, *bag.inconsistencies):
        warn(sentence)
    return evaluation_of(bag, outcomes, landmarks_map_l3, metric, title, extra_metadata, config or {"seed": seed})


def evaluation_of(
    bag: BagInput,
    outcomes: list[FrameOutcome],
    landmarks_map_l3: np.ndarray,
    metric: bool,
    title: str,
    extra_metadata: dict[str, str] | None,
    config: dict,
) -> Evaluation:
    """The evaluation of a recording's outcomes, with what the report says about it."""
    if not outcomes:
        raise InputError(f"{bag.path} holds no image that can be read on {bag.image_topic.name}")
    truths = [o.T_true for o in outcomes if o.T_true is not None]
    placed = truths or [o.T_estimated for o in outcomes if o.T_estimated is not None]
    if not truths:
        warn(f"{bag.path} holds no true poses, so errors are not given; record them, or name their topic with --pose")
    length_unit = length_unit_of(metric, placed, landmarks_map_l3) if metric or placed else LengthUnit(False, 1.0)
    metadata = {"recording": str(bag.path), "images": bag.image_topic.name, "true poses": bag.truth_label}
    taken = [*bag.image_notes, *bag.inconsistencies]
    metadata |= {"taken": "; ".join(taken)} if taken else {}
    metadata |= {"lost": "; ".join(bag.losses)} if bag.losses else {}
    return make_evaluation(
        title, outcomes, length_unit, landmarks_map_l3, metadata=metadata | (extra_metadata or {}), config=config,
        load_images=bag.images,
    )  # fmt: skip


def _answer(estimator: Estimator, bag: BagInput, name: str, stamp_ns: int, message, seed: int) -> FrameOutcome:
    T_true = bag.true_pose(stamp_ns)
    try:
        image_rgb = bag.decoder.decode(message)
        camera = bag.camera_at(stamp_ns, image_rgb.shape[1], image_rgb.shape[0])
    except InputError as error:
        verdict = Verdict.BAD_IMAGE.value
        return FrameOutcome(name, bag.sequence, stamp_ns, verdict, T_true, detail=str(error))
    query = Query(name, bag.sequence, stamp_ns, camera, lambda: image_rgb, T_true)
    return outcome_of(query, predict(name, estimator.estimate, image_rgb, camera, seed=seed))


def explain(estimator: Estimator, bag: BagInput, outcomes: list[FrameOutcome], seed: int = 0) -> Iterator[FrameOutcome]:
    """The same outcomes, each with the detections that the estimator finds in its image in process, for the pictures of
    frames that were answered elsewhere."""
    images = bag.images([o.name for o in outcomes])
    for outcome in outcomes:
        image_rgb = images.get(outcome.name)
        if image_rgb is None:
            yield outcome
            continue
        try:
            camera = bag.camera_at(outcome.stamp_ns, image_rgb.shape[1], image_rgb.shape[0])
        except InputError:
            yield outcome
            continue
        result = estimator.estimate(image_rgb, camera, seed=seed)
        yield replace(outcome, camera=camera, localization=result)
