"""7-Scenes, TUM RGB-D, KITTI odometry and Indoor-6, each from a tiny folder in its layout."""

import json

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.scene import SceneDataset
from image_files import write_image

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, make_pose, so3_exp


def write_depth(path, value, size=(640, 480)):
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = np.full(size[::-1], value, np.uint16)
    depth[0, 0] = 65535
    depth[0, 1] = 0
    cv2.imwrite(str(path), depth)


def pose_of(x: float) -> np.ndarray:
    return make_pose(so3_exp([0.1, 0.2, 0.3]), [x, 0.0, 0.5])


@pytest.fixture
def chess(tmp_path):
    root = tmp_path / "chess"
    for sequence in ("seq-01", "seq-03"):
        for number in (0, 3):
            stem = root / sequence / f"frame-{number:06d}"
            write_image(stem.with_name(stem.name + ".color.png"), size_px=(640, 480))
            write_depth(stem.with_name(stem.name + ".depth.png"), 1500)
            np.savetxt(stem.with_name(stem.name + ".pose.txt"), pose_of(number))
    (root / "TrainSplit.txt").write_text("sequence1\n")
    (root / "TestSplit.txt").write_text("sequence3\n")
    return root


def test_seven_scenes(chess, tmp_path):
    result = import_dataset(chess, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert result["format"] == "7scenes"
    assert result["splits"] == {"train": 2, "test": 2}
    frame = dataset.frames[1]
    assert (frame.name, frame.stamp_ns) == ("seq-01/frame-000003.png", 100_000_000)
    np.testing.assert_allclose(frame.T_world_camera, pose_of(3), atol=1e-7)
    camera, depth_m = dataset.camera(frame), dataset.depth_m(frame)
    assert (camera.fx_px, camera.cx_px, camera.cy_px) == (585.0, 320.0, 240.0)
    assert depth_m[5, 5] == pytest.approx(1.5)
    assert depth_m[0, 0] == depth_m[0, 1] == 0.0
    assert dataset.info.scale == "metric"


def test_linked_sequences_of_seven_scenes_have_the_names_of_their_links(chess, tmp_path):
    (chess / "seq-01").rename(tmp_path / "elsewhere")
    (chess / "seq-01").symlink_to(tmp_path / "elsewhere")
    assert "seq-01" in import_dataset(chess, tmp_path / "out")["sequences"]


def test_one_sequence_of_seven_scenes(chess, tmp_path):
    import_dataset(chess / "seq-03", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.sequences == ["seq-03"]
    assert {frame.split for frame in dataset.frames} == {"test"}  # the split files lie a folder above


def test_a_broken_seven_scenes_pose_costs_its_frame_the_pose(chess, tmp_path):
    (chess / "seq-01" / "frame-000000.pose.txt").write_text("1 0 0 0\n")
    result = import_dataset(chess, tmp_path / "out")
    assert (result["frames"], result["posed_frames"]) == (4, 3)
    assert any("frame-000000.pose.txt has 4 numbers" in note for note in result["notes"])
    (chess / "seq-01" / "frame-000000.pose.txt").write_text("-1.#IND 1.#QNAN inf nan\n" * 4)
    assert import_dataset(chess, tmp_path / "lost")["posed_frames"] == 3
    for file in chess.glob("*/*.pose.txt"):
        file.write_text("1 0 0 0\n")
    with pytest.raises(InputError, match=r"none of the 4 poses is one: .*frame-000000\.pose\.txt has 4 numbers"):
        import_dataset(chess, tmp_path / "none")


@pytest.fixture
def freiburg(tmp_path):
    root = tmp_path / "rgbd_dataset_freiburg3_desk"
    for stamp in ("10.000000", "10.100000", "10.200000"):
        write_image(root / "rgb" / f"{stamp}.png", size_px=(640, 480))
    write_depth(root / "depth" / "10.010000.png", 5000)
    lines = "".join(f"{stamp} rgb/{stamp}.png\n" for stamp in ("10.000000", "10.100000", "10.200000"))
    (root / "rgb.txt").write_text("# color images\n" + lines + "10.300000 rgb/10.300000.png\n")
    (root / "depth.txt").write_text("10.010000 depth/10.010000.png\n")
    (root / "groundtruth.txt").write_text("10.005 0 0 0 0 0 0 1\n10.095 9 0 0 0 0 0 1\n10.105 10 0 0 0 0 0 1\n")
    return root


def test_tum_is_joined_by_time(freiburg, tmp_path):
    result = import_dataset(freiburg, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert result["format"] == "tum"
    first, second, third = dataset.frames
    assert first.stamp_ns == 10_000_000_000
    assert first.T_world_camera[0, 3] == 0.0  # 5 ms before the first pose: that pose
    assert second.T_world_camera[0, 3] == pytest.approx(9.5)  # halfway
    assert third.T_world_camera is None  # 95 ms after the last one
    assert dataset.depth_m(first)[5, 5] == pytest.approx(1.0)
    assert dataset.depth_m(second) is None
    assert dataset.camera(first).fx_px == 535.4
    assert any("1 images of rgb.txt do not exist" in note for note in result["notes"])


def test_tum_lenses_follow_from_the_name(freiburg, tmp_path):
    first = freiburg.rename(tmp_path / "rgbd_dataset_freiburg1_desk")
    assert import_dataset(first, tmp_path / "a")["undistorted_images"] == 3
    unnamed = first.rename(tmp_path / "desk")
    result = import_dataset(unnamed, tmp_path / "b", options=ImportOptions(sequences=("desk",)))
    assert any("Kinect's default" in note for note in result["notes"])
    import_dataset(unnamed, tmp_path / "c", options=ImportOptions(K_33=np.diag([600.0, 600.0, 1.0])))
    assert SceneDataset(tmp_path / "c").cameras["camera0"].fx_px == 600.0


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("rgb.txt", "now rgb/1.png\n", "rgb.txt line 1 is not `stamp file`"),
        ("rgb.txt", "# nothing\n", "lists no images"),
        (
            "rgb.txt",
            "1305031102175304000 rgb/10.000000.png\n",
            "rgb.txt line 1: 1305031102175304000 is no time in seconds",
        ),
        ("groundtruth.txt", "1305031102175304000 0 0 0 0 0 0 1\n", "is no time in seconds"),
        ("groundtruth.txt", "10.0 1 2 3\n", "line of 4 numbers"),
        ("groundtruth.txt", "10.0 0 0 0 0 0 0 0\n", "not a pose"),
    ],
)
def test_broken_tum_files_are_named(freiburg, tmp_path, file, content, words):
    (freiburg / file).write_text(content)
    with pytest.raises(InputError, match=words):
        import_dataset(freiburg, tmp_path / "out")


@pytest.fixture
def odometry(tmp_path):
    root, K_33 = tmp_path / "odometry", np.array([[700.0, 0, 300], [0, 700, 100], [0, 0, 1]])
    folder = root / "sequences" / "07"
    for number in range(2):
        write_image(folder / "image_0" / f"{number:06d}.png", size_px=(600, 200))
        write_image(folder / "image_2" / f"{number:06d}.png", size_px=(600, 200))
    P0 = np.hstack([K_33, np.zeros((3, 1))])
    P2 = np.hstack([K_33, K_33 @ [[0.06], [0.0], [0.0]]])
    rows = {"P0": P0, "P1": P0, "P2": P2, "P3": P2}
    (folder / "calib.txt").write_text("".join(f"{k}: {' '.join(map(str, v.ravel()))}\n" for k, v in rows.items()))
    (folder / "times.txt").write_text("0.0\n1.037875e-01\n")
    (root / "poses").mkdir()
    turned = make_pose(so3_exp([0, np.pi / 2, 0]), [5.0, 0, 10.0])
    np.savetxt(root / "poses" / "07.txt", [np.eye(4)[:3].ravel(), turned[:3].ravel()])
    return root


def test_kitti_moves_the_pose_to_the_camera_that_is_taken(odometry, tmp_path):
    result = import_dataset(odometry, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert (result["format"], dataset.frames[1].name) == ("kitti", "07/000001.png")
    assert dataset.frames[1].stamp_ns == 103_787_500
    # Camera 2 stands 6 cm to the left of camera 0; a quarter turn to the right makes left the world's +z.
    np.testing.assert_allclose(dataset.frames[0].T_world_camera[:3, 3], [-0.06, 0, 0], atol=1e-9)
    np.testing.assert_allclose(dataset.frames[1].T_world_camera[:3, 3], [5.0, 0, 10.06], atol=1e-6)
    assert dataset.camera(dataset.frames[0]).fx_px == 700.0


def test_linked_sequences_of_kitti_have_the_names_of_their_links(odometry, tmp_path):
    (tmp_path / "disk").mkdir()
    (odometry / "sequences" / "07").rename(tmp_path / "disk" / "drive_a")
    (odometry / "sequences" / "07").symlink_to(tmp_path / "disk" / "drive_a")
    result = import_dataset(odometry, tmp_path / "out")
    assert (result["sequences"], result["posed_frames"]) == ({"07": 2}, 2)
    # A link from elsewhere finds the poses where the sequence really lies.
    (tmp_path / "disk" / "drive_a").rename(odometry / "sequences" / "08")
    (odometry / "poses" / "07.txt").rename(odometry / "poses" / "08.txt")
    (tmp_path / "mine").symlink_to(odometry / "sequences" / "08")
    result = import_dataset(tmp_path / "mine", tmp_path / "other")
    assert (result["sequences"], result["posed_frames"]) == ({"mine": 2}, 2)


def test_kitti_grey_and_single_sequences(odometry, tmp_path):
    for file in (odometry / "sequences" / "07" / "image_2").iterdir():
        file.unlink()
    import_dataset(odometry / "sequences" / "07", tmp_path / "out", "kitti")
    frame = SceneDataset(tmp_path / "out").frames[1]
    np.testing.assert_allclose(frame.T_world_camera[:3, 3], [5.0, 0, 10.0], atol=1e-6)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("sequences/07/calib.txt", "P0: 1 2 3\n", "has no P2"),
        ("sequences/07/calib.txt", "P2: 1 2 3\n", "not twelve numbers"),
        ("sequences/07/times.txt", "0.0\n", "1 lines for 2 images"),
        ("poses/07.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n", "1 poses for 2 images"),
    ],
)
def test_broken_kitti_files_are_named(odometry, tmp_path, file, content, words):
    (odometry / file).write_text(content)
    with pytest.raises(InputError, match=words):
        import_dataset(odometry, tmp_path / "out")


@pytest.fixture
def indoor6(tmp_path):
    root = tmp_path / "scene1"
    for session in ("monday", "tuesday"):
        for number in range(2):
            stem = root / "images" / f"{session}-{number:05d}"
            write_image(stem.with_name(stem.name + ".color.jpg"), size_px=(128, 72))
            np.savetxt(stem.with_name(stem.name + ".pose.txt"), invert_pose(pose_of(number))[:3])
            intrinsics = "128 72 100.0 64.0 36.0 0.0 first/name.png\n"
            stem.with_name(stem.name + ".intrinsics.txt").write_text(intrinsics)
    (root / "train_test_val.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    return root


def test_indoor6_holds_sessions_back_and_never_opens_the_dump(indoor6, tmp_path):
    result = import_dataset(indoor6, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert result["format"] == "indoor6"
    assert {frame.sequence: frame.split for frame in dataset.frames} == {"monday": "train", "tuesday": "test"}
    np.testing.assert_allclose(dataset.frames[1].T_world_camera, pose_of(1), atol=1e-7)
    camera = dataset.camera(dataset.frames[0])
    assert (camera.fx_px, camera.cx_px, camera.cy_px) == (100.0, 63.5, 35.5)
    assert any(".pkl of the data set" in note for note in result["notes"])


def test_indoor6_takes_splits_from_text(indoor6, tmp_path):
    (indoor6 / "split.json").write_text(
        json.dumps({"train": ["monday-00000.color.jpg"], "val": ["monday-00001.color.jpg"]})
    )
    import_dataset(indoor6, tmp_path / "a")
    assert [frame.split for frame in SceneDataset(tmp_path / "a").frames] == ["train", "val", "", ""]
    (indoor6 / "split.json").unlink()
    (indoor6 / "test.txt").write_text("images/tuesday-00001.color.jpg\n")
    import_dataset(indoor6, tmp_path / "b")
    assert [frame.split for frame in SceneDataset(tmp_path / "b").frames] == ["", "", "", "test"]


def test_indoor6_lenses_and_broken_files(indoor6, tmp_path):
    intrinsics = indoor6 / "images" / "monday-00000.intrinsics.txt"
    intrinsics.write_text("128 72 100.0 64.0 36.0 -0.15\n")
    assert import_dataset(indoor6, tmp_path / "a")["undistorted_images"] == 1
    intrinsics.write_text("128 72\n")
    with pytest.raises(InputError, match="W H f px py k"):
        import_dataset(indoor6, tmp_path / "b")


def test_each_layout_is_recognized(chess, freiburg, odometry, indoor6):
    assert [guess_format(root) for root in (chess, freiburg, odometry, indoor6)] == [
        "7scenes",
        "tum",
        "kitti",
        "indoor6",
    ]


def test_a_format_without_its_files_is_answered(tmp_path):
    for name in ("7scenes", "tum", "kitti", "indoor6", "transforms"):
        with pytest.raises(InputError) as refused:
            import_dataset(tmp_path, tmp_path / "out", name)
        assert "\n" not in str(refused.value)
