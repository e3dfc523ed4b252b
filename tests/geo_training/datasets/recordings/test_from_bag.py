"""Recordings of every kind become the same dataset: images, stamps, cameras and poses as they were recorded."""

import re
import shutil

import cv2
import numpy as np
import pytest
import yaml
from bag_maker import STEP_NS, T0_NS, convert, pose_at
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.recordings.bags import Recording
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, pose_error, so3_exp


def textured(seed):
    """Squares of grey, 64 x 48: sharp, and not changed much by JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    return np.repeat(cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_NEAREST)[..., None], 3, axis=2)


def fill(maker, frames=6):
    """A walk of one frame and one pose each quarter of a second."""
    for i in range(frames):
        stamp_ns = T0_NS + i * STEP_NS
        maker.info(stamp_ns)
        maker.image(stamp_ns, textured(i))
        maker.pose(stamp_ns, pose_at(i))
    return maker


def assert_is_the_walk(dataset, frames=6):
    assert [f.stamp_ns for f in dataset.frames] == [T0_NS + i * STEP_NS for i in range(frames)]
    assert dataset.camera(dataset.frames[0]) == Camera(64, 48, 60, 60, 31.5, 23.5)
    for i, frame in enumerate(dataset.frames):
        assert np.abs(frame.T_world_camera - pose_at(i)).max() < 1e-6
        assert np.abs(dataset.image(frame).astype(int) - textured(i)).mean() < 12
    assert dataset.info.scale == "metric"
    assert dataset.info.gravity_world == (0, 0, -1)
    assert dataset.info.world_frame == "map"


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        ("mcap", "none"), ("mcap", "storage"), ("mcap", "message"), ("mcap", "file"),
        ("sqlite3", "none"), ("sqlite3", "message"), ("sqlite3", "file"),
    ],
)  # fmt: skip
def test_ros2_bags(bag_maker, tmp_path, storage, compression):
    bag = fill(bag_maker()).write("walk", storage, compression)
    dataset, result = convert(bag, tmp_path)
    assert_is_the_walk(dataset)
    assert dataset.sequences == ["walk"]
    assert (result["frames"], result["posed_frames"]) == (6, 6)


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_ros1_bags(bag_maker, tmp_path, compression):
    dataset, _ = convert(fill(bag_maker(ros1=True)).write("walk.bag", compression=compression), tmp_path)
    assert_is_the_walk(dataset)
    assert dataset.sequences == ["walk"]


@pytest.mark.parametrize(("storage", "suffix"), [("mcap", "mcap"), ("sqlite3", "db3")])
def test_a_single_file_without_its_metadata(bag_maker, tmp_path, storage, suffix):
    bag = fill(bag_maker()).write("walk", storage)
    single = shutil.copy(bag / f"walk.{suffix}", tmp_path / f"alone.{suffix}")
    dataset, _ = convert(single, tmp_path)
    assert_is_the_walk(dataset)
    assert dataset.sequences == ["alone"]


def test_a_split_bag_is_one_sequence(bag_maker, tmp_path):
    first, second = bag_maker(), bag_maker()
    whole = fill(bag_maker())
    first.messages, second.messages = whole.messages[:9], whole.messages[9:]
    folder, rest = first.write("walk"), second.write("rest")
    shutil.move(folder / "walk.mcap", folder / "walk_0.mcap")
    shutil.move(rest / "rest.mcap", folder / "walk_1.mcap")
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = ["walk_0.mcap", "walk_1.mcap"]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    dataset, _ = convert(folder, tmp_path)
    assert_is_the_walk(dataset)


def test_compressed_images(bag_maker, tmp_path):
    maker = bag_maker()
    for i in range(4):
        maker.jpeg(T0_NS + i * STEP_NS, textured(i))
        maker.info(T0_NS + i * STEP_NS)
    dataset, _ = convert(maker.write("walk"), tmp_path)
    assert len(dataset) == 4
    assert dataset.camera(dataset.frames[0]).fx_px == 60
    assert dataset.frames[0].T_world_camera is None
    assert dataset.info.scale == "unknown"


def test_of_each_interval_the_sharpest_image_is_kept(bag_maker, tmp_path):
    """20 images a second; in each quarter of a second the one at a known place is sharp."""
    maker, sharp_ns = bag_maker(), []
    for i in range(20):
        stamp_ns = T0_NS + i * 50_000_000
        sharp = i % 5 == (i // 5 + 1) % 5
        maker.image(stamp_ns, textured(3) if sharp else cv2.blur(textured(3), (5, 5)))
        sharp_ns += [stamp_ns] if sharp else []
    bag = maker.write("walk")
    dataset, _ = convert(bag, tmp_path)
    assert [f.stamp_ns for f in dataset.frames] == sharp_ns
    every, _ = convert(bag, tmp_path, fps=0)
    assert len(every) == 20


def test_the_stamp_of_the_header_counts_and_a_zero_stamp_does_not(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, textured(0), receive_ns=T0_NS + 70_000_000)
    maker.image(0, textured(1), receive_ns=T0_NS + STEP_NS)
    dataset, _ = convert(maker.write("walk"), tmp_path)
    assert [f.stamp_ns for f in dataset.frames] == [T0_NS, T0_NS + STEP_NS]


def test_poses_are_interpolated_at_the_stamp_of_the_image(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS + 100_000_000, textured(0))
    maker.pose(T0_NS, make_pose(so3_exp([0, 0, 0.2]), [1.0, 0, 0]))
    maker.pose(T0_NS + 400_000_000, make_pose(so3_exp([0, 0, 0.6]), [3.0, 0, 4.0]))
    dataset, _ = convert(maker.write("walk"), tmp_path)
    expected = make_pose(so3_exp([0, 0, 0.3]), [1.5, 0, 1.0])
    assert np.abs(dataset.frames[0].T_world_camera - expected).max() < 1e-6


def test_a_pose_is_not_made_up_across_a_gap_or_outside(bag_maker, tmp_path):
    maker = bag_maker()
    for i in range(10):
        maker.image(T0_NS + i * STEP_NS, textured(i))
    for i in (1, 2, 6, 7):
        maker.pose(T0_NS + i * STEP_NS, pose_at(i))
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert [f.T_world_camera is not None for f in dataset.frames] == [i in (1, 2, 6, 7) for i in range(10)]
    assert any("6 of 10 images" in warning for warning in result["warnings"])
    dataset, _ = convert(tmp_path / "walk", tmp_path, max_gap_s=1.0)
    assert [f.T_world_camera is not None for f in dataset.frames] == [1 <= i <= 7 for i in range(10)]


# The camera looks along the robot's x axis: optical z is forward, optical x is right, optical y is down.
R_BASE_CAMERA = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])
T_BASE_CAMERA = make_pose(R_BASE_CAMERA, [0.2, 0.0, 0.5])


def robot_bag(maker, kind):
    """The robot turns about z and drives; the camera is mounted on it, by way of a mast."""
    mast = make_pose(np.eye(3), [0.2, 0.0, 0.0]), make_pose(R_BASE_CAMERA, [0.0, 0.0, 0.5])
    static = ("base_link", "mast", mast[0]), ("mast", "camera_optical", mast[1])
    maker.tf(T0_NS, *static, topic="/tf_static")
    for i in range(6):
        stamp_ns = T0_NS + i * STEP_NS
        base = make_pose(so3_exp([0, 0, 0.2 * i]), [1.0 * i, 0, 0])
        if kind == "odometry":
            maker.odometry(stamp_ns, base)
        elif kind == "amcl":
            maker.pose_with_covariance(stamp_ns, base)
        else:
            maker.tf(stamp_ns, ("odom", "base_link", base))
            maker.tf(stamp_ns, ("map", "odom", make_pose(np.eye(3), [0, 10.0, 0])))
        maker.image(stamp_ns + 125_000_000 * (i < 5), textured(i))
    return maker.write("robot")


@pytest.mark.parametrize(
    ("kind", "frame", "offset"), [("odometry", "odom", 0.0), ("amcl", "map", 0.0), ("tf", "map", 10.0)]
)
def test_a_body_pose_becomes_the_camera_pose(bag_maker, tmp_path, kind, frame, offset):
    dataset, _ = convert(robot_bag(bag_maker(), kind), tmp_path)
    assert dataset.info.world_frame == frame
    for i, found in enumerate(dataset.frames[:5]):
        base = make_pose(so3_exp([0, 0, 0.2 * (i + 0.5)]), [i + 0.5, offset, 0])
        assert np.abs(found.T_world_camera - base @ T_BASE_CAMERA).max() < 1e-6


def test_extrinsics_from_the_command_line_win(bag_maker, tmp_path):
    T_pose_camera = make_pose(so3_exp([0.1, 0.2, 0.3]), [1, 2, 3])
    dataset, _ = convert(robot_bag(bag_maker(), "odometry"), tmp_path, T_pose_camera=T_pose_camera)
    base = make_pose(so3_exp([0, 0, 0.1]), [0.5, 0, 0])
    assert np.abs(dataset.frames[0].T_world_camera - base @ T_pose_camera).max() < 1e-6


def test_frames_that_tf_does_not_connect(bag_maker, tmp_path):
    bag = robot_bag(bag_maker(), "tf")
    with pytest.raises(
        InputError, match=r"--map-frame and --camera-frame, of: base_link, camera_optical, map, mast, odom"
    ):
        convert(bag, tmp_path, topic="/tf", camera_frame="gripper")
    with pytest.raises(InputError, match="TF does not lead from 'earth'"):
        convert(bag, tmp_path, topic="/tf", map_frame="earth")
    with pytest.raises(InputError, match="TF does not lead from wheel"):
        convert(robot_bag_named(bag_maker(), tmp_path), tmp_path, pose_frame="wheel")


def test_a_frame_with_two_parents_keeps_the_first(bag_maker, tmp_path):
    maker = bag_maker()
    for i in range(4):
        stamp_ns = T0_NS + i * STEP_NS
        maker.tf(stamp_ns, ("map", "camera_optical", pose_at(i)))
        maker.tf(stamp_ns + 1, ("elsewhere", "camera_optical", np.eye(4)), ("camera_optical", "map", np.eye(4)))
        maker.image(stamp_ns, textured(i))
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert all(np.abs(f.T_world_camera - pose_at(i)).max() < 1e-6 for i, f in enumerate(dataset.frames))
    assert any("second parent to camera_optical, map" in warning for warning in result["warnings"])


def robot_bag_named(maker, tmp_path):
    shutil.rmtree(tmp_path / "robot")
    return robot_bag(maker, "odometry")


def test_a_pose_of_an_unknown_body_is_taken_as_the_cameras_and_said_so(bag_maker, tmp_path):
    maker = bag_maker()
    for i in range(3):
        maker.image(T0_NS + i * STEP_NS, textured(i))
        maker.odometry(T0_NS + i * STEP_NS, pose_at(i), child="vehicle")
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert np.abs(dataset.frames[1].T_world_camera - pose_at(1)).max() < 1e-6
    assert any("'vehicle'" in warning and "--pose-camera" in warning for warning in result["warnings"])


def test_pose_topics_are_chosen_in_order_and_never_from_commands(bag_maker, tmp_path):
    maker = fill(bag_maker())
    for i in range(6):
        maker.odometry(T0_NS + i * STEP_NS, np.eye(4))
        maker.pose(T0_NS + i * STEP_NS, np.eye(4), topic="/goal_pose")
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert_is_the_walk(dataset)
    assert result["scale_source"] == "recorded poses on /pose"
    none, _ = convert(tmp_path / "walk", tmp_path, topic="none")
    assert none.frames[0].T_world_camera is None
    odometry, _ = convert(tmp_path / "walk", tmp_path, topic="/odom")
    assert np.allclose(odometry.frames[3].T_world_camera, np.eye(4))


def test_two_pose_topics_of_one_type_are_a_question(bag_maker, tmp_path):
    maker = fill(bag_maker())
    for i in range(6):
        maker.pose(T0_NS + i * STEP_NS, pose_at(i), topic="/other")
    with pytest.raises(InputError, match="/other, /pose"):
        convert(maker.write("walk"), tmp_path)


def test_several_cameras_and_bags_never_share_a_name(bag_maker, tmp_path):
    for folder in ("monday", "tuesday"):
        maker = bag_maker()
        maker.folder = tmp_path / folder
        for i in range(2):
            for side in ("left", "right"):
                maker.image(T0_NS + i * STEP_NS, textured(i), topic=f"/rig/{side}/image_raw")
                maker.info(
                    T0_NS + i * STEP_NS,
                    topic=f"/rig/{side}/camera_info",
                    k=[50.0 + 10 * (side == "left"), 0, 32, 0, 60, 24, 0, 0, 1],
                )
        maker.folder.mkdir()
        maker.write("walk")
    bags = [tmp_path / "monday/walk", tmp_path / "tuesday/walk"]
    with pytest.raises(InputError, match=r"several image topics.*left.*right"):
        convert(bags, tmp_path)
    dataset, _ = convert(bags, tmp_path, images=("/rig/left/image_raw", "/rig/right/image_raw"))
    assert set(dataset.sequences) == {"walk_rig_left", "walk_rig_right", "walk_rig_left_2", "walk_rig_right_2"}
    assert len({frame.name for frame in dataset.frames}) == 8
    assert {dataset.camera(f).fx_px for f in dataset.frames if "left" in f.sequence} == {60}
    assert {dataset.camera(f).fx_px for f in dataset.frames if "right" in f.sequence} == {50}


def test_distortion_is_taken_out_once_and_the_lens_is_kept(bag_maker, tmp_path):
    """A dot drawn where the lens puts a known direction lies where the pinhole puts it."""
    lens = Camera(64, 48, 60, 60, 31.5, 23.5, "plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))
    point = np.array([[-0.22, 0.16, 1.0]])
    seen = lens.project(point)[0]
    y, x = np.mgrid[0:48, 0:64]
    spot = np.exp(-((x - seen[0]) ** 2 + (y - seen[1]) ** 2) / 4)
    maker = bag_maker()
    maker.image(T0_NS, np.repeat((255 * spot).astype(np.uint8)[..., None], 3, axis=2))
    maker.info(T0_NS, d=lens.distortion)
    dataset, _ = convert(maker.write("walk"), tmp_path)
    camera = dataset.camera(dataset.frames[0])
    grey = dataset.image(dataset.frames[0])[..., 0].astype(float)
    grey[grey < 40] = 0
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    found = np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum()
    assert camera.model == "pinhole"
    assert np.abs(found - camera.project(point)[0]).max() < 0.3
    assert '"recorded"' in (tmp_path / "out/cameras.json").read_text()


def test_without_camera_info_the_focal_length_is_a_guess_or_given(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, textured(0))
    bag = maker.write("walk")
    _, result = convert(bag, tmp_path)
    assert result["cameras_known"] is False
    assert any("--K fx,fy,cx,cy" in warning for warning in result["warnings"])
    dataset, result = convert(bag, tmp_path, K_33=np.array([[70.0, 0, 32], [0, 71, 24], [0, 0, 1]]))
    assert result["cameras_known"] is True
    assert dataset.camera(dataset.frames[0]) == Camera(64, 48, 70, 71, 32, 24)


def test_one_k_is_not_for_cameras_of_two_sizes(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, textured(0), topic="/left/image")
    maker.image(T0_NS, np.ascontiguousarray(textured(0)[:, :48]), topic="/right/image")
    K_33 = np.array([[70.0, 0, 24], [0, 71, 24], [0, 0, 1]])
    with pytest.raises(InputError, match="before are 64 x 48 and those of /right/image 48 x 48; import them into"):
        convert(maker.write("walk"), tmp_path, images=("/left/image", "/right/image"), K_33=K_33)


def test_a_k_of_zeros_is_named(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, textured(0))
    maker.info(T0_NS, k=[0.0] * 9)
    _, result = convert(maker.write("walk"), tmp_path)
    assert result["cameras_known"] is False
    assert any("uncalibrated" in warning for warning in result["warnings"])


def test_camera_info_of_another_shape_is_refused(bag_maker, tmp_path):
    maker = bag_maker()
    maker.image(T0_NS, textured(0))
    maker.info(T0_NS, width=64, height=64)
    with pytest.raises(InputError, match="64 x 48 and its camera 64 x 64 pixels, of another shape"):
        convert(maker.write("walk"), tmp_path)
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_decoded_are_counted(bag_maker, tmp_path):
    maker = fill(bag_maker())
    maker.image(T0_NS + 10, textured(0), encoding="tv8")
    maker.image(T0_NS + 20, textured(0), data=np.zeros(7, np.uint8))
    maker.image(T0_NS + 30, textured(0), height=0)
    dataset, result = convert(maker.write("walk"), tmp_path)
    assert_is_the_walk(dataset)
    assert any("3 of 9 images" in warning and "tv8" in warning for warning in result["warnings"])


def test_a_missing_topic_lists_what_there_is(bag_maker, tmp_path):
    bag = fill(bag_maker()).write("walk")
    there = "/camera/camera_info (sensor_msgs/CameraInfo, 6)", "/camera/image_raw (sensor_msgs/Image, 6)"
    for options, fitting in (({"images": ("/nope",)}, there[1]), ({"camera_infos": ("/nope",)}, there[0])):
        with pytest.raises(InputError, match=f"has no topic /nope.*one of: {re.escape(fitting)}$"):
            convert(bag, tmp_path, **options)
    with pytest.raises(InputError, match="is a geometry_msgs/PoseStamped, not sensor_msgs/Image or"):
        convert(bag, tmp_path, images=("/pose",))


def test_a_bag_without_images(bag_maker, tmp_path):
    maker = bag_maker()
    maker.pose(T0_NS, np.eye(4))
    with pytest.raises(InputError, match=r"no image topic: no sensor_msgs/Image") as error:
        convert(maker.write("walk"), tmp_path)
    assert "/pose" not in str(error.value)  # it does not fit


def test_the_command_answers_with_one_line(bag_maker, tmp_path):
    bag = fill(bag_maker()).write("walk")
    out = tmp_path / "dataset"
    done = invoke(train, "dataset", "from-bag", bag, "--out", out, "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    assert_is_the_walk(SceneDataset(out))
    assert yaml.safe_load((tmp_path / "r.json").read_text())["posed_frames"] == 6
    again = invoke(train, "dataset", "from-bag", bag, "--out", out)
    assert again.exit_code == 1
    assert invoke(train, "dataset", "from-bag").exit_code == 2


def test_a_real_recording_of_a_stereo_fisheye(shared_data, tmp_path):
    bag = shared_data / "bag" / "trimmed_locoffice.bag"
    with Recording(bag) as recording:
        assert {t.name: t.count for t in recording.of_type("sensor_msgs/msg/Image")} == {
            "/camera/fisheye1/image_raw": 3, "/camera/fisheye2/image_raw": 3,
        }  # fmt: skip
    images = ("/camera/fisheye1/image_raw", "/camera/fisheye2/image_raw")
    dataset, result = convert(bag, tmp_path, images=images, fps=0)
    assert result["frames"] == 6
    assert dataset.image(dataset.frames[0]).shape == (800, 848, 3)
    posed = [f for f in dataset.frames if f.T_world_camera is not None]
    assert len(posed) == 4
    assert pose_error(posed[0].T_world_camera, posed[1].T_world_camera)[0] < 0.1
