"""The dataset layout: what is written is read, nothing half-made is left, mistakes are named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset, camera_is_known
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, so3_exp

CAMERA = Camera(32, 24, 30.0, 31.0, 15.5, 11.5)
RECORDED = Camera(32, 24, 29.0, 30.0, 15.0, 11.0, "plumb_bob", (0.1, 0.0, 0.0, 0.0))


def grey(value: int) -> np.ndarray:
    return np.full((24, 32, 3), value, np.uint8)


def write_half(out, overwrite=False):
    with SceneWriter(out, [], overwrite=overwrite) as writer:
        writer.add_frame("new", 0, writer.add_camera(CAMERA), grey(1))
        raise RuntimeError


@pytest.fixture
def root(tmp_path):
    with SceneWriter(tmp_path / "hall", sources=["hall.mcap"]) as writer:
        camera_id = writer.add_camera(CAMERA, recorded=RECORDED)
        pose = make_pose(so3_exp([0.1, 0.2, -0.3]), [1.0, 2.0, 3.0])
        depth_m = np.full((24, 32), 1.2345)
        depth_m[0, 0], depth_m[0, 1], depth_m[0, 2] = np.nan, np.inf, 0.0
        writer.add_frame("b", 5, camera_id, grey(40), stem="one", T_world_camera=pose, depth_m=depth_m, split="test")
        writer.add_frame("a", 9, camera_id, grey(80), stem="one", split="train")
        writer.add_frame("a", 7, camera_id, np.dstack([grey(200)[..., :1], grey(0)[..., :2]]), stem="two")
        writer.describe(scale="metric", scale_source="a ruler")
        writer.note("One message was broken.")
    return tmp_path / "hall"


def test_what_is_written_is_read(root):
    dataset = SceneDataset(root)
    assert [(frame.name, frame.stamp_ns, frame.split) for frame in dataset.frames] == [
        ("a/two.jpg", 7, ""),
        ("a/one.jpg", 9, "train"),
        ("b/one.jpg", 5, "test"),
    ]
    assert dataset.sequences == ["a", "b"]
    assert len(dataset) == 3
    assert [frame.name for frame in dataset.of_split("test")] == ["b/one.jpg"]
    assert dataset.camera(dataset.frames[0]) == CAMERA
    assert camera_is_known(root, "camera0")
    assert (dataset.info.scale, dataset.info.sources) == ("metric", ["hall.mcap"])
    assert dataset.info.notes == ["One message was broken."]
    recorded = json.loads((root / "cameras.json").read_text())["camera0"]["recorded"]
    assert recorded["distortion"] == [0.1, 0.0, 0.0, 0.0]


def test_images_are_rgb_and_depth_is_metres(root):
    first, second, posed = (dataset := SceneDataset(root)).frames
    red, green, blue = dataset.image(first)[12, 16]
    assert red > 190
    assert max(green, blue) < 10
    assert dataset.depth_m(second) is None
    depth_m = dataset.depth_m(posed)
    assert depth_m[5, 5] == pytest.approx(1.2345, abs=5.1e-4)  # whole millimetres
    assert depth_m[0, :3].tolist() == [0, 0, 0]


def test_poses_keep_nine_digits(root):
    frame = SceneDataset(root).frames[2]
    expected = make_pose(so3_exp([0.1, 0.2, -0.3]), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(frame.T_world_camera, expected, atol=1e-8)
    assert SceneDataset(root).frames[0].T_world_camera is None


def test_new_splits_and_poses_are_saved(root):
    dataset = SceneDataset(root)
    dataset.save_frames([replace(frame, split="val", T_world_camera=None) for frame in dataset.frames])
    assert {frame.split for frame in SceneDataset(root).frames} == {"val"}
    assert not (root / "poses.csv").exists()


def test_one_camera_twice_is_stored_once(tmp_path):
    with SceneWriter(tmp_path / "out", []) as writer:
        assert writer.add_camera(CAMERA) == writer.add_camera(CAMERA) == "camera0"
        assert writer.add_camera(CAMERA, known=False) == "camera1"
        writer.add_frame("a", 0, "camera1", grey(1))
    assert not camera_is_known(tmp_path / "out", "camera1")


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "out")
    with pytest.raises(InputError, match="no frame to write"), SceneWriter(tmp_path / "out", []):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_what_was_there(root):
    with pytest.raises(InputError, match="--overwrite"):
        SceneWriter(root, [])
    with pytest.raises(RuntimeError):
        write_half(root, overwrite=True)
    assert len(SceneDataset(root)) == 3


def test_clashing_names_and_bent_cameras_are_refused(tmp_path):
    with SceneWriter(tmp_path / "out", []) as writer:
        camera_id = writer.add_camera(CAMERA)
        writer.add_frame("a", 0, camera_id, grey(1), stem="x")
        with pytest.raises(InputError, match="two frames are named a/x"):
            writer.add_frame("a", 1, camera_id, grey(1), stem="x")
        (tmp_path / "x.png").write_bytes(b"of another format")
        with pytest.raises(InputError, match="two frames are named a/x"):
            writer.add_frame("a", 2, camera_id, image_file=tmp_path / "x.png", stem="x")
        with pytest.raises(InputError, match="without distortion"):
            writer.add_camera(RECORDED)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("dataset.json", '"format_version": 1', '"format_version": 9', "dataset format 9"),
        ("dataset.json", '"scale": "metric"', '"scale": "feet"', "scale"),
        ("dataset.json", '"notes"', '"nots"', "nots"),
        ("cameras.json", '"fx": 30.0', '"fx": 0', "not positive"),
        ("cameras.json", '"fx"', '"gx"', "cameras.json cannot be used"),
        ("frames.csv", "stamp_ns", "stamp", "lacks the column stamp_ns"),
        ("frames.csv", ",7,", ",soon,", "line 2 is not a frame"),
        ("frames.csv", "a/one.jpg", "a/two.jpg", "line 3 names a/two.jpg again"),
        ("poses.csv", ",1,2,3,", ",1,2,nan,", "poses.csv line 2"),
        ("frames.csv", "camera0", "camera7", "camera 'camera7'"),
        ("frames.csv", "train", "practice", "split 'practice'"),
        ("poses.csv", ",1,2,3,", ",1,x,3,", "poses.csv line 2"),
    ],
)
def test_a_damaged_dataset_is_answered_by_file_and_line(root, file, old, new, words):
    content = (root / file).read_text()
    assert old in content
    (root / file).write_text(content.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as refused:
        SceneDataset(root)
    assert "\n" not in str(refused.value)


def test_missing_files_are_answered(root, tmp_path):
    with pytest.raises(InputError, match="is not a dataset"):
        SceneDataset(tmp_path)
    dataset = SceneDataset(root)
    dataset.image_path(dataset.frames[0]).unlink()
    with pytest.raises(InputError, match="cannot be read as an image"):
        dataset.image(dataset.frames[0])
    (root / "frames.csv").unlink()
    with pytest.raises(InputError, match=r"no frames\.csv"):
        SceneDataset(root)


@pytest.mark.parametrize("depth_m", [80.0, 250.0, 0.01])
def test_depth_of_any_range_comes_back(tmp_path, depth_m):
    """KITTI's 80 m and a lidar's 250 m are more than 16-bit millimetres hold."""
    with SceneWriter(tmp_path / "far", []) as writer:
        values_hw = np.full((24, 32), depth_m, np.float32)
        values_hw[3, 4] = 0
        writer.add_frame("a", 0, writer.add_camera(CAMERA), grey(1), depth_m=values_hw)
    dataset = SceneDataset(tmp_path / "far")
    assert dataset.has_depth(dataset.frames[0])
    assert (dataset.depth_m(dataset.frames[0]) == values_hw).all()


def test_depth_of_another_size_than_its_image_is_answered(tmp_path):
    with SceneWriter(tmp_path / "odd", []) as writer:
        writer.add_frame("a", 0, writer.add_camera(CAMERA), grey(1), depth_m=np.ones((32, 24)))
    dataset = SceneDataset(tmp_path / "odd")
    with pytest.raises(InputError, match=r"is 24 x 32, its image 32 x 24"):
        dataset.depth_m(dataset.frames[0])


@pytest.mark.parametrize("name", ["../a/0.jpg", "/tmp/0.jpg", "a/../../0.jpg", "0.jpg"])
def test_a_name_never_leads_out_of_the_dataset(root, tmp_path, name):
    (root / "frames.csv").write_text((root / "frames.csv").read_text().replace("a/two.jpg", name))
    with pytest.raises(InputError, match=r"frames\.csv line 2 names .*, outside the dataset"):
        SceneDataset(root)
    with (
        pytest.raises(InputError, match="would lie outside the dataset"),
        SceneWriter(tmp_path / "out", []) as writer,
    ):
        writer.add_frame("..", 0, writer.add_camera(CAMERA), grey(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hall"]


def test_only_a_dataset_of_ours_is_replaced(tmp_path):
    """A folder that has a dataset.json of another program, and a dataset into which somebody put a recording."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "dataset.json").write_text('{"name": "somebody\'s"}')
    with pytest.raises(InputError, match="not a dataset of ours"):
        SceneWriter(out, [], overwrite=True)
    (out / "dataset.json").unlink()
    with SceneWriter(out, []) as writer:
        writer.add_frame("a", 0, writer.add_camera(CAMERA), grey(1))
    (out / "walk.bag").write_text("precious")
    with pytest.raises(InputError, match=r"also holds walk\.bag"):
        SceneWriter(out, [], overwrite=True)
    assert (out / "walk.bag").read_text() == "precious"
