"""`geo-train fleet` as a user gives it, in this process: exit codes, the table, the page and the JSON."""

import json
import re
import subprocess
import sys

import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.fleet import ray_engine
from html_page import Page
from tiny_fleet import QuickStages, small_manifest

from geo_perception.errors import InputError


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Runs the command on a manifest of two places with stages that take no time."""
    quick = QuickStages(monkeypatch)
    small_manifest(tmp_path / "m", ("one", "two"))

    def run(*more):
        places = (tmp_path / "m" / "manifest.yaml", "--registry", tmp_path / "registry", "--cache", tmp_path / "cache")
        return invoke(train, "fleet", *places, "--workers", 0, *more)

    run.quick = quick
    return run


def test_all_published_is_exit_0(fleet, tmp_path):
    done = fleet("--json", tmp_path / "out.json", "--report", tmp_path / "out.html")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["figures"]["published"] == result["figures"]["places"] == 2
    assert result["figures"]["stages_run"] == 16
    one = result["places"]["one"]
    assert one["figures"]["recall_5cm"] == 0.9
    assert list(one["stages"]) == ["dataset", "check", "map", "landmarks", "head", "evaluation", "gate", "publish"]
    assert json.loads((tmp_path / "registry" / "fleet.json").read_text())["places"]["one"] == one
    page = (tmp_path / "registry" / "fleet.html").read_text()
    assert page == (tmp_path / "out.html").read_text()
    assert f'href="one/{one["version"]}/report.html"' in page
    assert "What a place costs" in Page(page).words


def test_a_place_that_failed_is_exit_1_and_a_row_that_says_why(fleet, tmp_path):
    fleet.quick.raises["two", "check"] = InputError("all images are dark; record by day")
    done = fleet()
    assert done.exit_code == 1
    assert "all images are dark" in done.output
    assert "1 of 2 places are not published: two failed in check" in done.output
    assert "one: publish done" in done.stderr


def test_only_some_places(fleet, tmp_path):
    assert fleet("--only", "two").exit_code == 0
    assert {place for place, _ in fleet.quick.ran} == {"two"}
    wrong = fleet("--only", "three")
    assert (wrong.exit_code, "there is no place three" in wrong.output) == (2, True)


def test_wrong_usage_is_exit_2_with_one_line(fleet, tmp_path):
    (tmp_path / "m" / "manifest.yaml").write_text("places: {one: {recordings: [a], held_out: b, fps: 2}}")
    wrong = fleet()
    assert wrong.exit_code == 2
    assert wrong.output.startswith("error: manifest key 'places.one.fps' is not known")
    assert wrong.output.count("\n") == 1
    assert fleet("--disk", "much").exit_code == 2
    assert fleet("--address", "auto", "--workers", "7").exit_code == 2


def test_without_ray_no_second_machine_is_waited_for(fleet, tmp_path):
    small_manifest(tmp_path / "m", ("one", "two"), needs={"head": {"nodes": 2}})
    refused = fleet()
    assert (refused.exit_code, fleet.quick.ran) == (1, [])
    assert refused.output.startswith("error: needs.head asks for 2 nodes, and without Ray there is this machine alone")
    assert refused.output.count("\n") == 1


def test_an_interruption_is_one_line_and_the_next_run_goes_on(fleet):
    fleet.quick.raises["one", "head"] = KeyboardInterrupt()
    stopped = fleet()
    assert stopped.exit_code == 130
    assert stopped.output.endswith("error: interrupted; run the same command again to go on\n")
    fleet.quick.raises.clear()
    fleet.quick.ran.clear()
    assert fleet().exit_code == 0
    assert fleet.quick.stages_of("one") == ["head", "evaluation", "gate", "publish"]


def test_without_ray_it_says_how_to_install_it(tmp_path):
    small_manifest(tmp_path)
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from geo_training.commands import train; train()"
    )  # fmt: skip
    places = (tmp_path / "manifest.yaml", "--registry", tmp_path / "registry", "--cache", tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", code, "fleet", *map(str, places)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"error: {ray_engine.INSTALL}\n")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "there is no Ray cluster at 127.0.0.1:1: Connection refused"),
        ("ray://127.0.0.1:1", "give HOST:PORT of its head, or auto"),
        ("somewhere", "give HOST:PORT of its head, or auto"),
    ],
)
def test_there_is_no_cluster_at_an_address(address, words):
    with pytest.raises(InputError, match=re.escape(words)):
        ray_engine.RayEngine(1, address, 0)
