"""The localization node in a folder of two scenes, as a process with real messages over real DDS: a robot walks from
one scene into the next."""

import signal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from localization_peer import MODULE, Robot
from ros_support import NodeProcess, active_node, node_process
from sensor_msgs.msg import Image
from two_scenes import LEFT, RIGHT, T_ROOM_RIGHT, TwoScenes, walk_views
from visualization_msgs.msg import MarkerArray

from geo_perception.geometry import (
    invert_pose,
    make_pose,
    pose_error,
    pose_from_quaternion,
    pose_to_quaternion,
    so3_exp,
    so3_log,
)
from geo_perception.localization.scene import FORMAT_VERSION, KIND
from geo_perception.localization.scene_set import AGREEING_CHI2
from geo_perception.ros import qos
from geo_perception.ros.codec import fill_image
from geo_perception.runtime.weights import load_weights, save_weights

T_ODOM_ROOM = make_pose(so3_exp(np.array([0.0, 0.0, -0.7])), [4.0, 9.0, 0.3])


class Walker(Robot):
    """A robot that walks from the left scene into the right one, with odometry that is exact."""

    def __init__(self, two_scenes: TwoScenes, namespace: str):
        super().__init__(SimpleNamespace(dataset=two_scenes.dataset(LEFT)), namespace)
        views = walk_views()
        self.pictures, self.poses_room = [picture for picture, _ in views], [T for _, T in views]
        self.odometry = self.node.create_publisher(TransformStamped, "/tf", 100)

    def step(self, index: int) -> int:
        """Shows a picture of the walk, after odometry said where the camera then is; returns the second of its
        stamp."""
        message = self.stamp(fill_image(Image(), self.pictures[index]))
        moved = transform_message("odom", "camera_optical", T_ODOM_ROOM @ self.poses_room[index])
        moved.header.stamp = message.header.stamp
        self.odometry.publish(moved)
        self.infos.publish(self.info(message.header))
        self._shown = message
        self.images.publish(message)
        return self.second

    def wait_until_processed(self, count: int) -> dict[str, str]:
        """Until the node has worked on so many images; shows the last one again, with its camera, since nobody sends
        again what was sent before a listener was found."""
        for _ in range(5):
            if self.spin_until(lambda: self.values().get("processed") == str(count), 4.0):
                break
            self.infos.publish(self.info(self._shown.header))
            self.images.publish(self._shown)
        return self.wait_for(lambda values: values["processed"] == str(count))


def transform_message(parent: str, child: str, T_parent_child: np.ndarray) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    t_3, q_4 = (values.tolist() for values in pose_to_quaternion(T_parent_child))
    moved, rotation = message.transform.translation, message.transform.rotation
    moved.x, moved.y, moved.z = t_3
    rotation.x, rotation.y, rotation.z, rotation.w = q_4
    return message


def pose_of(message) -> tuple[np.ndarray, np.ndarray]:
    """T_map_camera and its covariance of a published pose."""
    p, q = message.pose.pose.position, message.pose.pose.orientation
    covariance_66 = np.array(message.pose.covariance).reshape(6, 6)
    return pose_from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)), covariance_66


def sigmas_of(message) -> float:
    return np.sqrt(np.linalg.eigvalsh(pose_of(message)[1][:3, :3])[-1])


def chi2_of_step(before, after, T_before_after_true: np.ndarray) -> float:
    """How far a pose is from where the pose before it and what odometry says of the way have it, squared, in what both
    poses state."""
    (T_a, covariance_a66), (T_b, covariance_b66) = pose_of(before), pose_of(after)
    T_expected = T_a @ T_before_after_true
    error_6 = np.r_[T_b[:3, 3] - T_expected[:3, 3], so3_log(T_b[:3, :3] @ T_expected[:3, :3].T)]
    arm_3 = T_expected[:3, 3] - T_a[:3, 3]
    J_66 = np.eye(6)
    J_66[:3, 3:] = -np.array([[0, -arm_3[2], arm_3[1]], [arm_3[2], 0, -arm_3[0]], [-arm_3[1], arm_3[0], 0]])
    return float(error_6 @ np.linalg.solve(J_66 @ covariance_a66 @ J_66.T + covariance_b66, error_6))


def started(folder, namespace: str, *more: str) -> tuple[str, ...]:
    given = ("-p", f"scene:={folder}", "-r", "image:=/camera/image_raw", "-r", f"__ns:={namespace}")
    return ("--ros-args", *given, *more)


def test_it_walks_into_the_next_scene_without_a_jump_and_knows_it_after_a_kill(two_scenes, tmp_path, standin):
    folder, state = two_scenes.copied(tmp_path / "scenes"), tmp_path / "state.json"
    more = ("-p", f"state_file:={state}", "-p", "state_max_age_s:=1000.0")
    walking = started(folder, "/walk", *more, "-p", "tf_mode:=map_odom", "-p", "transform_wait_s:=1.0")
    with node_process(MODULE, *walking, log=tmp_path / "node.log") as process, Walker(two_scenes, "/walk") as robot:
        process.wait_for_text("activate: done", 240)
        heard, markers = [], robot.collect(MarkerArray, f"{robot.name}/landmarks", qos.LATCHED_OUT)
        robot.node.create_subscription(TransformStamped, "/tf", heard.append, 100)
        robot.listen()
        robot.wait_until_connected()
        seconds = {robot.step(0): 0}
        assert robot.wait_until_processed(1)["scene"] == LEFT
        for index in range(1, len(robot.pictures)):
            second = robot.step(index)
            seconds[second] = index
            robot.pose_at(second, 15.0)
        assert process.running(), process.text
        values = robot.wait_for(lambda values: values["processed"] == str(len(seconds)))
        assert (values["scene"], values["scene switches"]) == (RIGHT, "1")
        switched = float(values["scene since (s)"])
        scenes = [LEFT if second < int(switched) else RIGHT for second in seconds]
        assert 5 < scenes.index(RIGHT) < len(scenes) - 5
        assert values["map frame"] == "map"
        assert values["scene proposed as"].startswith("1 of 2")
        assert values["scenes loaded"].startswith("2 of 2")
        assert values["scenes with problems"] == "none"
        _check_no_jump(robot, seconds, scenes)
        _check_map_to_odom(robot, heard)
        assert len(markers) == 2  # those of the first scene, and of the other at the switch
        assert all(len(array.markers[1].points) > 20 for array in markers)
        assert {array.markers[1].header.frame_id for array in markers} == {"map"}
        assert robot.spin_until(lambda: f'"scene": "{RIGHT}"' in state.read_text(), 5.0)
        process.stop(signal.SIGKILL)
    before = scenes.index(RIGHT) - 1  # of which the left scene has a pose, too, and was the present one on the way
    again = started(folder, "/walk", *more, "-p", "agreeing_frames:=1")
    with active_node(MODULE, *again, log=tmp_path / "again.log"), Walker(two_scenes, "/walk") as late:
        late.second = robot.second
        late.listen()
        late.wait_until_connected()
        late.pose_at(late.step(before), 15.0)
        assert late.wait_for(lambda values: values["processed"] == "1")["scene"] == RIGHT


def _check_no_jump(robot: Walker, seconds: dict[int, int], scenes: list[str]) -> None:
    """Every pose is where the one before and odometry have it, within what both state; and it is right."""
    shown = [(seconds[pose.header.stamp.sec], pose) for pose in robot.poses]
    assert len(shown) == len(seconds) - 1  # the first one waits for another that agrees
    assert {pose.header.frame_id for pose in robot.poses} == {"map"}
    for (a, before), (b, after) in pairwise(shown):
        step = invert_pose(robot.poses_room[a]) @ robot.poses_room[b]
        chi2 = chi2_of_step(before, after, step)
        assert chi2 <= 2 * AGREEING_CHI2, f"from {a} ({scenes[a]}) to {b} ({scenes[b]})"
        if scenes[a] != scenes[b]:
            assert chi2 <= AGREEING_CHI2
    errors = [pose_error(robot.poses_room[index], pose_of(pose)[0]) for index, pose in shown]
    assert np.median([distance_m for distance_m, _ in errors]) < 0.03


def _check_map_to_odom(robot: Walker, heard: list[TransformStamped]) -> None:
    """The map stands in the room, so odometry's origin stays where it is, within what poses state of a camera that is
    metres from it."""
    sent = [m for m in heard if (m.header.frame_id, m.child_frame_id) == ("map", "odom")]
    assert len(sent) > 10
    T_map_odom = invert_pose(T_ODOM_ROOM)
    worst_m = max(sigmas_of(pose) for pose in robot.poses)
    for message in sent:
        t, q = message.transform.translation, message.transform.rotation
        off_m, off_rad = pose_error(T_map_odom, pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w)))
        assert off_rad < 0.02
        assert off_m < 10 * 0.02 + 5 * worst_m


def test_scenes_that_nobody_places_have_frames_of_their_own_and_what_cannot_be_read_is_told(two_scenes, tmp_path):
    folder = two_scenes.copied(tmp_path / "scenes", placed=False)
    (folder / "broken.safetensors").write_bytes(b"nothing")
    given = started(folder, "/own", "-p", "agreeing_frames:=1")
    with active_node(MODULE, *given, log=tmp_path / "node.log"), Walker(two_scenes, "/own") as robot:
        robot.listen()
        robot.wait_until_connected()
        first = robot.pose_at(robot.step(0), 15.0)
        assert first.header.frame_id == f"map/{LEFT}"
        values = robot.wait_for(lambda values: values["processed"] == "1")
        assert values["map frame"] == f"map/{LEFT}, its own: scenes.yaml does not place {LEFT}"
        assert values["level"] == 1
        assert "broken.safetensors is not a scene file" in values["message"]
        for _ in range(3):
            last = robot.step(len(robot.pictures) - 1)
            robot.spin_for(1.0)
        pose = robot.pose_at(last, 15.0)
        assert pose.header.frame_id == f"map/{RIGHT}"
        T_right_camera = invert_pose(T_ROOM_RIGHT) @ robot.poses_room[-1]
        assert pose_error(T_right_camera, pose_of(pose)[0])[0] < 0.06


@pytest.mark.parametrize("wrong", ["mixed", "empty"])
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(two_scenes, tmp_path, wrong):
    folder, said = tmp_path / "scenes", "need different backbones, but one must do for all: left.safetensors"
    if wrong == "mixed":
        two_scenes.copied(folder)
        tensors, header = load_weights(folder / f"{RIGHT}.safetensors", KIND, FORMAT_VERSION)
        header["backbone"] = header["backbone"] | {"sha256": "f" * 64}
        save_weights(folder / f"{RIGHT}.safetensors", tensors, header)
    else:
        folder.mkdir()
        said = "holds no scene (*.safetensors)"
    with node_process(MODULE, *started(folder, "/refused"), log=tmp_path / "node.log") as process:
        process.wait_for_text(said)
        _check_one_line(process, said)


def _check_one_line(process: NodeProcess, said: str) -> None:
    assert "Traceback" not in process.text
    assert sum(said in line for line in process.text.splitlines()) >= 1
