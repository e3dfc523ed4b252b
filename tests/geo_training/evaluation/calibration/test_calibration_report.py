"""A run over images, and its page: figures by domain, the right pictures, both horizons drawn where they are."""

import json
import math
import re

import numpy as np
import pytest
from geo_training.evaluation.calibration.charts import error_by_certainty
from geo_training.evaluation.calibration.evaluate import evaluate_calibrator, headline
from geo_training.evaluation.calibration.pictures import ESTIMATED_RGB, TRUE_RGB, chosen_frames, draw_horizons
from geo_training.evaluation.calibration.report import render_calibration_report, write_calibration_report
from geo_training.evaluation.calibration.set import CalibrationQuery
from geo_training.metrics.calibration import CalibrationOutcome, TrueCamera
from html_page import Page

from geo_perception.calibration.result import Calibration, CalibrationVerdict
from geo_perception.errors import InputError


class Off:
    """Wrong in pitch by as many degrees as the image is grey; has no answer for black, doubts what is over 20."""

    warmed = 0

    def warm_up(self):
        self.warmed += 1

    def estimate(self, image_hw3):
        grey = int(image_hw3[0, 0, 0])
        height_px, width_px = image_hw3.shape[:2]
        if grey == 0:
            return Calibration(CalibrationVerdict.NO_STRUCTURE, "it is dark <here>", width_px, height_px)
        verdict = CalibrationVerdict.TOO_UNCERTAIN if grey > 20 else CalibrationVerdict.CALIBRATED
        sigma_rad = math.radians(grey)
        covariance_33 = np.diag([25.0, sigma_rad**2, 1e-4])
        return Calibration(verdict, "", width_px, height_px, 50.0, math.radians(grey), 0.0, covariance_33)


def query(grey, domain="indoor", **changes):
    image_hw3 = np.full((48, 64, 3), grey, np.uint8)
    truth = TrueCamera(64, 48, 50.0, 0.0, 0.0, **changes)
    return CalibrationQuery(f"{domain}/{grey:03d}", domain, truth, lambda: image_hw3)


QUERIES = [query(grey, "indoor" if grey < 10 else "outdoor") for grey in (0, *range(1, 12), 30)]


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_calibrator(Off(), QUERIES, "Calibration of <x>", {"weights": "w"}, {"seed": 7})


@pytest.fixture(scope="module")
def text(evaluation):
    return render_calibration_report(evaluation, "geo-eval calibration reference panoramas")


def test_a_run_gives_figures_of_all_and_of_each_domain(evaluation):
    estimator = Off()
    again = evaluate_calibrator(estimator, QUERIES)
    assert estimator.warmed == 1
    assert again.metrics["frames"] == 13
    assert evaluation.metrics["pitch_median_deg"] == pytest.approx(7)  # the black one is infinitely wrong
    assert evaluation.by_domain["indoor"]["frames"] == 10
    assert evaluation.by_domain["indoor"]["pitch_median_deg"] == pytest.approx(5.5)
    assert evaluation.by_domain["outdoor"]["pitch_median_deg"] == pytest.approx(11)
    assert evaluation.metrics["trusted_share"] == pytest.approx(11 / 13)
    assert evaluation.metrics["coverage_90"] == 1.0
    assert "principal point" not in evaluation.metadata


def test_an_offset_of_the_principal_point_is_told():
    told = evaluate_calibrator(Off(), [query(1, cy_px=23.5 + 5)])
    assert told.metadata["principal point"].startswith("up to 5.71° from the image's centre")


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(InputError, match="there is no image to measure on"):
        evaluate_calibrator(Off(), [])


def test_the_json_has_a_row_for_each_image(evaluation):
    content = evaluation.as_json()
    row = content["frames"][3]
    assert row["name"] == "indoor/003"
    assert row["pitch_error_deg"] == pytest.approx(3)
    assert row["estimated"]["pitch_deg"] == pytest.approx(3)
    assert row["sigma"]["pitch_deg"] == pytest.approx(3)
    assert row["true"]["vfov_deg"] == pytest.approx(2 * math.degrees(math.atan(0.48)))
    assert content["frames"][0]["verdict"] == "the image shows nothing to go by"
    assert content["reliability"][2]["stated"] == 0.9


def test_the_headline_is_one_line(evaluation):
    assert re.fullmatch(
        r"13 frames; 84\.6% trusted; 1 without an answer; "
        r"median error: roll 0\.00°, pitch 7\.00°, vertical fov 0\.00°; "
        r"AUC at 1/5/10°: roll 92\.3/92\.3/92\.3, pitch [\d.]+/[\d.]+/[\d.]+, vertical fov 92\.3/92\.3/92\.3; "
        r"100\.0% of 12 inside the stated 90 % interval; \d+ ms a frame \(p99 \d+\)",
        headline(evaluation),
    )


def test_best_typical_and_worst_images_are_chosen_once_each(evaluation):
    chosen = {kind: [o.name[-3:] for o in group] for kind, group in chosen_frames(evaluation.outcomes, 3).items()}
    assert chosen == {"best": ["001", "002", "003"], "typical": ["006", "007", "008"], "worst": ["030", "011", "000"]}


def test_few_images_are_shared_out_without_a_repeat():
    for count in range(1, 8):
        outcomes = evaluate_calibrator(Off(), [query(grey) for grey in range(1, count + 1)]).outcomes
        names = [o.name for group in chosen_frames(outcomes).values() for o in group]
        assert len(names) == len(set(names))
        assert names
    missed = evaluate_calibrator(Off(), [query(0)]).outcomes
    assert [len(group) for group in chosen_frames(missed).values()] == [0, 0, 1]


def test_both_horizons_are_drawn_where_they_are():
    found = Calibration(CalibrationVerdict.CALIBRATED, "", 64, 48, 50.0, math.atan(10 / 50), 0.0, np.eye(3))
    outcome = CalibrationOutcome("a", "", TrueCamera(64, 48, 50.0, 0.0, 0.0), found)
    canvas = draw_horizons(np.zeros((48, 64, 3), np.uint8), outcome, longest_px=640)
    assert canvas.shape == (480, 640, 3)
    # The centre of the image is row 239.5 of the canvas; looking up, the horizon is lower, by 10 px of the image.
    assert np.abs(canvas[239, 100].astype(int) - TRUE_RGB).max() <= 3
    assert np.abs(canvas[339, 500].astype(int) - ESTIMATED_RGB).max() <= 3
    assert not canvas[290].any()


@pytest.mark.parametrize(("pitch_deg", "tip_row"), [(60, 239 + 135), (-60, 239 - 135)])
def test_a_horizon_outside_the_image_is_an_arrow_towards_it(pitch_deg, tip_row):
    truth = TrueCamera(64, 48, 50.0, math.radians(pitch_deg), 0.0)
    outcome = CalibrationOutcome("a", "", truth, Calibration(CalibrationVerdict.BAD_IMAGE, "", 64, 48))
    canvas = draw_horizons(np.zeros((48, 64, 3), np.uint8), outcome, longest_px=640)
    # 0.3 of the height of 480 is 144 pixels, up where the camera looks down.
    assert np.abs(canvas[tip_row, 319].astype(int) - TRUE_RGB).max() <= 3
    assert not canvas[2 * 239 - tip_row, 319].any()


def test_straight_up_there_is_no_horizon_to_point_at():
    truth = TrueCamera(64, 48, 50.0, math.pi / 2, 0.3)
    outcome = CalibrationOutcome("a", "", truth, Calibration(CalibrationVerdict.BAD_IMAGE, "", 64, 48))
    assert not draw_horizons(np.zeros((48, 64, 3), np.uint8), outcome).any()


def test_with_half_of_the_images_unanswered_the_line_says_that_there_is_no_median():
    found = evaluate_calibrator(Off(), [query(0), query(0), query(2)])
    line = headline(found)
    assert "2 without an answer; no median error, since half of the frames or more have no answer; AUC" in line
    assert "100.0% of 1 inside the stated 90 % interval" in line
    assert "inf" not in line
    assert "nan" not in line
    only_dark = headline(evaluate_calibrator(Off(), [query(0)]))
    assert "no answer whose stated interval could be checked" in only_dark
    assert "nan" not in only_dark


def test_the_page_is_well_formed_and_loads_nothing(text):
    page = Page(text)
    assert page.open == []
    assert page.images == 13
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loads)
    assert text.count("* plotly.js v") == 1


def test_the_page_says_figures_verdicts_captions_and_command(text):
    words = " ".join(Page(text).words)
    assert "Calibration of <x>" in words
    assert "7.00° in pitch" in words
    assert "the image shows nothing to go by (it is dark <here>)" in words
    assert "estimated: roll 0.0°, pitch 30.0°, view 51.3° high, horizon below the image" in words
    assert "indoor" in words
    assert "geo-eval calibration reference panoramas" in words
    assert '"seed": 7' in words


def test_every_chart_has_a_place_and_data(text):
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.DOTALL).group(1).replace("<\\/", "</"))
    values = {"values_roll", "values_pitch", "values_fov"}
    assert set(charts) == {"recall", *values, "reliability", "trust", "latency"}
    assert set(re.findall(r'data-chart="(\w+)"', text)) == set(charts)
    assert charts["recall"]["data"][0]["y"][-1] == pytest.approx(100 * 12 / 13, abs=1e-3)


def test_the_surest_answers_come_first(evaluation):
    pitch = error_by_certainty(evaluation.outcomes)["data"][1]
    assert pitch["y"][0] == pytest.approx(1)
    assert pitch["y"][-1] == pytest.approx(7)  # 1 to 11 and 30 degrees, and one without an answer, infinitely wrong


def test_the_curve_of_the_surest_ends_where_half_have_no_answer():
    outcomes = evaluate_calibrator(Off(), [query(grey) for grey in (0, 0, 3, 5)]).outcomes
    pitch = error_by_certainty(outcomes)["data"][1]
    assert pitch["y"][0] == pytest.approx(3)
    assert pitch["y"][14] == pytest.approx(5)  # three of four: 3, 5 and a miss
    assert pitch["y"][-1] is None


def test_where_nothing_was_answered_there_still_is_a_page(tmp_path):
    path = write_calibration_report(evaluate_calibrator(Off(), [query(0)]), tmp_path / "deep" / "page.html")
    page = Page(path.read_text())
    assert page.open == []
    assert "Less than half of the images are answered" in " ".join(page.words)
