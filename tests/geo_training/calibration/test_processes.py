"""`geo-train calibration fit` by two processes: what one learns, written once."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from several_processes import started
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


@pytest.mark.slow
def test_two_processes_learn_what_one_does(config, tmp_path):
    histories, files = [], []
    for launch in (), ("--no-python",):
        out = tmp_path / f"{len(launch)}" / "c.safetensors"
        out.parent.mkdir()
        command = (*launch, GEO_TRAIN, "calibration", "fit", config, "--out", out)
        process = started(*command, processes=2 if launch else 1)
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert stderr.count(f"{out}: ") == stderr.count("panoramas: 2 to learn from") == 1, stderr
        rows = map(json.loads, (out.parent / "c.safetensors.run" / "history.jsonl").read_text().splitlines())
        histories.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
        files.append(sorted(str(path.relative_to(out.parent)) for path in out.parent.rglob("*")))
        Calibrator.load(out, "cpu")
    assert files[0] == files[1]
    alone, shared = histories
    assert [row["step"] for row in alone] == [1, 2, 3]
    for one, other in zip(alone, shared, strict=True):
        terms = [key for key in one if key in ("loss", "up", "latitude", "cells", "fields", "fused", "direct")]
        assert len(terms) == 7
        assert [other[key] for key in terms] == pytest.approx([one[key] for key in terms], rel=1e-3)
