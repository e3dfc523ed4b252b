"""`geo-train calibration fit` by two processes: what one learns, written once."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from several_processes import history_of, started, started_on_machines
from tiny_panoramas import TINY_BACKBONE, make_tiny_panoramas

from geo_perception.calibration.estimator import Calibrator

GEO_TRAIN = Path(sys.executable).with_name("geo-train")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file of panoramas of random clouds, one of them rendered, and a backbone of random weights."""
    folder = tmp_path_factory.mktemp("config")
    torch.manual_seed(0)
    save_file(timm.create_model(TINY_BACKBONE, pretrained=False).state_dict(), folder / "backbone.safetensors")
    options = {
        "panoramas": str(make_tiny_panoramas(folder / "panoramas", 2)), "held_out": ["indoor_0"],
        "validation": ["outdoor_3"], "validation_crops": 3, "synthetic": {"count": 1}, "backbone": TINY_BACKBONE,
        "backbone_file": str(folder / "backbone.safetensors"), "width": 16, "context_width": 48, "context_layers": 1,
        "steps": 3, "batch": 4, "evaluations": 3, "dropout": 0.2, "device": "cpu",
    }  # fmt: skip
    (folder / "c.yaml").write_text(json.dumps(options))  # which is YAML, too
    return folder / "c.yaml"


def ends_of(processes):
    ends = [(*process.communicate(timeout=300), process.returncode) for process in processes]
    assert [code for _, _, code in ends] == [0] * len(ends), ends[0][1]
    return [stderr for _, stderr, _ in ends]


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """What one process learns."""
    out = tmp_path_factory.mktemp("alone") / "c.safetensors"
    ends_of([started(GEO_TRAIN, "calibration", "fit", config, "--out", out)])
    return out


def assert_same(out, alone):
    files = [sorted(str(path.relative_to(one.parent)) for path in one.parent.rglob("*")) for one in (out, alone)]
    assert files[0] == files[1]
    Calibrator.load(out, "cpu")
    rows = history_of(alone)
    assert [row["step"] for row in rows] == [1, 2, 3]
    for one, other in zip(rows, history_of(out), strict=True):
        terms = [key for key in one if key in ("loss", "up", "latitude", "cells", "fields", "fused", "direct")]
        assert len(terms) == 7
        assert [other[key] for key in terms] == pytest.approx([one[key] for key in terms], rel=1e-3)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(config, alone, tmp_path):
    out = tmp_path / "c.safetensors"
    command = ("--no-python", GEO_TRAIN, "calibration", "fit", config, "--out", out)
    (stderr,) = ends_of([started(*command, processes=2)])
    assert stderr.count(f"{out}: ") == stderr.count("panoramas: 2 to learn from") == 1, stderr
    assert_same(out, alone)


@pytest.mark.slow
def test_a_machine_that_does_not_see_what_the_first_has_rendered_gets_it(config, alone, tmp_path):
    options = json.loads(config.read_text())
    shutil.copytree(options["panoramas"], tmp_path / "panoramas")
    (tmp_path / "second.yaml").write_text(json.dumps(options | {"panoramas": str(tmp_path / "panoramas")}))
    outs = [tmp_path / name / "c.safetensors" for name in ("first", "second")]
    commands = []
    for out, own_config in zip(outs, (config, tmp_path / "second.yaml"), strict=True):
        out.parent.mkdir()
        commands.append(("--no-python", GEO_TRAIN, "calibration", "fit", own_config, "--out", out))
    first, second = ends_of(started_on_machines(*commands))
    assert f"{outs[0]}: " in first
    assert (second, list(outs[1].parent.iterdir())) == ("", [])
    assert_same(outs[0], alone)
