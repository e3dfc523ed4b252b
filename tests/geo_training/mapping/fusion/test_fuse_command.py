"""`geo-train fuse`: completed depth beside a dataset, kept, refused, and used."""

import json

import cv2
import numpy as np
import pytest
from command_line import invoke
from drawn_planes import SIZE_HW, drawn_planes
from geo_training.cli import train
from geo_training.datasets.fused import completed_depth, fused_path, load_fused
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.mapping.fusion.relative_depth import find_relative_depth
from geo_training.storage.images import find_depth, write_depth

from geo_perception.errors import InputError
from geo_perception.geometry import Camera

CAMERA = Camera(SIZE_HW[1], SIZE_HW[0], 80.0, 80.0, 47.5, 35.5)
HOLE = slice(50, 66), slice(30, 60)


@pytest.fixture
def folders(tmp_path):
    """A dataset whose frames have depth with a hole each, and a folder with relative depth of them."""
    depth_hw, image_hw3, relative_hw = drawn_planes()
    with SceneWriter(tmp_path / "data", sources=["test"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for number in range(3):
            known_hw = depth_hw.copy()
            known_hw[HOLE[0], slice(HOLE[1].start + 5 * number, HOLE[1].stop + 5 * number)] = 0
            writer.add_frame(
                "s", number * 10**8, camera_id, image_rgb=image_hw3, depth_m=known_hw, lossless=True
            )  # fmt: skip
    dataset = SceneDataset(tmp_path / "data")
    for frame in dataset.frames:
        write_depth(tmp_path / "relative" / frame.name, relative_hw)
    return dataset.root, tmp_path / "relative", depth_hw


def fuse(root, *arguments):
    return invoke(train, "fuse", root, *arguments)


def test_holes_are_filled_and_said_how_well(folders, tmp_path):
    root, relative, depth_hw = folders
    result = fuse(
        root, "--depth", relative, "--json", tmp_path / "f.json", "--report", tmp_path / "f.html", "--compare"
    )
    assert result.exit_code == 0, result.stderr
    assert "3 frames completed now, 0 kept, 0 left out" in result.stderr
    assert "hidden holes, ours: off by" in result.output
    dataset = SceneDataset(root)
    found_hw, sigma_hw = load_fused(root, dataset.frames[0])
    np.testing.assert_allclose(found_hw[HOLE], depth_hw[HOLE], rtol=0.02)
    assert (sigma_hw > 0).all()
    figures = json.loads((tmp_path / "f.json").read_text())["figures"]
    assert figures["random"]["surfaces"]["mae"] < figures["random"]["factor"]["mae"]
    page = (tmp_path / "f.html").read_text()
    for part in ("Before and after", "Losses of the regressor", "Stated deviations", "How far a hole is filled"):
        assert part in page


def test_what_is_done_is_kept_and_what_is_missing_is_made_again(folders):
    root, relative, _ = folders
    fuse(root, "--depth", relative, "--measure", 0)
    first = SceneDataset(root).frames[0]
    kept = find_depth(fused_path(root, SceneDataset(root).frames[1])).stat().st_mtime_ns
    find_depth(fused_path(root, first)).unlink()
    result = fuse(root, "--depth", relative, "--measure", 0)
    assert "1 frames completed now, 2 kept" in result.stderr
    assert find_depth(fused_path(root, SceneDataset(root).frames[1])).stat().st_mtime_ns == kept


def test_depth_made_otherwise_is_not_lost_unasked(folders):
    root, relative, _ = folders
    fuse(root, "--depth", relative, "--measure", 0)
    refused = fuse(root, "--depth", relative, "--measure", 0, "--method", "factor")
    assert refused.exit_code == 1
    assert "pass --overwrite to make it again" in refused.stderr
    assert json.loads((root / "fused" / "fused.json").read_text())["method"] == "surfaces"
    again = fuse(root, "--depth", relative, "--measure", 0, "--method", "factor", "--overwrite")
    assert again.exit_code == 0
    assert np.isnan(load_fused(root, SceneDataset(root).frames[0])[1]).all()  # one factor states no deviation


def test_files_of_others_are_left_alone(folders):
    root, relative, _ = folders
    (root / "fused").mkdir()
    (root / "fused" / "mine.txt").write_text("mine")
    result = fuse(root, "--depth", relative, "--measure", 0, "--overwrite")
    assert result.exit_code == 1
    assert "move the folder away" in result.stderr
    assert (root / "fused" / "mine.txt").read_text() == "mine"


def test_measured_depth_comes_first_and_the_unsure_stays_unknown(folders):
    root, relative, depth_hw = folders
    fuse(root, "--depth", relative, "--measure", 0)
    dataset = SceneDataset(root)
    frame = dataset.frames[0]
    measured_hw = dataset.depth_m(frame)
    _, sigma_hw = load_fused(root, frame)
    middle = float(np.median(sigma_hw[HOLE]))
    found_hw = completed_depth(dataset, frame, middle)
    np.testing.assert_array_equal(found_hw[measured_hw > 0], measured_hw[measured_hw > 0])
    hole_hw = found_hw[HOLE]
    np.testing.assert_array_equal(hole_hw > 0, sigma_hw[HOLE] <= middle)
    np.testing.assert_allclose(hole_hw[hole_hw > 0], depth_hw[HOLE][hole_hw > 0], rtol=0.03)


def test_without_completed_depth_measured_depth_is_all(folders):
    root, _, _ = folders
    dataset = SceneDataset(root)
    np.testing.assert_array_equal(completed_depth(dataset, dataset.frames[0], 0.1), dataset.depth_m(dataset.frames[0]))


def test_inverse_depth_is_inverted(folders, tmp_path):
    root, relative, _ = folders
    dataset = SceneDataset(root)
    frame = dataset.frames[0]
    depth_hw = find_relative_depth(dataset, str(relative)).depth_of(frame, dataset.image(frame))
    inverse = (tmp_path / "inverse" / frame.name).with_suffix(".tiff")
    inverse.parent.mkdir(parents=True)
    cv2.imwrite(str(inverse), (1 / depth_hw).astype(np.float32))
    source = find_relative_depth(dataset, str(tmp_path / "inverse"), inverse=True)
    np.testing.assert_allclose(source.depth_of(frame, dataset.image(frame)), depth_hw, rtol=1e-5)
    assert source.depth_of(dataset.frames[1], dataset.image(frame)) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--depth", "nowhere.safetensors"), "nowhere.safetensors"),
        (("--depth", "."), "has no depth image of any frame"),
        (("--inverse",), "--inverse is for a folder of depth images"),
        (("--known", "dense"), "is no dense workspace"),
        (("--known", "sparse"), "run `geo-train map"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(folders, arguments, said, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = fuse(folders[0], *arguments)
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert not (folders[0] / "fused").exists()


def test_a_damaged_deviation_is_refused(folders):
    root, relative, _ = folders
    fuse(root, "--depth", relative, "--measure", 0)
    frame = SceneDataset(root).frames[0]
    sigma = fused_path(root, frame).with_suffix(".sigma.png")
    cv2.imwrite(str(sigma), np.zeros((4, 4), np.uint16))
    with pytest.raises(InputError, match="is not of its depth's size"):
        load_fused(root, frame)


def test_a_frame_with_too_little_depth_is_left_out_and_counted(folders):
    root, relative, _ = folders
    dataset = SceneDataset(root)
    nearly_none_hw = np.zeros(SIZE_HW, np.float32)
    nearly_none_hw[0, :3] = 2.0
    write_depth(root / "depth" / dataset.frames[1].name, nearly_none_hw)
    result = fuse(root, "--depth", relative, "--measure", 0)
    assert "2 frames completed now, 0 kept, 1 left out" in result.stderr
    assert load_fused(root, dataset.frames[1]) is None


def test_without_any_depth_that_could_be_completed_nothing_is_written(folders):
    root, relative, _ = folders
    for frame in SceneDataset(root).frames:
        write_depth(root / "depth" / frame.name, np.zeros(SIZE_HW, np.float32))
    result = fuse(root, "--depth", relative, "--measure", 0)
    assert result.exit_code == 1
    assert "has enough of measured depth to complete" in " ".join(result.stderr.split())
    assert not (root / "fused").exists()
