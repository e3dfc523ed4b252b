"""How the doctor reads what it hears and what lies on this machine: TF messages, images, scene files, processes."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from geo_training.evaluation.doctor.listening import Listener, _described
from geo_training.evaluation.doctor.machine import MachineWatch, perception_processes
from geo_training.evaluation.doctor.observe import read_scene
from geo_training.evaluation.doctor.snapshot import IMAGE_KINDS, INFO_KIND, Stream
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.codec import encode_jpeg, fill_image
from geo_perception.runtime.weights import save_weights


def transform(parent, child, x_m, second) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp.sec = parent, second
    message.transform.translation.x = x_m
    return message


def test_every_transform_of_a_message_is_kept_the_newest_of_each():
    listener = Listener(None)
    heard = listener._on_transforms(static=True)
    listener._tf_read.add("/tf_static")
    heard(SimpleNamespace(transforms=[transform("/base", "camera", 1.0, 5), transform("base", "imu", 2.0, 6)]), {})
    heard(SimpleNamespace(transforms=[transform("base", "camera", 3.0, 7)]), {"received_timestamp": 9 * 10**9})
    camera, imu = listener.transforms()
    assert (camera.parent, camera.child, camera.static) == ("base", "camera", True)
    assert camera.T_parent_child[:3, 3].tolist() == [3.0, 0.0, 0.0]
    assert camera.newest.age_s(simulated=False) == 2.0
    assert np.isnan(camera.newest.age_s(simulated=True))  # no clock has spoken
    assert imu.T_parent_child[0, 3] == 2.0
    broken = transform("base", "lidar", 1.0, 8)
    broken.transform.rotation.w = 0.0
    heard(SimpleNamespace(transforms=[broken]), {})
    assert len(listener.transforms()) == 2
    assert "base to lidar is none" in next(iter(listener.notes))


def test_images_and_camera_info_tell_their_size():
    picture = np.zeros((48, 64, 3), np.uint8)
    raw = _described(fill_image(Image(), picture), Stream("/image", IMAGE_KINDS[0]))
    assert (raw["width_px"], raw["height_px"], raw["size_bytes"], raw["encoding"]) == (64, 48, 64 * 48 * 3, "rgb8")
    data = encode_jpeg(picture, 90)
    packed = _described(CompressedImage(format="jpeg", data=data), Stream("/image", IMAGE_KINDS[1]))
    assert packed == {"width_px": 64, "height_px": 48, "size_bytes": len(data)}
    cut = _described(CompressedImage(format="jpeg", data=b"no picture"), Stream("/image", IMAGE_KINDS[1]))
    assert cut == {"size_bytes": 10}
    message = CameraInfo(width=640, height=480, binning_x=2, binning_y=2, k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    info = _described(message, Stream("/info", INFO_KIND))["info"]
    assert camera_from_info(info) == camera_from_info(message)
    assert camera_from_info(info).width_px == 320


def test_a_scene_file_tells_its_camera_or_why_not(tiny_scene, tmp_path):
    scene = read_scene(tiny_scene.scene_path)
    assert scene.mapping_camera == {"width": 320.0, "height": 224.0, "fx": 210.0, "fy": 210.0}
    assert scene.network_focal_px > 0
    assert scene.problem == ""
    assert "cannot be read on this machine" in read_scene(tmp_path / "gone.safetensors").problem
    (tmp_path / "text.safetensors").write_text("no scene")
    assert "cannot be read" in read_scene(tmp_path / "text.safetensors").problem
    save_weights(tmp_path / "other.safetensors", {"a": np.zeros(1)}, {"kind": "depth"})
    assert "does not say which camera" in read_scene(tmp_path / "other.safetensors").problem


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc here")
def test_processes_are_known_by_their_program_and_their_domain():
    words = ["geo_perception.ros.container", "localization", "--ros-args", "-p", "scene:=calibration_node"]
    code = "import threading\nprint('up', flush=True)\nwhile True: pass"
    commands = {
        "same": (words, os.environ["ROS_DOMAIN_ID"]), "other": (words, "97"),
        "test": (["-q", "tests/test_localization_node.py"], os.environ["ROS_DOMAIN_ID"]),
    }  # fmt: skip
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", code, *more], stdout=subprocess.PIPE,
            env=os.environ | {"ROS_DOMAIN_ID": domain, "GEO_PERCEPTION_ENGINE": "torch"},
        )
        for name, (more, domain) in commands.items()
    }  # fmt: skip
    try:
        for process in running.values():
            assert process.stdout.readline() == b"up\n"
        found = perception_processes()
        watch = MachineWatch()
        for _ in range(5):
            watch.sample()
        machine = watch.result()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    pids = {name: process.pid for name, process in running.items()}
    assert found[pids["same"]] == "geo_perception.ros.container localization"
    assert pids["other"] not in found
    assert pids["test"] not in found
    own = next(process for process in machine.processes if process.pid == pids["same"])
    assert (own.threads, own.running, own.engine_variable) == (1, 1.0, "torch")
    assert machine.cores == len(os.sched_getaffinity(0))
