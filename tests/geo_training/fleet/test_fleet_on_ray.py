"""A fleet of small real places on a real Ray cluster of two workers: what fails, what is killed, what is done once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from geo_training.fleet.ledger import Ledger
from geo_training.fleet.registry import latest_version
from geo_training.fleet.remote import Folder
from geo_training.fleet.stages import STAGES
from tiny_fleet import record_place, write_manifest

from geo_perception.localization.scene import Scene

PLACES = ("hall", "yard", "elsewhere")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two good places; one whose held-out recording is of another place; one with a bag that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    walks = {name: record_place(folder, name, seed) for seed, name in enumerate(PLACES)}
    places = {
        name: {"recordings": [str(mapped)], "held_out": str(asked)} for name, (mapped, asked) in walks.items()
    }  # fmt: skip
    places["elsewhere"]["held_out"] = str(walks["hall"][1])
    (folder / "broken.mcap").write_bytes(b"no bag" * 100)
    places["broken"] = {"recordings": [str(folder / "broken.mcap")], "held_out": str(walks["hall"][1])}
    return write_manifest(folder / "manifest.yaml", places)


class Drive:
    """`geo-train fleet` as a process of its own."""

    def __init__(self, manifest, folder, *more):
        code = "from geo_training.commands import train; train()"
        command = ["fleet", manifest, "--registry", folder / "registry", "--cache", folder / "cache", "--workers", 2]
        self.log_path = folder / "log"
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, [*command, *more])], stdout=log, stderr=subprocess.STDOUT,
                env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def end(self, timeout_s=600):
        self.process.wait(timeout_s)
        return self.log_path.read_text()


def running(ledger, stage, known=()):
    """The next run of a stage that has begun and not ended, waited for."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        for place in PLACES:
            for run in ledger.runs(place):
                if run["stage"] == stage and "ended_at" not in run and run["pid"] not in known:
                    return run
        time.sleep(0.05)
    raise AssertionError(f"no {stage} was begun")


@pytest.mark.slow
def test_what_is_killed_goes_on_and_nothing_is_done_twice(manifest, tmp_path):
    ledger = Ledger(Folder(str(tmp_path / "registry" / ".fleet")))
    first = Drive(manifest, tmp_path)
    killed = running(ledger, "map")
    os.kill(killed["pid"], signal.SIGKILL)  # a worker
    again = running(ledger, "map", known={killed["pid"]})
    time.sleep(0.5)
    first.process.kill()  # the driver, and with it all that it had started
    first.process.wait(20)
    deadline_s = time.monotonic() + 30
    while os.path.exists(f"/proc/{again['pid']}") and time.monotonic() < deadline_s:
        time.sleep(0.1)
    before = [run for place in PLACES for run in ledger.runs(place)]
    assert any("ended_at" not in run for run in before)

    said = Drive(manifest, tmp_path, "--json", tmp_path / "out.json")
    text = said.end()
    assert said.process.returncode == 1, text
    result = json.loads((tmp_path / "out.json").read_text())
    outcomes = {name: row["outcome"] for name, row in result["places"].items()}
    assert outcomes == {"hall": "published", "yard": "published", "elsewhere": "gated", "broken": "failed"}
    # The table, and the last line, say why.
    assert re.search(r"elsewhere +. gated +. gate +. .*held-out", text)
    assert re.search(r"broken +. failed +. dataset +. broken.mcap does not begin as an MCAP file", text)
    assert "2 of 4 places are not published: elsewhere gated in gate; broken failed in dataset" in text
    assert "Traceback" not in text
    assert "raylet" not in text  # Ray's own words on the worker that was killed
    # Each stage ended once, whoever was killed on the way.
    for name in ("hall", "yard", "elsewhere"):
        ended = Counter(run["stage"] for run in ledger.runs(name) if "ended_at" in run)
        stages = STAGES if name != "elsewhere" else STAGES[:-1]
        assert ended == dict.fromkeys(stages, 1), name
    assert Counter(run["stage"] for run in ledger.runs("broken") if "ended_at" in run) == {"dataset": 1}
    cut_off = [run for name in PLACES for run in ledger.runs(name) if "ended_at" not in run]
    assert 2 <= len(cut_off) <= 4
    # What the first driver's workers had done was kept.
    done_before = sum("ended_at" in run for run in before)
    assert done_before >= 2
    assert result["figures"]["stages_run"] + result["figures"]["stages_kept"] == 8 + 8 + 7 + 1

    registry = Folder(str(tmp_path / "registry"))
    for name in ("hall", "yard"):
        row = result["places"][name]
        assert latest_version(registry, name) == row["version"]
        assert row["figures"]["recall_5cm"] > 0.8
        scene = Scene.load(tmp_path / "registry" / name / row["version"] / "scene.safetensors")
        assert len(scene.landmarks_map_l3) > 50
    assert latest_version(registry, "elsewhere") is None
    page = (tmp_path / "registry" / "fleet.html").read_text()
    assert f'href="hall/{result["places"]["hall"]["version"]}/report.html"' in page

    # And once more: nothing is left to do.
    last = Drive(manifest, tmp_path, "--json", tmp_path / "last.json")
    last.end()
    assert last.process.returncode == 1
    assert json.loads((tmp_path / "last.json").read_text())["figures"]["stages_run"] == 0
