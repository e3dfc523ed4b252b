"""`geo-eval doctor` on a live node that needs TF, takes rectified images and has lost its engine, over real DDS."""

import contextlib
import importlib.util
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import staged_graph
from node_peer import NodePeer
from ros_support import node_process

from geo_perception.geometry import make_pose, pose_to_quaternion

pytestmark = pytest.mark.slow
STANDIN = Path(staged_graph.__file__).parent / "tf2_standin"
NODE, IMAGE, INFO = "/left/localization_node", "/left/image_rect", "/left/camera_info"
# The camera looks along x of the body: its z is the body's x, its x the body's -y, its y the body's -z.
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def transform(parent, child, R_33=None, offset_s=0.0):
    t_3, q_4 = pose_to_quaternion(make_pose(np.eye(3) if R_33 is None else R_33, [0.0, 0.0, 0.5]))
    return [parent, child, t_3.tolist(), q_4.tolist(), offset_s]


@pytest.fixture(scope="module")
def node(tiny_scene, tmp_path_factory):
    """A localization node for tf_mode map_odom, whose engines cannot be imported."""
    found = importlib.util.find_spec("tf2_ros")
    if found is not None and "tf2_standin" not in found.origin:
        pytest.skip("this speaks with the stand-in for tf2")
    folder = tmp_path_factory.mktemp("node")
    for engine in ("openvino", "onnxruntime"):
        (folder / "engines" / engine).mkdir(parents=True)
        (folder / "engines" / engine / "__init__.py").write_text("raise ImportError('a library of it is missing')\n")
    path = os.pathsep.join([str(folder / "engines"), str(STANDIN), os.environ.get("PYTHONPATH", "")])
    parameters = {
        "scene": tiny_scene.scene_path, "agreeing_frames": 1, "tf_mode": "map_odom", "base_frame": "base_link",
        "device": "cpu", "transform_wait_s": 1.0,
    }  # fmt: skip
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    given += ["-r", "__ns:=/left", "-r", f"image:={IMAGE}"]
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        log = folder / "node.log"
        process = stack.enter_context(node_process("geo_perception.localization.node", "--ros-args", *given, log=log))
        process.wait_for_text("activate: done", 240)
        yield process
        process.stop(signal.SIGINT, 60)


@pytest.fixture
def left(stage):
    """The stage of this node's camera."""
    return lambda **more: stage(topic=IMAGE, info_topic=INFO, pose=f"{NODE}/pose", **more)


def test_no_transforms_a_raw_lens_and_no_engine(node, left, examine, fields):
    lens = fields | {"d": [-0.2, 0.05, 0.0, 0.0, 0.0], "p": [0.0] * 12}
    with left(info={"fields": lens}), NodePeer(NODE) as robot:
        robot.wait_for(lambda values: int(values["rejected"]) > 0, 30)
        found = examine()
    missing = " ".join(finding["what"] for finding in found.of("tf-missing"))
    assert "from base_link to camera_optical_frame" in missing
    assert "from odom to camera_optical_frame" in missing
    assert found.of("tf-map-odom")[0]["where"] == "odom"
    assert found.of("rectified-raw-k")[0]["where"] == INFO
    assert "P of their CameraInfo is zero" in found.of("rectified-raw-k")[0]["what"]
    assert found.of("engine-fallback")[0]["where"] == NODE


def test_a_body_frame_no_odometry_two_parents_and_late_transforms(node, left, examine):
    transforms = [
        transform("base_link", "camera_link"), transform("base_link", "wheel", offset_s=-30.0),
        transform("chassis", "wheel"),
    ]  # fmt: skip
    frame = {"frame_id": "camera_link"}
    with left(image=frame, info=frame, transforms=transforms), NodePeer(NODE) as robot:
        before = int(robot.wait_for()["received"])
        robot.wait_for(lambda values: int(values["received"]) > before + 5, 30)
        found = examine()
    assert found.content["inputs"], found.output
    finding = found.of("frame-not-optical")[0]
    assert finding["severity"] == "error"
    assert "z axis points up in base_link" in finding["what"]
    assert [finding["where"] for finding in found.of("tf-missing")] == ["odom"]
    assert found.of("tf-two-parents")[0]["where"] == "wheel"
    assert "base_link to wheel is stamped 30.0 s before" in found.of("stamps-late")[0]["what"]


def test_sound_transforms(node, left, examine):
    # Whichever way round the tree is: the stand-in for tf2 knows only frames that hang directly below one another.
    transforms = [
        transform("odom", "camera_optical_frame", R_BODY_OPTICAL),
        transform("camera_optical_frame", "base_link", R_BODY_OPTICAL.T),
    ]
    with left(transforms=transforms), NodePeer(NODE) as robot:
        robot.wait_for(lambda values: values.get("age of map to odom (s)", "none is sent") != "none is sent", 30)
        robot.wait_for(lambda values: values["level"] == 0, 30)
        found = examine()
    # The last two are what a busy machine makes of a node, whose transforms are sound all the same.
    assert found.codes <= {"engine-fallback", "node-unwell", "node-mute"}
    assert ["map", "odom"] in found.content["transforms"]
    assert ["odom", "camera_optical_frame"] in found.content["transforms"]
