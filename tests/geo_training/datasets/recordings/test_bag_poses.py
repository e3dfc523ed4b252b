"""Which pose an image of a recording gets: what is no rotation is left out and named, and every option counts."""

import re

import numpy as np
import pytest
from bag_maker import STEP_NS, T0_NS
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError
from geo_perception.geometry import make_pose, pose_to_quaternion, so3_exp

FRAMES = 6
IMAGE = np.full((48, 64, 3), 90, np.uint8)
# The camera looks along the robot's x axis, 20 cm before its centre and 50 cm above.
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]), [0.2, 0.0, 0.5])
T_MAP_ODOM = make_pose(so3_exp([0, 0, 0.5]), [3.0, 10.0, 0])


def base_at(i):
    return make_pose(so3_exp([0, 0, 0.2 * i]), [1.0 * i, 0, 0])


def put_images(maker, frames=FRAMES):
    for i in range(frames):
        maker.image(T0_NS + i * STEP_NS, IMAGE)
    return maker


def convert(bag, tmp_path, **options):
    result = dataset_from_bags([bag], tmp_path / "out", BagOptions(poses=PoseOptions(**options)), overwrite=True)
    return [frame.T_world_camera for frame in SceneDataset(tmp_path / "out").frames], result


def put_pose(maker, kind, i, T):
    """One pose of the camera in the world, by messages of one kind."""
    stamp_ns = T0_NS + i * STEP_NS
    if kind == "PoseStamped":
        maker.pose(stamp_ns, T)
    elif kind == "PoseWithCovarianceStamped":
        maker.pose_with_covariance(stamp_ns, T)
    elif kind == "Odometry":
        maker.odometry(stamp_ns, T, child="camera_optical")
    elif kind == "TransformStamped":
        maker.transform(stamp_ns, T)
    else:
        maker.tf(stamp_ns, ("map", "camera_optical", T))


KINDS = ("PoseStamped", "PoseWithCovarianceStamped", "Odometry", "TransformStamped", "TF")
SOURCES = {
    "PoseStamped": "/pose", "PoseWithCovarianceStamped": "/amcl_pose", "Odometry": "/odom",
    "TransformStamped": "/vicon/camera", "TF": "/tf ('map' to 'camera_optical')",
}  # fmt: skip
NAN, HUGE = float("nan"), 1e300


INF = float("inf")
NO_POSES = [
    ((0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (NAN, 0, 0, 1)), ((0, 0, 0), (HUGE, 0, 0, 1)), ((0, 0, 0), (0, 0, 0, 0.5)),
    ((0, 0, 0), (HUGE, HUGE, HUGE, HUGE)), ((0, 0, 0), (0, 0, 1, 1)), ((0, 0, 0), (0, 0, 0, INF)),
    ((NAN, 0, 0), (0, 0, 0, 1)), ((HUGE, 0, 0), (0, 0, 0, 1)), ((-INF, 0, 0), (0, 0, 0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ros1", [False, True])
def test_what_is_no_pose_costs_its_frame_and_no_other(bag_maker, tmp_path, kind, ros1):
    """Every second pose is bad in another way."""
    frames = 2 * len(NO_POSES)
    maker = put_images(bag_maker(ros1), frames)
    for i in range(frames):
        put_pose(maker, kind, i, NO_POSES[i // 2] if i % 2 else base_at(i))
    found, result = convert(maker.write("walk.bag" if ros1 else "walk"), tmp_path, max_gap_s=0.3)
    assert [T is not None for T in found] == [i % 2 == 0 for i in range(frames)]
    for i in range(0, frames, 2):
        assert np.abs(found[i] - base_at(i)).max() < 1e-6
    (warning,) = [w for w in result["warnings"] if "10 of 20 poses" in w]
    assert f"poses of {SOURCES[kind]} were left out; the first, at 1700000000.250 s: not a pose: " in warning
    assert "[0.0, 0.0, 0.0, 0.0] is no rotation" in warning
    assert "\n" not in warning
    assert any("used 20 (10 without a pose, 20 without a known camera)" in note for note in result["notes"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_a_rotation_but_for_rounding_is_normalized(bag_maker, tmp_path, kind):
    """Quaternions of two decimals, as text formats keep them: right to their last digit, exactly orthonormal."""
    maker = put_images(bag_maker())
    for i in range(FRAMES):
        t_3, q_xyzw = pose_to_quaternion(base_at(i))
        put_pose(maker, kind, i, (t_3, np.round(q_xyzw, 2)))
    found, result = convert(maker.write("walk"), tmp_path)
    for i, T in enumerate(found):
        assert np.abs(T[:3, :3].T @ T[:3, :3] - np.eye(3)).max() < 1e-12
        assert np.abs(T - base_at(i)).max() < 0.02
    assert not any("left out; the first" in warning for warning in result["warnings"])


def test_extrinsics_that_are_no_rotation_are_named_where_they_are_missed(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    maker.tf(T0_NS, ("base_link", "camera_optical", ((0, 0, 0), (0, 0, 0, 0))), topic="/tf_static")
    for i in range(FRAMES):
        maker.tf(T0_NS + i * STEP_NS, ("map", "base_link", base_at(i)))
    bag = maker.write("robot")
    with pytest.raises(InputError, match=r"1 of 1 poses of /tf_static \('base_link' to 'camera_optical'\) were left"):
        convert(bag, tmp_path, topic="/tf")
    _, result = convert(bag, tmp_path)
    assert result["posed_frames"] == 0
    assert any("/tf_static ('base_link' to 'camera_optical')" in warning for warning in result["warnings"])
    found, _ = convert(bag, tmp_path, pose_frame="base_link", T_pose_camera=T_BASE_CAMERA)
    assert np.abs(found[3] - base_at(3) @ T_BASE_CAMERA).max() < 1e-6


def test_a_topic_without_one_usable_pose_says_what_is_wrong_with_them(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    for i in range(FRAMES):
        maker.pose(T0_NS + i * STEP_NS, ((0, 0, 0), (0, 0, 0, 0)))
    bag = maker.write("walk")
    with pytest.raises(InputError, match=r"/pose holds no usable pose \(6 of 6 poses of /pose.*--pose none"):
        convert(bag, tmp_path)
    assert convert(bag, tmp_path, topic="none")[1]["frames"] == FRAMES


def test_poses_in_another_world_or_of_another_body_are_not_mixed(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    for i in range(FRAMES):
        maker.pose(T0_NS + i * STEP_NS, base_at(i), frame="map" if i < 4 else "odom")
    found, result = convert(maker.write("walk"), tmp_path)
    assert [T is not None for T in found] == [True] * 4 + [False] * 2
    assert any("2 of 6 poses" in w and "a pose in 'odom', while most are in 'map'" in w for w in result["warnings"])
    maker = put_images(bag_maker())
    for i in range(FRAMES):
        maker.odometry(T0_NS + i * STEP_NS, base_at(i), child="camera_optical" if i > 0 else "gripper")
    found, result = convert(maker.write("other"), tmp_path)
    assert [T is not None for T in found] == [False] + [True] * 5
    assert any("1 of 6 poses" in w and "of 'gripper'" in w for w in result["warnings"])


def robot(maker, body="base_link"):
    """TF from map over odom to the robot's body; no way to the camera, and no camera in TF."""
    for i in range(FRAMES):
        stamp_ns = T0_NS + i * STEP_NS
        maker.tf(stamp_ns, ("odom", body, base_at(i)), ("map", "odom", T_MAP_ODOM))
    return put_images(maker).write("robot")


@pytest.mark.parametrize(("body", "pose_frame"), [("base_link", None), ("base_link", "base_link"), ("mast", "mast")])
def test_extrinsics_of_the_command_line_count_where_poses_come_from_tf(bag_maker, tmp_path, body, pose_frame):
    bag = robot(bag_maker(), body)
    found, result = convert(bag, tmp_path, pose_frame=pose_frame, T_pose_camera=T_BASE_CAMERA)
    for i, T in enumerate(found):
        assert np.abs(T - T_MAP_ODOM @ base_at(i) @ T_BASE_CAMERA).max() < 1e-6
    assert result["world_frame"] == "map"
    assert any("extrinsics of --pose-camera" in note for note in result["notes"])


def test_extrinsics_of_the_command_line_win_over_those_of_tf(bag_maker, tmp_path):
    maker = bag_maker()
    maker.tf(T0_NS, ("base_link", "camera_optical", T_BASE_CAMERA), topic="/tf_static")
    bag = robot(maker)
    mine = make_pose(so3_exp([0.1, 0.2, 0.3]), [1, 2, 3])
    found, _ = convert(bag, tmp_path, T_pose_camera=mine)
    assert np.abs(found[2] - T_MAP_ODOM @ base_at(2) @ mine).max() < 1e-6
    found, _ = convert(bag, tmp_path, T_pose_camera=mine, map_frame="odom")
    assert np.abs(found[2] - base_at(2) @ mine).max() < 1e-6
    found, _ = convert(bag, tmp_path, pose_frame="base_link")
    assert np.abs(found[2] - T_MAP_ODOM @ base_at(2) @ T_BASE_CAMERA).max() < 1e-6


def test_frames_of_the_command_line_that_tf_does_not_know_are_refused(bag_maker, tmp_path):
    bag = robot(bag_maker(), "mast")
    with pytest.raises(InputError, match=r"not in which; give --pose-frame, of: map, mast, odom$"):
        convert(bag, tmp_path, T_pose_camera=T_BASE_CAMERA)
    with pytest.raises(InputError, match="TF does not lead from 'map' to 'gripper'"):
        convert(bag, tmp_path, T_pose_camera=T_BASE_CAMERA, pose_frame="gripper")
    with pytest.raises(InputError, match="TF does not lead from mast to the camera frame 'camera_optical'"):
        convert(bag, tmp_path, pose_frame="mast")
    with pytest.raises(InputError, match="the camera frame 'wrist'"):
        convert(bag, tmp_path, camera_frame="wrist")


def test_a_map_frame_moves_poses_of_messages_there_or_is_refused(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    maker.tf(T0_NS, ("map", "odom", T_MAP_ODOM), topic="/tf_static")
    for i in range(FRAMES):
        maker.odometry(T0_NS + i * STEP_NS, base_at(i), child="camera_optical")
    bag = maker.write("walk")
    found, result = convert(bag, tmp_path)
    assert result["world_frame"] == "odom"
    assert np.abs(found[4] - base_at(4)).max() < 1e-6
    found, result = convert(bag, tmp_path, map_frame="map")
    assert result["world_frame"] == "map"
    assert np.abs(found[4] - T_MAP_ODOM @ base_at(4)).max() < 1e-6
    with pytest.raises(InputError, match=r"the poses on /odom are in .odom., and TF does not lead .* to .earth."):
        convert(bag, tmp_path, map_frame="earth")


def test_a_camera_frame_without_a_way_to_it_is_refused(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    for i in range(FRAMES):
        maker.odometry(T0_NS + i * STEP_NS, base_at(i), child="vehicle")
    with pytest.raises(InputError, match="TF does not lead from vehicle to the camera frame 'wrist'"):
        convert(maker.write("walk"), tmp_path, camera_frame="wrist")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pose", "none", "--map-frame", "map"], "so --map-frame would have no effect"),
        (["--pose", "none", "--max-gap", "1"], "so --max-gap would have no effect"),
        (["--pose", "none", "--pose-camera", "0 0 0 0 0 0 1"], "so --pose-camera would have no effect"),
        (["--pose-camera", "0 0 0 0 0 0 1", "--camera-frame", "a"], "so --camera-frame would have no effect"),
        (["--K", "60,60,32,24", "--camera-info", "/camera/camera_info"], "so --camera-info would have no effect"),
        (["--pose-frame", "base_link"], "holds no poses, so --pose-frame would have no effect"),
        (["--pose-camera", "0 0 0 0 0 0 0"], "is no rotation"),
        (["--pose-camera", "0 0 0 0 0 0 nan"], "is no rotation"),
        (["--pose-camera", "0 0 0 0 0 0 x"], "is not seven numbers"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(bag_maker, tmp_path, options, words):
    bag = put_images(bag_maker()).write("walk")
    done = invoke(train, "dataset", "from-bag", bag, "--out", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_pose_topic_offers_topics_that_hold_poses(bag_maker, tmp_path):
    maker = put_images(bag_maker())
    maker.info(T0_NS)
    put_pose(maker, "PoseStamped", 0, base_at(0))
    maker.tf(T0_NS, ("map", "odom", T_MAP_ODOM))
    bag = maker.write("walk")
    for name in ("/nope", "/camera/image_raw"):
        with pytest.raises(InputError) as error:
            convert(bag, tmp_path, topic=name)
        offered = re.search("one of: (.*)", str(error.value)).group(1)
        assert offered == "/pose (geometry_msgs/PoseStamped, 1), /tf (tf2_msgs/TFMessage, 1)"
