"""The live node with the reference weights, on a camera that turns in a panorama that was held out of training."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from calibration_peer import CameraPeer, check_attitude
from geo_training.calibration.data.crops import CropSpec, render_crop
from geo_training.calibration.data.panorama_files import load_panorama
from geo_training.calibration.data.panoramas import list_panoramas, split_panoramas
from ros_support import node_process

from geo_perception.calibration.estimator import reference_weights
from geo_perception.errors import InputError
from geo_perception.geometry import attitude_from_up, focal_px_from_fov, pose_from_quaternion
from geo_perception.ros.camera_info import camera_from_info

WIDTH_PX, HEIGHT_PX, RATE_HZ, TURN_RAD_S = 640, 480, 10.0, np.radians(20.0)
FOCAL_PX = float(focal_px_from_fov(WIDTH_PX, np.radians(60.0)))
CONFIG = Path(__file__).resolve().parents[3] / "training/geo_training/calibration/configs/reference.yaml"
PAN_S = 9.0
IMAGES_NEEDED = 12  # an idle machine has seen more in two seconds


@pytest.fixture(scope="module")
def panorama_hw3(shared_data) -> np.ndarray:
    try:
        reference_weights()
    except InputError as error:
        pytest.skip(str(error))
    names = yaml.safe_load(CONFIG.read_text())["held_out"]
    _, held_out = split_panoramas(list_panoramas(shared_data / "panoramas"), names)
    return load_panorama(held_out[0].path)


def turning_images(panorama_hw3: np.ndarray, pitch_rad: float, roll_rad: float) -> list[np.ndarray]:
    """One whole turn to the right; played again it goes on without a jump."""
    count = round(2 * np.pi / (TURN_RAD_S / RATE_HZ))
    return [
        render_crop(
            panorama_hw3,
            CropSpec(WIDTH_PX, HEIGHT_PX, FOCAL_PX, pitch_rad, roll_rad, 2 * np.pi * index / count), supersample=2,
        )
        for index in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_turning_camera_is_calibrated_within_two_seconds_and_a_covered_lens_changes_nothing(panorama_hw3, tmp_path):
    pitch_rad, roll_rad = np.radians([-5.0, 3.0])
    images = turning_images(panorama_hw3, pitch_rad, roll_rad)
    arguments = ("--ros-args", "-r", "image:=/camera/image_raw", "-p", "device:=cpu")
    with (
        node_process("geo_perception.calibration.node", *arguments, log=tmp_path / "node.log") as process,
        CameraPeer() as peer,
    ):
        process.wait_for_text("activate: done", 120)
        peer.wait_until_connected()
        arrived = []  # (seconds since the first image, focal length)

        def play(shown, seconds: float) -> None:
            """At the camera's rate, by the wall clock; each image a tenth of a second after the one before."""
            started_s = time.monotonic()
            for index in range(round(seconds * RATE_HZ)):
                first_s = peer.stamp_ns * 1e-9
                peer.show(next(shown), 1 / RATE_HZ)
                peer.spin_until(lambda index=index: time.monotonic() >= started_s + (index + 1) / RATE_HZ, 1.0)
                while len(arrived) < len(peer.focals):
                    arrived.append((first_s - 100.0, peer.focals[len(arrived)].data))

        def late_focals_px() -> np.ndarray:
            return np.array([focal_px for seconds, focal_px in arrived[IMAGES_NEEDED:] if seconds >= 2.0])

        turning = itertools.cycle(images)
        play(turning, PAN_S)
        for _ in range(6):  # the node of a busy machine leaves images out
            if len(late_focals_px()) > 10 and peer.camera_infos:
                break
            play(turning, PAN_S)
        assert process.running(), process.text
        late = late_focals_px()
        assert len(late) > 10, peer.values()
        errors = np.abs(late / FOCAL_PX - 1)
        assert errors.max() < 0.05, f"focal lengths {late.round(1).tolist()}, true {FOCAL_PX:.1f}"
        assert late.max() / late.min() < 1.05, "the focal length is not stable"
        assert peer.camera_infos, f"CameraInfo was never published: {peer.values()}"
        camera = camera_from_info(peer.camera_infos[-1])
        assert (camera.width_px, camera.height_px) == (WIDTH_PX, HEIGHT_PX)

        assert len(peer.attitudes) > 10
        for message in peer.attitudes:
            check_attitude(message)
        found = np.array([attitude_of(message) for message in peer.attitudes])
        median_deg = np.degrees(np.median(np.abs(found - [pitch_rad, roll_rad]), axis=0))
        assert median_deg.max() < 5.0, f"median errors of pitch and roll: {median_deg}"

        peer.spin_for(1.0)  # what is still in work
        before = peer.focals[-1].data, camera_from_info(peer.camera_infos[-1]).fx_px
        attitudes, focals = len(peer.attitudes), len(peer.focals)
        peer.statuses.clear()
        for seconds in (4.5, 2.0, 2.0, 2.0, 4.0, 8.0):  # on a busy machine late images are told first
            play(itertools.repeat(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)), seconds)
            told = [status for array in peer.statuses for status in array.status if status.level == b"\1"]
            told = [status for status in told if "the image shows nothing to go by" in status.message]
            if told:
                break
        assert told, peer.values()
        assert (len(peer.attitudes), len(peer.focals)) == (attitudes, focals)
        assert camera_from_info(peer.camera_infos[-1]).fx_px == pytest.approx(before[1], rel=1e-6)

        play(turning, 2.0)
        assert peer.spin_until(lambda: len(peer.focals) > focals, 10.0), peer.values()
        peer.spin_for(1.0)
        assert peer.focals[-1].data == pytest.approx(before[0], rel=0.03)
        assert process.stop(timeout_s=60) == 0
        assert "Traceback" not in process.text


def attitude_of(message) -> tuple[float, float]:
    """Pitch and roll of an optical frame from its orientation: where up is in it."""
    q = message.orientation
    R_world_optical = pose_from_quaternion((0, 0, 0), (q.x, q.y, q.z, q.w))[:3, :3]
    pitch_rad, roll_rad = attitude_from_up(R_world_optical.T @ [0, 0, 1])
    return float(pitch_rad), float(roll_rad)
