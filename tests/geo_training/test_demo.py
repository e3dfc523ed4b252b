"""What surrounds the demo's road: its folder, its last line. The road itself is `make demo`."""

import subprocess
import sys

import pytest
from geo_training import demo
from typer.testing import CliRunner

from geo_perception.errors import InputError


def test_the_last_line_is_exactly_as_promised(tmp_path):
    figures = {"recall_5cm_5deg": 0.9666, "frame_ms_p50": 123.456, "frame_ms_p99": 200.0}
    line = demo.last_line(figures, tmp_path / "report.html")
    assert line == f"recall_5cm_5deg=0.967 latency_p50_ms=123.5 latency_p99_ms=200.0 report={tmp_path}/report.html"
    assert demo.last_line({}, "r").startswith("recall_5cm_5deg=nan latency_p50_ms=nan")


def test_a_later_run_removes_what_the_demo_made_and_nothing_else(tmp_path):
    folder = tmp_path / "demo"
    demo.prepare(folder)
    (folder / demo.DATASET / "images").mkdir(parents=True)
    (folder / demo.SCENE).write_text("old")
    (folder / "mine.txt").write_text("kept")
    demo.prepare(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".demo", "mine.txt"]


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="choose another --out"):
        demo.prepare(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        demo.prepare(tmp_path / "thesis.tex")


@pytest.mark.parametrize(("recall", "code"), [(0.97, 0), (0.90, 0), (0.89, 1), (None, 1)])
def test_the_exit_code_follows_the_recall(monkeypatch, tmp_path, recall, code):
    monkeypatch.setattr(demo, "drive", lambda folder, seed: {"recall_5cm_5deg": recall, "frame_ms_p50": 1.0})
    result = CliRunner().invoke(demo.app, ["--out", str(tmp_path / "demo")])
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1].startswith("recall_5cm_5deg=")


def test_a_stage_that_fails_ends_the_road(tmp_path):
    road = demo.Road(tmp_path)
    road.run("well", "python", "-c", "pass")
    with pytest.raises(demo.NotGoodEnough, match="'badly' ended with code 3"):
        road.run("badly", "python", "-c", "raise SystemExit(3)")
    assert list(road.seconds) == ["well", "badly"]
    assert demo._executable(("python", "-c", "pass"))[0] == sys.executable
    with pytest.raises(InputError, match="make setup"):
        demo._executable(("no-such-program",))


def test_mistakes_are_answered_with_one_line(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    code = subprocess.run(
        [sys.executable, "-m", "geo_training.demo", "--out", tmp_path], capture_output=True, text=True
    )
    assert code.returncode == 1
    assert code.stderr.splitlines() == [f"error: {tmp_path} holds files that are not this demo's; choose another --out"]
