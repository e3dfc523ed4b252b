"""The localization node as a process that tells TF where odometry's origin lies, over real DDS."""

import time

import numpy as np
from geometry_msgs.msg import TransformStamped
from localization_peer import MODULE, Robot, arguments
from ros_support import active_node
from sensor_msgs.msg import Image

from geo_perception.geometry import make_pose, pose_error, pose_from_quaternion, pose_to_quaternion, so3_exp
from geo_perception.ros.codec import fill_image
from geo_perception.ros.messages import stamp_ns


def test_a_pose_without_odometry_is_published_and_no_dropped_frame(tiny_scene, tmp_path, standin):
    more = ("-p", "tf_mode:=map_odom", "-p", "transform_wait_s:=0.05", "-r", "__ns:=/alone")
    with (
        active_node(MODULE, *arguments(tiny_scene, *more), log=tmp_path / "node.log"),
        Robot(tiny_scene, "/alone") as robot,
    ):
        robot.listen()
        robot.wait_until_connected()
        robot.pose_at(robot.show(0), 10.0)
        values = robot.wait_for(lambda values: values["processed"] == "1")
        assert values["poses without map to odom"] == "1"
        assert (values["rejected"], values["good share"], values["level"]) == ("0", "1.000", 1)
        assert values["message"].startswith("the pose is published, but no map to odom: no transform from")


def test_map_to_odom_is_known_at_the_present_between_fixes_and_not_for_ever(tiny_scene, tmp_path, standin):
    more = ("-p", "tf_mode:=map_odom", "-p", "transform_max_age_s:=1.5", "-p", "transform_wait_s:=1.0")
    T_odom_camera = make_pose(so3_exp(np.array([0.0, 0.1, 0.7])), [20.0, -5.0, 0.5])
    with (
        active_node(MODULE, *arguments(tiny_scene, *more), "-r", "__ns:=/tf", log=tmp_path / "node.log") as process,
        Robot(tiny_scene, "/tf") as robot,
    ):
        robot.wait_until_connected()
        odometry = robot.node.create_publisher(TransformStamped, "/tf", 100)
        heard: list[tuple[int, TransformStamped]] = []
        robot.node.create_subscription(
            TransformStamped,
            "/tf",
            lambda m: heard.append((time.time_ns(), m)) if m.header.frame_id == "map" else None,
            100,
        )

        def show() -> None:
            message = fill_image(Image(), robot.pictures[0])
            message.header.frame_id = "camera_optical"
            message.header.stamp = robot.node.get_clock().now().to_msg()
            robot.infos.publish(robot.info(message.header))
            moved = TransformStamped(child_frame_id="camera_optical")
            moved.header.stamp, moved.header.frame_id = message.header.stamp, "odom"
            t_3, q_4 = (values.tolist() for values in pose_to_quaternion(T_odom_camera))
            moved.transform.translation.x, moved.transform.translation.y, moved.transform.translation.z = t_3
            rotation = moved.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = q_4
            odometry.publish(moved)
            robot.images.publish(message)
            robot.spin_for(0.2)

        deadline_s = time.monotonic() + 20
        while not heard and time.monotonic() < deadline_s:
            show()
        assert heard, process.text
        heard.clear()
        robot.spin_for(0.5)  # no image, and so no fix
        assert len(heard) >= 5
        for heard_ns, message in heard:
            assert stamp_ns(message.header.stamp) > heard_ns
            t, q = message.transform.translation, message.transform.rotation
            T_map_camera = pose_from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w)) @ T_odom_camera
            distance_m, angle_rad = pose_error(robot.frames[0].T_world_camera, T_map_camera)
            assert distance_m < 0.1
            assert angle_rad < 0.1
        robot.spin_for(1.5)
        heard.clear()
        robot.spin_for(0.4)
        assert heard == []
        assert robot.values()["age of map to odom (s)"] == "none is sent"
