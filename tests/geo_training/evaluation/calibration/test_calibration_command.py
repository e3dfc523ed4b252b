"""`geo-eval calibration` and its benchmark, with a real calibrator that has learned nothing."""

import json
from functools import partial

import cv2
import numpy as np
import pytest
from blank_calibrator import blank_calibrator
from command_line import invoke
from geo_training.calibration.data.crop_set import CropSetConfig
from geo_training.calibration.data.crop_writer import write_crops
from geo_training.calibration.data.crops import CropDistribution
from geo_training.cli import evaluate
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.experiments.bench import BenchOptions, load_benchmark, run_benchmark
from geo_training.experiments.benches import calibration_panoramas as bench
from html_page import Page
from tiny_panoramas import write_panoramas

from geo_perception.calibration import estimator
from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

HELD_OUT = ["empty_warehouse_01", "noon_grass"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    metadata = {"held_out": HELD_OUT, "learned": ["vestibule"], "validation": []}
    return blank_calibrator(tmp_path_factory.mktemp("weights") / "blank.safetensors", metadata)


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory):
    rng, panoramas = np.random.default_rng(0), {}
    for name, domain in zip((*HELD_OUT, "vestibule"), ("indoor", "outdoor", "indoor"), strict=True):
        image = cv2.resize(rng.integers(0, 255, (16, 32, 3), np.uint8), (256, 128), interpolation=cv2.INTER_CUBIC)
        panoramas[f"{name}.jpg"] = domain, image
    return write_panoramas(tmp_path_factory.mktemp("data") / "panoramas", panoramas)


run = partial(invoke, evaluate)


def test_panoramas_are_cropped_and_reported(weights, panoramas, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    result = run("calibration", weights, panoramas, "--held-out", "--count", 2, "--seed", 3, "--device", "cpu",
                 "--json", out, "--report", page)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 frames; ")
    assert "were trained on" not in result.output
    content = json.loads(out.read_text())
    assert [row["name"] for row in content["frames"]][::2] == [f"{name}/0000" for name in HELD_OUT]
    assert set(content["by_domain"]) == {"indoor", "outdoor"}
    assert content["config"]["seed"] == 3
    assert content["metadata"]["weights"].startswith(str(weights))
    shown = Page(page.read_text())
    assert shown.open == []
    assert shown.images == 4


def test_panoramas_that_were_learned_from_are_told(weights, panoramas):
    result = run("calibration", weights, panoramas, "--count", 1, "--device", "cpu")
    assert result.exit_code == 0
    assert "were trained on 1 of these 3 panoramas" in result.output


def test_a_config_says_what_is_drawn(weights, panoramas, tmp_path):
    config = tmp_path / "crops.yaml"
    config.write_text("crops: {sizes_px: [[64, 48]], vfov_deg: [50, 60]}\ndomains: [outdoor]\nseed: 9\n")
    out = tmp_path / "out.json"
    result = run("calibration", weights, panoramas, "--config", config, "--count", 2, "--device", "cpu", "--json", out)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["frames"]
    assert [row["name"] for row in rows] == ["noon_grass/0000", "noon_grass/0001"]
    assert all(50 <= row["true"]["vfov_deg"] <= 60 for row in rows)


def test_crops_on_disk_are_measured_by_split(weights, panoramas, tmp_path):
    crops = CropDistribution(sizes_px=((64, 48),), vfov_deg=(50, 60))
    config = CropSetConfig(crops=crops, count=2, validation_share=0.0, test_count=1, held_out=("empty_warehouse_01",))
    write_crops(panoramas, tmp_path / "crops", config)
    tested = run("calibration", weights, tmp_path / "crops", "--device", "cpu")
    assert tested.exit_code == 0, tested.output
    assert tested.stdout.startswith("1 frames; ")
    every = run("calibration", weights, tmp_path / "crops", "--split", "all", "--device", "cpu")
    assert every.stdout.startswith("5 frames; ")
    refused = run("calibration", weights, tmp_path / "crops", "--exif", "--device", "cpu")
    assert refused.exit_code == 2
    assert "this is for photographs" in " ".join(refused.output.replace("│", " ").split())
    assert "were trained on 1 of these 3 panoramas" in every.output


@pytest.fixture
def walk(tmp_path):
    rng = np.random.default_rng(1)
    with SceneWriter(tmp_path / "walk", sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(96, 64, 80.0, 80.0, 47.5, 31.5 + 8))
        for i in range(2):
            image = cv2.resize(rng.integers(0, 255, (8, 12, 3), np.uint8), (96, 64))
            writer.add_frame(
                "walk", i * 10**8, camera_id, image_rgb=image, T_world_camera=make_pose(np.eye(3), [0, 0, i])
            )
    return tmp_path / "walk"


def test_photographs_need_to_know_where_down_is(weights, walk, tmp_path):
    refused = run("calibration", weights, walk, "--device", "cpu")
    assert refused.exit_code == 1
    assert "does not say where down is" in refused.output
    out = tmp_path / "out.json"
    result = run("calibration", weights, walk, "--gravity", "0,1,0", "--device", "cpu", "--json", out)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["frames"][0]["true"]["pitch_deg"] == pytest.approx(0)
    assert content["metadata"]["principal point"].startswith("up to 5.71°")
    cut = run("calibration", weights, walk, "--gravity", "0,1,0", "--centred", "--device", "cpu", "--json", out)
    assert cut.exit_code == 0
    assert "principal point" not in json.loads(out.read_text())["metadata"]


def test_a_median_above_the_limit_is_exit_1(weights, panoramas):
    common = "calibration", weights, panoramas, "--held-out", "--count", 1, "--device", "cpu", "--max-median-deg"
    result = run(*common, 0.001)
    assert result.exit_code == 1
    assert "the median error of the roll is" in result.output
    assert run(*common, 180).exit_code == 0


def test_one_answer_of_the_network_can_be_heard_alone(weights, panoramas, tmp_path):
    metrics = []
    for answers in ("both", "fields", "direct"):
        common = "calibration", weights, panoramas, "--held-out", "--count", 2, "--device", "cpu", "--answers", answers
        assert run(*common, "--json", tmp_path / "told.json").exit_code == 0
        metrics.append(json.loads((tmp_path / "told.json").read_text())["figures"]["pitch_median_deg"])
    assert len(set(metrics)) == 3


@pytest.fixture(scope="module")
def kept(weights, panoramas, tmp_path_factory):
    """The predictions of four crops, the result of the run that wrote them, and how it was called."""
    folder = tmp_path_factory.mktemp("kept")
    common = "calibration", weights, panoramas, "--held-out", "--count", 2
    result = run(*common, "--device", "cpu", "--predictions", folder / "deep" / "p.jsonl", "--json", folder / "r.json")
    assert result.exit_code == 0, result.output
    return folder / "deep" / "p.jsonl", json.loads((folder / "r.json").read_text()), common


def test_kept_predictions_give_the_same_result_with_the_times_of_the_first_run(kept, tmp_path):
    path, first, common = kept
    out, page = tmp_path / "again.json", tmp_path / "page.html"
    result = run(*common, "--from-predictions", path, "--json", out, "--report", page)
    assert result.exit_code == 0, result.output
    assert f"answers and times are those of the run that wrote {path}" in answer(result)
    again = json.loads(out.read_text())
    told = again["metadata"].pop("predictions")
    assert told.startswith(f"{path}; times are of the run that wrote it (processor ")
    assert again == first  # the times, too, so no network ran
    assert Page(page.read_text()).images == 4


def test_a_file_of_predictions_is_a_header_and_a_line_for_each_image(kept):
    header, *rows = map(json.loads, kept[0].read_text().splitlines())
    assert header["kind"] == "calibration predictions"
    assert (header["format_version"], header["frames"], header["settings"]) == (1, 4, {"answers": "both"})
    assert [row["name"] for row in rows] == [f"{name}/{i:04d}" for name in HELD_OUT for i in range(2)]
    assert {"verdict", "focal_px", "pitch_rad", "roll_rad", "covariance_33"} <= set(rows[0]["result"])


def head(**changes):
    def change(text):
        header, rest = text.split("\n", 1)
        return json.dumps(json.loads(header) | changes) + "\n" + rest

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: text.rindex("{") + 30], "is cut short: it holds 3 of 4 answers"),
        (lambda text: text[:40], "is no file of predictions, or it is damaged or cut short"),
        (lambda text: '{"figures": {}}\n', "is no file of predictions"),
        (lambda text: text.replace('"verdict"', '"words"'), "is damaged"),
        (head(kind="depth predictions"), "holds depth predictions; calibration predictions are needed here"),
        (head(format_version=2), "has predictions format 2, this version reads 1"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_one_line(kept, tmp_path, change, words):
    path = tmp_path / "p.jsonl"
    path.write_text(change(kept[0].read_text()))
    refused(run(*kept[2], "--from-predictions", path), 1, words)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--count", 3), 1, "2 crops of each of 2 panoramas, seed 0; the frames given here are others"),
        (("--seed", 1), 1, "the frames given here are others"),
        (("--answers", "direct"), 1, "was made with --answers both, not direct"),
        (("--device", "cpu"), 2, "no network runs with --from-predictions"),
        (("--predictions", "other.jsonl"), 2, "the answers are kept already"),
        (("--from-predictions", "nowhere.jsonl"), 1, "nowhere.jsonl does not exist"),
    ],
)
def test_options_that_do_not_fit_kept_predictions_are_told(kept, arguments, code, words):
    refused(run(*kept[2], "--from-predictions", kept[0], *arguments), code, words)


def test_predictions_of_other_weights_are_refused(kept, weights, tmp_path):
    other = tmp_path / "other.safetensors"
    estimator.Calibrator.load(weights, "cpu").save(other, {"held_out": HELD_OUT, "note": "again"})
    refused(run("calibration", other, *kept[2][2:], "--from-predictions", kept[0]), 1, "the answers of other weights")


def answer(result):
    return " ".join(result.output.replace("│", " ").split())


def refused(result, code, words):
    assert result.exit_code == code
    assert words in answer(result)
    assert "Traceback" not in result.output
    assert code == 2 or len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--split", "middle"), 2, "middle"),
        (("--split", "test"), 2, "this is for crops on disk"),
        (("--centred",), 2, "this is for a dataset of photographs"),
        (("--gravity", "down"), 2, "is not three numbers"),
        (("--count", "0"), 2, "--count"),
        (("--answers", "half"), 2, "both, fields, direct"),
        (("--config", "no.yaml"), 1, "cannot be read"),
    ],
)
def test_a_mistake_is_answered(weights, panoramas, arguments, code, words):
    result = run("calibration", weights, panoramas, "--device", "cpu", *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_a_file_or_a_folder_that_is_not_there_is_one_line(weights, panoramas, tmp_path):
    for arguments, words in (((tmp_path / "no.safetensors", panoramas), "does not exist"),
                             ((weights, tmp_path / "nowhere"), "is not a folder")):  # fmt: skip
        result = run("calibration", *arguments, "--device", "cpu")
        assert result.exit_code == 1
        assert words in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_weights_that_saw_a_panorama_are_refused():
    bench.check_held_out({"held_out": ["a", "b", "c"], "learned": ["d"]}, ["a", "b"])
    for header in ({}, {"held_out": ["a"]}, {"held_out": ["a", "b"], "learned": ["b"]},
                   {"held_out": ["a", "b"], "validation": ["b"]}):  # fmt: skip
        with pytest.raises(InputError, match=r"that the panorama '[ab]' was held out of their training"):
            bench.check_held_out(header, ["a", "b"])


def test_the_committed_config_holds_six_panoramas_out(shared_data):
    names = bench.held_out_names()
    assert len(set(names)) == 6
    there = {path.stem for path in (shared_data / "panoramas").glob("*.jpg")}
    assert set(names) <= there


def test_the_benchmark_gives_the_figures_asked_for(weights, panoramas, tmp_path, monkeypatch):
    asked = {f"{name}_auc_{limit}" for name in ("roll", "pitch", "fov") for limit in (1, 5, 10)}
    asked |= {f"{name}_median_deg" for name in ("roll", "pitch", "fov", "office_roll", "office_pitch", "office_vfov")}
    asked |= {"coverage_90", "frame_ms_p50", "weights_bytes", "interval_roll", "interval_pitch", "interval_focal"}
    asked |= {f"{row}_roll_auc_{limit}" for row in ("lines", "natural", "network") for limit in (1, 5, 10)}
    asked |= {"office_known_roll_median_deg", "office_known_pitch_median_deg"}
    benchmark = load_benchmark("calibration-panoramas")
    assert set(benchmark.metrics) >= asked

    office = panoramas.parent / "office"
    (office / "rgb").mkdir(parents=True)
    rng = np.random.default_rng(2)
    for i in range(2):
        image = cv2.resize(rng.integers(0, 255, (8, 12, 3), np.uint8), (96, 64))
        cv2.imwrite(str(office / "rgb" / f"{i:05d}.jpg"), image)
    (office / "K.txt").write_text("80 0 47.5\n0 80 39.5\n0 0 1\n")
    upright = "1 0 0 0 0 -1 0 0 0 0 -1 0 0 0 0 1\n"  # y of the image down, y of the world up
    (office / "poses.txt").write_text(2 * upright)
    monkeypatch.setattr(estimator, "reference_weights", lambda: weights)
    monkeypatch.setattr(bench, "held_out_names", lambda: HELD_OUT)
    monkeypatch.setattr(bench, "CROPS_PER_PANORAMA", 2)
    monkeypatch.setattr(bench, "NATURAL", HELD_OUT[:1])
    content, evaluation = run_benchmark(benchmark, panoramas.parent, tmp_path / "work", BenchOptions("cpu", 4))
    metrics = content["figures"]
    assert set(benchmark.metrics) <= set(metrics)
    natural = [
        abs(outcome.errors_deg["roll"]) for outcome in evaluation.outcomes if outcome.name.startswith(HELD_OUT[0])
    ]
    assert metrics["natural_roll_median_deg"] == pytest.approx(np.median(natural))
    spoke = [bool(outcome.result.lines) for outcome in evaluation.outcomes]
    assert np.isnan(metrics["interval_lines_roll"]) == (not any(spoke))
    assert metrics["frames"] == 4
    assert metrics["office_frames"] == 2
    assert metrics["weights_bytes"] == weights.stat().st_size
    assert metrics["office_offset_deg"] == pytest.approx(np.degrees(np.arctan(0.1)))
    assert metrics["indoor_roll_auc_10"] >= 0
    assert content["config"]["held_out"] == HELD_OUT
    assert evaluation.by_domain["office"]["pitch_median_deg"] == metrics["office_pitch_median_deg"]
    # Roll and pitch of the frames are 0, so the errors are those of the guess itself.
    assert metrics["office_roll_median_deg"] < 90
    assert np.isfinite(metrics["office_pitch_median_deg"])

    monkeypatch.setattr(bench, "held_out_names", lambda: [*HELD_OUT, "vestibule"])
    with pytest.raises(InputError, match="'vestibule' was held out"):
        run_benchmark(benchmark, panoramas.parent, tmp_path / "other", BenchOptions("cpu"))
