"""What a training, a map and a benchmark say of their metrics: words, where there is nothing to measure."""

import json
import math
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from geo_training.calibration.commands import validation_summary
from geo_training.calibration.uncertainty import ValidationErrors, validation_metrics
from geo_training.console import json_text
from geo_training.depth.validation import validate
from geo_training.experiments.bench import StageCache, format_metric
from geo_training.experiments.benches.depth_claims import CLAIMS, gain
from geo_training.localization.commands import held_out_summary
from geo_training.mapping.report import MapReport, ScaleReport, readable
from geo_training.storage.kept_json import from_kept_json, to_kept_json

from geo_perception.depth.result import DepthVerdict, RelativeDepth


def held_out(**changes):
    return {
        "held_out_frames": 13, "held_out_localized": 12 / 13, "held_out_recall_5cm_5deg": 0.5,
        "held_out_median_cm": 4.25, "held_out_median_deg": 0.5, "held_out_px": 2.5, **changes,
    }  # fmt: skip


def test_held_out_frames_are_counted_and_measured():
    assert held_out_summary(held_out()) == (
        "92% of 13 held-out frames localize, 50% within 5 cm and 5 degrees, median 4.2 cm and 0.50 degrees, landmarks "
        "off by 2.5 px"
    )


def test_held_out_frames_where_nothing_was_found_are_said_in_words():
    nothing = {"held_out_localized": 0.0, "held_out_recall_5cm_5deg": 0.0, "held_out_px": math.nan}
    infinite = {"held_out_median_cm": math.inf, "held_out_median_deg": math.inf}
    assert held_out_summary(held_out(**nothing, **infinite)) == (
        "0% of 13 held-out frames localize, 0% within 5 cm and 5 degrees, no median error, since half of them or more "
        "do not localize, no landmark was found in them"
    )


def test_held_out_frames_of_unknown_scale():
    metrics = held_out(held_out_median_scene_units=0.125)
    del metrics["held_out_recall_5cm_5deg"], metrics["held_out_median_cm"]
    assert "median 0.125 scene units (the scale is unknown) and 0.50 degrees" in held_out_summary(metrics)


def errors(*roll_rad):
    count = len(roll_rad)
    error_n3 = np.column_stack([np.full(count, 0.1), np.full(count, 0.02), roll_rad])
    return ValidationErrors(error_n3, np.full((count, 3), 1.0), np.where(np.isnan(roll_rad), np.nan, 0.03))


def test_validation_crops_without_an_answer_are_infinitely_wrong():
    metrics = validation_metrics(errors(math.radians(1), math.radians(-3), math.nan))
    assert metrics["roll_median_deg"] == pytest.approx(3)  # 1, 3 and a miss
    assert metrics["vfov_median_deg"] == pytest.approx(math.degrees(0.03))
    assert (metrics["validation_crops"], metrics["validation_missed"]) == (3, 1)
    assert metrics["raw_coverage_90_roll"] == pytest.approx(2 / 3)
    assert validation_summary(metrics) == (
        "3 crops of the validation panoramas: 1 without an answer, median errors roll 3.00, pitch 1.15, vertical field "
        "of view 1.72 degrees"
    )
    most = validation_metrics(errors(0.1, math.nan, math.nan))
    assert most["roll_median_deg"] == most["pitch_median_deg"] == most["vfov_median_deg"] == math.inf
    assert validation_summary(most) == (
        "3 crops of the validation panoramas: 2 without an answer, no median errors, since half of them or more have "
        "no answer"
    )


def test_depth_validation_counts_an_image_without_an_answer_as_flat():
    true_m = np.full((4, 8), 2.0, np.float32)
    true_m[:, 4:] = 4.0

    def estimate(image, camera):
        if image == "dark":
            return RelativeDepth(DepthVerdict.NO_STRUCTURE)
        return RelativeDepth(DepthVerdict.ESTIMATED, depth_hw=true_m / 7, sigma_hw=np.full_like(true_m, 0.1))

    dataset = SimpleNamespace(depth_m=lambda frame: true_m, image=lambda frame: frame, camera=lambda frame: None)
    estimator = SimpleNamespace(estimate=estimate)
    both = validate(estimator, [(dataset, "bright"), (dataset, "dark")])
    # Flat at the median of 3 m: half of the pixels are off by 1/2 and half by 1/4, ratios of 3/2 and 4/3.
    assert both["val_abs_rel"] == pytest.approx((0 + (1 / 2 + 1 / 4) / 2) / 2, abs=1e-6)
    assert both["val_d1"] == pytest.approx(0.5)
    assert validate(estimator, [(dataset, "bright")])["val_abs_rel"] == pytest.approx(0, abs=1e-6)
    unknown = SimpleNamespace(depth_m=lambda frame: 0 * true_m, image=lambda frame: frame, camera=lambda frame: None)
    assert validate(estimator, [(unknown, "bright")]) == {}


def map_report(**changes):
    values = dict.fromkeys((f.name for f in fields(MapReport)), 0)
    values |= {"components": [1], "scale": ScaleReport(True, "poses", spread=math.nan), "seconds": {}, "sequences": {},
               "gravity_world": None, "matches_fit_poses": None, "reprojection_mean_px": math.nan,
               "reprojection_median_px": math.nan, "refinement": None}  # fmt: skip
    return MapReport(**(values | changes))


def test_a_map_without_points_says_so():
    lines = readable(map_report())
    assert "reprojection  nothing to measure, since the map has no points" in lines
    assert not any("nan" in line for line in lines)
    measured = readable(map_report(points=9, reprojection_mean_px=0.5, reprojection_median_px=0.25))
    assert "reprojection  mean 0.50 px, median 0.25 px" in measured


def test_a_metric_of_a_benchmark_is_words_where_it_is_no_number():
    assert format_metric(0.12345678) == "0.123457"
    assert format_metric(math.nan) == "not known"
    assert format_metric(math.inf) == "infinite: misses count as infinitely far off"


def test_a_stage_keeps_what_json_has_no_number_for(tmp_path):
    made = {"median": math.inf, "edge": math.nan, "rows": [{"low": -math.inf, "name": "NaN-free"}], "count": 3}
    StageCache(tmp_path / "w", {"a": 1}).stage("measure", lambda: made)
    json.loads((tmp_path / "w" / "stages.json").read_text(), parse_constant=pytest.fail)
    again = StageCache(tmp_path / "w", {"a": 1}).stage("measure", lambda: pytest.fail("it was done"))
    assert again["median"] == math.inf
    assert math.isnan(again["edge"])
    assert again["rows"] == [{"low": -math.inf, "name": "NaN-free"}]
    assert again["count"] == 3


def test_what_is_kept_comes_back_as_it_was():
    content = {"a": [1, 2.5, math.inf, -math.inf], "b": {"c": None, "d": "text", "e": True}}
    assert from_kept_json(to_kept_json(content)) == content
    assert math.isnan(from_kept_json(to_kept_json({"x": math.nan}))["x"])
    json.loads(to_kept_json({"x": math.nan, "y": math.inf}), parse_constant=pytest.fail)
    with pytest.raises(ValueError, match="Expecting"):
        from_kept_json("{")


def test_a_claim_without_metrics_is_not_known():
    claim = next(claim for claim in CLAIMS if claim.metric == "edge")
    frames = {claim.variant: [{"rooms": {"edge": [math.nan]}}], claim.against: [{"rooms": {"edge": [0.1]}}]}
    found = gain(claim, frames, {"rooms": [0]})
    assert found["shows"] is None
    assert found["sentence"].endswith("edge: not known, since no frame has such a metric")


def test_json_has_neither_nan_nor_infinity():
    content = {"a": math.inf, "b": [math.nan, 1.5], "c": {"d": np.float32(-np.inf), "e": np.array([1.0, np.nan])}}
    assert json.loads(json_text(content), parse_constant=pytest.fail) == {
        "a": None, "b": [None, 1.5], "c": {"d": None, "e": [1.0, None]},
    }  # fmt: skip
