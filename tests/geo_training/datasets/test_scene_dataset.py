"""The dataset layout: what is written is read, nothing half-made is left, mistakes are named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset, SceneWriter, camera_is_known

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
    dataset.save_info(dataset.info.model_copy(update={"gravity_world": (0.0, -1.0, 0.0)}))
    assert SceneDataset(root).info.gravity_world == (0.0, -1.0, 0.0)


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
        with pytest.raises(InputError, match=r"two frames are named a/x\.jpg"):
            writer.add_frame("a", 1, camera_id, grey(1), stem="x")
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
