"""A dataset becomes a rosbag2 and comes back the same: images, stamps, cameras, poses, gravity."""

import re
from functools import partial

import numpy as np
import pytest
from bag_maker import T0_NS
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.recordings.bags import Recording, header_stamp_ns
from geo_training.datasets.recordings.from_bag import BagOptions, dataset_from_bags
from geo_training.datasets.recordings.to_bag import bag_from_dataset
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, invert_pose, make_pose, pose_from_quaternion, so3_exp

CAMERA = Camera(64, 48, 60.125, 61.5, 31.75, 23.25)


def pose_at(i):
    return make_pose(so3_exp([0.3, -0.1 * i, 0.05 * i]), [12.5 + 0.1 * i, -2.0, 0.3 * i])


def write_dataset(root, sequences=("a",), first_ns=T0_NS, apart_ns=10**10, **info):
    with SceneWriter(root, sources=["test"]) as writer:
        writer.describe(**({"scale": "metric", "scale_source": "test", "gravity_world": (0, 1, 0)} | info))
        camera_id = writer.add_camera(CAMERA)
        for s, sequence in enumerate(sequences):
            for i in range(8):
                image = np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)
                stamp_ns = first_ns + s * apart_ns + i * 100_000_000
                T = None if i == 5 else pose_at(i)
                writer.add_frame(
                    sequence, stamp_ns, camera_id, image, T_world_camera=T, split="test" if i > 5 else "train"
                )
    return SceneDataset(root)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compressed", [False, True])
def test_there_and_back(tmp_path, storage, compressed):
    dataset = write_dataset(tmp_path / "dataset")
    result = bag_from_dataset(tmp_path / "dataset", tmp_path / "bag", compressed=compressed, storage=storage)
    assert (result["frames"], result["posed_frames"], result["shift_ns"]) == (8, 7, 0)
    back_result = dataset_from_bags([tmp_path / "bag"], tmp_path / "back", BagOptions(fps=0))
    back = SceneDataset(tmp_path / "back")
    assert back_result["cameras_known"]
    assert back.camera(back.frames[0]) == CAMERA
    for old, new in zip(dataset.frames, back.frames, strict=True):
        assert new.stamp_ns == old.stamp_ns
        # The frame without a pose lies between two that have one.
        expected = old.T_world_camera if old.T_world_camera is not None else (pose_at(4) + pose_at(6)) / 2
        tolerance = 1e-6 if old.T_world_camera is not None else 1e-2
        assert np.abs(new.T_world_camera - expected).max() < tolerance
        assert np.abs(dataset.image(old).astype(int) - back.image(new)).mean() < 8
    assert back.info.gravity_world == (0, 1, 0)
    assert back.info.scale == "metric"
    assert not back_result["warnings"]


def test_a_world_of_unknown_scale_and_gravity_stays_unknown(tmp_path):
    write_dataset(tmp_path / "dataset", scale="unknown", gravity_world=None)
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    dataset_from_bags([tmp_path / "bag"], tmp_path / "back", BagOptions())
    info = SceneDataset(tmp_path / "back").info
    assert (info.scale, info.gravity_world) == ("unknown", None)


def test_compressed_images_are_the_files_of_the_dataset(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag", compressed=True)
    with Recording(tmp_path / "bag") as recording:
        messages = [message for _, _, message in recording.messages({"/camera/image_raw/compressed"})]
    for frame, message in zip(dataset.frames, messages, strict=True):
        assert message.data.tobytes() == dataset.image_path(frame).read_bytes()
        assert message.format == "jpeg"


def test_topics_frames_and_order(tmp_path):
    """Poses and CameraInfo come before the image of the same stamp; odometry begins at the identity."""
    write_dataset(tmp_path / "dataset")
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    topics = ("/ground_truth/pose", "/odom", "/camera/camera_info", "/camera/image_raw")
    with Recording(tmp_path / "bag") as recording:
        assert {t.name: t.count for t in recording.topics.values()} == dict(zip(topics, (7, 7, 8, 8), strict=True))
        read = list(recording.messages(set(topics)))
    assert tuple(topic for topic, _, _ in read[:4]) == topics
    for topic, time_ns, message in read:
        assert time_ns == message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        expected = {"/ground_truth/pose": "map", "/odom": "odom"}.get(topic, "camera_optical")
        assert message.header.frame_id == expected
    odometry = [message for topic, _, message in read if topic == "/odom"]
    for i, message in enumerate(odometry[:5]):
        p, q = message.pose.pose.position, message.pose.pose.orientation
        T_odom_camera = pose_from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        assert np.abs(T_odom_camera - invert_pose(pose_at(0)) @ pose_at(i)).max() < 1e-7
        assert message.child_frame_id == "camera_optical"
    linear = odometry[1].twist.twist.linear
    expected = pose_at(1)[:3, :3].T @ [1.0, 0.0, 3.0]
    assert np.abs(np.array([linear.x, linear.y, linear.z]) - expected).max() < 1e-6


def test_a_recording_that_begins_at_zero_is_moved(tmp_path):
    dataset = write_dataset(tmp_path / "dataset", first_ns=0)
    result = bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    assert result["shift_ns"] == 10**9
    dataset_from_bags([tmp_path / "bag"], tmp_path / "back", BagOptions(fps=0))
    back = SceneDataset(tmp_path / "back")
    assert [f.stamp_ns - 10**9 for f in back.frames] == [f.stamp_ns for f in dataset.frames]


def test_a_recording_that_begins_before_zero_is_moved(tmp_path):
    dataset = write_dataset(tmp_path / "dataset", first_ns=-5 * 10**9)
    assert bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")["shift_ns"] == 6 * 10**9
    dataset_from_bags([tmp_path / "bag"], tmp_path / "back", BagOptions(fps=0))
    back = SceneDataset(tmp_path / "back")
    assert [f.stamp_ns - 6 * 10**9 for f in back.frames] == [f.stamp_ns for f in dataset.frames]


def test_frames_come_in_the_order_of_their_stamps_whatever_that_of_their_names(tmp_path):
    """Rows of frames.csv out of order, and two frames of one stamp."""
    dataset = write_dataset(tmp_path / "dataset")
    stamps_ns = [T0_NS + k * 100_000_000 for k in (7, 2, 5, 2, 0, 1, 6, 3)]
    rows = [f"{f.name},{f.sequence},{ns},train,{f.camera_id}" for f, ns in zip(dataset.frames, stamps_ns, strict=True)]
    (tmp_path / "dataset/frames.csv").write_text("\n".join(["image,sequence,stamp_ns,split,camera", *rows]) + "\n")
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    with Recording(tmp_path / "bag") as recording:
        read = [header_stamp_ns(m, 0) for _, _, m in recording.messages({"/camera/image_raw"})]
        odometry = [m for _, _, m in recording.messages({"/odom"})]
    assert read == sorted(stamps_ns)
    twists = np.array([[m.twist.twist.linear.x, m.twist.twist.angular.z] for m in odometry])
    assert np.isfinite(twists).all()


@pytest.mark.parametrize(
    ("first_ns", "words"),
    [
        (T0_NS * 10**9, r"has the stamp 1.7e\+18 s, .* at most 2147483647 s"),  # nanoseconds taken as seconds
        (2**31 * 10**9, r"has the stamp 2.14748e\+09 s"),
        ((2**31 - 1) * 10**9 + 299_999_999 + 1, "a/000007"),  # the last of eight frames only
        (2**63, "has the stamp"),
        (10**40, "has the stamp"),
    ],
)
def test_stamps_beyond_what_a_message_holds_are_refused(tmp_path, first_ns, words):
    write_dataset(tmp_path / "dataset", first_ns=first_ns)
    done = invoke(train, "dataset", "to-bag", tmp_path / "dataset", "--out", tmp_path / "bag")
    assert done.exit_code == 1
    assert re.search(words, done.output)
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "bag").exists()


def test_the_last_stamp_that_a_message_holds(tmp_path):
    dataset = write_dataset(tmp_path / "dataset", first_ns=(2**31 - 1) * 10**9 + 299_999_999)
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    with Recording(tmp_path / "bag") as recording:
        read = [header_stamp_ns(m, 0) for _, _, m in recording.messages({"/camera/image_raw"})]
    assert read == [frame.stamp_ns for frame in dataset.frames]


def test_a_sequence_far_before_zero_and_one_of_today(tmp_path):
    with SceneWriter(tmp_path / "dataset", sources=["test"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for sequence, stamp_ns in (("a", -T0_NS), ("b", T0_NS)):
            writer.add_frame(sequence, stamp_ns, camera_id, np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"1.7e\+09 s of them since they begin before zero"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")


def test_one_sequence_one_split(tmp_path):
    write_dataset(tmp_path / "dataset", ("a", "b"))
    assert bag_from_dataset(tmp_path / "dataset", tmp_path / "all")["frames"] == 16
    assert bag_from_dataset(tmp_path / "dataset", tmp_path / "b", sequence="b")["sequences"] == ["b"]
    assert bag_from_dataset(tmp_path / "dataset", tmp_path / "test", sequence="a", split="test")["frames"] == 2
    with pytest.raises(InputError, match="no sequence 'c'; it has a, b"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "c", sequence="c")
    with pytest.raises(InputError, match="no frame of split 'val'"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "c", split="val")


def test_sequences_that_overlap_are_refused(tmp_path):
    write_dataset(tmp_path / "dataset", ("a", "b"), apart_ns=10**8)
    with pytest.raises(InputError, match=r"a and b overlap.*--sequence"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")


def test_nothing_is_overwritten_or_left_half_written(tmp_path):
    dataset = write_dataset(tmp_path / "dataset")
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    with pytest.raises(InputError, match="--overwrite"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    assert bag_from_dataset(tmp_path / "dataset", tmp_path / "bag", overwrite=True)["frames"] == 8
    with pytest.raises(InputError, match="is the source itself"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "dataset", overwrite=True)
    dataset.image_path(dataset.frames[3]).write_bytes(b"no image")
    for compressed in (False, True):
        with pytest.raises(InputError, match="cannot be read as an image"):
            bag_from_dataset(tmp_path / "dataset", tmp_path / "new", compressed=compressed)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "dataset"]


def test_a_recording_of_others_is_never_replaced(tmp_path):
    """A bag that our commands wrote says so in its metadata; any other one cannot be made again."""
    write_dataset(tmp_path / "dataset")
    bag_from_dataset(tmp_path / "dataset", tmp_path / "bag")
    metadata = tmp_path / "bag" / "metadata.yaml"
    text = metadata.read_text()
    assert "geo_perception.producer" in text
    metadata.write_text(text.replace("geo_perception.producer", "somebody.else"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "bag").iterdir()}
    with pytest.raises(InputError, match="not a bag of ours"):
        bag_from_dataset(tmp_path / "dataset", tmp_path / "bag", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "bag").iterdir()} == before


def test_the_commands_work_in_a_row(tmp_path):
    write_dataset(tmp_path / "dataset")
    run = partial(invoke, train)
    done = run("dataset", "to-bag", tmp_path / "dataset", "--out", tmp_path / "bag")
    assert done.exit_code == 0, done.output
    done = run("dataset", "from-bag", tmp_path / "bag", "--out", tmp_path / "back")
    assert done.exit_code == 0, done.output
    assert run("dataset", "to-bag", tmp_path / "none", "--out", tmp_path / "x").exit_code == 1
    wrong = run("dataset", "to-bag", tmp_path / "dataset", "--out", tmp_path / "x", "--storage", "tape")
    assert wrong.exit_code == 2
