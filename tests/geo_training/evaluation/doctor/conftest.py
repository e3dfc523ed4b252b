"""Live nodes for a doctor to look at, the pictures of their scene, and the doctor itself."""

import contextlib
import json
from dataclasses import dataclass

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from ros_support import active_node
from staged_graph import IMAGE, INFO, POSE, staged

from geo_perception.ros.camera_info import info_fields

SECONDS = 6.0  # discovery takes its time where the machine is loaded


@dataclass
class Examined:
    """What the doctor found: its findings by code, the whole JSON, and what it printed."""

    exit_code: int
    content: dict
    output: str

    def of(self, code: str) -> list[dict]:
        return [finding for finding in self.content["findings"] if finding["code"] == code]

    @property
    def codes(self) -> set[str]:
        return {finding["code"] for finding in self.content["findings"]}


@pytest.fixture
def examine(tmp_path, monkeypatch):
    """Runs `geo-eval doctor`. How loaded this machine is, is not the graph's fault, unless a test asks for it."""

    def run(seconds: float = SECONDS, load: bool = False) -> Examined:
        if not load:
            monkeypatch.setattr("geo_training.evaluation.doctor.machine._all_running", lambda: 0.0)
            monkeypatch.setattr("geo_training.evaluation.doctor.machine._threads", lambda _pid: (1, 0.0))
        out = tmp_path / "doctor.json"
        result = invoke(evaluate, "doctor", "--seconds", seconds, "--json", out)
        assert out.is_file(), (result.output, result.exception)
        content = json.loads(out.read_text())
        assert (result.exit_code == 1) == bool(content["findings"]), result.output
        assert content["healthy"] == (not content["findings"])
        for finding in content["findings"]:
            assert finding["what"] in result.output
        return Examined(result.exit_code, content, result.output)

    return run


@pytest.fixture(scope="module")
def pictures(tiny_scene, tmp_path_factory):
    """The scene's own pictures in a file."""
    dataset = tiny_scene.dataset
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    np.savez(path, pictures=np.stack([dataset.image(frame) for frame in dataset.of_split("test")]))
    return path


@pytest.fixture(scope="module")
def fields(tiny_scene):
    """The numbers of the CameraInfo of the scene's camera, as JSON has them."""
    dataset = tiny_scene.dataset
    numbers = info_fields(dataset.camera(dataset.frames[0]))
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in numbers.items()}


@pytest.fixture
def stage(tmp_path, pictures, fields):
    """Starts a camera that shows the scene, with the changes that a test asks for: `image` and `info` are changed, not
    replaced (None leaves them out); somebody listens to the pose unless `subscribers` says otherwise."""

    @contextlib.contextmanager
    def start(image=(), info=(), topic=IMAGE, info_topic=INFO, pose="/localization_node/pose", **more):
        given = {"pictures": str(pictures), "subscribers": [(pose, POSE, False)]}
        given["image"] = None if image is None else {"topic": topic} | dict(image)
        given["info"] = None if info is None else {"topic": info_topic, "fields": fields} | dict(info)
        with staged(tmp_path / "stage.log", **(given | more)) as process:
            yield process

    return start


@pytest.fixture(scope="module")
def two_nodes(tiny_scene, tmp_path_factory):
    """A localization node, and a calibration node that nobody listens to, active in one process."""
    log = tmp_path_factory.mktemp("nodes") / "nodes.log"
    given = ("localization", "calibration", "--ros-args", "-p", f"scene:={tiny_scene.scene_path}")
    more = ("-p", "agreeing_frames:=1", "-r", f"image:={IMAGE}")
    with active_node("geo_perception.ros.container", *given, *more, log=log) as process:
        process.wait_for_text("[calibration_node]: activate: done", 120)
        process.wait_for_text("[localization_node]: activate: done", 120)
        yield process
