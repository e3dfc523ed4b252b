"""Which pose, stamp, depth image and mask is whose: each image carries its own number in its x, and never another's."""

import json

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.importers.pairing import own_number, pair_by_name, pair_with_lines, unique_names
from geo_training.datasets.scene import SceneDataset
from geo_training.storage.names import natural_key
from image_files import write_image
from PIL import Image

from geo_perception.errors import InputError


def pose_line(x) -> str:
    return f"1 0 0 {x} 0 1 0 0 0 0 1 0"


def xs(out) -> dict[str, float | None]:
    """The x of each frame's pose, by its name."""
    return {
        frame.name.split("/")[1]: None if frame.T_world_camera is None else frame.T_world_camera[0, 3]
        for frame in SceneDataset(out).frames
    }


@pytest.fixture
def walk(tmp_path):
    """Ten images whose number is their grey value and the x of their pose."""
    for number in range(10):
        write_image(tmp_path / "walk" / "images" / f"{number:06d}.png", number)
    (tmp_path / "walk" / "poses.txt").write_text("\n".join(map(pose_line, range(10))))
    return tmp_path / "walk"


@pytest.mark.parametrize("missing", [(3,), (4, 5, 8), (9,), (8, 9)])
def test_with_images_missing_each_keeps_its_own_pose(walk, tmp_path, missing):
    for number in missing:
        (walk / "images" / f"{number:06d}.png").unlink()
    result = import_dataset(walk, tmp_path / "out")
    assert xs(tmp_path / "out") == {f"{n:06d}.png": n for n in range(10) if n not in missing}
    assert any("the image's own number is its line, counted from 0" in note for note in result["notes"])
    assert any(f"found 10 poses, used {10 - len(missing)}, left out: {len(missing)} of no image" in note
               for note in result["notes"])  # fmt: skip


def test_numbers_that_may_count_from_0_or_1_are_refused(walk, tmp_path):
    (walk / "images" / "000000.png").unlink()
    with pytest.raises(
        InputError, match=r"10 lines for 9 images, and their numbers \(1 to 9\) may count from 0 or from 1"
    ):
        import_dataset(walk, tmp_path / "out")
    lines = [f"{number:06d} {pose_line(number)}" for number in range(10)]
    (walk / "poses.txt").write_text("\n".join(lines))
    import_dataset(walk, tmp_path / "out")
    assert xs(tmp_path / "out") == {f"{n:06d}.png": n for n in range(1, 10)}


def test_names_without_numbers_are_refused_where_counts_differ(walk, tmp_path):
    for number, name in enumerate("abcdefghij"):
        (walk / "images" / f"{number:06d}.png").rename(walk / "images" / f"{name}.png")
    import_dataset(walk, tmp_path / "all")
    assert list(xs(tmp_path / "all").values()) == list(range(10))
    (walk / "images" / "d.png").unlink()
    with pytest.raises(InputError, match="10 lines for 9 images, whose names hold no number of their own"):
        import_dataset(walk, tmp_path / "out")


def test_a_picture_that_cannot_be_read_keeps_its_line(walk, tmp_path):
    """The lines were written for all of them: HEIC, a broken file and a dead link do not shift the others."""
    names = {2: "000002.heic", 5: "000005.png", 7: "000007.png"}
    (walk / "images" / "000002.png").rename(walk / "images" / names[2])
    (walk / "images" / names[5]).write_text("no image")
    (walk / "images" / names[7]).unlink()
    (walk / "images" / names[7]).symlink_to("nowhere.png")
    for number in range(10):  # names that do not tell
        for file in (walk / "images").glob(f"{number:06d}.*"):
            file.rename(file.with_stem("abcdefghij"[number]))
    result = import_dataset(walk, tmp_path / "out")
    assert xs(tmp_path / "out") == {f"{'abcdefghij'[n]}.png": n for n in range(10) if n not in names}
    assert any("found 10 poses, used 7, left out: 3 whose image was left out" in note for note in result["notes"])


def test_a_stray_picture_does_not_fill_a_gap(walk, tmp_path):
    """Ten lines, ten pictures: but one image is missing, and the cover is not one of the walk."""
    (walk / "images" / "000003.png").rename(walk / "images" / "cover.png")
    with pytest.raises(InputError, match="10 lines for 10 images, but cover is not numbered as the others"):
        import_dataset(walk, tmp_path / "out")
    (walk / "images" / "cover.png").unlink()
    assert import_dataset(walk, tmp_path / "out")["frames"] == 9
    assert xs(tmp_path / "out")["000009.png"] == 9


def test_lines_may_name_their_image(walk, tmp_path):
    lines = [f"{number:06d}.png,{pose_line(number)}" for number in (9, 3, 0)]
    (walk / "poses.txt").write_text("\n".join(lines))
    result = import_dataset(walk, tmp_path / "out")
    assert {name: x for name, x in xs(tmp_path / "out").items() if x is not None} == {
        "000000.png": 0, "000003.png": 3, "000009.png": 9,
    }  # fmt: skip
    assert result["posed_frames"] == 3
    (walk / "poses.txt").write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(InputError, match=r"line 4 names 000009\.png again"):
        import_dataset(walk, tmp_path / "again")


def test_a_name_that_two_sequences_share_says_nothing(tmp_path):
    for sequence in "ab":
        for number in range(2):
            write_image(tmp_path / "site" / "images" / sequence / f"{number}.png", number)
    lines = [f"{name} {pose_line(x)}" for name, x in (("b/1", 11), ("a/0.png", 1), ("0", 77))]
    (tmp_path / "site" / "poses.txt").write_text("\n".join(lines))
    result = import_dataset(tmp_path / "site", tmp_path / "out")
    found = {
        f.name: f.T_world_camera[0, 3] for f in SceneDataset(tmp_path / "out").frames if f.T_world_camera is not None
    }
    assert found == {"a/0.png": 1, "b/1.png": 11}
    assert "found 3 poses, used 2, left out: 1 of no image (of poses.txt)" in result["notes"][1]


def test_depth_and_masks_go_by_name_not_by_rank(walk, tmp_path):
    for kind in ("depth", "masks"):
        (walk / kind).mkdir()
        for number in (1, 4, 8, 77):
            cv2.imwrite(str(walk / kind / f"{number:06d}.png"), np.full((48, 64), 1000 + number, np.uint16))
    result = import_dataset(walk, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    depths = {frame.name: dataset.depth_m(frame) for frame in dataset.frames}
    found = {name: depth[0, 0] for name, depth in depths.items() if depth is not None}
    assert found == {f"walk/00000{n}.png": pytest.approx(1 + n / 1000) for n in (1, 4, 8)}
    masks = sorted((tmp_path / "out" / "masks" / "walk").iterdir())
    assert [np.asarray(Image.open(path))[0, 0] for path in masks] == [1001, 1004, 1008]
    assert [path.name for path in masks] == ["000001.png", "000004.png", "000008.png"]
    notes = " ".join(result["notes"])
    assert "found 4 depth images, used 3, left out: 1 of no image (000077.png)" in notes
    assert "found 4 masks, used 3, left out: 1 of no image (000077.png)" in notes


def test_depth_with_other_names_goes_by_number(walk, tmp_path):
    (walk / "depth").mkdir()
    for number in (2, 7):
        cv2.imwrite(str(walk / "depth" / f"d_{number}.png"), np.full((48, 64), 1000 * number, np.uint16))
    result = import_dataset(walk, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    depths = {frame.name: dataset.depth_m(frame) for frame in dataset.frames}
    assert {name: d[0, 0] for name, d in depths.items() if d is not None} == {
        "walk/000002.png": 2,
        "walk/000007.png": 7,
    }
    assert "Depth by the number in the name." in result["notes"]


def test_two_images_of_one_stem_share_neither_name_nor_depth(tmp_path):
    root = tmp_path / "photos"
    write_image(root / "images" / "a.jpg", 10)
    write_image(root / "images" / "a.png", 200)
    (root / "depth").mkdir()
    cv2.imwrite(str(root / "depth" / "a.png"), np.full((48, 64), 1000, np.uint16))
    result = import_dataset(root, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [frame.name for frame in dataset.frames] == ["photos/a.jpg", "photos/a_png.png"]
    assert [round(float(dataset.image(frame).mean())) for frame in dataset.frames] == [10, 200]
    assert result["depth_images"] == 0


@pytest.fixture
def odometry(tmp_path):
    """Sequence 07 of twelve images; times and poses tell their number."""
    folder = tmp_path / "odometry" / "sequences" / "07"
    for number in range(12):
        write_image(folder / "image_0" / f"{number:06d}.png", number)
    P = "50 0 31.5 0 0 50 23.5 0 0 0 1 0"
    (folder / "calib.txt").write_text("".join(f"P{camera}: {P}\n" for camera in range(4)))
    (folder / "times.txt").write_text("".join(f"{number / 10}\n" for number in range(12)))
    (tmp_path / "odometry" / "poses").mkdir()
    (tmp_path / "odometry" / "poses" / "07.txt").write_text("\n".join(map(pose_line, range(12))))
    return tmp_path / "odometry"


@pytest.mark.parametrize("missing", [(0,), (0, 1, 2), (5,), (0, 5, 11), (11,)])
def test_kitti_with_images_missing(odometry, tmp_path, missing):
    for number in missing:
        (odometry / "sequences" / "07" / "image_0" / f"{number:06d}.png").unlink()
    result = import_dataset(odometry, tmp_path / "out")
    frames = SceneDataset(tmp_path / "out").frames
    kept = [number for number in range(12) if number not in missing]
    assert [round(frame.T_world_camera[0, 3]) for frame in frames] == kept
    assert [frame.stamp_ns for frame in frames] == [number * 100_000_000 for number in kept]
    notes = " ".join(result["notes"])
    assert "07.txt: the image's own number is its line" in notes
    assert "times.txt: the image's own number is its line" in notes


def test_kitti_whose_numbers_go_beyond_the_lines_is_refused(odometry, tmp_path):
    (odometry / "poses" / "07.txt").write_text("\n".join(map(pose_line, range(8))))
    with pytest.raises(InputError, match="8 poses for 12 images: no line belongs to image 11"):
        import_dataset(odometry, tmp_path / "out")


def test_kitti_says_what_it_does_not_take(odometry, tmp_path):
    sequence = odometry / "sequences" / "07"
    for number in range(12):
        write_image(sequence / "image_1" / f"{number:06d}.png", number)
    (sequence / "velodyne").mkdir()
    (sequence / "velodyne" / "000000.bin").write_bytes(b"")
    notes = " ".join(import_dataset(odometry, tmp_path / "out")["notes"])
    assert "found 24 images, used 12 (" not in notes
    assert "found 24 images, used 12, left out: 12 of another camera than image_0 (the first: image_1)." in notes
    assert "found 1 depth images, used 0, left out: 1 lidar scans, which are read of KITTI raw only" in notes


def test_kitti_without_times_counts_by_number(odometry, tmp_path):
    (odometry / "sequences" / "07" / "times.txt").unlink()
    (odometry / "sequences" / "07" / "image_0" / "000003.png").unlink()
    import_dataset(odometry, tmp_path / "out", options=ImportOptions(rate_hz=5.0))
    stamps = [frame.stamp_ns // 200_000_000 for frame in SceneDataset(tmp_path / "out").frames]
    assert stamps == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_tum_depth_goes_with_one_image_only(tmp_path):
    root = tmp_path / "desk"
    stamps = (10.000, 10.015, 10.100)
    for stamp in stamps:
        write_image(root / "rgb" / f"my {stamp:.3f}.png", 1, (640, 480))
    (root / "depth").mkdir()
    cv2.imwrite(str(root / "depth" / "a.png"), np.full((480, 640), 5000, np.uint16))
    (root / "rgb.txt").write_text("".join(f"{stamp:.3f} rgb/my {stamp:.3f}.png\n" for stamp in stamps))
    (root / "depth.txt").write_text("10.013 depth/a.png\n11.0 depth/gone.png\n")
    result = import_dataset(root, tmp_path / "out", "tum")
    dataset = SceneDataset(tmp_path / "out")
    assert [dataset.has_depth(frame) for frame in dataset.frames] == [False, True, False]
    assert any("found 2 depth images, used 1, left out: 1 that do not exist (gone.png)" in n for n in result["notes"])


def test_sequences_of_one_name_do_not_mix(tmp_path):
    for folder in ("walk a", "walk_a"):
        write_image(tmp_path / "site" / "images" / folder / "0.png", 1 if " " in folder else 2)
    import_dataset(tmp_path / "site", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [(f.name, int(dataset.image(f)[0, 0, 0])) for f in dataset.frames] == [
        ("walk_a/0.png", 1),
        ("walk_a_2/0.png", 2),
    ]


def test_transforms_that_list_an_image_twice_take_it_once(tmp_path):
    write_image(tmp_path / "scene" / "1.png", 1)
    entry = {"file_path": "1.png", "transform_matrix": np.eye(4).tolist()}
    for name in ("transforms_train.json", "transforms_test.json"):
        (tmp_path / "scene" / name).write_text(json.dumps({"fl_x": 50, "frames": [entry]}))
    result = import_dataset(tmp_path / "scene", tmp_path / "out")
    assert result["splits"] == {"train": 1}
    assert any("1 listed again (1.png)" in note for note in result["notes"])


def test_numbers_in_names():
    names = ["frame10", "frame2", "1²2", "a", "٣"]  # a raised 2 is no digit to count with, an Arabic 3 is
    assert sorted(["frame10", "frame2"], key=natural_key) == ["frame2", "frame10"]
    assert len(sorted(names, key=natural_key)) == 5
    assert [own_number(name) for name in names] == [10, 2, 2, None, 3]
    assert unique_names(["a", "a", "b", "a"]) == ["a", "a_2", "b", "a_3"]


def test_pairs_by_hand(tmp_path):
    file = tmp_path / "poses.txt"
    assert pair_with_lines(["x7", "x8"], 2, file).lines == [0, 1]
    assert pair_with_lines(["x0", "x3"], 9, file).lines == [0, 3]
    assert pair_with_lines(["x1", "x9"], 9, file).lines == [0, 8]  # 9 lines have no number 9 but by counting from 1
    assert pair_with_lines(["x1", "x8"], 9, file, first_number=0).lines == [1, 8]
    with pytest.raises(InputError, match="no line belongs to image 10"):
        pair_with_lines(["x1", "x10"], 9, file)
    with pytest.raises(InputError, match="hold no number of their own"):
        pair_with_lines(["a/1", "b/1"], 9, file)
    assert pair_by_name(["1", "2"], {"2": file, "3": file}, "depth")[0] == {"2": file}
    assert pair_by_name(["1", "2"], {"d02": file, "d09": file}, "depth")[0] == {"2": file}
    assert pair_by_name(["a1", "b1"], {"d01": file}, "depth")[0] == {}
