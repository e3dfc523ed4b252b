import json
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke
from geo_training.console import command_group
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data.boundaries import choose_masks, make_boundaries
from geo_training.depth.data.instance_masks import MaskNetwork
from geo_training.experiments.depth_papers.boundary_report import finding_sentences, sweep_findings, write_sweep_report
from geo_training.experiments.depth_papers.boundary_sweep import (
    CONTROL_ROW,
    METRICS,
    PAPER_BASELINE,
    PAPER_ROWS,
    over_seeds,
    run_sweep,
    table_rows,
)
from geo_training.experiments.depth_papers.commands import sweep_command
from geo_training.experiments.depth_papers.experiment_report import DEPTH_COLUMNS, column_chart
from geo_training.experiments.depth_papers.experiment_table import RowResult, changed_config, measure_on
from tiny_panoramas import TINY_BACKBONE

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

WEIGHTS = Path("sweep/baseline/seed_0/depth.safetensors")
SIZE_PX = 64
WALL_PX, BOX_PX = 2, 4  # that a frame moves: 0.1 m to the right, 80 px of focal length, a wall at 4 m, a box at 2 m


def make_recording(root, boundaries=True):
    """Six frames that pass a wall with a box before it: images, poses, true depth, exact masks."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 255, (22, 50, 3), np.uint8), np.ones((3, 3, 1), np.uint8))
    box = np.kron(rng.integers(0, 255, (8, 10, 3), np.uint8), np.ones((3, 3, 1), np.uint8))
    with SceneWriter(root, sources=["made up"]) as writer:
        camera_id = writer.add_camera(Camera(SIZE_PX, SIZE_PX, 80.0, 80.0, 31.5, 31.5))
        for index in range(6):
            image = wall[:SIZE_PX, WALL_PX * index : WALL_PX * index + SIZE_PX].copy()
            depth_m, left = np.full((SIZE_PX, SIZE_PX), 4.0, np.float32), 32 - BOX_PX * index
            area = (slice(20, 44), slice(left, left + 30))
            image[area], depth_m[area] = box, 2.0
            ids = (depth_m < 3).astype(np.uint16)
            T_world_camera = make_pose(np.eye(3), np.array([0.1 * index, 0, 0]))
            writer.add_frame(
                "a", index * 100_000_000, camera_id, image_rgb=image, T_world_camera=T_world_camera, depth_m=depth_m,
                mask_hw=ids,
            )  # fmt: skip
        writer.describe(scale="metric", scale_source="made up")
    dataset = SceneDataset(root)
    if boundaries:
        make_boundaries(dataset, choose_masks(dataset, None, MaskNetwork(), ask_network=False))
    return root


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return make_recording(tmp_path_factory.mktemp("walk") / "walk")


def _baseline(*datasets):
    """The paper's losses on the smallest network there is."""
    return DepthTrainingConfig.load(
        None, datasets=datasets, size_px=(SIZE_PX, SIZE_PX), steps=2, batch=1, device="cpu",
        pretrained=False, backbone=TINY_BACKBONE, motion_views="stacked", evaluations=1, weight_decay=0, ema=0,
        losses={
            "weights": {"photometric": 1.0, "smoothness": 0.5, "mask": 0.2}, "difference": "l1", "reduction": "sum",
            "auto_mask": False, "explainability": True, "smoothness": "second_order",
        },
    )  # fmt: skip


def test_the_table_is_the_papers():
    rows = table_rows(WEIGHTS)
    theirs = [row for row in rows if row.paper is not None]
    assert len(theirs) == 9
    assert [row.paper["abs_rel"] for row in theirs] == [
        0.1978, 0.1935, 0.2956, 0.1970, 0.2220, 0.2126, 0.2079, 0.2071, 0.1851,
    ]  # fmt: skip
    assert theirs[-1].paper == dict(zip(METRICS, (0.1851, 1.8053, 6.4903, 0.2658, 0.7436, 0.9073, 0.9618), strict=True))
    assert [row.boundary for row in PAPER_ROWS] == [0.4, 100, 7, 10, 10, 5, 2.5, 2.5]
    assert [row.smoothness for row in PAPER_ROWS] == [0.5, 0.5, 2, 0.5, 0.5, 0.75, 0.75, 0.75]
    assert [row.learning_rate for row in PAPER_ROWS] == [2e-4, 2e-4, 2e-4, 2e-4, 1e-4, 2e-4, 4e-4, 2e-4]
    assert [row.restart for row in PAPER_ROWS] == [False, False, False, False, True, False, False, True]
    assert [row.order for row in PAPER_ROWS] == [1, 1, 1, 2, 2, 1, 1, 1]


def test_a_row_changes_what_the_paper_changed_and_nothing_else():
    baseline = _baseline()
    row = next(row for row in table_rows(WEIGHTS, 7) if row.name == "w10_second_restart")
    config = changed_config(baseline, row.changes)
    assert config.start_from == WEIGHTS
    assert (config.keep_momentum, config.learning_rate, config.steps) == (False, 1e-4, 7)
    assert config.losses.weights == {"photometric": 1.0, "smoothness": 0.5, "mask": 0.0, "boundary": 10.0}
    assert config.losses.boundary_order == 2
    assert not config.losses.explainability
    same = {"start_from", "keep_momentum", "learning_rate", "steps", "losses"}
    assert config.model_dump(exclude=same) == baseline.model_dump(exclude=same)


def test_the_row_without_boundaries_is_the_papers_best_but_for_the_term():
    best = PAPER_ROWS[-1]
    assert (CONTROL_ROW.smoothness, CONTROL_ROW.learning_rate, CONTROL_ROW.restart) == (
        best.smoothness, best.learning_rate, best.restart,
    )  # fmt: skip
    assert CONTROL_ROW.boundary == 0


def _results(**abs_rel):
    """Made up metrics for all rows; the paper's where none is given."""
    results = []
    for row in table_rows(WEIGHTS):
        metrics = dict(row.paper or dict(zip(METRICS, PAPER_BASELINE, strict=True))) | {"edge": 0.1}
        metrics["abs_rel"] = abs_rel.get(row.name, metrics["abs_rel"])
        results.append(RowResult(row, (0,), (metrics,), (1.0,)))
    return results


def test_the_papers_own_metrics_give_the_papers_findings():
    findings = sweep_findings(_results())
    assert findings["best"] == "w2.5_restart"
    assert findings["beats_baseline"] is True
    assert findings["too_much_is_worst"] is True
    assert findings["boundary_abs_rel"] == pytest.approx(0.1851 - 0.1978)
    assert findings["boundary_d1"] == pytest.approx(0.7436 - 0.7176)


def test_a_gain_that_training_longer_also_gives_is_not_the_terms():
    results = _results(longer=0.18)
    findings = sweep_findings(results)
    assert findings["best"] == "longer"
    assert findings["beats_baseline"] is True
    assert findings["beats_longer"] is False
    assert any("without the boundary term it changes Abs Rel +0.0051" in words for words in finding_sentences(results))


def test_findings_wait_for_their_rows():
    assert sweep_findings([]) == {}
    assert set(sweep_findings(_results()[:2])) == {"best"}
    assert "too_much_is_worst" not in sweep_findings(_results()[:4])


def test_a_row_without_metrics_is_no_best_row():
    assert sweep_findings(_results(w7=math.nan))["best"] == "w2.5_restart"
    assert "too_much_is_worst" not in sweep_findings(_results(w7=math.nan))


def test_seeds_are_put_together_row_by_row():
    first = [RowResult(row, (0,), ({"abs_rel": 0.2},), (1.0,)) for row in table_rows(WEIGHTS)[:3]]
    second = [RowResult(row, (1,), ({"abs_rel": 0.4},), (3.0,)) for row in table_rows(WEIGHTS)[:2]]
    both = over_seeds(first, second)
    assert [result.seeds for result in both] == [(0, 1), (0, 1), (0,)]
    assert both[0].mean("abs_rel") == pytest.approx(0.3)
    assert both[0].train_s == (1.0, 3.0)


def test_the_report_has_our_metrics_beside_the_papers(tmp_path):
    written = write_sweep_report(_results(baseline=0.3333), _baseline(), tmp_path)
    markdown = written.markdown.read_text()
    line = next(line for line in markdown.splitlines() if line.startswith("| 0 (baseline)"))
    assert "0.333" in line
    assert "0.198" in line
    assert "The weight 100 is not the worst of all rows; in the paper it is." in markdown
    assert len(json.loads(written.json.read_text())["rows"]) == 10
    assert "2.5, smoothness 0.75, rate 0.0002*" in written.page.read_text()


def test_a_charts_bars_lie_beside_the_titles_of_their_rows_in_the_tables_order():
    ours, paper = column_chart(_results(baseline=0.3333), DEPTH_COLUMNS["abs_rel"]).data
    assert (ours.y[0], ours.x[0], paper.x[0]) == ("0 (baseline)", 0.3333, 0.1978)
    assert ours.y[1] == "0.4, smoothness 0.5,<br>rate 0.0002"
    assert paper.x[-1] is None  # the paper has no such row


@pytest.fixture(scope="module")
def swept(recording, tmp_path_factory):
    """A real sweep of a single row: baseline, one row with momentum, one without the term."""
    out, heard = tmp_path_factory.mktemp("sweep"), []
    results = run_sweep(
        _baseline(recording), out, measure_on(recording, "all"), 2, after_row=heard.append, sweep=PAPER_ROWS[1:2]
    )
    return out, results, heard


def test_a_sweep_trains_and_measures_every_row(swept):
    out, results, heard = swept
    assert [result.row.name for result in results] == ["baseline", "w100", "longer"]
    assert all(math.isfinite(result.mean(figure)) for result in results for figure in METRICS)
    assert [len(so_far) for so_far in heard] == [1, 2, 3]
    assert (out / "baseline/seed_0/depth.safetensors").is_file()


def test_only_the_row_with_the_term_has_it_in_its_history(swept):
    out = swept[0]
    history = {
        name: json.loads((out / f"{name}/seed_0/depth.safetensors.run/history.jsonl").read_text().splitlines()[-1])
        for name in ("baseline", "w100", "longer")
    }
    assert "boundary" not in history["baseline"]
    assert "mask" in history["baseline"]
    assert history["w100"]["boundary"] > 0
    assert not {"boundary", "mask"} & set(history["longer"])


def test_the_same_sweep_again_trains_nothing(swept, recording, monkeypatch):
    from geo_training.depth import fit

    monkeypatch.setattr(fit, "fit_depth", lambda *_, **__: pytest.fail("trained again"))
    out, results, _ = swept
    again = run_sweep(_baseline(recording), out, measure_on(recording, "all"), 2, sweep=PAPER_ROWS[1:2])
    for before, after in zip(results, again, strict=True):
        assert (after.row.name, after.train_s) == (before.row.name, before.train_s)
        assert after.mean("abs_rel") == before.mean("abs_rel")


def test_a_recording_without_boundaries_is_refused_before_anything_is_trained(tmp_path):
    recording = make_recording(tmp_path / "bare", boundaries=False)
    with pytest.raises(InputError, match="boundaries"):
        run_sweep(_baseline(recording), tmp_path / "out", measure_on(recording, "all"), 2)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_cannot_measure_on(tmp_path, recording):
    app = command_group("depth")
    app.callback()(lambda: None)
    app.command("boundary-sweep")(sweep_command)
    words = ["boundary-sweep", "sfmlearner", "--dataset", recording, "--test", tmp_path / "no", "--out", tmp_path / "s"]
    result = invoke(app, *words)
    assert result.exit_code == 1
    assert "is not a folder" in result.stderr.replace("\n", " ")
