"""Named benchmarks: what is written, what is kept, what is said when something is missing."""

import json
import re
from functools import partial

import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.experiments import bench as bench_module
from geo_training.experiments.bench import (
    Benchmark,
    BenchOptions,
    BenchResult,
    StageCache,
    load_benchmark,
    run_benchmark,
)
from geo_training.experiments.benches import NAMES
from geo_training.report.machine import (
    describe_machine,
    describe_versions,
    machine_label,
    sha256_of_code,
    sha256_of_data,
)

from geo_perception.errors import InputError


def count_files(data_root, work, options):
    counted = work.stage("count", lambda: {"files": len(list((data_root / "tiny").iterdir()))})
    return BenchResult({"files": counted["files"], "count_s": counted["wall_s"]}, {"depth": 1})


TINY = Benchmark("tiny", "counts files", ("tiny",), "tiny/", "no time", ("files", "count_s"), count_files)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("abc")
    (folder / "b.txt").write_text("def")
    return tmp_path / "data"


def test_the_json_holds_metrics_machine_versions_checksum_and_config(data, tmp_path):
    content, evaluation = run_benchmark(TINY, data, tmp_path / "work", BenchOptions(seed=3))
    assert set(content) == {"name", "figures", "machine", "versions", "data_sha256", "config"}
    assert content["name"] == "tiny"
    assert content["figures"]["files"] == 2.0
    assert all(isinstance(value, float) for value in content["figures"].values())
    assert re.fullmatch(r"[0-9a-f]{64}", content["data_sha256"])
    assert content["config"] == {"device": "auto", "seed": 3, "depth": 1}
    assert {"processor", "cores", "memory_gib", "gpu", "system"} <= set(content["machine"])
    assert {"python", "torch", "pycolmap", "numpy"} <= set(content["versions"])
    assert evaluation is None
    json.dumps(content)


def test_a_stage_that_is_done_is_not_done_again(data, tmp_path):
    first, _ = run_benchmark(TINY, data, tmp_path / "work", BenchOptions())
    again, _ = run_benchmark(TINY, data, tmp_path / "work", BenchOptions())
    assert again["figures"] == first["figures"]  # the seconds, too


def test_work_of_other_data_is_begun_anew(data, tmp_path):
    run_benchmark(TINY, data, tmp_path / "work", BenchOptions())
    (data / "tiny" / "c.txt").write_text("ghi")
    content, _ = run_benchmark(TINY, data, tmp_path / "work", BenchOptions())
    assert content["figures"]["files"] == 3.0


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(InputError, match="choose another --work"):
        StageCache(tmp_path, {})
    assert (tmp_path / "precious.txt").read_text() == "keep"


def test_an_interrupted_stage_is_made_again(tmp_path):
    work = StageCache(tmp_path / "w", {"a": 1})
    with pytest.raises(KeyboardInterrupt):
        work.stage("long", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert StageCache(tmp_path / "w", {"a": 1}).stage("long", lambda: {"done": 1})["done"] == 1


def test_a_part_has_stages_and_a_folder_of_its_own(tmp_path):
    work = StageCache(tmp_path / "w", {"a": 1})
    assert work.stage("count", lambda: {"files": 1})["files"] == 1
    assert work.part("alone").folder == tmp_path / "w" / "alone"
    assert work.part("alone").stage("count", lambda: {"files": 2})["files"] == 2
    again = StageCache(tmp_path / "w", {"a": 1})
    assert (again.stage("count", dict)["files"], again.part("alone").stage("count", dict)["files"]) == (1, 2)
    # Another run begins its parts anew, too.
    assert "files" not in StageCache(tmp_path / "w", {"a": 2}).part("alone").stage("count", dict)


def test_a_benchmark_that_keeps_a_metric_back_is_a_defect(data, tmp_path):
    silent = Benchmark("s", "", ("tiny",), "", "", ("recall",), lambda *_: BenchResult({}, {}))
    with pytest.raises(RuntimeError, match="did not give recall"):
        run_benchmark(silent, data, tmp_path / "work", BenchOptions())


def test_the_checksum_follows_content_and_names_but_not_the_place(data, tmp_path):
    first = sha256_of_data(data / "tiny")
    (data / "tiny").rename(tmp_path / "moved")
    assert sha256_of_data(tmp_path / "moved") == first
    (tmp_path / "moved" / ".cache").write_text("hidden")
    assert sha256_of_data(tmp_path / "moved") == first
    (tmp_path / "moved" / "a.txt").rename(tmp_path / "moved" / "z.txt")
    assert sha256_of_data(tmp_path / "moved") != first


def test_machine_and_versions_are_plain_values():
    assert describe_machine()["cores"] >= 1
    assert machine_label({"cores": 2, "memory_gib": 23.5}) == "cores 2, memory (GiB) 23.5"
    assert all(isinstance(version, str) for version in describe_versions().values())


def test_every_registered_benchmark_says_what_it_needs():
    for name in NAMES:
        benchmark = load_benchmark(name)
        assert benchmark.name == name
        assert benchmark.needs
        assert benchmark.duration
        assert benchmark.metrics


ASKED_FOR = {
    "instant_recall_5cm_5deg", "instant_s", "instant_bytes", "recall_5cm_5deg", "recall_2cm_2deg", "recall_1cm_1deg",
    "median_cm", "median_deg", "second_look_recall_5cm_5deg", "second_look_recall_2cm_2deg",
    "second_look_recall_1cm_1deg", "second_look_median_cm", "scene_bytes", "train_s", "frame_ms_p50", "coverage_90",
    "sift_recall_1cm_1deg", "sift_recall_2cm_2deg", "sift_recall_5cm_5deg", "sift_recall_10cm_5deg", "sift_bytes",
    "sift_frame_ms_p50", "instant_frame_ms_p50",
}  # fmt: skip


def test_office_and_house_give_the_metrics_asked_for():
    office = set(load_benchmark("localization-office").metrics)
    assert office == ASKED_FOR | {"recall_10cm_5deg", "frames_missed", "map_s", "frame_ms_p99"}
    assert set(load_benchmark("localization-house").metrics) == ASKED_FOR | {f"alone_{name}" for name in ASKED_FOR}


run = partial(invoke, evaluate)


def test_the_list_is_printed_and_written(tmp_path):
    result = run("bench", "list", "--json", tmp_path / "list.json")
    assert result.exit_code == 0
    assert "localization-office" in result.output
    assert [b["name"] for b in json.loads((tmp_path / "list.json").read_text())["benchmarks"]] == list(NAMES)


def test_a_run_by_command_writes_the_json(data, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_module, "load_benchmark", lambda name: TINY)
    result = run("bench", "tiny", "--data", data, "--json", tmp_path / "tiny.json")
    assert result.exit_code == 0
    assert "files = 2" in result.output
    assert json.loads((tmp_path / "tiny.json").read_text())["figures"]["files"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bench", "localization-ofice", "--data", "x"), 1, "did you mean localization-office"),
        (("bench", "localization-office", "--data", "nowhere"), 1, "does not exist"),
        (("bench", "localization-office"), 2, "--data"),
        (("localization", "no.safetensors", "nowhere"), 1, "nowhere is not a dataset"),
        (("localization", "no.safetensors", "nowhere", "--truth", "guess"), 2, "guess"),
        (("localization", "no.safetensors", "nowhere", "--split", "middle"), 2, "middle"),
        (("replay", "nowhere"), 1, "no scene is given"),
        (("replay", "nowhere", "--scene", "no.safetensors", "--rate", "2"), 1, "so --rate would have no effect"),
        (("replay", "nowhere", "--scene", "no.safetensors"), 1, "nowhere does not exist"),
        (("replay", "nowhere", "--config", "no.yaml"), 1, "cannot be read"),
    ],
)
def test_a_mistake_is_answered_with_one_line(arguments, code, words):
    result = run(*arguments)
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output
    if code == 1:
        assert len(result.output.strip().splitlines()) == 1


def test_stages_of_other_code_are_not_taken(monkeypatch, tmp_path):
    """A commit says nothing of the changes that lie over it."""
    (tmp_path / "data" / "set").mkdir(parents=True)
    made, codes = [], iter(("one", "one", "other"))

    def run(data_root, work, options):
        work.stage("one", lambda: made.append(1) or {})
        return BenchResult({"figure": 1.0}, {})

    benchmark = Benchmark("b", "", ("set",), "", "", ("figure",), run)
    monkeypatch.setattr(bench_module, "sha256_of_code", lambda: next(codes))
    for times in (1, 1, 2):
        run_benchmark(benchmark, tmp_path / "data", tmp_path / "work", BenchOptions())
        assert len(made) == times


def test_the_code_has_one_checksum():
    assert sha256_of_code() == sha256_of_code()
    assert len(sha256_of_code()) == 64
