"""The report is one valid page that holds the figures and the pictures, and loads nothing."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from geo_training.console import write_json
from geo_training.evaluation.localization.charts import error_over_time
from geo_training.evaluation.localization.pictures import BAD_RGB, GOOD_RGB, draw_detections, worst_frames
from geo_training.evaluation.localization.report import render_report, write_report
from geo_training.evaluation.localization.summary import headline, make_evaluation
from geo_training.metrics.pose import FrameOutcome, LengthUnit
from html_page import Page

from geo_perception.geometry import Camera, invert_pose, make_pose
from geo_perception.localization.result import Detections, Localization, Verdict

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
LANDMARKS = np.array([[-0.3, -0.2, 2.0], [0.3, 0.2, 2.0], [0.0, 0.1, 2.5]])


def outcome(index, offset_m, found=True, sequence="walk"):
    T_true = make_pose(np.eye(3), [0.05 * index, 0, 0])
    T = make_pose(np.eye(3), [0.05 * index + offset_m, 0, 0]) if found else None
    T_camera_map = invert_pose(T_true)
    pixels = CAMERA.project(LANDMARKS @ T_camera_map[:3, :3].T + T_camera_map[:3, 3])
    detections = Detections(np.arange(3), pixels, LANDMARKS, np.ones(3), np.ones(3), np.array([True, True, False]))
    verdict = Verdict.LOCALIZED if found else Verdict.NO_CONSENSUS
    result = Localization(verdict, "", detections, T, np.eye(6) * 4e-4, 0.7)
    return FrameOutcome(f"{sequence}/{index:06d}.jpg", sequence, index * 10**8, verdict.value, T_true, T,
                        np.eye(6) * 4e-4 if found else None, 2 if found else 0, "", 0.1, CAMERA, result)  # fmt: skip


def evaluation(outcomes=None, length_unit=LengthUnit(), title="Office & <kitchen>", landmarks=LANDMARKS):
    outcomes = outcomes or [outcome(i, 0.01 * i, found=i != 3) for i in range(8)]
    return make_evaluation(
        title, outcomes, length_unit, landmarks, metadata={"scene": "office.safetensors"}, config={"seed": 7},
        load_images=lambda names: {name: np.full((48, 64, 3), 90, np.uint8) for name in names},
    )  # fmt: skip


@pytest.fixture(scope="module")
def text():
    return render_report(evaluation(), "geo-eval localization office.safetensors office --report r.html")


def test_the_page_is_well_formed_and_loads_nothing(text):
    page = Page(text)
    assert page.open == []
    assert page.loads
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loads)
    ours = re.sub(r"/\*\*\n\* plotly\.js.*?</script>", "", text, flags=re.DOTALL)
    assert "http://" not in ours
    assert "https://" not in ours
    assert "@import" not in ours
    assert len(text) < 6e6


def test_the_page_says_the_figures_the_command_and_the_configuration(text):
    words = " ".join(Page(text).words)
    assert "Office & <kitchen>" in words
    assert "87.5 % of 8 frames were localized" in words
    assert "62.5 %" in words  # 0, 1, 2, 4 and 5 cm of eight frames
    assert "geo-eval localization office.safetensors office --report r.html" in words
    assert '"seed": 7' in words
    assert "the detections do not agree on a pose" in words
    assert "torch" in words


def test_every_chart_has_a_place_and_data(text):
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.DOTALL).group(1).replace("<\\/", "</"))
    assert set(charts) == {"above", "time", "recall", "calibration", "latency", "landmarks"}
    assert set(re.findall(r'data-chart="(\w+)"', text)) == set(charts)
    curve = charts["recall"]["data"][0]
    assert curve["y"][-1] == pytest.approx(87.5)
    assert all(part["type"] in ("scatter", "scatter3d", "bar") for chart in charts.values() for part in chart["data"])


def test_logarithmic_ticks_are_whole_numbers_and_few():
    close = error_over_time(evaluation([outcome(i, 0.01 * (i + 1)) for i in range(5)])).layout
    assert (close.yaxis.dtick, close.yaxis.minorloglabels) == ("D2", "complete")  # 0.5, not a small 5
    assert close.yaxis.title.text == "distance (cm)"
    wide = error_over_time(evaluation([outcome(0, 0.001), outcome(1, 50.0)])).layout  # 0.1 to 5000 cm
    assert wide.yaxis.dtick == 1
    assert error_over_time(evaluation([outcome(0, 0.0, found=False)])).layout.yaxis.dtick == "D2"


def test_plotly_is_there_once(text):
    assert text.count("* plotly.js v") == 1


def test_the_worst_frames_come_first_and_misses_are_among_them():
    chosen = worst_frames(evaluation(), count=4)
    assert [o.name for o in chosen] == [f"walk/{i:06d}.jpg" for i in (7, 6, 5, 3)]


def test_pictures_show_inliers_green_and_outliers_red():
    shown = outcome(0, 0.0)
    canvas = draw_detections(np.zeros((48, 64, 3), np.uint8), shown, longest_px=640)
    assert canvas.shape == (480, 640, 3)
    column, row = (shown.localization.detections.pixels_n2[0] + 0.5) * 10 - 0.5
    ring = canvas[int(row) - 7 : int(row) + 8, int(column) - 7 : int(column) + 8].reshape(-1, 3)
    assert (np.abs(ring - np.array(GOOD_RGB)).sum(axis=1) < 12).any()
    column, row = (shown.localization.detections.pixels_n2[2] + 0.5) * 10 - 0.5
    ring = canvas[int(row) - 7 : int(row) + 8, int(column) - 7 : int(column) + 8].reshape(-1, 3)
    assert (np.abs(ring - np.array(BAD_RGB)).sum(axis=1) < 12).any()


def test_a_recording_where_nothing_was_found_still_has_a_report(tmp_path):
    path = write_report(evaluation([outcome(i, 0, found=False) for i in range(3)]), tmp_path / "deep" / "r.html")
    page = Page(path.read_text())
    assert page.open == []
    assert page.images == 3
    assert "0.0 % of 3 frames were localized" in " ".join(page.words)


def test_a_recording_without_truth_and_without_landmarks_still_has_a_report():
    blind = [FrameOutcome(f"w/{i}", "w", i, "localized", None, np.eye(4), np.eye(6), 9, "", 0.1) for i in range(3)]
    words = " ".join(Page(render_report(evaluation(blind, landmarks=np.zeros((0, 3))))).words)
    assert "holds no true poses" in words


def test_unknown_scale_is_said_in_words():
    words = " ".join(Page(render_report(evaluation(length_unit=LengthUnit(False, 2.0)))).words)
    assert "scale of this scene is unknown" in words
    assert "% of scene depth" in words
    assert " cm" not in words


def test_the_headline_is_one_line():
    line = headline(evaluation())
    # 0, 1, 2, 4, 5, 6 and 7 cm and a miss.
    assert line == (
        "8 frames; 87.5% localized; 62.5% within 5 cm and 5°; median 4.50 cm, 0.00°; 85.7% of 7 poses inside the "
        "stated 90 % ellipsoid; 100 ms a frame (p99 100)"
    )


def test_where_most_is_missed_the_words_say_so_and_the_json_is_valid(tmp_path):
    found = evaluation([outcome(i, 0.02, found=i < 2) for i in range(5)])
    line = headline(found)
    assert "40.0% localized" in line
    assert "no median error, since half of the frames or more have no pose" in line
    assert "inf" not in line
    write_json(tmp_path / "r.json", found.as_json())
    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert content["figures"]["median_cm"] is None
    assert content["figures"]["ate_cm"] is None
    assert content["figures"]["localized_ate_cm"] == pytest.approx(2.0)
    assert content["figures"]["frames_missed"] == content["by_sequence"]["walk"]["frames_missed"] == 3
    assert [row["error_cm"] for row in content["frames"]] == [pytest.approx(2.0)] * 2 + [None] * 3
    assert [row["localized"] for row in content["frames"]] == [True] * 2 + [False] * 3
    words = " ".join(Page(render_report(found)).words)
    assert "3 have no pose and count as infinitely far off" in words
    assert "Half of them or more have no pose, so there is no median error." in words
    assert "∞" in words
    assert "nan" not in words.replace("nanodet", "")


def test_where_nothing_was_answered_the_line_says_so_without_a_nan():
    lost = [replace(outcome(i, 0, found=False), latency_s=float("nan")) for i in range(2)]
    assert headline(evaluation(lost)) == (
        "2 frames; 0.0% localized; 0.0% within 5 cm and 5°; no median error, since half of the frames or more have no "
        "pose; no pose whose stated ellipsoid could be checked; no frame was answered, so no time is known"
    )


def test_few_answers_and_few_truths_are_counted():
    frames = [outcome(0, 0.01), replace(outcome(1, 0.01), T_true=None), replace(outcome(2, 0.03), latency_s=math.nan)]
    assert headline(evaluation(frames)) == (
        "3 frames; 100.0% localized; of 2 with a true pose; 100.0% within 5 cm and 5°; median 2.00 cm, 0.00°; 100.0% "
        "of 2 poses inside the stated 90 % ellipsoid; 100 ms a frame (p99 100) over 2 answers"
    )


def test_the_page_of_charts_holds_no_number_that_json_has_not():
    lost = [outcome(i, 0, found=False) for i in range(3)]
    for found in (evaluation(lost), evaluation([replace(outcome(i, np.inf), covariance_66=None) for i in range(3)])):
        text = render_report(found)
        charts = re.search(r'id="charts">(.*?)</script>', text, re.DOTALL).group(1).replace("<\\/", "</")
        json.loads(charts, parse_constant=pytest.fail)
