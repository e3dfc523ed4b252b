"""Tables of trainings, and the one of the keypoint paper: rows, resuming, findings, and a real run of two rows."""

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from command_line import invoke
from geo_training.console import command_group
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth import fit
from geo_training.depth.config import DepthTrainingConfig
from geo_training.experiments.depth_papers.commands import NAMES, keypoint_table_command
from geo_training.experiments.depth_papers.experiment_report import DEPTH_COLUMNS, change_table, metric_table
from geo_training.experiments.depth_papers.experiment_table import Row, RowResult, changed_config, measure_on, run_table
from geo_training.experiments.depth_papers.keypoint_report import (
    finding_sentences,
    keypoint_findings,
    write_keypoint_report,
)
from geo_training.experiments.depth_papers.keypoint_table import (
    CONTROL,
    DET,
    LEARNED,
    NO_DET,
    SFMLEARNER,
    run_keypoint_table,
    table_rows,
)

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

CONFIGS = Path(fit.__file__).parent / "configs"
LOSSES = {
    "weights": {"photometric": 1.0, "smoothness": 0.01, "keypoint": 0.02}, "difference": "l1", "reduction": "sum",
    "auto_mask": False, "outside": "zeros", "scales": "single",
}  # fmt: skip


def small_config(**changes) -> DepthTrainingConfig:
    fields = {"losses": LOSSES, "size_px": (64, 64), "steps": 1, "batch": 1, "device": "cpu", "pretrained": False}
    return DepthTrainingConfig.load(None, **fields, motion_views="stacked", evaluations=1, ema=0, **changes)


def make_recording(root: Path, poses: bool = True) -> Path:
    """Five frames that pass a wall 4 m away: 2 px a frame."""
    wall = np.kron(np.random.default_rng(0).integers(0, 255, (22, 40, 3), np.uint8), np.ones((3, 3, 1), np.uint8))
    with SceneWriter(root, sources=["made up"]) as writer:
        camera_id = writer.add_camera(Camera(64, 64, 80.0, 80.0, 31.5, 31.5))
        for index in range(5):
            pose = {"T_world_camera": make_pose(np.eye(3), np.array([0.1 * index, 0, 0]))} if poses else {}
            depth_m = np.full((64, 64), 4.0, np.float32)
            image = wall[:64, 2 * index : 2 * index + 64]
            writer.add_frame("a", index * 100_000_000, camera_id, image_rgb=image, depth_m=depth_m, **pose)
        writer.describe(scale="metric", scale_source="made up")
    return root


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return make_recording(tmp_path_factory.mktemp("walk") / "walk")


@pytest.fixture
def trained(monkeypatch) -> list[DepthTrainingConfig]:
    """Instead of training, the configs that would be trained are kept."""
    configs = []

    def keep(config, out, overwrite=False):
        configs.append(config)
        return fit.FitResult(Path(out), Path(out).parent, {"train_s": 2.0}, [])

    monkeypatch.setattr(fit, "fit_depth", keep)
    return configs


def rate(path: Path, config: DepthTrainingConfig) -> dict[str, float]:
    return {"abs_rel": 100 * config.learning_rate + 0.01 * config.seed}


ROWS = (Row("slow", "slow", {"learning_rate": 1e-3}), Row("fast", "fast", {"learning_rate": 2e-3}, {"abs_rel": 0.5}))


def test_changes_go_to_their_key_at_every_depth():
    config = changed_config(small_config(), {"losses": {"weights": {"keypoint": 0}, "scales": "multi"}, "steps": 9})
    assert config.losses.weights == {"photometric": 1.0, "smoothness": 0.01, "keypoint": 0}
    assert (config.losses.scales, config.losses.difference, config.steps, config.batch) == ("multi", "l1", 9, 1)


def test_a_change_of_an_unknown_key_names_it():
    with pytest.raises(InputError, match=r"losses\.keypoints"):
        changed_config(small_config(), {"losses": {"keypoints": 1}})


def test_every_row_is_trained_from_the_shared_config_with_every_seed(trained, recording, tmp_path):
    so_far = []
    results = run_table(
        ROWS, small_config(datasets=(recording,)), tmp_path, rate, (3, 5), lambda found: so_far.append(len(found))
    )
    assert [(config.learning_rate, config.seed) for config in trained] == [(1e-3, 3), (1e-3, 5), (2e-3, 3), (2e-3, 5)]
    assert so_far == [1, 2]
    assert results[1].mean("abs_rel") == pytest.approx(0.24)
    assert results[1].deviation("abs_rel") == pytest.approx(math.sqrt(2 * 0.01**2))
    assert math.isnan(results[1].mean("d1"))


def test_rows_that_are_done_are_not_trained_again(trained, recording, tmp_path):
    first = run_table(ROWS[:1], small_config(datasets=(recording,)), tmp_path, rate)
    both = run_table(ROWS, small_config(datasets=(recording,)), tmp_path, rate)
    assert [config.learning_rate for config in trained] == [1e-3, 2e-3]
    assert both[0] == first[0]


def test_a_row_of_another_config_is_refused_by_the_key_that_differs(trained, recording, tmp_path):
    base = small_config(datasets=(recording,))
    run_table(ROWS, base, tmp_path, rate)
    with pytest.raises(InputError, match=r"another 'losses\.scales'; give another --out"):
        run_table(ROWS, changed_config(base, {"losses": {"scales": "multi"}}), tmp_path, rate)
    assert len(trained) == 2


def test_a_row_from_another_start_is_refused(trained, recording, tmp_path):
    """The start lies in the same place, and its weights are others."""
    start = tmp_path / "start.safetensors"
    state = tmp_path / "start.safetensors.run" / fit.FINAL_NAME
    state.parent.mkdir()
    state.write_bytes(b"one start")
    base = small_config(datasets=(recording,), start_from=start)
    first = run_table(ROWS[:1], base, tmp_path / "out", rate)
    assert run_table(ROWS[:1], base, tmp_path / "out", rate) == first
    moved = tmp_path / "moved.safetensors"
    shutil.copytree(state.parent, tmp_path / "moved.safetensors.run")
    assert run_table(ROWS[:1], small_config(datasets=(recording,), start_from=moved), tmp_path / "out", rate) == first
    state.write_bytes(b"another")
    with pytest.raises(InputError, match="made from another start; give another --out"):
        run_table(ROWS[:1], base, tmp_path / "out", rate)
    state.unlink()
    with pytest.raises(InputError, match="weights of a finished run"):
        run_table(ROWS[:1], base, tmp_path / "out", rate)
    assert len(trained) == 1


@pytest.mark.parametrize("what", ["pixels", "poses"])
def test_a_row_from_other_data_is_refused(trained, recording, tmp_path, what):
    walk = shutil.copytree(recording, tmp_path / "walk")
    base = small_config(datasets=(walk,), motion="known")
    run_table(ROWS[:1], base, tmp_path / "out", rate)
    if what == "pixels":
        images = sorted((walk / "images").rglob("*.*"))
        images[2].write_bytes(images[1].read_bytes())
    else:
        text = (walk / "poses.csv").read_text()
        (walk / "poses.csv").write_text(text.replace("0.2", "0.21"))
    with pytest.raises(InputError, match="made from other images, poses"):
        run_table(ROWS[:1], base, tmp_path / "out", rate)
    assert len(trained) == 1


def test_a_row_that_was_measured_on_something_else_is_refused(trained, recording, tmp_path):
    """Figures are of a test set and a protocol, and those are not in the config."""
    other = shutil.copytree(recording, tmp_path / "other")
    same = shutil.copytree(recording, tmp_path / "same")
    depth = sorted((other / "depth").rglob("*.*"))
    cv2.imwrite(str(depth[0]), np.full((64, 64), 3000, np.uint16))
    measured = [measure_on(folder, "all") for folder in (recording, same, other)]
    assert measured[0].key == measured[1].key != measured[2].key
    assert measure_on(recording, "all", "kitti").key != measured[0].key
    for number, measure in enumerate(measured):
        rate_on = RateOn(measure.key)
        if number < 2:
            run_table(ROWS[:1], small_config(datasets=(recording,)), tmp_path / "out", rate_on)
        else:
            with pytest.raises(InputError, match="measured on other images"):
                run_table(ROWS[:1], small_config(datasets=(recording,)), tmp_path / "out", rate_on)
    assert len(trained) == 1


class RateOn:
    """As `rate`, of something."""

    def __init__(self, key):
        self.key = key

    def __call__(self, path, config):
        return rate(path, config)


def test_a_row_of_an_earlier_version_or_a_damaged_one_is_refused(trained, recording, tmp_path):
    base = small_config(datasets=(recording,))
    run_table(ROWS[:1], base, tmp_path, rate)
    path = tmp_path / "slow" / "seed_0" / "result.json"
    content = json.loads(path.read_text())
    del content["made_of"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="another version"):
        run_table(ROWS[:1], base, tmp_path, rate)
    path.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        run_table(ROWS[:1], base, tmp_path, rate)
    assert len(trained) == 1


def test_two_rows_of_one_name_are_refused(trained, recording, tmp_path):
    with pytest.raises(InputError, match="one name"):
        run_table([ROWS[0], ROWS[0]], small_config(datasets=(recording,)), tmp_path, rate)


def test_tables_hold_our_metrics_the_papers_and_the_changes(trained, recording, tmp_path):
    results = run_table(ROWS, small_config(datasets=(recording,)), tmp_path, rate, (0, 1))
    columns = [DEPTH_COLUMNS["abs_rel"]]
    assert metric_table(results, columns) == (
        ["row", "Abs Rel", "Abs Rel (paper)", "training (s)"],
        [["slow", "0.105 ± 0.007", "–", "2"], ["fast", "0.205 ± 0.007", "0.500", "2"]],
    )
    assert change_table(results, results[0], columns) == (["row", "Abs Rel"], [["fast", "+0.100"]])


def test_the_papers_table_is_the_papers():
    rows = [row for row in table_rows(small_config(), known_motion=True) if row.paper is not None]
    assert [row.paper["abs_rel"] for row in rows] == [0.309, 0.284, 0.282, 0.277, 0.286]
    assert rows[3].paper == {"abs_rel": 0.277, "sq_rel": 3.275, "d1": 0.633, "d2": 0.829, "d3": 0.917}


@pytest.mark.parametrize(
    ("name", "keypoint", "detector", "explained", "scales", "smoothness"),
    [
        ("no_det_expl", 0.02, False, True, "single", "edge_aware"),
        ("det_expl", 0.02, True, True, "single", "edge_aware"),
        ("no_det", 0.02, False, False, "single", "edge_aware"),
        ("det", 0.02, True, False, "single", "edge_aware"),
        ("sfmlearner", 0, None, True, "multi", "second_order"),
        ("no_keypoints", 0, None, False, "single", "edge_aware"),
        ("det_multi", 0.02, True, False, "multi", "edge_aware"),
    ],
)
def test_what_a_row_is(name, keypoint, detector, explained, scales, smoothness):
    base = small_config()
    row = next(row for row in table_rows(base, known_motion=False) if row.name == name)
    losses = changed_config(base, row.changes).losses
    assert losses.weights["keypoint"] == keypoint
    assert detector is None or losses.keypoint_detector == detector
    assert (losses.explainability, losses.weighs("mask")) == (explained, explained)
    assert (losses.scales, losses.smoothness) == (scales, smoothness)


def test_learned_descriptors_take_the_place_of_sift_where_motion_is_known():
    base = small_config()
    rows = {row.name: changed_config(base, row.changes) for row in table_rows(base, known_motion=True)}
    learned, sift = rows["learned"], rows["det_known"]
    assert (learned.motion, sift.motion) == ("known", "known")
    assert (learned.losses.weighs("descriptor"), learned.losses.weighs("keypoint")) == (True, False)
    assert (sift.losses.weighs("descriptor"), sift.losses.weighs("keypoint")) == (False, True)
    assert {row.name for row in table_rows(base, known_motion=False)} == set(rows) - {"learned", "det_known"}


def test_a_config_without_a_keypoint_term_is_refused():
    with pytest.raises(InputError, match="weighs no keypoint"):
        table_rows(changed_config(small_config(), {"losses": {"weights": {"keypoint": 0}}}), known_motion=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_configs_give_every_row(name):
    base = DepthTrainingConfig.load(CONFIGS / f"{name}.yaml")
    assert len([changed_config(base, row.changes) for row in table_rows(base, known_motion=True)]) == 9


def made_up(*seeds: dict[str, float]) -> list[RowResult]:
    """Results of rows of which abs_rel is given for each seed."""
    rows = [row for row in table_rows(small_config(), known_motion=True) if row.name in seeds[0]]
    numbers = tuple(range(len(seeds)))
    return [RowResult(r, numbers, tuple({"abs_rel": s[r.name]} for s in seeds), (1.0,) * len(seeds)) for r in rows]


def test_findings_say_what_shows_here_and_what_does_not():
    results = made_up({DET: 0.30, NO_DET: 0.32, SFMLEARNER: 0.29}, {DET: 0.32, NO_DET: 0.33, SFMLEARNER: 0.27})
    findings = keypoint_findings(results)
    assert findings["detector_abs_rel"] == pytest.approx(-0.015)
    assert findings["detector_holds"]
    assert not findings["detector_clear"]  # 0.015, and deviations of 0.014 and 0.007
    assert not findings["sfmlearner_holds"]
    assert findings["sfmlearner_clear"]
    assert "mask_off_holds" not in findings
    sentences = finding_sentences(results)
    assert len(sentences) == 2
    assert "yes, but within the deviation over seeds (Abs Rel -0.0150). In the paper: yes." in sentences[0]
    assert "no (Abs Rel +0.0300). In the paper: yes." in sentences[1]


def test_the_report_is_written_with_the_papers_metrics(tmp_path):
    written = write_keypoint_report(made_up({DET: 0.30, SFMLEARNER: 0.29, CONTROL: 0.31}), small_config(), tmp_path)
    markdown, page = written.markdown.read_text(), written.page.read_text()
    assert "| det + no expl | 0.300 |" in markdown
    assert "| 0.277 |" in markdown
    assert "Keypoints help" in markdown
    assert "Keypoints help" in page
    assert json.loads(written.json.read_text())["rows"][0]["row"]["paper"]["abs_rel"] == 0.277


@pytest.mark.slow
def test_rows_train_for_real_and_fill_the_table(recording, tmp_path):
    base = small_config(datasets=(recording,))
    names = (DET, LEARNED)
    results = run_keypoint_table(base, tmp_path, measure_on(recording, "all"), names=names)
    assert [result.row.name for result in results] == [DET, LEARNED]
    assert all(math.isfinite(result.mean("abs_rel")) for result in results)
    terms = {name: _terms(tmp_path / name / "seed_0") for name in names}
    assert {"photometric", "smoothness", "keypoint"} <= terms[DET]
    assert {"photometric", "smoothness", "descriptor"} <= terms[LEARNED]
    assert "keypoint" not in terms[LEARNED]


def run_command(*words):
    app = command_group("depth")
    app.callback()(lambda: None)
    app.command("keypoint-table")(keypoint_table_command)
    return invoke(app, "keypoint-table", *words)


def test_the_command_fills_the_rows_asked_for_and_prints_the_table(recording, tmp_path):
    config, told = tmp_path / "config.yaml", tmp_path / "told.json"
    config.write_text(yaml.safe_dump(small_config().to_json()))
    words = [config, "--dataset", recording, "--test", recording, "--row", DET, "--out", tmp_path / "out"]
    result = run_command(*words, "--steps", 1, "--seed", 3, "--json", told)
    assert result.exit_code == 0, result.output
    content = json.loads(told.read_text())
    assert [row["row"]["name"] for row in content["rows"]] == [DET]
    assert "findings" in content
    assert (tmp_path / "out" / "table.md").read_text() in result.stdout
    assert (tmp_path / "out" / DET / "seed_3" / "depth.safetensors").is_file()
    assert "with plots: " in " ".join(result.stderr.split())
    # The same command again trains nothing.
    weights_ns = (tmp_path / "out" / DET / "seed_3" / "depth.safetensors").stat().st_mtime_ns
    assert run_command(*words, "--steps", 1, "--seed", 3).exit_code == 0
    assert (tmp_path / "out" / DET / "seed_3" / "depth.safetensors").stat().st_mtime_ns == weights_ns


def _terms(folder: Path) -> set[str]:
    history = (folder / "depth.safetensors.run" / "history.jsonl").read_text()
    return {key for line in history.splitlines() for key in json.loads(line)}


def test_learned_descriptors_are_left_out_where_poses_are_missing(trained, tmp_path):
    base = small_config(datasets=(make_recording(tmp_path / "walk", poses=False),))
    with pytest.raises(InputError, match="no row 'learned' for these datasets"):
        run_keypoint_table(base, tmp_path / "out", rate, names=(LEARNED,))
    assert len(run_keypoint_table(base, tmp_path / "out", rate)) == 7


def test_the_command_says_what_it_cannot_measure_on(recording, tmp_path):
    result = run_command("keypoints_small", "--dataset", recording, "--test", tmp_path / "no", "--out", tmp_path)
    assert result.exit_code == 1
    assert "is not a folder" in result.stderr.replace("\n", " ")
