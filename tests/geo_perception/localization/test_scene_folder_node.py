"""Scenes are copied into the folder of a localization node that runs, and taken away from it: a process with real
messages over real DDS."""

import shutil
from types import SimpleNamespace

from localization_peer import MODULE, Robot
from ros_support import active_node
from sensor_msgs.msg import Image
from two_scenes import LEFT, RIGHT

from geo_perception.ros.codec import fill_image


class Visitor(Robot):
    """Shows a picture of one of the two scenes, again and again."""

    def __init__(self, two_scenes, namespace):
        super().__init__(SimpleNamespace(dataset=two_scenes.dataset(LEFT)), namespace)
        self.views = {}
        for name in (LEFT, RIGHT):
            dataset = two_scenes.dataset(name)
            self.views[name] = dataset.image(dataset.of_split("test")[0])

    def show_until(self, scene, holds, frames=60):
        """The diagnostics' values once they hold, while the camera sees this scene."""
        for _ in range(frames):
            message = self.stamp(fill_image(Image(), self.views[scene]))
            self.infos.publish(self.info(message.header))
            self.images.publish(message)
            self.spin_for(0.5)
            if (values := self.values()) and holds(values):
                return values
        raise AssertionError(self.values())


def test_a_scene_that_is_copied_in_is_found_a_damaged_one_is_told_and_a_removed_one_goes(two_scenes, tmp_path):
    folder = two_scenes.copied(tmp_path / "scenes", placed=False)
    (folder / f"{RIGHT}.safetensors").unlink()
    given = ("-p", f"scene:={folder}", "-p", "scene_folder_period_s:=0.2", "-r", "image:=/camera/image_raw")
    arguments = ("--ros-args", *given, "-r", "__ns:=/kept")
    with active_node(MODULE, *arguments, log=tmp_path / "node.log") as process, Visitor(two_scenes, "/kept") as robot:
        robot.listen()
        robot.wait_until_connected()
        alone = robot.show_until(LEFT, lambda values: values["scene"] == LEFT)
        assert alone["scenes loaded"].startswith("1 of 1")
        shutil.copy(two_scenes.folder / f"{RIGHT}.safetensors", folder)
        found = robot.show_until(RIGHT, lambda values: values["scene"] == RIGHT)
        assert found["scenes loaded"].startswith("2 of 2")
        (folder / "broken.safetensors").write_bytes(b"nothing")
        told = robot.show_until(RIGHT, lambda values: "broken" in values["scenes with problems"])
        assert (told["level"], told["scene"]) == (1, RIGHT)
        (folder / "broken.safetensors").unlink()
        (folder / f"{LEFT}.safetensors").unlink()
        left = robot.show_until(RIGHT, lambda values: values["scenes loaded"].startswith("1 of 1"))
        assert (left["scene"], left["scenes with problems"]) == (RIGHT, "none")
        assert process.running()
    text = (tmp_path / "node.log").read_text()
    assert f"scenes added: {RIGHT}; 2 in {folder}" in text
    assert f"scenes removed: {LEFT}; 1 in {folder}" in text
    assert "Traceback" not in text
