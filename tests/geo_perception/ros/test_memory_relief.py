"""What every node does where memory is short. Its estimator stands in for one on a GPU: it raises what torch raises,
and fits where the test says. Messages come over real DDS."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from node_peer import HostingPeer
from pictures import random_patches
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from ros_support import stamped
from sensor_msgs.msg import Image
from std_msgs.msg import String

from geo_perception.errors import InputError
from geo_perception.ros import memory_steps
from geo_perception.ros.codec import fill_image
from geo_perception.ros.node_base import Outcome, PerceptionNode

GPU = torch.device("cuda")
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class HungryNode(PerceptionNode):
    """Answers how it looked at an image: by which device, and whether at all of it."""

    needs_camera = False

    def __init__(self, **kwargs):
        self.fits, self.loaded, self.load_error = {"cuda whole"}, [], None
        self.smaller = False
        super().__init__("hungry_node", **kwargs)

    def prepare(self):
        device = torch.device("cpu") if self.device == "cpu" else GPU
        if self.load_error is not None:
            raise self.load_error
        self.loaded.append(device.type)
        return SimpleNamespace(device=device)

    def load(self) -> None:
        self.adopt(self.prepared)
        self.answers_out = self.output(String, "~/answer")

    def adopt(self, prepared) -> None:
        self.estimator = prepared
        self.smaller = False

    def use_smaller_input(self, smaller: bool) -> bool:
        self.smaller = smaller
        return True

    def compute(self, image_hw3, camera, frame) -> str:
        how = f"{self.estimator.device.type} {'smaller' if self.smaller else 'whole'}"
        if how not in self.fits:
            raise OUT_OF_MEMORY
        return how

    def publish(self, result, image_hw3, camera, frame) -> Outcome:
        self.answers_out.publish(String(data=result))
        return Outcome(True, result)


class Camera(HostingPeer):
    def __init__(self):
        super().__init__(HungryNode, "camera", lazy=False)
        self.images = self.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self.answers = self.collect(String, "/hungry_node/answer")
        self.stamp_ns = 10**12

    def show_until(self, answer: str, seconds: float = 8.0) -> None:
        """Shows images until one is answered like this."""
        self.answers.clear()
        for _ in range(round(seconds / 0.05)):
            self.show()
            if any(found.data == answer for found in self.answers):
                return
        raise AssertionError(f"no answer '{answer}': {self.values()}")

    def told(self, level: int, seconds: float = 8.0) -> dict[str, str]:
        """Shows images until the diagnostics are of this level."""
        self.statuses.clear()
        for _ in range(round(seconds / 0.05)):
            self.show()
            if self.values().get("level") == level:
                return self.values()
        raise AssertionError(self.values())

    def show(self, times: int = 1) -> None:
        for _ in range(times):
            self.stamp_ns += 50_000_000
            self.images.publish(stamped(fill_image(Image(), random_patches(0, 32, 24)), self.stamp_ns))
            self.spin_for(0.05)


@pytest.fixture
def camera(monkeypatch) -> Iterator[Camera]:
    monkeypatch.setattr(memory_steps, "FIRST_WAIT_S", 0.2)
    monkeypatch.setattr(memory_steps, "RETURN_S", 2.0)
    monkeypatch.setattr(memory_steps, "ERROR_S", 1.0)
    with Camera() as camera:
        camera.start(camera.images)
        yield camera


def test_a_smaller_input_is_gone_on_with_and_the_whole_again_when_it_fits(camera):
    camera.show_until("cuda whole")
    camera.hosted.fits = {"cuda smaller"}
    camera.show_until("cuda smaller")
    short = camera.told(1)
    assert "CUDA out of memory" in short["message"]
    assert short["message"].endswith("works with a smaller input")
    camera.hosted.fits = {"cuda smaller", "cuda whole"}
    camera.show_until("cuda whole")
    assert camera.told(0)["memory"] == "enough"
    assert camera.hosted.loaded == ["cuda"]


def test_then_the_cpu_and_the_gpu_again(camera):
    camera.hosted.fits = {"cpu whole", "cpu smaller"}
    camera.show_until("cpu smaller")
    assert camera.hosted.loaded == ["cuda", "cpu"]
    assert "the CPU" in camera.told(1)["message"]
    camera.hosted.fits |= {"cuda whole"}
    camera.show_until("cuda whole")
    assert camera.hosted.loaded[-1] == "cuda"


def test_then_frames_are_dropped_until_there_is_memory_with_one_line_for_each_change(camera, capfd):
    camera.show_until("cuda whole")
    capfd.readouterr()
    camera.hosted.fits = set()
    camera.show(50)
    short = camera.told(2)
    assert "frames are dropped, the next one is tried in" in short["message"]
    assert int(short["rejected: no memory"]) > 40
    camera.hosted.fits = {"cuda whole", "cpu smaller"}
    camera.show_until("cpu smaller")
    camera.show_until("cuda whole")
    lines = [line for line in capfd.readouterr().err.splitlines() if "memory" in line]
    endings = "with a smaller input", "with the CPU", "tried now and then", "for the CPU, not for the whole", " s"
    assert [line.endswith(ending) for line, ending in zip(lines, endings, strict=True)] == [True] * 5, lines


def test_a_cpu_that_cannot_be_gone_to_is_waited_for_as_memory_is(camera, capfd):
    camera.hosted.load_error = InputError("weights.safetensors is damaged; copy it again")
    camera.hosted.fits = {"cpu smaller"}
    camera.show(20)
    short = camera.told(2)
    assert "no change of device: weights.safetensors is damaged" in short["message"]
    camera.hosted.load_error = None
    camera.show_until("cpu smaller")
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_camera_cannot_be_told_apart_from_is_no_shortage(camera):
    """A message whose words are those of a shortage."""
    camera.images.publish(stamped(Image(height=2, width=2, step=6, encoding="out of memory", data=bytes(12)), 10**12))
    values = camera.wait_for(lambda values: int(values["rejected"]) > 0)
    assert "rejected: unusable image" in values
    assert values["memory"] == "enough"


def test_a_callback_that_lacks_memory_is_told_in_a_line(camera, capfd):
    def lacking(*_) -> None:
        raise MemoryError("std::bad_alloc")

    camera.show_until("cuda whole")  # or its diagnostics would say after a while that there are none
    capfd.readouterr()
    for _ in range(3):
        camera.hosted.guard(lacking)()
    assert "std::bad_alloc" in camera.wait_for(lambda values: values["memory"] != "enough")["message"]
    said = capfd.readouterr().err
    assert said.count("not enough memory for a message or a timer") == 1
    assert "Traceback" not in said


def test_loading_without_memory_is_refused_in_one_line_and_possible_later(capfd):
    with Camera() as camera:
        camera.hosted.load_error = OUT_OF_MEMORY
        assert camera.hosted.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert "cannot configure: not enough memory (CUDA out of memory" in camera.hosted.failure
        assert "Traceback" not in capfd.readouterr().err
        camera.hosted.load_error = None
        camera.start(camera.images)
        camera.show_until("cuda whole")
