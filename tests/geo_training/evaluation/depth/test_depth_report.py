"""A run over images and its page: the three scalings, images without an answer, the right pictures, every section."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from geo_training.evaluation.depth import evaluate as depth
from geo_training.evaluation.depth.evaluate import DepthOptions, evaluate_depth, headline
from geo_training.evaluation.depth.pictures import (
    chosen_frames,
    colour_depths,
    draw_error,
    draw_frame,
    shrink_known,
)
from geo_training.evaluation.depth.report import render_depth_report, write_depth_report
from geo_training.evaluation.depth.set import DepthQuery
from geo_training.metrics.depth import DepthProtocol
from html_page import Page

from geo_perception.depth.result import DepthVerdict, RelativeDepth
from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose

CAMERA = Camera(80, 60, 60.0, 60.0, 39.5, 29.5)
OPTIONS = DepthOptions(DepthProtocol("indoor", 10.0))
FACTORS = (1.0, 0.8, 1.25, 1.0, 0.5, 1.0)  # the unit of each answer; the truth is twice as large


def true_depth():
    depth_hw = np.full((60, 80), 4.0, np.float32)
    depth_hw[:, 40:] = 2.0
    depth_hw[:3] = 0
    return depth_hw


def query(index, **changes):
    image_hw3 = np.full((60, 80, 3), index, np.uint8)
    return DepthQuery(f"room/{index}", CAMERA, lambda: image_hw3, true_depth, sequence="room", stamp_s=0.1 * index,
                      T_world_camera=make_pose(np.eye(3), [math.cos(index), math.sin(index), 0.2 * index]),
                      **changes)  # fmt: skip


class Half:
    """Half the true depth, times a factor that the image's grey tells, a tenth too far on the right and doubtful there;
    no answer for the fourth image."""

    warmed = 0

    def warm_up(self):
        self.warmed += 1

    def estimate(self, image_hw3, camera):
        index = int(image_hw3[0, 0, 0])
        if index == 3:
            return RelativeDepth(DepthVerdict.NO_STRUCTURE, "it is dark <here>")
        depth_hw = np.full((60, 80), 2.0, np.float32)
        depth_hw[:, 40:] = 1.1
        sigma_hw = np.where(depth_hw < 1.5, np.float32(0.2), np.float32(0.02))
        return RelativeDepth(DepthVerdict.ESTIMATED, "", camera, FACTORS[index] * depth_hw, sigma_hw, image_hw3)


class Turned:
    """The true motion of `query`, in half the unit."""

    views = 3

    def motion(self, views):
        before, target, after = (query(int(view[0, 0, 0])).T_world_camera for view in views)
        motions = [invert_pose(other) @ target for other in (before, after)]
        for T in motions:
            T[:3, 3] /= 2
        return motions


@pytest.fixture(scope="module")
def evaluation():
    queries = [query(index) for index in range(6)]
    return evaluate_depth(Half(), queries, OPTIONS, Turned(), "Depth of <x>", {"weights": "w"}, {"seed": 7})


@pytest.fixture(scope="module")
def text(evaluation):
    return render_depth_report(evaluation, "geo-eval depth <x>")


def test_the_three_scalings_are_told_apart(evaluation):
    metrics, rows = evaluation.metrics, {row["name"]: row for row in evaluation.rows}
    assert metrics["frames"] == metrics["frames_with_truth"] == 6
    # Half of the pixels are 4 m away, half 2 m: medians are 3 m and (2 + 1.1) / 2.
    scale = 3 / 1.55
    assert rows["room/0"]["scale"] == pytest.approx(scale)
    errors = abs(scale * 2 / 4 - 1), abs(scale * 1.1 / 2 - 1)
    assert rows["room/0"]["abs_rel"] == pytest.approx(np.mean(errors))
    for index in (1, 2, 4, 5):
        assert rows[f"room/{index}"]["abs_rel"] == pytest.approx(rows["room/0"]["abs_rel"], rel=1e-5)
    assert metrics["scale"] == pytest.approx(scale)
    scales = scale / np.array([1.0, 0.8, 1.25, 0.5, 1.0])
    assert metrics["scale_spread"] == pytest.approx(scales.std() / scale)
    assert rows["room/4"]["abs_rel_one_scale"] == pytest.approx(np.mean([1 - scale / 4, 1 - 0.55 * scale / 2]))
    assert rows["room/0"]["abs_rel_unscaled"] == pytest.approx((0.5 + 0.45) / 2)


def test_an_image_without_an_answer_counts_as_a_flat_map(evaluation):
    row = next(row for row in evaluation.rows if row["name"] == "room/3")
    assert evaluation.metrics["failed"] == 1
    assert row["verdict"] == DepthVerdict.NO_STRUCTURE.value
    assert math.isnan(row["scale"])
    assert row["abs_rel"] == pytest.approx((1 / 4 + 1 / 2) / 2)  # 3 m everywhere
    assert row["edge"] == 0.0
    assert row["coverage"] == 0.0
    assert evaluation.metrics["coverage"] == pytest.approx(5 / 6)
    counted = [evaluation.metrics[f"{name}_frames"] for name in ("scaled", "edge", "confidence", "timed")]
    assert counted == [5, 6, 5, 6]
    # By one scale the flat map stands at the usual depth of the others.
    usual = np.median([1.55 * factor for index, factor in enumerate(FACTORS) if index != 3])
    assert row["abs_rel_unscaled"] == pytest.approx(np.mean([1 - usual / 4, 1 - usual / 2]))


def test_the_usual_depth_is_looked_for_once_and_not_for_every_image(monkeypatch):
    """Otherwise the work grows with the square of the number of images."""
    looked_at = []
    median = np.nanmedian
    monkeypatch.setattr(depth.np, "nanmedian", lambda values: looked_at.append(1) or median(values))
    found = evaluate_depth(Half(), [query(index) for index in range(6)], OPTIONS)
    assert len(looked_at) == 5  # one look at each answer
    usual = np.median([1.55 * factor for index, factor in enumerate(FACTORS) if index != 3])
    assert found.rows[3]["abs_rel_unscaled"] == pytest.approx(np.mean([1 - usual / 4, 1 - usual / 2]))


def test_the_line_says_what_could_not_be_measured_without_a_nan():
    dark = headline(evaluate_depth(Half(), [query(3)], OPTIONS))
    assert "1 frames; 1 without an answer" in dark
    assert "no image has a scale" in dark
    near = DepthOptions(DepthProtocol("near", 1.0))  # nothing is that near
    far = headline(evaluate_depth(Half(), [query(0)], near))
    assert "no image has true depth in the range that is compared, so there is no error" in far
    some = headline(evaluate_depth(Half(), [query(0), query(3)], OPTIONS))
    assert "over 1" in some
    for line in (dark, far, some):
        assert "nan" not in line
        assert "inf" not in line
    words = " ".join(Page(render_depth_report(evaluate_depth(Half(), [query(0)], near))).words)
    assert "No image has true depth in the range that is compared" in words


def test_frames_in_runs_too_short_for_a_path_are_counted():
    alone = replace(query(5), name="room/late", stamp_s=50.0)
    found = evaluate_depth(Half(), [*(query(index) for index in range(6)), alone], OPTIONS, Turned())
    assert (found.metrics["odometry_frames"], found.metrics["odometry_left_out"]) == (6, 1)
    assert "(1 frames are in runs too short)" in headline(found)


def test_a_path_that_is_no_number_is_said_in_words():
    metrics = {"ate5_m": math.inf, "ate5_std_m": math.nan, "ate_m": math.inf, "path_m": 3.0, "ate5_snippets": 2}
    assert depth.path_label(metrics) == "the path holds motions that are no numbers, so it has no error"


def test_a_depth_without_any_error_has_a_page():
    class Exact:
        def estimate(self, image_hw3, camera):
            depth_hw = np.where(true_depth() > 0, true_depth(), np.float32(4))
            return RelativeDepth(DepthVerdict.ESTIMATED, "", camera, depth_hw, np.full_like(depth_hw, 0.1), image_hw3)

    found = evaluate_depth(Exact(), [query(0)], OPTIONS)
    assert found.metrics["abs_rel"] == found.metrics["ause_random"] == 0.0
    assert "0.000" in render_depth_report(found)


def test_edges_confidence_time_and_motion_are_measured(evaluation):
    metrics = evaluation.metrics
    assert metrics["edge"] == pytest.approx(5 / 6)
    assert "object_edge" not in metrics
    assert metrics["ause"] < metrics["ause_random"]
    stated = np.mean([1 - math.exp(-math.log(1.25) / sigma) for sigma in (0.02, 0.2)])
    assert metrics["confidence"] == pytest.approx(stated, abs=1e-3)
    assert metrics["confidence_actual"] == 1.0
    assert metrics["frame_ms_p99"] >= metrics["frame_ms_p50"] > 0
    assert metrics["ate_m"] == pytest.approx(0, abs=1e-6)
    assert metrics["ate5_m"] == pytest.approx(0, abs=1e-6)
    assert [row["pixels"] for row in evaluation.distance_rows] == [5 * 57 * 40] * 2
    assert evaluation.curves["best"][-1] <= evaluation.curves["by_stated"][-1]


def test_masks_add_the_borders_of_objects():
    ids_hw = np.zeros((60, 80), np.uint16)
    ids_hw[:, 40:] = 1
    metrics = evaluate_depth(Half(), [query(0, load_instances=lambda: ids_hw)], OPTIONS).metrics
    assert metrics["object_edge"] == metrics["edge"] == 1.0


def test_edges_can_be_left_out():
    evaluation = evaluate_depth(Half(), [query(0)], DepthOptions(OPTIONS.protocol, edges=False))
    assert "edge" not in evaluation.metrics
    assert "edges" not in headline(evaluation)


def test_the_estimator_is_warmed_up_once_and_not_timed():
    estimator = Half()
    evaluate_depth(estimator, [query(0), query(1)], OPTIONS)
    assert estimator.warmed == 1


def test_no_answer_at_all_is_still_a_result():
    evaluation = evaluate_depth(Half(), [query(3)], OPTIONS)
    assert evaluation.metrics["abs_rel"] == pytest.approx(0.375)
    assert math.isnan(evaluation.metrics["scale"])
    assert Page(render_depth_report(evaluation)).open == []


def test_truth_out_of_range_leaves_no_figures_but_a_row():
    evaluation = evaluate_depth(Half(), [query(0)], DepthOptions(DepthProtocol("near", 1.0)))
    assert evaluation.metrics["frames"] == 1
    assert evaluation.metrics["frames_with_truth"] == 0
    assert math.isnan(evaluation.metrics["abs_rel"])
    assert Page(render_depth_report(evaluation)).open == []


def test_nothing_to_measure_is_one_line():
    without = DepthQuery("a", CAMERA, lambda: np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(InputError, match="no image has true depth"):
        evaluate_depth(Half(), [without], OPTIONS)


def test_motion_can_be_measured_without_depth():
    queries = [DepthQuery(q.name, q.camera, q.load_image, None, None, q.T_world_camera, q.sequence, q.stamp_s)
               for q in map(query, range(6))]  # fmt: skip
    evaluation = evaluate_depth(Half(), queries, OPTIONS, Turned())
    assert evaluation.metrics["ate_m"] == pytest.approx(0, abs=1e-6)
    assert headline(evaluation).startswith("ATE of 5 frames 0.000")
    assert Page(render_depth_report(evaluation)).images == 0


def test_the_line_for_the_terminal_names_the_scalings(evaluation):
    line = headline(evaluation)
    assert line.startswith("6 frames; 1 without an answer; its own scale: abs_rel ")
    assert "one scale: abs_rel" in line
    assert "unscaled: abs_rel" in line


def test_the_json_holds_every_frame(evaluation):
    content = json.loads(json.dumps(evaluation.as_json()))
    assert [row["name"] for row in content["frames"]] == [f"room/{index}" for index in range(6)]
    assert content["config"] == {"seed": 7}


def test_the_page_is_whole_and_loads_nothing(text):
    page = Page(text)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.loads)
    words = " ".join(page.words)
    titles = ("Depth of <x>", "one scale for all", "The best", "The worst", "Error over distance")
    titles += ("Motion of the camera", "Are the doubtful pixels the wrong ones?", "no answer: the image shows no")
    for title in titles:
        assert title in words
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.S).group(1))
    assert set(charts) == {"distance", "scale", "sparsification", "reliability", "latency", "path0"}
    assert page.images == 5 * 5 + 2  # five panels of five answers, two of the image without one


def test_the_page_is_written(evaluation, tmp_path):
    assert write_depth_report(evaluation, tmp_path / "new" / "page.html").is_file()


def test_pictures_are_of_the_best_the_middle_and_the_worst(evaluation):
    names = chosen_frames(evaluation, each=2)
    assert names["worst"][0] == "room/3"
    shown = [name for kind in names.values() for name in kind]
    assert len(shown) == len(set(shown)) == 6
    assert chosen_frames(evaluation, each=1)["best"] != chosen_frames(evaluation, each=1)["typical"]


def test_the_pictures_of_a_frame_have_one_size(evaluation):
    pictures = draw_frame(evaluation, "room/0")
    assert list(pictures) == ["image", "predicted", "true", "error", "confidence"]
    assert len({picture.shape for picture in pictures.values()}) == 1
    assert set(draw_frame(evaluation, "room/3")) == {"image", "true"}


def test_an_error_is_red_too_far_blue_too_near_white_right_grey_unknown():
    true_hw = np.array([[2, 2, 2, 0]], np.float32)
    far, near, right, unknown = draw_error(true_hw, np.array([[4, 1, 2, 2]], np.float32))[0].astype(int)
    assert far[0] > far[2] + 100
    assert near[2] > near[0] + 100
    assert right.min() > 240
    assert len(set(unknown.tolist())) == 1


def test_the_same_depth_has_the_same_colour_on_both_sides():
    depth_hw = np.linspace(1, 5, 200, dtype=np.float32).reshape(10, 20)
    left, right = colour_depths(depth_hw, depth_hw)
    assert (left == right).all()
    wild = depth_hw.copy()
    wild[0, 0] = 500
    left, right = colour_depths(wild, depth_hw)
    assert (left[1:] == right[1:]).all()


def test_sparse_depth_is_drawn_as_dots_that_can_be_seen():
    depth_hw = np.zeros((400, 1200), np.float32)
    depth_hw[201, 601] = 7.0
    depth_hw[202, 602] = 5.0  # falls on the same pixel, and is nearer
    small_hw = shrink_known(depth_hw, (120, 40))
    assert small_hw.max() == pytest.approx(5.0)
    assert 1 < (small_hw > 0).sum() <= 9
