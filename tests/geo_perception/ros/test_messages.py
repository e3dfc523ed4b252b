"""A camera's attitude as sensor_msgs/Imu: right axes, honest covariance, what filters ask for."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, pose_from_quaternion, rotation_gravity_camera, so3_log, up_from_attitude
from geo_perception.ros.camera_info import camera_from_info
from geo_perception.ros.messages import (
    YAW_VARIANCE_RAD2,
    attitude_from_message,
    attitude_message,
    camera_info_message,
    depth_image,
    float_image,
    landmark_diameter_m,
    landmark_markers,
)

COVARIANCE_33 = np.array([[400.0, 0.1, 0.0], [0.1, 4e-4, 1e-4], [0.0, 1e-4, 9e-4]])
STAMP = Time(sec=12, nanosec=34)


def attitude(pitch_deg: float, roll_deg: float, body: bool = False, covariance_33=COVARIANCE_33):
    angles = np.radians(pitch_deg), np.radians(roll_deg)
    return attitude_message("frame", STAMP, *angles, covariance_33, body)


def rotation(message) -> np.ndarray:
    q = message.orientation
    return pose_from_quaternion((0, 0, 0), (q.x, q.y, q.z, q.w))[:3, :3]


def roll_pitch_yaw_deg(R_33: np.ndarray) -> list[float]:
    """R = Rz(yaw) Ry(pitch) Rx(roll), as robot_localization takes it apart."""
    angles = np.arctan2(R_33[2, 1], R_33[2, 2]), np.arcsin(-R_33[2, 0]), np.arctan2(R_33[1, 0], R_33[0, 0])
    return np.degrees(angles).tolist()


class TestOrientation:
    @pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (20, 0), (0, -15), (-35, 25), (80, 10)])
    def test_up_in_the_optical_frame_is_up_in_the_world(self, pitch_deg, roll_deg):
        up_3 = up_from_attitude(np.radians(pitch_deg), np.radians(roll_deg))
        np.testing.assert_allclose(rotation(attitude(pitch_deg, roll_deg)) @ up_3, [0, 0, 1], atol=1e-12)

    def test_a_level_optical_frame_looks_north_and_its_right_is_east(self):
        R_world_optical = rotation(attitude(0, 0))
        np.testing.assert_allclose(R_world_optical, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)

    def test_a_level_body_frame_is_the_world(self):
        np.testing.assert_allclose(rotation(attitude(0, 0, body=True)), np.eye(3), atol=1e-12)

    @pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(20, 0), (0, -15), (-35, 25)])
    def test_a_body_frame_has_the_roll_and_looking_up_is_a_negative_pitch(self, pitch_deg, roll_deg):
        found = roll_pitch_yaw_deg(rotation(attitude(pitch_deg, roll_deg, body=True)))
        np.testing.assert_allclose(found, [roll_deg, -pitch_deg, 0], atol=1e-9)

    @pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(20, 0), (0, -15)])
    def test_less_its_mounting_an_optical_frame_gives_the_same_roll_and_pitch(self, pitch_deg, roll_deg):
        # robot_localization subtracts the mounting's angles, then turns the rest by the mounting's yaw.
        mounting_deg = roll_pitch_yaw_deg(rotation_gravity_camera(0.0, 0.0))
        seen_deg = roll_pitch_yaw_deg(rotation(attitude(pitch_deg, roll_deg)))
        left_deg = np.subtract(seen_deg, mounting_deg)[:2]
        yaw_rad = np.radians(mounting_deg[2])
        turned = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]] @ left_deg
        np.testing.assert_allclose(turned, [roll_deg, -pitch_deg], atol=1e-9)


class TestCovariance:
    @pytest.mark.parametrize("body", [True, False])
    @pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (30, -20), (90, 0), (-90, 0)])
    def test_is_one_that_filters_accept(self, body, pitch_deg, roll_deg):
        message = attitude(pitch_deg, roll_deg, body)
        covariance_33 = np.array(message.orientation_covariance).reshape(3, 3)
        np.testing.assert_array_equal(covariance_33, covariance_33.T)
        assert np.linalg.eigvalsh(covariance_33).min() > 0
        assert covariance_33[2, 2] >= YAW_VARIANCE_RAD2
        q = message.orientation
        assert np.linalg.norm([q.x, q.y, q.z, q.w]) == pytest.approx(1.0, abs=1e-12)

    @pytest.mark.parametrize("body", [True, False])
    def test_is_that_of_small_turns_about_the_worlds_axes(self, body):
        angles_2, step = np.radians([30.0, -20.0]), 1e-6
        center_33 = rotation(attitude(30.0, -20.0, body))
        J_32 = np.zeros((3, 2))
        for index in range(2):
            moved_2 = angles_2.copy()
            moved_2[index] += step
            moved_33 = rotation(attitude_message("frame", STAMP, *moved_2, COVARIANCE_33, body))
            J_32[:, index] = so3_log(moved_33 @ center_33.T) / step
        expected_33 = J_32 @ COVARIANCE_33[1:, 1:] @ J_32.T
        found_33 = np.array(attitude(30.0, -20.0, body).orientation_covariance).reshape(3, 3)
        np.testing.assert_allclose(found_33[:2, :2], expected_33[:2, :2], atol=1e-8)

    def test_of_a_level_camera_by_hand(self):
        body = np.array(attitude(0, 0, body=True).orientation_covariance).reshape(3, 3)
        # Roll about x (9e-4), looking up about -y (4e-4), so their common 1e-4 changes sign.
        np.testing.assert_allclose(body[:2, :2], [[9e-4, -1e-4], [-1e-4, 4e-4]], atol=2e-9)
        optical = np.array(attitude(0, 0).orientation_covariance).reshape(3, 3)
        # Looking north: looking up turns about east, the roll about north.
        np.testing.assert_allclose(optical[:2, :2], [[4e-4, 1e-4], [1e-4, 9e-4]], atol=2e-9)

    def test_rates_are_marked_absent(self):
        message = attitude(0, 0)
        assert message.angular_velocity_covariance[0] == message.linear_acceleration_covariance[0] == -1
        assert (message.header.frame_id, message.header.stamp) == ("frame", STAMP)


def test_a_camera_info_gives_its_camera_back():
    camera = Camera(640, 480, 554.0, 554.0, 319.5, 239.5)
    message = camera_info_message(Header(stamp=STAMP, frame_id="optical"), camera)
    assert camera_from_info(message) == camera
    assert (message.distortion_model, list(message.d)) == ("plumb_bob", [0.0] * 5)
    assert list(message.p) == [554.0, 0, 319.5, 0, 0, 554.0, 239.5, 0, 0, 0, 1, 0]
    assert (message.header.stamp, message.header.frame_id) == (STAMP, "optical")


class TestReadingAnAttitude:
    @pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (20, 10), (-90, 0), (-35, 25)])
    def test_gives_up_back_and_its_worst_direction(self, pitch_deg, roll_deg):
        up_3, sigma_rad = attitude_from_message(attitude(pitch_deg, roll_deg, covariance_33=np.diag([1, 4e-4, 1e-4])))
        np.testing.assert_allclose(up_3, up_from_attitude(*np.radians([pitch_deg, roll_deg])), atol=1e-9)
        assert sigma_rad == pytest.approx(0.02, rel=1e-4)

    def test_the_heading_does_not_matter(self):
        message = attitude(20, 10)
        up_3, _ = attitude_from_message(message)
        from scipy.spatial.transform import Rotation

        q = message.orientation
        turned = Rotation.from_euler("z", 1.2) * Rotation.from_quat([q.x, q.y, q.z, q.w])
        q.x, q.y, q.z, q.w = turned.as_quat().tolist()
        np.testing.assert_allclose(attitude_from_message(message)[0], up_3, atol=1e-9)

    @pytest.mark.parametrize(
        ("covariance_9", "words"),
        [([-1.0] + [0.0] * 8, "holds no orientation"), ([0.0] * 9, "zero"), ([np.nan] * 9, "not finite")],
    )
    def test_one_without_orientation_or_certainty_is_refused(self, covariance_9, words):
        message = attitude(0, 0)
        message.orientation_covariance = covariance_9
        with pytest.raises(InputError, match=words):
            attitude_from_message(message)

    def test_a_quaternion_of_zeros_is_refused(self):
        message = attitude(0, 0)
        q = message.orientation
        q.x = q.y = q.z = q.w = 0.0
        with pytest.raises(InputError, match="not a pose"):
            attitude_from_message(message)


class TestDepthImages:
    DEPTH_M = np.array([[1.0, np.nan, np.inf], [0.0004, 65.535, 65.536]], np.float32)

    def test_metres_are_as_they_are(self):
        message = depth_image(Header(frame_id="optical"), self.DEPTH_M)
        assert (message.width, message.height, message.step, message.encoding) == (3, 2, 12, "32FC1")
        assert message.header.frame_id == "optical"
        np.testing.assert_array_equal(np.frombuffer(bytes(message.data), "<f4").reshape(2, 3), self.DEPTH_M)

    def test_millimetres_have_zero_for_what_they_cannot_say(self):
        message = depth_image(Header(), self.DEPTH_M, "16UC1")
        assert (message.step, message.encoding) == (6, "16UC1")
        assert np.frombuffer(bytes(message.data), "<u2").tolist() == [1000, 0, 0, 0, 65535, 0]

    def test_any_numbers_become_floats_and_a_strided_array_is_written_in_order(self):
        message = float_image(Header(), np.arange(12.0).reshape(3, 4)[:, ::2])
        assert np.frombuffer(bytes(message.data), "<f4").tolist() == [0, 2, 4, 6, 8, 10]

    def test_another_encoding_is_refused(self):
        with pytest.raises(InputError, match="cannot publish depth as '64FC1'"):
            depth_image(Header(), self.DEPTH_M, "64FC1")


class TestLandmarks:
    def test_one_marker_of_spheres_after_the_earlier_set_is_deleted(self):
        points_l3 = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], np.float32)
        clear, spheres = landmark_markers("map", STAMP, points_l3, 0.04).markers
        assert (clear.action, spheres.action) == (clear.DELETEALL, spheres.ADD)
        assert {clear.header.frame_id, spheres.header.frame_id} == {"map"}
        assert [[p.x, p.y, p.z] for p in spheres.points] == points_l3.tolist()
        assert (spheres.scale.x, spheres.pose.orientation.w) == (0.04, 1.0)

    def test_spheres_are_a_hundredth_of_the_middle_extent_and_never_nothing(self):
        along_x_l3 = np.zeros((11, 3))
        along_x_l3[:, 0] = np.arange(11)
        assert landmark_diameter_m(along_x_l3) == pytest.approx(0.08)  # from 1 m to 9 m
        assert landmark_diameter_m(np.ones((5, 3))) == 1e-3
        assert landmark_diameter_m(np.zeros((0, 3))) == 0.05
