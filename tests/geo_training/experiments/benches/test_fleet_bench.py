"""What the fleet's benchmark makes of the seconds that commands take; the commands themselves are stood in for."""

import json
import math
import time

import pytest
from geo_training.experiments.bench import BenchOptions, StageCache, load_benchmark
from geo_training.experiments.benches import fleet
from geo_training.fleet.stages import STAGES

from geo_perception.errors import InputError


@pytest.fixture
def commands(monkeypatch):
    """In place of the commands: a fleet takes 0.2 s a place and worker, a plain command 0.02 s. Yields those given."""
    given = []

    def command(program, *arguments, core=None):
        given.append((program, arguments[0], core))
        if arguments[0] != "fleet":
            time.sleep(0.02)
            return
        options = dict(zip(arguments[2::2], arguments[3::2], strict=True))
        places = arguments[1].read_text().count("held_out")
        time.sleep(0.2 * places / options["--workers"])
        store = options["--registry"] / ".fleet"
        store.mkdir(parents=True)
        (store / "outputs.tar").write_bytes(b"x" * 800)
        (options["--registry"] / "scene").write_bytes(b"x" * 400)
        row = {"stages": {stage: {"cpu_s": 2.0} for stage in STAGES}, "recorded_bytes": 1000}
        options["--json"].write_text(json.dumps({"places": {str(number): row for number in range(places)}}))

    monkeypatch.setattr(fleet, "_command", command)
    monkeypatch.setattr(fleet, "record", lambda plan, out, overwrite: out.mkdir(parents=True) or 10)
    return given


def measured(tmp_path, only=None):
    return fleet.run(tmp_path, StageCache(tmp_path / "work", {}), BenchOptions(only=only)).metrics


def test_places_an_hour_and_the_engine_beside_the_plain_commands(commands, tmp_path):
    metrics = measured(tmp_path)
    assert set(metrics) == set(load_benchmark("fleet").metrics)
    assert metrics["places_per_hour_1"] == pytest.approx(3600 / 0.2, rel=0.1)
    assert metrics["speedup"] == pytest.approx(2.0, rel=0.1)
    assert metrics["plain_s"] == pytest.approx(7 * 0.02, rel=0.3)
    assert metrics["overhead_share"] == pytest.approx(0.2 / 0.14 - 1, abs=0.3)
    assert metrics["place_cpu_s"] == 16
    assert (metrics["recorded_bytes"], metrics["store_bytes"], metrics["registry_bytes"]) == (1000, 100, 50)
    # All is on one core, both sides of the comparison as well, but for two workers.
    assert {core is None for _, name, core in commands if name != "fleet"} == {False}
    assert [core is None for _, name, core in commands if name == "fleet"] == [False, True, False]


def test_one_part_alone_leaves_the_others_unknown(commands, tmp_path):
    metrics = measured(tmp_path, "overhead")
    assert math.isnan(metrics["speedup"])
    assert metrics["overhead_share"] > 0
    assert metrics["head_cpu_s"] == 2.0


def test_a_command_that_fails_is_answered_with_what_it_said():
    with pytest.raises(InputError, match=r"map .*ended with 1: .*not a dataset"):
        fleet._command("train", "map", "/nowhere")
