"""Where images with true depth come from: our datasets and the two kinds of sample folders; what is wrong is told."""

import json

import cv2
import numpy as np
import pytest
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.evaluation.depth.set import find_queries, guess_preset

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose

CAMERA = Camera(12, 8, 10.0, 11.0, 5.5, 3.5)


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


@pytest.fixture
def dataset(tmp_path):
    """Four frames: train without depth, three of test, of which the last one has no depth."""
    with SceneWriter(tmp_path / "walk", sources=["test"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for i, deep in enumerate((False, True, True, False)):
            depth_m = np.full((8, 12), 2.0 + i, np.float32)
            depth_m[0] = np.nan
            depth_m[1] = 70.0  # more than 16-bit millimetres hold
            writer.add_frame("walk", i * 10**9, camera_id, image_rgb=np.full((8, 12, 3), 10 * i, np.uint8),
                             T_world_camera=make_pose(np.eye(3), [i, 0, 0]), depth_m=depth_m if deep else None,
                             split="test" if i else "train")  # fmt: skip
        writer.describe(scale="metric", scale_source="test")
    write(tmp_path / "walk" / "masks" / "walk" / "000001.png", np.full((8, 12), 300, np.uint16))
    return tmp_path / "walk"


def test_a_dataset_gives_the_frames_of_its_split(dataset):
    queries, words = find_queries(dataset)
    assert [query.name for query in queries] == ["walk/000001.jpg", "walk/000002.jpg", "walk/000003.jpg"]
    assert words == f"{dataset} (split test)"
    assert len(find_queries(dataset, "all")[0]) == 4
    assert [query.load_depth_m is None for query in queries] == [False, False, True]
    first = queries[0]
    depth_hw = first.load_depth_m()
    assert depth_hw.dtype == np.float32
    # What is unknown stays so, and what millimetres in 16 bits cannot hold is kept in metres.
    assert depth_hw[:, 0] == pytest.approx([0, 70, *[3.0] * 6])
    assert first.load_instances()[0, 0] == 300
    assert queries[1].load_instances is None
    assert first.camera == CAMERA
    assert (first.sequence, first.stamp_s) == ("walk", 1.0)
    assert first.T_world_camera[0, 3] == 1.0
    assert first.load_image().shape == (8, 12, 3)


def test_poses_of_unknown_scale_are_no_truth(dataset):
    content = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(content | {"scale": "unknown"}))
    assert all(query.T_world_camera is None for query in find_queries(dataset)[0])


@pytest.fixture
def annotated(tmp_path):
    root = tmp_path / "samples"
    write(root / "rgb" / "7.png", np.full((8, 12, 3), (1, 2, 3), np.uint8))
    write(root / "depth" / "7.png", np.full((8, 12), 512, np.uint16))
    entry = {"cam_in": [10, 11, 5, 4], "rgb": "data/elsewhere/rgb/7.png", "depth": "x/depth/7.png", "depth_scale": 256}
    (root / "test_annotations.json").write_text(json.dumps({"files": [entry]}))
    return root, entry


def test_annotations_are_found_whatever_their_paths_start_with(annotated):
    (query,), words = find_queries(annotated[0])
    assert words == str(annotated[0])
    assert query.name == "7.png"
    assert query.camera == Camera(12, 8, 10.0, 11.0, 5.0, 4.0)
    assert (query.load_depth_m() == 2.0).all()
    assert query.load_image()[0, 0].tolist() == [3, 2, 1]
    assert query.T_world_camera is None


def test_a_tum_sample_is_read_in_the_order_of_its_numbers(tmp_path):
    for i in (2, 10):
        write(tmp_path / "rgb" / f"{i}.png", np.full((8, 12, 3), i, np.uint8))
        write(tmp_path / "depth" / f"{i}.png", np.full((8, 12), 1000 * i, np.uint16))
    entries = {
        str(i): {"rgb": f"rgb/{i}.png", "depth": f"depth/{i}.png",
                 "transformation": make_pose(np.eye(3), [i, 0, 0]).tolist()}
        for i in (10, 2)
    }  # fmt: skip
    (tmp_path / "ground_truth.json").write_text(json.dumps(entries))
    camera = tmp_path / "camera_intrinsics.yaml"
    camera.write_text("intrinsics:\n  - [10, 0, 5]\n  - [0, 11, 4]\n  - [0, 0, 1]\ndepth_scale: 0.0002\n")
    queries, _ = find_queries(tmp_path)
    assert [query.name for query in queries] == ["2.png", "10.png"]
    assert queries[1].load_depth_m()[0, 0] == pytest.approx(2.0)
    assert [query.stamp_s for query in queries] == [0.0, 1.0]
    assert queries[1].T_world_camera[0, 3] == 10
    assert queries[0].camera == Camera(12, 8, 10.0, 11.0, 5.0, 4.0)
    for text in ("intrinsics: 3\ndepth_scale: 1\n", "depth_scale: 1\n", "a: [", "[]"):
        camera.write_text(text)
        with pytest.raises(InputError, match="it needs intrinsics"):
            find_queries(tmp_path)
    camera.unlink()
    with pytest.raises(InputError, match="cannot be used"):
        find_queries(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cam_in": [1, 2, 3]}, "entry 0 is not as it should be"),
        ({"depth_scale": None}, "entry 0 is not as it should be"),
        ({"depth_scale": 0}, "must be positive"),
        ({"rgb": "rgb/8.png"}, "cannot be read as an image"),
        ({"depth": "depth/8.png"}, "does not exist"),
    ],
)
def test_a_wrong_annotation_is_told(annotated, change, words):
    root, entry = annotated
    (root / "test_annotations.json").write_text(json.dumps({"files": [entry | change]}))
    with pytest.raises(InputError, match=words):
        find_queries(root)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', '{"files": [3]}'])
def test_a_file_that_is_no_annotation_is_told(annotated, text):
    (annotated[0] / "test_annotations.json").write_text(text)
    with pytest.raises(InputError, match=r"mend it|as it should be"):
        find_queries(annotated[0])


def test_depth_with_colours_is_told(annotated):
    write(annotated[0] / "depth" / "7.png", np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(InputError, match="one channel"):
        find_queries(annotated[0])[0][0].load_depth_m()


def test_other_folders_are_told(tmp_path, annotated):
    with pytest.raises(InputError, match="holds no dataset"):
        find_queries(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_queries(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no splits"):
        find_queries(annotated[0], "test")


def with_depths(root, depths, share=1.0, scale=256):
    """The sample folder with one image for each depth map (H, W) in metres, of whose pixels a share is known."""
    random, entries = np.random.default_rng(0), []
    for number, depth_m in enumerate(depths):
        known_hw = random.random(depth_m.shape) < share
        write(root / "rgb" / f"{number}.png", np.zeros((*depth_m.shape, 3), np.uint8))
        write(root / "depth" / f"{number}.png", np.where(known_hw, depth_m * scale, 0).astype(np.uint16))
        entries.append({"rgb": f"x/{number}.png", "depth": f"y/{number}.png", "cam_in": [10, 10, 5, 3],
                        "depth_scale": scale})  # fmt: skip
    (root / "test_annotations.json").write_text(json.dumps({"files": entries}))
    return find_queries(root)[0]


def room(far_share=0.0, typical_m=3.0):
    """From half of to one and a half times the typical depth, and a share of it far away, through a window."""
    depth_m = np.linspace(0.5, 1.5, 600).reshape(20, 30) * typical_m
    depth_m.ravel()[: int(600 * far_share)] = 40.0
    return depth_m


@pytest.mark.parametrize(
    ("depths", "share", "preset"),
    [
        ([room()], 1.0, "indoor"),
        ([room(0.16)] * 5, 1.0, "indoor"),  # the garden through the windows
        ([room(0.4)], 1.0, "indoor"),
        ([room(0.9)] * 2 + [room()] * 5, 1.0, "indoor"),  # some frames look out only
        ([room(typical_m=13.0)] * 3, 0.2, "kitti"),
        ([room(typical_m=13.0)] * 3, 1.0, "kitti"),  # a rendered drive
        ([room(typical_m=7.5)] * 3, 0.2, "kitti"),  # lidar in a narrow street
        ([room(typical_m=7.5)] * 3, 1.0, "indoor"),  # a hall
        ([room(typical_m=3.0)] * 3, 0.2, "indoor"),  # a depth camera that sees little
        ([room(typical_m=13.0)] * 4 + [0 * room()] * 4, 0.2, "kitti"),  # images without depth do not count
        ([0 * room()], 1.0, "indoor"),  # nothing is known
    ],
)
def test_the_preset_follows_from_the_typical_depth(annotated, depths, share, preset):
    assert guess_preset(with_depths(annotated[0], depths, share)) == preset


def test_the_preset_of_few_frames_and_of_none(dataset):
    queries = find_queries(dataset)[0]
    assert guess_preset(queries) == "indoor"
    assert guess_preset(queries[2:]) == "indoor"  # no depth at all


def test_all_images_with_an_entry_are_measured_and_others_are_told_of(annotated, capsys):
    queries = with_depths(annotated[0], [room()] * 12)
    assert [query.name for query in queries] == [f"{number}.png" for number in range(12)]
    assert "has" not in capsys.readouterr().err
    write(annotated[0] / "rgb" / "more.png", np.zeros((20, 30, 3), np.uint8))
    assert len(find_queries(annotated[0])[0]) == 12
    told = " ".join(capsys.readouterr().err.split())
    assert "1 images of" in told
    assert "have no entry in test_annotations.json, and are not measured" in told


def test_two_entries_of_one_name_are_told(annotated):
    """Paths start somewhere else, so that one of the images would be measured twice and the other never."""
    root, entry = annotated
    (root / "test_annotations.json").write_text(json.dumps({"files": [entry, entry | {"rgb": "other/7.png"}]}))
    with pytest.raises(InputError, match=r"two entries are of an image 7\.png; give each its own name"):
        find_queries(root)


def test_a_walk_through_a_house_with_windows_is_indoor(shared_data, tmp_path):
    """Up to a sixth of its pixels lie beyond 10 m."""
    from geo_training.evaluation.depth.set import DepthQuery
    from geo_training.storage.images import read_depth

    paths = sorted((shared_data / "house" / "walk_a" / "depth").glob("*.png"))[::15]
    queries = [DepthQuery(path.name, CAMERA, lambda: None, lambda path=path: read_depth(path)) for path in paths]
    assert np.mean([(query.load_depth_m() > 10).mean() for query in queries]) > 0.02
    assert guess_preset(queries) == "indoor"


def test_the_real_samples_are_read(shared_data):
    root = shared_data / "depth_samples"
    expected = {"kitti": (3, "kitti"), "nyu": (3, "indoor"), "tum": (10, "indoor")}
    for name, (count, preset) in expected.items():
        queries, _ = find_queries(root / name)
        assert len(queries) == count
        assert guess_preset(queries) == preset
        image_hw3, depth_hw = queries[0].load_image(), queries[0].load_depth_m()
        assert image_hw3.shape[:2] == depth_hw.shape == (queries[0].camera.height_px, queries[0].camera.width_px)
        assert 0.5 < np.median(depth_hw[depth_hw > 0]) < 40
