"""A plain folder of images becomes a dataset: stamps, K, poses, depth, sequences, and what is refused."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.scene import SceneDataset, camera_is_known
from PIL import Image

from geo_perception.errors import InputError

SIZE = 64, 48


@pytest.fixture
def folder(tmp_path):
    """Three images named so that only their numbers sort them, with K, poses and depth."""
    root = tmp_path / "hall"
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    rng = np.random.default_rng(0)
    for number in (1, 2, 10):
        cv2.imwrite(str(root / "rgb" / f"{number}.png"), rng.integers(0, 255, (*SIZE[::-1], 3), np.uint8))
        cv2.imwrite(str(root / "depth" / f"{number}.png"), np.full(SIZE[::-1], 1000 * number, np.uint16))
    (root / "K.txt").write_text("50 0 31\n0 51 23\n0 0 1\n")
    lines = [f"1 0 0 {number}  0 1 0 0  0 0 1 0.5" for number in (1, 2, 10)]
    (root / "poses.txt").write_text("# camera in world\n" + "\n".join(lines) + "\n")
    return root


def test_images_are_copied_in_the_order_of_their_numbers(folder, tmp_path):
    result = import_dataset(folder, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [frame.name for frame in dataset.frames] == ["hall/1.png", "hall/2.png", "hall/10.png"]
    assert [frame.stamp_ns for frame in dataset.frames] == [0, 100_000_000, 200_000_000]
    assert [frame.T_world_camera[0, 3] for frame in dataset.frames] == [1.0, 2.0, 10.0]
    assert dataset.image_path(dataset.frames[0]).read_bytes() == (folder / "rgb" / "1.png").read_bytes()
    assert dataset.depth_m(dataset.frames[2])[5, 5] == pytest.approx(10.0)
    camera = dataset.camera(dataset.frames[0])
    assert (camera.width_px, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px) == (64, 50, 51, 31, 23)
    assert dataset.info.scale == "metric"
    assert result["format"] == "images"
    assert result["posed_frames"] == result["depth_images"] == 3


def test_rate_fps_and_depth_scale(folder, tmp_path):
    options = ImportOptions(rate_hz=4.0, fps=2.0, depth_units_per_m=5000.0)
    import_dataset(folder, tmp_path / "out", options=options)
    dataset = SceneDataset(tmp_path / "out")
    assert [(frame.name, frame.stamp_ns) for frame in dataset.frames] == [
        ("hall/1.png", 0),
        ("hall/10.png", 500_000_000),
    ]
    assert dataset.depth_m(dataset.frames[1])[0, 0] == pytest.approx(2.0)


def test_depth_beyond_what_millimetres_hold_is_kept(folder, tmp_path):
    import_dataset(folder, tmp_path / "out", options=ImportOptions(depth_units_per_m=100.0))
    dataset = SceneDataset(tmp_path / "out")
    assert [dataset.depth_m(frame)[0, 0] for frame in dataset.frames] == [10.0, 20.0, 100.0]


def test_without_K_the_focal_length_is_a_guess_and_said_to_be(folder, tmp_path):
    (folder / "K.txt").unlink()
    result = import_dataset(folder, tmp_path / "out")
    assert not camera_is_known(tmp_path / "out", "camera0")
    assert result["cameras_known"] is False
    assert any("focal length is not known" in note for note in result["notes"])


def test_folders_below_images_are_sequences(tmp_path):
    for name in ("walk_a", "walk_b"):
        (tmp_path / "site" / "images" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "site" / "images" / name / "0.jpg"), np.zeros((48, 64, 3), np.uint8))
    import_dataset(tmp_path / "site", tmp_path / "out")
    assert [f.name for f in SceneDataset(tmp_path / "out").frames] == ["walk_a/0.jpg", "walk_b/0.jpg"]
    import_dataset(tmp_path / "site", tmp_path / "one", options=ImportOptions(sequences=("walk_b",)))
    assert SceneDataset(tmp_path / "one").sequences == ["walk_b"]
    with pytest.raises(InputError, match="no sequence walk_c; there are walk_a, walk_b"):
        import_dataset(tmp_path / "site", tmp_path / "two", options=ImportOptions(sequences=("walk_c",)))


def test_a_turned_photograph_is_stored_upright_without_its_mark(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :10] = 255  # the left edge of the stored image
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(pixels).save(root / "a.jpg", exif=exif, quality=95)
    import_dataset(root, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    camera = dataset.camera(dataset.frames[0])
    assert (camera.width_px, camera.height_px) == (40, 60)
    with Image.open(dataset.image_path(dataset.frames[0])) as stored:
        assert stored.size == (40, 60)
        assert 0x0112 not in stored.getexif()
        assert np.asarray(stored.convert("L"))[:8].mean() > 240  # left has become top


@pytest.mark.parametrize(("mark", "size"), [(1, (60, 40)), (6, (40, 60))])
def test_a_focal_length_in_exif_is_a_guess_that_is_near(tmp_path, mark, size):
    """50 mm where 35 mm film has a diagonal of 43.27: of a picture of 60 x 40 pixels, 83.3 pixels."""
    root = tmp_path / "photos"
    root.mkdir()
    for name, focal_mm in (("a", 50), ("b", 50), ("c", 25), ("d", 0)):
        exif = Image.Exif()
        exif[0x0112] = mark
        exif.get_ifd(0x8769)[0xA405] = focal_mm
        Image.new("RGB", (60, 40), "grey").save(root / f"{name}.jpg", exif=exif)
    notes = import_dataset(root, tmp_path / "out")["notes"]
    dataset = SceneDataset(tmp_path / "out")
    focals_px = [dataset.camera(frame).focal_px for frame in dataset.frames]
    assert focals_px == pytest.approx([83.33, 83.33, 41.67, 72.0], abs=0.01)  # 0 says that it is not known
    assert len(dataset.cameras) == 3
    assert not any(camera_is_known(dataset.root, camera_id) for camera_id in dataset.cameras)
    camera = dataset.camera(dataset.frames[0])
    assert (camera.width_px, camera.height_px) == size
    assert "3 images say in EXIF about what their focal length is; mapping refines it." in notes
    assert any("45 degrees" in note for note in notes)


def test_images_that_are_none_are_left_out_and_counted(folder, tmp_path):
    (folder / "rgb" / "2.png").write_text("no image")
    result = import_dataset(folder, tmp_path / "out")
    assert (result["frames"], result["unreadable_images"]) == (2, 1)
    assert any("2.png" in note for note in result["notes"])


def test_lines_without_a_pose_leave_their_frame_without_one(folder, tmp_path):
    lines = (folder / "poses.txt").read_text().splitlines()
    (folder / "poses.txt").write_text("\n".join([lines[1], " ".join(["nan"] * 12), lines[3]]))
    result = import_dataset(folder, tmp_path / "out")
    assert result["posed_frames"] == 2
    assert SceneDataset(tmp_path / "out").frames[1].T_world_camera is None


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n", "has 1 lines for 3 images"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1\n" * 3, "11 numbers"),
        ("poses.txt", "2 0 0 0 0 2 0 0 0 0 2 0\n" * 3, "not a rigid pose"),
        ("poses.txt", "-1 0 0 0 0 1 0 0 0 0 1 0\n" * 3, "not a rigid pose"),
        ("poses.txt", "1 0 0 x 0 1 0 0 0 0 1 0\n" * 3, "line 1 is not a row of numbers"),
        ("K.txt", "1 2 3\n", "no camera matrix"),
        ("K.txt", "0 0 0 0 0 0 0 0 0\n", "no camera matrix"),
    ],
)
def test_broken_files_are_named_and_leave_nothing_behind(folder, tmp_path, file, content, words):
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=words):
        import_dataset(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hall"]


def test_wrong_paths_are_answered(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        import_dataset(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="looks like none of"):
        guess_format(tmp_path / "empty")
    with pytest.raises(InputError, match="holds no images"):
        import_dataset(tmp_path / "empty", tmp_path / "out", "images")


def test_an_existing_dataset_is_only_replaced_on_request(folder, tmp_path):
    import_dataset(folder, tmp_path / "out")
    with pytest.raises(InputError, match="--overwrite"):
        import_dataset(folder, tmp_path / "out")
    assert import_dataset(folder, tmp_path / "out", overwrite=True)["frames"] == 3


def test_the_real_folders_import(shared_data, tmp_path):
    office = import_dataset(shared_data / "office", tmp_path / "office", options=ImportOptions(fps=0.5))
    assert (office["format"], office["frames"], office["posed_frames"], office["depth_images"]) == (
        "images",
        19,
        19,
        19,
    )
    dataset = SceneDataset(tmp_path / "office")
    frame = dataset.frames[0]
    assert dataset.camera(frame).fx_px == pytest.approx(495.5678, abs=1e-3)
    np.testing.assert_allclose(frame.T_world_camera[:3, 3], [-1.94312, 0.112344, 4.67999], atol=1e-6)
    drive = import_dataset(shared_data / "drive", tmp_path / "drive", options=ImportOptions(fps=0.25))
    assert (drive["frames"], drive["posed_frames"], drive["depth_images"]) == (21, 21, 0)


@pytest.fixture
def house(tmp_path):
    """Three recordings side by side: two of one camera, a third of another one, whose poses nobody knows."""
    root = tmp_path / "house"
    for name, focal_px, count in (("walk_2", 50, 3), ("walk_10", 50, 2), ("walk_3", 60, 2)):
        for number in range(count):
            for folder in ("rgb", "depth"):
                (root / name / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / "rgb" / f"{number}.png"), np.full((*SIZE[::-1], 3), 9 * number, np.uint8))
            cv2.imwrite(str(root / name / "depth" / f"{number}.png"), np.full(SIZE[::-1], focal_px * 10, np.uint16))
        (root / name / "K.txt").write_text(f"{focal_px} {focal_px} 31 23\n")
        if name != "walk_3":
            lines = [f"1 0 0 {count + 0.1 * number}  0 1 0 0  0 0 1 0.5" for number in range(count)]
            (root / name / "poses.txt").write_text("\n".join(lines))
    (root / "LICENSE.txt").write_text("free")
    return root


def test_recordings_side_by_side_become_sequences_with_their_own_K_poses_and_depth(house, tmp_path):
    result = import_dataset(house, tmp_path / "out", "images")
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.sequences == sorted(["walk_2", "walk_3", "walk_10"])
    frames = {frame.name: frame for frame in dataset.frames}
    assert len(frames) == 7
    assert frames["walk_2/1.png"].T_world_camera[0, 3] == pytest.approx(3.1)
    assert frames["walk_10/1.png"].T_world_camera[0, 3] == pytest.approx(2.1)
    assert frames["walk_3/1.png"].T_world_camera is None
    assert frames["walk_10/1.png"].stamp_ns == 100_000_000  # each recording begins at zero
    assert dataset.depth_m(frames["walk_3/0.png"])[0, 0] == pytest.approx(0.6)
    # One camera where K is equal, another one where it is not.
    assert len(dataset.cameras) == 2
    assert frames["walk_2/0.png"].camera_id == frames["walk_10/0.png"].camera_id
    assert dataset.camera(frames["walk_3/0.png"]).fx_px == 60.0
    assert dataset.info.scale == "metric"
    assert result["sequences"] == {"walk_2": 3, "walk_3": 2, "walk_10": 2}
    assert result["notes"][0] == "house: found 7 images, used 7 (2 without a pose), left out: none."


def test_each_recording_says_what_it_holds_and_what_it_lacks(house, tmp_path):
    (house / "walk_10" / "K.txt").unlink()
    (house / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    notes = import_dataset(house, tmp_path / "out", "images")["notes"]
    assert "walk_2: found 3 images, 3 poses, 3 depth images." in notes
    assert "walk_3: found 2 images, 2 depth images, no poses.txt, so its images have no pose." in notes
    assert "walk_10: found 2 images, 2 poses, 2 depth images, no K.txt, so its focal length is a guess." in notes
    assert "walk_2: poses.txt: a line for each image, in the order of their names." in notes
    assert "The poses of 2 recordings are taken to be in one world frame, in metres." in notes
    assert "poses.txt beside the recordings: not read; what lies in each of them is." in notes


def test_only_whoever_names_the_format_gets_several_recordings_in_one_world(house):
    with pytest.raises(InputError, match="looks like none of"):
        guess_format(house)


def test_a_broken_recording_is_named_and_leaves_nothing_behind(house, tmp_path):
    (house / "walk_10" / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(InputError, match=r"walk_10/poses\.txt has 1 lines for 2 images"):
        import_dataset(house, tmp_path / "out", "images")
    assert not (tmp_path / "out").exists()


def test_what_lies_deeper_is_counted_and_no_recording(house, tmp_path):
    (house / "walk_2" / "rgb" / "0.png").rename(house / "walk_2" / "cover.png")
    (house / "walk_2" / "poses.txt").unlink()
    (house / "depth").mkdir()
    (house / "depth" / "old.png").write_bytes((house / "walk_2" / "cover.png").read_bytes())
    notes = import_dataset(house, tmp_path / "out", "images")["notes"]
    assert SceneDataset(tmp_path / "out").sequences == sorted(["walk_2", "walk_3", "walk_10"])
    assert notes[0].startswith(
        "house: found 8 images, used 6 (4 without a pose), left out: 2 elsewhere than in the folder of images that was "
        "taken (the first: depth/old.png)"
    )


def test_folders_below_the_images_of_a_recording_are_sequences_of_its_name(house, tmp_path):
    for side in ("left", "right"):
        (house / "walk_3" / "rgb" / side).mkdir()
        (house / "walk_3" / "rgb" / f"{side == 'right':d}.png").rename(house / "walk_3" / "rgb" / side / "0.png")
    import_dataset(house, tmp_path / "out", "images")
    assert SceneDataset(tmp_path / "out").sequences == sorted(["walk_2", "walk_3_left", "walk_3_right", "walk_10"])


def test_linked_folders_keep_the_names_of_their_links(house, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for name in ("walk_2", "walk_10"):
        (site / f"day_{name}").symlink_to(house / name)
    (site / "again").symlink_to(site)  # leads back up
    (tmp_path / "view").symlink_to(site)
    result = import_dataset(tmp_path / "view", tmp_path / "out", "images")
    assert result["sequences"] == {"day_walk_10": 2, "day_walk_2": 3}
    assert result["notes"][0] == "view: found 5 images, used 5, left out: none."
    # One recording by itself, with its folders linked as well.
    (tmp_path / "one").mkdir()
    for name in ("rgb", "depth", "K.txt"):
        (tmp_path / "one" / name).symlink_to(house / "walk_2" / name)
    (tmp_path / "alias").symlink_to(tmp_path / "one")
    result = import_dataset(tmp_path / "alias", tmp_path / "alone")
    assert (result["sequences"], result["depth_images"]) == ({"alias": 3}, 3)


def test_a_link_to_a_recording_beside_it_is_that_recording_again(house, tmp_path):
    (house / "latest").symlink_to("walk_10")
    result = import_dataset(house, tmp_path / "out", "images")
    assert result["sequences"] == {"walk_2": 3, "walk_3": 2, "walk_10": 2}
    assert result["notes"][0] == "house: found 7 images, used 7 (2 without a pose), left out: none."


def test_linked_folders_below_images_and_depth(tmp_path):
    target = tmp_path / "disk" / "rec_17"
    for kind, value in (("rgb", np.zeros((*SIZE[::-1], 3), np.uint8)), ("depth", np.full(SIZE[::-1], 2000, np.uint16))):
        (target / kind).mkdir(parents=True)
        cv2.imwrite(str(target / kind / "0.png"), value)
        (tmp_path / "site" / kind).mkdir(parents=True)
        (tmp_path / "site" / kind / "morning").symlink_to(target / kind)
    (tmp_path / "site" / "rgb" / "evening").mkdir()
    cv2.imwrite(str(tmp_path / "site" / "rgb" / "evening" / "0.png"), np.zeros((*SIZE[::-1], 3), np.uint8))
    result = import_dataset(tmp_path / "site", tmp_path / "out")
    assert result["sequences"] == {"evening": 1, "morning": 1}
    dataset = SceneDataset(tmp_path / "out")
    assert [dataset.has_depth(frame) for frame in dataset.frames] == [False, True]
