"""What surrounds the demo's pipeline: its folder, its last line. The pipeline itself is `make demo`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke
from geo_training import demo

from geo_perception.errors import InputError


def metrics(recall=0.97, live_recall=0.96, answered=70, dropped=5, rate=1.0):
    """Those of a run whose second recording has 80 frames; None is what JSON has for no number."""
    in_process = {"recall_5cm_5deg": recall, "frame_ms_p50": 110.0}
    live = {
        "recall_5cm_5deg": None if live_recall is None else live_recall * answered / 80, "frame_ms_p50": 123.456,
        "frame_ms_p99": 200.0, "answered_recall_5cm_5deg": live_recall, "answered_with_truth": answered,
        "frames_answered": answered, "frames_published": 80, "frames_dropped": dropped,
    }  # fmt: skip
    return {"in_process": in_process, "live": live, "rate": rate, "seconds": {}}


def test_the_last_line_is_exactly_as_promised(tmp_path):
    assert demo.last_line(metrics(0.9666, rate=0.25), tmp_path / "report.html") == (
        "recall_5cm_5deg=0.967 latency_p50_ms=123.5 latency_p99_ms=200.0 live_recall=0.960 live_answered=70/80 "
        f"live_dropped=5 live_rate=0.25 report={tmp_path}/report.html"
    )


def test_the_last_line_stays_readable_where_nothing_is_known():
    words = demo.last_line({"in_process": {}, "live": {}, "rate": 1.0}, "r").split(" ")
    assert dict(word.split("=") for word in words) == {
        "recall_5cm_5deg": "nan", "latency_p50_ms": "nan", "latency_p99_ms": "nan", "live_recall": "nan",
        "live_answered": "0/0", "live_dropped": "0", "live_rate": "1", "report": "r",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("frame_ms", "rate"),
    [
        (110.0, 1.0),  # a third of 500 ms is more
        (166.0, 1.0),
        (500.0, 0.333),  # 1.5 s between frames that were recorded 0.5 s apart
        (3000.0, 0.0556),  # 9 s
        (12_000.0, 0.0444),  # 36 s are too long: 80 frames in 900 s, and what is too much is dropped
        (60_000.0, 0.0111),  # 20 frames of 180 s take an hour: 80 in that time
        (None, 1.0),
    ],
)
def test_the_live_rate_follows_what_the_machine_can_do(frame_ms, rate):
    assert demo.live_rate(frame_ms, 2.0, 80) == rate


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"recall": 0.90, "live_recall": 0.90}, None),
        ({"answered": 8, "dropped": 72}, None),  # a busy machine: few, and right
        ({"answered": 5, "dropped": 75}, None),
        ({"recall": 0.89}, "in process 89.0% of the second recording is within 5 cm and 5 degrees, below 90%"),
        ({"recall": None}, "in process no frame"),
        ({"live_recall": 0.85}, "85.0% of the 70 frames that the live node answered are within"),
        ({"answered": 4}, "the live node answered 4 frames, and 5 are needed"),
        ({"answered": 0, "live_recall": None}, "the live node answered 0 frames"),
    ],
)
def test_drops_do_not_count_and_wrong_poses_do(monkeypatch, tmp_path, changes, words):
    monkeypatch.setattr(demo, "drive", lambda folder, seed: metrics(**changes))
    result = invoke(demo.app, "--out", tmp_path / "demo", "--json", tmp_path / "r.json")
    assert result.exit_code == (0 if words is None else 1)
    assert result.stdout.splitlines()[-1].startswith("recall_5cm_5deg=")
    assert words is None or words in result.stderr
    assert json.loads((tmp_path / "r.json").read_text())["live"]["frames_published"] == 80


def test_the_second_recording_is_measured_in_process_before_the_live_rate_is_chosen(monkeypatch, tmp_path):
    """The stages by their commands; what they write is written here, with frames of 2 s."""
    commands = []

    def run(pipeline, title, *command):
        commands.append(command)
        pipeline.seconds[title] = 1.0
        if "--json" in command:
            live = "--live" in command
            content = {"figures": metrics()["live"] if live else {"recall_5cm_5deg": 0.98, "frame_ms_p50": 2000.0}}
            Path(command[command.index("--json") + 1]).write_text(json.dumps(content))

    monkeypatch.setattr(demo.Pipeline, "run", run)
    found = demo.drive(tmp_path / "demo", 0)
    first, second = commands[-2:]
    assert "--live" not in first
    assert second[second.index("--rate") + 1] == "0.0833"  # 6 s between frames instead of 0.5 s
    assert found["in_process"]["recall_5cm_5deg"] == 0.98
    assert found["rate"] == 0.0833
    assert demo.shortfall(found) is None


def test_a_stage_that_fails_ends_the_pipeline(tmp_path):
    pipeline = demo.Pipeline(tmp_path)
    pipeline.run("well", "python", "-c", "pass")
    with pytest.raises(demo.NotGoodEnough, match="'badly' ended with code 3"):
        pipeline.run("badly", "python", "-c", "raise SystemExit(3)")
    assert list(pipeline.seconds) == ["well", "badly"]
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
