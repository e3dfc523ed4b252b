"""KITTI raw: a tiny folder in its layout, with a made lidar whose true depths are known."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.importers.kitti_geometry import DateCalibration, LidarDepth, imu_poses
from geo_training.datasets.importers.kitti_raw import EIGEN_TEST_DRIVES, eigen_split
from geo_training.datasets.scene import SceneDataset
from geo_training.depth.data.clips import ClipOptions, find_clips

from geo_perception.errors import InputError
from geo_perception.geometry import invert_pose, make_pose, so3_exp

WIDTH, HEIGHT = 120, 40
K_33 = np.array([[70.0, 0, 60.2], [0, 70.0, 19.6], [0, 0, 1]])
SHIFT_3 = np.array([0.06, -0.001, 0.003])  # of camera 2 from the rectified camera 0
R_RECT_33 = so3_exp([0.004, -0.01, 0.007])
# x forward, y left, z up (lidar) to x right, y down, z forward (camera), a little turned, 0.27 m apart.
T_CAMERA0_VELO = make_pose(
    np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ so3_exp([0.0, 0.01, 0.01]), [0, -0.08, -0.27]
)
T_VELO_IMU = make_pose(np.eye(3), [-0.81, 0.32, -0.8])
T_CAMERA2_VELO = make_pose(R_RECT_33, SHIFT_3) @ T_CAMERA0_VELO
DEGREE_EAST_M = 6378137.0 * np.pi / 180 * np.cos(np.radians(49.0))  # at 49 degrees north


def numbers(values):
    return " ".join(f"{value:.12e}" for value in np.ravel(values))


def plane_depth():
    """The depth of the plane z = 8 + 0.5 x - 0.25 y at each pixel: z = 8 / (1 - 0.5 u + 0.25 v)."""
    u, v = (np.arange(WIDTH) - 60.2) / 70.0, (np.arange(HEIGHT) - 19.6) / 70.0
    return 8.0 / (1 - 0.5 * u[None] + 0.25 * v[:, None])


def points_of(depth_hw):
    """A lidar scan that meets each pixel's centre at this depth, in the lidar's frame."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(x - 60.2) / 70.0, (y - 19.6) / 70.0, np.ones_like(x)], axis=-1)
    points_n3 = (rays * depth_hw[..., None]).reshape(-1, 3)
    T = invert_pose(T_CAMERA2_VELO)
    return points_n3 @ T[:3, :3].T + T[:3, 3]


def write_scan(path, points_n3):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.concatenate([points_n3, np.zeros((len(points_n3), 1))], axis=1).astype(np.float32).tofile(path)


def write_calibration(date):
    date.mkdir(parents=True, exist_ok=True)
    lines = ["calib_time: 09-Jan-2012 13:57:47", f"R_rect_00: {numbers(R_RECT_33)}"]
    for number, shift_3 in ((2, SHIFT_3), (3, SHIFT_3 - [0.54, 0, 0])):
        lines += [f"S_rect_{number:02d}: {WIDTH} {HEIGHT}"]
        lines += [f"P_rect_{number:02d}: {numbers(np.column_stack([K_33, K_33 @ shift_3]))}"]
    (date / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    for name, T in (("calib_velo_to_cam.txt", T_CAMERA0_VELO), ("calib_imu_to_velo.txt", T_VELO_IMU)):
        (date / name).write_text(f"calib_time: 15-Mar-2012 11:37:16\nR: {numbers(T[:3, :3])}\nT: {numbers(T[:3, 3])}\n")


def write_drive(root, name, east_m, cameras=(2,)):
    """A drive that goes east, a frame for each of `east_m`, looking east (yaw 0)."""
    date = root / name[:10]
    write_calibration(date)
    drive = date / name
    for number in cameras:
        folder = drive / f"image_{number:02d}"
        (folder / "data").mkdir(parents=True)
        for index in range(len(east_m)):
            image = np.random.default_rng(index).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            cv2.imwrite(str(folder / "data" / f"{index:010d}.png"), image)
        stamps = [f"2011-09-26 13:02:{25 + i / 10:012.9f}" for i in range(len(east_m))]
        (folder / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    (drive / "oxts" / "data").mkdir(parents=True)
    for index, x_m in enumerate(east_m):
        values = [49.0, 8.0 + x_m / DEGREE_EAST_M, 112.0, 0.0, 0.0, 0.0, *np.zeros(24)]
        (drive / "oxts" / "data" / f"{index:010d}.txt").write_text(numbers(values))
        write_scan(drive / "velodyne_points" / "data" / f"{index:010d}.bin", points_of(plane_depth()))
    return drive


TRAIN, TEST = "2011_09_26_drive_0001_sync", "2011_09_26_drive_0002_sync"


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "kitti"
    write_drive(root, TRAIN, [0.0, 1.0, 2.0, 3.0])
    write_drive(root, TEST, [0.0, 0.0, 1.0], cameras=(2, 3))
    return root


def test_drives_become_sequences_of_their_split(raw, tmp_path):
    result = import_dataset(raw, tmp_path / "out")
    assert result["format"] == guess_format(raw) == "kitti_raw"
    assert result["splits"] == {"train": 4, "test": 3}
    assert result["sequences"] == {TRAIN: 4, TEST: 3}
    assert (result["posed_frames"], result["depth_images"], result["scale"]) == (7, 7, "metric")
    dataset = SceneDataset(tmp_path / "out")
    first = dataset.frames[0]
    assert first.name == f"{TRAIN}/0000000000.png"
    assert first.stamp_ns == 1_317_042_145_000_000_000  # 2011-09-26 13:02:25 UTC
    assert dataset.frames[1].stamp_ns - first.stamp_ns == 100_000_000
    np.testing.assert_allclose(dataset.camera(first).K, K_33, atol=1e-9)
    clips = find_clips(dataset, ClipOptions())
    assert [clip.target.name for clip in clips] == [f"{TRAIN}/000000000{i}.png" for i in (1, 2)]


def test_depth_is_along_the_cameras_axis(raw, tmp_path):
    """Not the lidar's x, which is 0.27 m more: the plane comes back to the millimetre."""
    import_dataset(raw, tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    np.testing.assert_allclose(dataset.depth_m(dataset.frames[0]), plane_depth(), atol=6e-4)


def test_of_several_points_in_a_pixel_the_nearest_counts(tmp_path):
    """A wall at 20 m, its left half hidden by one at 5 m; points behind the camera give nothing."""
    date = tmp_path / "2011_09_26"
    write_calibration(date)
    calibration = DateCalibration.read(date)
    depth_hw = np.full((HEIGHT, WIDTH), 20.0)
    near_hw = np.where(np.arange(WIDTH) < 60, 5.0, 70.0) * np.ones((HEIGHT, 1))
    for order in (1, -1):
        scans = [points_of(near_hw), points_of(depth_hw), points_of(-depth_hw)][::order]
        write_scan(tmp_path / "scan.bin", np.concatenate(scans))
        got = LidarDepth(tmp_path / "scan.bin", calibration.camera(2), calibration.T_camera_velo(2)).load_m()
        np.testing.assert_allclose(got[:, :60], 5.0, atol=1e-4)
        np.testing.assert_allclose(got[:, 60:], 20.0, atol=1e-4)
    write_scan(tmp_path / "scan.bin", points_of(np.full((HEIGHT, WIDTH), 110.0)))
    got = LidarDepth(tmp_path / "scan.bin", calibration.camera(2), calibration.T_camera_velo(2)).load_m()
    np.testing.assert_allclose(got, 110.0, atol=1e-3)  # farther than millimetres in 16 bits say
    points_n3 = points_of(near_hw)
    points_n3[::2] = np.nan
    points_n3[1::4] = np.inf
    write_scan(tmp_path / "scan.bin", points_n3)
    got = LidarDepth(tmp_path / "scan.bin", calibration.camera(2), calibration.T_camera_velo(2)).load_m()
    assert np.isin(np.round(got, 3), (0, 5, 70)).all()
    (tmp_path / "scan.bin").write_bytes(b"12345")
    assert LidarDepth(tmp_path / "scan.bin", calibration.camera(2), calibration.T_camera_velo(2)).load_m() is None


def test_poses_are_metres_east_north_up(raw, tmp_path):
    """The car looks east and goes east: the camera's z is the world's x, and it moves along it, a metre a frame."""
    import_dataset(raw, tmp_path / "out", options=ImportOptions(sequences=(TRAIN,)))
    poses = [frame.T_world_camera for frame in SceneDataset(tmp_path / "out").frames]
    for index, T in enumerate(poses):
        np.testing.assert_allclose(
            T, make_pose(np.eye(3), [index, 0, 0]) @ invert_pose(T_CAMERA2_VELO @ T_VELO_IMU), atol=1e-6
        )
    assert poses[0][0, 2] > 0.99  # forward is east
    assert poses[0][2, 1] < -0.99  # down is down


def test_latitude_longitude_and_attitude(tmp_path):
    """A hundred-thousandth of a degree north is 1.1132 m; at 49 degrees one east is 0.7303 m. Yaw pi/2 looks north."""
    rows = [(49.0, 8.0, 100.0, 0, 0, 0), (49.00001, 8.00001, 101.5, 0, 0, np.pi / 2), (49.0, 8.0, 100.0, 0.1, 0.2, 0)]
    for index, row in enumerate(rows):
        (tmp_path / f"{index}.txt").write_text(numbers(row))
    (tmp_path / "3.txt").write_text("49.0 no")
    first, second, third, broken, missing = imu_poses([tmp_path / f"{index}.txt" for index in range(5)])
    np.testing.assert_allclose(first, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(second[:3, 3], [0.7303, 1.1132, 1.5], atol=2e-4)
    np.testing.assert_allclose(second[:3, 0], [0, 1, 0], atol=1e-12)
    assert third[2, 0] == pytest.approx(-np.sin(0.2))  # pitched up by KITTI's sign: nose down is positive
    assert third[2, 1] == pytest.approx(np.sin(0.1) * np.cos(0.2))
    assert broken is missing is None


def test_frames_without_lidar_or_gps_are_taken_with_a_note(raw, tmp_path):
    drive = raw / TRAIN[:10] / TRAIN
    (drive / "velodyne_points" / "data" / "0000000001.bin").unlink()
    (drive / "oxts" / "data" / "0000000002.txt").unlink()
    result = import_dataset(raw, tmp_path / "out")
    assert (result["frames"], result["depth_images"], result["posed_frames"]) == (7, 6, 6)
    notes = " ".join(result["notes"])
    assert "1 frames have no lidar" in notes
    assert "1 frames have no oxts" in notes
    for name in ("calib_velo_to_cam.txt", "calib_imu_to_velo.txt"):
        (raw / TRAIN[:10] / name).unlink()
    result = import_dataset(raw, tmp_path / "bare")
    assert (result["frames"], result["depth_images"], result["posed_frames"], result["scale"]) == (7, 0, 0, "unknown")


def test_what_was_left_out_is_counted_by_kind(raw, tmp_path):
    drive = raw / TRAIN[:10] / TRAIN
    (drive / "velodyne_points" / "data" / "0000000001.bin").write_bytes(b"12345")
    (drive / "image_02" / "data" / "1²2.png").write_bytes((drive / "image_02" / "data" / "0000000000.png").read_bytes())
    (drive / "image_02" / "data" / "0000000002.png").unlink()
    result = import_dataset(raw, tmp_path / "out", options=ImportOptions(sequences=(TRAIN,)))
    assert result["notes"][:3] == [
        "kitti: found 4 images, used 3 (1 without depth), left out: 1 without a number for a name (1²2.png).",
        "kitti: found 3 poses, used 3, left out: none.",
        "kitti: found 3 depth images, used 2, left out: 1 cannot be read as depth (0000000001.bin).",
    ]
    assert [frame.stamp_ns % 10**9 for frame in SceneDataset(tmp_path / "out").frames] == [0, 100_000_000, 300_000_000]


@pytest.mark.parametrize("place", ["0 0", "91 8", "nan 8", "1e300 8"])
def test_a_place_that_is_none_is_no_pose(tmp_path, place):
    (tmp_path / "0.txt").write_text(f"{place} 112 0 0 0")
    (tmp_path / "1.txt").write_text("49 8 112 0 0 0")
    lost, first = imu_poses([tmp_path / "0.txt", tmp_path / "1.txt"])
    assert lost is None
    np.testing.assert_allclose(first, np.eye(4), atol=1e-12)


@pytest.mark.parametrize("name", ["calib_cam_to_cam.txt", "calib_velo_to_cam.txt", "calib_imu_to_velo.txt"])
def test_a_calibration_that_is_no_rotation_is_refused(raw, tmp_path, name):
    file = raw / TRAIN[:10] / name
    key = "R_rect_00" if name == "calib_cam_to_cam.txt" else "R"
    lines = [
        f"{key}: 2 0 0 0 2 0 0 0 2" if line.startswith(f"{key}:") else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"{name}: {key}: .* is no rotation"):
        import_dataset(raw, tmp_path / "out")


def test_standing_still_is_left_out_of_training_only(tmp_path):
    root = tmp_path / "kitti"
    write_drive(root, TRAIN, [0.0, 0.02, 0.04, 1.0, 1.01, 2.0])
    write_drive(root, TEST, [0.0, 0.0, 0.0])
    result = import_dataset(root, tmp_path / "out")
    assert result["sequences"] == {TRAIN: 3, TEST: 3}
    assert "3 frames in which the car stands still were left out." in result["notes"]


def test_lists_of_frames_say_what_is_taken(raw, tmp_path):
    (tmp_path / "train_files.txt").write_text(f"2011_09_26/{TRAIN} 1 l\n2011_09_26/{TRAIN} 0000000002 l\n")
    (tmp_path / "eigen_test.txt").write_text(
        f"2011_09_26/{TEST} 0000000001 l\n2011_09_26/{TEST} 0000000002 r\n2011_09_26/{TEST} 9 r\n\n"
    )
    options = ImportOptions(split_files=(tmp_path / "train_files.txt", tmp_path / "eigen_test.txt"))
    result = import_dataset(raw, tmp_path / "out", options=options)
    frames = SceneDataset(tmp_path / "out").frames
    assert [(frame.name, frame.split) for frame in frames] == [
        (f"{TRAIN}/0000000001.png", "train"),
        (f"{TRAIN}/0000000002.png", "train"),
        (f"{TEST}/0000000001.png", "test"),
        (f"{TEST}_right/0000000002.png", "test"),
    ]
    assert "1 listed frames are not there." in result["notes"]
    # The right camera stands 0.54 m to the right, south of the left one, since the car looks east.
    right = frames[3].T_world_camera[:3, 3] - [1.0, 0, 0]
    left = frames[2].T_world_camera[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(right - left), 0.54, atol=1e-6)
    assert (right - left)[1] == pytest.approx(-0.54, abs=0.01)


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("files.txt", "", "says no split"),
        ("val.txt", f"2011_09_26/{TRAIN} one l", "line 1 is not"),
        ("val.txt", f"2011_09_26/{TRAIN} 1", "line 1 is not"),
        ("val.txt", f"2011_09_26/{TRAIN} 77 l", "none of the listed frames"),
    ],
)
def test_wrong_lists_are_answered(raw, tmp_path, name, text, answer):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=answer):
        import_dataset(raw, tmp_path / "out", options=ImportOptions(split_files=(tmp_path / name,)))
    assert not (tmp_path / "out").exists()


def test_a_frame_in_two_lists_is_refused(raw, tmp_path):
    paths = tmp_path / "train.txt", tmp_path / "test.txt"
    for path in paths:
        path.write_text(f"2011_09_26/{TRAIN} 1 l\n")
    with pytest.raises(InputError, match="another list says train"):
        import_dataset(raw, tmp_path / "out", options=ImportOptions(split_files=paths))


def test_a_wrong_layout_is_answered(raw, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no synchronized drive of KITTI raw"):
        import_dataset(tmp_path / "empty", tmp_path / "out", "kitti_raw")
    (raw / TRAIN[:10] / TRAIN / "image_02" / "timestamps.txt").write_text("not a time\n")
    with pytest.raises(InputError, match=r"timestamps\.txt has no date and time"):
        import_dataset(raw, tmp_path / "out")
    calibration = raw / TRAIN[:10] / "calib_cam_to_cam.txt"
    calibration.write_text("P_rect_02: 1 2 3\n")
    with pytest.raises(InputError, match="no P_rect_02 of twelve numbers"):
        import_dataset(raw, tmp_path / "out")
    calibration.unlink()
    with pytest.raises(InputError, match=r"no calib_cam_to_cam\.txt"):
        import_dataset(raw, tmp_path / "out")


def test_lists_are_for_kitti_raw_only(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="--split-file is for kitti_raw"):
        import_dataset(tmp_path, tmp_path / "out", "images", ImportOptions(split_files=(tmp_path / "test.txt",)))


def test_eigens_split():
    """28 drives are test, and a drive's split does not hang on which others are there."""
    assert len(EIGEN_TEST_DRIVES) == 28
    assert eigen_split(TEST) == "test"
    assert eigen_split("2011_10_03_drive_0047_sync") == "test"
    others = [f"2011_09_26_drive_{number:04d}_sync" for number in range(300, 700)]
    held_back = sum(eigen_split(name) == "val" for name in others)
    assert 400 / 24 < held_back < 400 / 6
