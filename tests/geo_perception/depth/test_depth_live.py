"""The live node with the reference weights, on a real walk through an office, told true depths at a few pixels."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_peer import RobotPeer, numbers
from geo_training.datasets.importers import import_dataset
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.splits import tail_split
from geo_training.evaluation.replay.bag_input import open_bag
from ros_support import node_process

from geo_perception.depth.estimator import reference_weights
from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.codec import decode_image
from geo_perception.ros.messages import stamp_ns
from geo_perception.ros.point_cloud import point_cloud_array

NEW_TOLERANCE = 0.25  # of three frames after a change; the scale of before would be off by the zoom of 1.6
RATE_HZ, LATER_S = 4.0, 0.15  # landmarks come so long after their image
LANDMARKS, NOISE, WRONG = 60, 0.01, 0.1
FRAMES = 60  # the last of the walk
WANTED, TOLERANCE = 8, 0.10


@dataclass(frozen=True)
class View:
    """A frame of the recording: RGB, the sensor's depth in metres (NaN where it saw none), and their camera."""

    image_hw3: np.ndarray
    depth_m_hw: np.ndarray
    camera: Camera

    def zoomed(self, factor: float) -> "View":
        """The middle of the view, in as many pixels."""
        camera = self.camera
        width, height = round(camera.width_px / factor), round(camera.height_px / factor)
        left, top = (camera.width_px - width) // 2, (camera.height_px - height) // 2
        window = np.s_[top : top + height, left : left + width]
        crop = View(self.image_hw3[window], self.depth_m_hw[window], camera.cropped(left, top, width, height))
        return crop.resized(camera.width_px, camera.height_px)

    def resized(self, width_px: int, height_px: int) -> "View":
        image_hw3 = cv2.resize(self.image_hw3, (width_px, height_px), interpolation=cv2.INTER_AREA)
        depth_m_hw = cv2.resize(self.depth_m_hw, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
        return View(image_hw3, depth_m_hw, self.camera.resized(width_px, height_px))


@pytest.fixture(scope="module")
def walk(shared_data, tmp_path_factory) -> list[View]:
    try:
        reference_weights()
    except InputError as error:
        pytest.skip(str(error))
    return recorded_views(shared_data / "office", tmp_path_factory.mktemp("office"))


def recorded_views(office: Path, folder: Path) -> list[View]:
    """The last frames of the walk, out of a rosbag2 that holds their images and CameraInfo."""
    import_dataset(office, folder / "dataset", "images")
    dataset = SceneDataset(folder / "dataset")
    dataset.save_frames(tail_split(dataset.frames, val=0.0, test=FRAMES / len(dataset.frames)))
    bag_from_dataset(dataset.root, folder / "bag", split="test")
    frames = {frame.stamp_ns: frame for frame in dataset.of_split("test")}
    bag = open_bag(folder / "bag")
    views = []
    for _, stamp, message in bag.messages():
        depth_m_hw = dataset.depth_m(frames[stamp])
        depth_m_hw[depth_m_hw == 0] = np.nan
        views.append(View(decode_image(message), depth_m_hw, camera_from_info(bag.info_at(stamp))))
    return views


class Walker(RobotPeer):
    """Plays views at the camera's rate, and tells landmarks a little later, as a localizer would."""

    def __init__(self):
        super().__init__()
        self._rng = np.random.default_rng(0)
        self.shown: dict[int, View] = {}

    def play(self, views: list[View], until, timeout_s: float, landmarks: bool = True) -> None:
        """Plays the views over and over until the condition holds. The time of the stamps is that of the wall."""
        started_s = next_s = time.monotonic()
        first_ns, index = self.stamp_ns, 0
        while not until():
            assert time.monotonic() < started_s + timeout_s, self.values()
            view = views[index % len(views)]
            self.camera = view.camera
            elapsed_s = time.monotonic() - started_s
            stamp = self.show(view.image_hw3, first_ns * 1e-9 + elapsed_s + 0.25 - self.stamp_ns * 1e-9)
            self.shown[stamp] = view
            self.spin_for(LATER_S)
            if landmarks:
                self.tell_view(view, stamp)
            index, next_s = index + 1, next_s + 1 / RATE_HZ
            self.spin_for(max(next_s - time.monotonic(), 0.0))

    def tell_view(self, view: View, stamp: int) -> None:
        rng = self._rng
        rows, columns = np.nonzero(np.isfinite(view.depth_m_hw))
        chosen = rng.choice(len(rows), LANDMARKS, replace=False)
        rows, columns = rows[chosen], columns[chosen]
        depth_m_n = view.depth_m_hw[rows, columns] * np.exp(NOISE * rng.standard_normal(LANDMARKS))
        wrong_n = rng.random(LANDMARKS) < WRONG
        depth_m_n = np.where(wrong_n, depth_m_n * rng.choice([0.4, 0.6, 1.7, 2.5], LANDMARKS), depth_m_n)
        self.tell_landmarks(np.stack([columns, rows], axis=1), depth_m_n, NOISE, stamp)

    def of(self, views: list[View], messages: list) -> list:
        """Those of the messages that are of these views; on a busy machine earlier ones still come."""
        return [m for m in messages if any(self.shown.get(stamp_ns(m.header.stamp)) is view for view in views)]

    def without_camera(self, messages: list) -> str:
        """The stamps of the messages that no CameraInfo has come for, beside those of all that came; empty if none."""
        alone = [message for message in messages if message.header not in [info.header for info in self.camera_infos]]
        if not alone:
            return ""
        named = [[stamp_ns(m.header.stamp) for m in some] for some in (alone, messages, self.camera_infos)]
        return "stamps without CameraInfo {}, of {}; CameraInfo came for {}".format(*named)

    def ratios(self) -> np.ndarray:
        """The median ratio of ~/depth to the sensor's depth in each frame that came, wherever both are known."""
        found = []
        for message in self.depths:
            depth_m_hw, view = numbers(message), self.shown[stamp_ns(message.header.stamp)]
            height, width = depth_m_hw.shape
            true_m_hw = cv2.resize(view.depth_m_hw, (width, height), interpolation=cv2.INTER_NEAREST)
            with np.errstate(invalid="ignore"):
                ratio_hw = depth_m_hw / true_m_hw
            found.append(np.median(ratio_hw[np.isfinite(ratio_hw)]))
        return np.array(found)

    def check_metres(self, tolerance: float = TOLERANCE) -> None:
        ratios = self.ratios()
        assert abs(np.median(ratios) - 1) < tolerance, f"ratios {ratios.round(3).tolist()}; {self.values()}"


@pytest.fixture(scope="module")
def process(walk, tmp_path_factory) -> Iterator:
    log = tmp_path_factory.mktemp("live") / "node.log"
    arguments = ("--ros-args", "-r", "image:=/camera/image_raw", "-p", "device:=cpu")
    with node_process("geo_perception.depth.node", *arguments, log=log) as process:
        process.wait_for_text("activate: done", 240)
        yield process
        assert process.stop(timeout_s=60) == 0
        assert "Traceback" not in process.text


@pytest.mark.slow
def test_metres_are_right_and_stay_so_when_the_camera_is_covered_zoomed_resized_and_the_clock_jumps(walk, process):
    with Walker() as peer:
        peer.wait_until_connected()

        def played(views: list[View], wanted: int = 3, landmarks: bool = True, timeout_s: float = 30.0) -> None:
            peer.spin_for(0.5)  # what is still in work
            peer.clear()
            peer.play(views, lambda: len(peer.depths) >= wanted, timeout_s, landmarks)

        # Until every topic is connected, first messages are lost.
        peer.play(walk, lambda: bool(peer.depths and peer.camera_infos and peer.points), 30.0)
        before_ns = peer.stamp_ns
        played(walk, WANTED)
        peer.check_metres()
        # The CameraInfo of an earlier frame may have come before the messages were cleared, and its depth after.
        fresh = [message for message in peer.depths if stamp_ns(message.header.stamp) > before_ns]
        assert fresh, peer.values()
        # A message that a busy machine lost is sent again some seconds later.
        assert peer.spin_until(lambda: not peer.without_camera(fresh), 15.0), peer.without_camera(fresh)
        for message in fresh:
            assert message.encoding == "32FC1"
            info = next(info for info in peer.camera_infos if info.header == message.header)
            assert (info.width, info.height) == (message.width, message.height)
            assert info.k[0] / info.width == pytest.approx(walk[0].camera.fx_px / walk[0].camera.width_px, rel=1e-6)
        assert peer.spin_until(lambda: bool(peer.points), 5)
        points_n = point_cloud_array(peer.points[-1])
        assert np.isfinite(np.stack([points_n[name] for name in "xyz"])).all()
        assert peer.wait_for(lambda values: values["metres"] == "published")["scale from"] == "landmarks"

        dark = View(np.zeros_like(walk[0].image_hw3), walk[0].depth_m_hw, walk[0].camera)
        peer.spin_for(0.5)
        peer.clear()
        peer.play([dark], lambda: "no structure" in peer.values().get("last verdict", ""), 20.0, landmarks=False)
        assert not any(peer.of([dark], topic) for topic in peer.results), "something was published of a covered lens"

        zoomed = [view.zoomed(1.6) for view in walk[:20]]
        peer.spin_for(0.5)
        peer.clear()
        peer.play(zoomed, lambda: len(peer.relatives) >= 2, 20.0, landmarks=False)
        assert not peer.of(zoomed, peer.depths), "metres by the scale of another zoom"
        played(zoomed)
        peer.check_metres(NEW_TOLERANCE)

        small = [view.resized(360, 240) for view in walk[:20]]
        played(small)
        peer.check_metres(NEW_TOLERANCE)

        again = [view.resized(360, 240) for view in walk[:20]]
        peer.stamp_ns -= 60 * 10**9
        peer.spin_for(0.5)
        peer.clear()
        peer.play(again, lambda: len(peer.relatives) >= 2, 20.0, landmarks=False)
        assert not peer.of(again, peer.depths), "metres by a scale from before the clock jumped"
        played(again)
        peer.check_metres(NEW_TOLERANCE)
        assert process.running(), process.text
