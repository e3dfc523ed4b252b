"""What tells the scale, over real DDS: what is no number, no rotation or astray is dropped and counted."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion
from nav_msgs.msg import Odometry
from node_peer import HostingPeer
from sensor_msgs.msg import Imu, PointCloud2
from slow_node import SlowNode
from std_msgs.msg import Header

from geo_perception.depth.measurements import Attitude, Landmarks, MotionPose
from geo_perception.depth.node_parameters import PARAMETERS
from geo_perception.depth.scale_inputs import ScaleInputs
from geo_perception.ros.point_cloud import point_cloud_message

FIELDS = np.dtype([(name, "f4") for name in ("z", "u", "v", "sigma")])
UNIT = (0.0, 0.0, 0.0, 1.0)


class Hearing(SlowNode):
    """A node that takes what the scale comes from, and does nothing with it."""

    own_parameters = PARAMETERS

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inputs = ScaleInputs(self)

    def load(self) -> None:
        super().load()
        self.inputs.configure()

    def reset_state(self) -> None:
        self.inputs.clear()


class Robot(HostingPeer):
    def __init__(self):
        mounting = [0.2, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5]
        super().__init__(Hearing, "robot", lazy=False, odometry_camera_pose=mounting)
        self.hearing = self.hosted
        self.landmarks = self.node.create_publisher(PointCloud2, "matched_landmarks", 10)
        self.attitudes = self.node.create_publisher(Imu, "attitude", 10)
        self.odometry = self.node.create_publisher(Odometry, "odometry", 10)
        self.poses = self.node.create_publisher(PoseWithCovarianceStamped, "camera_pose", 10)
        self.start(self.landmarks, self.attitudes, self.odometry, self.poses)

    def tell(self, publisher, *messages) -> tuple[list, int]:
        """What of these messages is kept, and how many are counted as unusable, since the last reset."""
        self.hearing.reset("for the next test")
        for message in messages:
            publisher.publish(message)
            self.spin_for(0.03)
        self.spin_for(0.05)
        return self.hearing.inputs.take(self.hearing.epoch, "camera"), self.hearing.inputs.unusable


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    with Robot() as robot:
        yield robot


def header(stamp_s: float = 100.0, frame_id: str = "camera") -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(round(stamp_s * 1e9), 10**9)
    return header


def quaternion(q_4) -> Quaternion:
    return Quaternion(**dict(zip("xyzw", map(float, q_4), strict=True)))


def attitude(q_4=UNIT, variance_rad2: float = 1e-4, frame_id: str = "camera") -> Imu:
    message = Imu(header=header(frame_id=frame_id), orientation=quaternion(q_4))
    message.orientation_covariance = np.diag([variance_rad2] * 3).reshape(9)
    return message


def odometry(t_3=(1.0, 2.0, 0.0), q_4=UNIT, stamp_s: float = 100.0) -> Odometry:
    message = Odometry(header=header(stamp_s, "odom"), child_frame_id="base_link")
    position = message.pose.pose.position
    position.x, position.y, position.z = map(float, t_3)
    message.pose.pose.orientation = quaternion(q_4)
    return message


def landmarks(*z_m: float, sigma: float = 0.01) -> PointCloud2:
    points_n = np.zeros(len(z_m), FIELDS)
    points_n["z"], points_n["sigma"] = z_m, sigma
    return point_cloud_message(header(), points_n)


NO_ROTATIONS = [
    (0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1), (1e300, 0, 0, 0), (1e300,) * 4, (0, 0, 0, 3), (0.5, 0, 0, 0.5),
]  # fmt: skip


class TestAttitude:
    def test_a_good_one_is_kept_also_one_that_is_a_unit_but_for_rounding(self, robot):
        kept, unusable = robot.tell(robot.attitudes, attitude(), attitude((0, 0, 0, 1.02)))
        assert unusable == 0
        assert [type(told) for told in kept] == [Attitude, Attitude]
        for told in kept:
            np.testing.assert_allclose(told.up_3, [0, 0, 1], atol=1e-12)
            assert told.sigma_rad == pytest.approx(0.01)

    @pytest.mark.parametrize("q_4", NO_ROTATIONS)
    def test_one_that_is_no_rotation_is_counted(self, robot, q_4):
        assert robot.tell(robot.attitudes, attitude(q_4)) == ([], 1)

    @pytest.mark.parametrize("variance_rad2", [np.nan, np.inf, 0.0, -5.0])
    def test_one_with_a_covariance_that_cannot_be_is_counted(self, robot, variance_rad2):
        assert robot.tell(robot.attitudes, attitude(variance_rad2=variance_rad2)) == ([], 1)

    def test_a_frame_with_a_slash_before_it_is_the_same_frame(self, robot):
        kept, _ = robot.tell(robot.attitudes, attitude(frame_id="/camera"), attitude(frame_id="other"))
        assert len(kept) == 1


class TestOdometry:
    def test_a_good_one_is_kept(self, robot):
        kept, unusable = robot.tell(robot.odometry, odometry(q_4=(0, 0, 0.99, 0)))
        assert (len(kept), unusable) == (1, 0)
        assert isinstance(kept[0], MotionPose)
        np.testing.assert_allclose(kept[0].T_world_body[:3, :3], np.diag([-1, -1, 1]), atol=1e-12)
        np.testing.assert_allclose(kept[0].T_world_body[:3, 3], [1, 2, 0])

    @pytest.mark.parametrize("q_4", NO_ROTATIONS)
    def test_one_that_is_no_rotation_is_counted(self, robot, q_4):
        assert robot.tell(robot.odometry, odometry(q_4=q_4)) == ([], 1)

    @pytest.mark.parametrize("x_m", [np.nan, np.inf, 1e300])
    def test_one_that_is_nowhere_is_counted(self, robot, x_m):
        assert robot.tell(robot.odometry, odometry((x_m, 0, 0))) == ([], 1)

    @pytest.mark.parametrize("stray_s", [0.0, 20.0, 2e9])
    def test_one_wrong_stamp_breaks_nothing(self, robot, stray_s):
        stamps_s = (100.0, 100.1, stray_s, 100.2)
        kept, unusable = robot.tell(robot.odometry, *(odometry(stamp_s=stamp_s) for stamp_s in stamps_s))
        assert [told.stamp_ns for told in kept] == [100_000_000_000, 100_100_000_000, 100_200_000_000]
        assert unusable == 1


def camera_pose(t_3=(1.0, 2.0, 0.0), q_4=UNIT, stamp_s: float = 100.0, variances=(4e-4, 1e-6)):
    message = PoseWithCovarianceStamped(header=header(stamp_s, "map"))
    position = message.pose.pose.position
    position.x, position.y, position.z = map(float, t_3)
    message.pose.pose.orientation = quaternion(q_4)
    message.pose.covariance = np.diag(np.repeat(variances, 3)).reshape(36)
    return message


class TestCameraPose:
    def tell(self, robot, *messages, known: bool = True) -> tuple[list[MotionPose], int]:
        """The poses that are kept, and how many are unusable, after landmarks have come (`known`)."""
        robot.hearing.reset("for the next test")
        if known:
            robot.landmarks.publish(landmarks(2.0))
            robot.spin_for(0.1)
        for message in messages:
            robot.poses.publish(message)
            robot.spin_for(0.03)
        robot.spin_for(0.05)
        kept = robot.hearing.inputs.take(robot.hearing.epoch, "camera")
        return [told for told in kept if isinstance(told, MotionPose)], robot.hearing.inputs.unusable

    def test_a_good_one_is_kept_with_its_deviations(self, robot):
        (told,), unusable = self.tell(robot, camera_pose())
        assert unusable == 0
        assert (told.source, told.body_frame, told.world) == ("camera_pose", None, "map")
        assert (told.sigma_m, told.sigma_rad) == pytest.approx((0.02, 0.001))
        np.testing.assert_allclose(told.T_world_body[:3, 3], [1, 2, 0])

    def test_without_landmarks_a_scene_may_not_be_in_metres(self, robot):
        assert self.tell(robot, camera_pose(), known=False) == ([], 0)

    @pytest.mark.parametrize("variances", [(0.0, 1e-6), (np.nan, 1e-6), (4e-4, np.inf), (4e-4, -1e-6)])
    def test_one_that_does_not_say_how_certain_it_is_is_counted(self, robot, variances):
        assert self.tell(robot, camera_pose(variances=variances)) == ([], 1)

    @pytest.mark.parametrize("q_4", NO_ROTATIONS[:3])
    def test_one_that_is_no_rotation_is_counted(self, robot, q_4):
        assert self.tell(robot, camera_pose(q_4=q_4)) == ([], 1)

    def test_an_image_waits_for_its_pose_only_while_there_are_poses(self, robot):
        inputs, epoch = robot.hearing.inputs, robot.hearing.epoch + 1
        self.tell(robot)
        started_s = time.monotonic()
        inputs.wait_for_pose(epoch, 100 * 10**9, 5.0)
        assert time.monotonic() - started_s < 1.0
        self.tell(robot, camera_pose(stamp_s=100.0))
        epoch, started_s = robot.hearing.epoch, time.monotonic()
        inputs.wait_for_pose(epoch, 100 * 10**9, 5.0)
        assert time.monotonic() - started_s < 1.0, "it is there"
        inputs.wait_for_pose(epoch, 101 * 10**9, 0.2)
        assert 0.15 < time.monotonic() - started_s < 3.0, "it does not come"


class TestLandmarks:
    @pytest.mark.parametrize("z_m", [np.nan, np.inf, 0.0, -2.0, 1e30])
    def test_those_without_a_depth_are_left_out_and_a_message_of_only_such_is_counted(self, robot, z_m):
        assert robot.tell(robot.landmarks, landmarks(z_m, z_m)) == ([], 1)
        kept, unusable = robot.tell(robot.landmarks, landmarks(z_m, 2.0))
        assert unusable == 0
        assert isinstance(kept[0], Landmarks)
        assert kept[0].depth_m_n.tolist() == [2.0]

    @pytest.mark.parametrize("sigma", [np.nan, 0.0, -1.0])
    def test_those_that_claim_to_be_exact_or_nothing_are_of_no_use(self, robot, sigma):
        assert robot.tell(robot.landmarks, landmarks(2.0, sigma=sigma)) == ([], 1)

    def test_none_seen_is_no_fault(self, robot):
        kept, unusable = robot.tell(robot.landmarks, landmarks())
        assert (len(kept), unusable) == (1, 0)


@pytest.mark.parametrize(
    ("q_4", "words"),
    [((0, 0, 0, 0), "quaternion of zeros"), ((0, 0, 0, 2.0), "is no pose"), ((1e300, 0, 0, 0), "is no pose")],
)
def test_a_mounting_that_is_none_is_refused(q_4, words):
    spec = next(spec for spec in PARAMETERS if spec.name == "odometry_camera_pose")
    problem = spec.problem([1.0, 0.0, 0.0, *map(float, q_4)])
    assert problem.startswith("odometry_camera_pose ")
    assert words in problem
    assert spec.problem([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]) == ""
