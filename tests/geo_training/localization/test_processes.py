"""The tiny scene's head, trained by two processes: what one learns, written once."""

import json
from pathlib import Path

import pytest
import tiny_training
import torch
from several_processes import started

from geo_perception.localization.scene import Scene

SCRIPT = Path(tiny_training.__file__)
# No frame is held out, so that the scene has the head that was trained, however little.
CONFIG = {
    "width": 32, "dilations": [1, 2], "fine_width": 16, "network_width_px": 320, "views": 2, "refresh": 0.5, "batch": 4,
    "steps": 12, "evaluations": 3, "held_out": 0.0, "closed_form_frames": 12, "max_bytes": 400_000, "device": "cpu",
}  # fmt: skip


def losses_of(run_dir):
    rows = map(json.loads, (run_dir / "history.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow
def test_two_processes_train_the_scene_of_one(tiny_scene, tmp_path):
    (tmp_path / "c.yaml").write_text(json.dumps(CONFIG))  # which is YAML, too
    ends = []
    for processes in (1, 2):
        out = tmp_path / str(processes) / "s.safetensors"
        out.parent.mkdir()
        command = ("head", tiny_scene.dataset_root, tmp_path / "c.yaml", out, "--json", out.with_suffix(".json"))
        process = started(SCRIPT, *command, processes=processes)
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        said = stderr.replace(str(out), "OUT").splitlines()
        ends.append((out, stdout, [line for line in said if "so far" not in line and "done in" not in line]))
    (one, _, said_by_one), (two, stdout, said_by_two) = ends
    # Said once, written once, and it ends.
    assert stdout == ""
    assert said_by_two == said_by_one
    assert "features of 2 views of each of 38 frames: 0.0292 GiB in memory" in said_by_two
    assert said_by_two[-1] == "OUT: done"
    assert {path.name for path in two.parent.rglob("*")} == {path.name for path in one.parent.rglob("*")}
    assert {path.name for path in two.parent.iterdir()} == {two.name, two.name + ".run", "s.json"}
    run_dirs = [out.with_name(out.name + ".run") for out in (one, two)]
    assert len(losses_of(run_dirs[0])) == 4
    for alone, shared in zip(*map(losses_of, run_dirs), strict=True):
        # Features are of half precision, and round otherwise where fewer threads share a convolution.
        assert shared == pytest.approx(alone, rel=1e-3)
    alone, shared = Scene.load(one), Scene.load(two)
    assert shared.head.config.width == 32
    assert shared.head.state_dict().keys() == alone.head.state_dict().keys()
    # As a whole: Adam's steps are as long as the rate, also for a weight whose gradient is all but rounding.
    one_n, other_n = (
        torch.nn.utils.parameters_to_vector(scene.head.parameters()).detach() for scene in (alone, shared)
    )
    assert float((other_n - one_n).norm()) < 0.02 * float(one_n.norm())
    assert len(shared.points) == len(alone.points)
