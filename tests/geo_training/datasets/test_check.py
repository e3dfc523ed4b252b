"""What the check finds in real recordings, whole and deliberately broken."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.check.check import check_dataset
from geo_training.datasets.check.findings import Severity
from geo_training.datasets.check.images import blur_of, check_images
from geo_training.datasets.check.poses import check_poses, find_jumps
from geo_training.datasets.check.recording import check_cameras, check_stamps
from geo_training.datasets.importers.source import DepthFile
from geo_training.datasets.matching import Matches, agreement, epipolar_px, triangulated_depths
from geo_training.datasets.scene import Frame, SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from scipy.spatial.transform import Rotation

from geo_perception.geometry import Camera, invert_pose, make_pose, pose_from_quaternion, pose_to_quaternion, so3_exp

FRAMES = range(100, 116)
NAMES = [f"{number:05d}" for number in FRAMES]
BODY_OPTICAL = make_pose([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])
CLOCK_CHECKS = {"late stamps", "clock jump", "gap", "rolling gaps", "same stamp", "clock runs back"}
POSE_CHECKS = {
    "pose convention",
    "poses disagree",
    "jumping poses",
    "missing poses",
    "no poses",
    "depth scale",
    "depth disagrees",
}
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def w_first(T):
    t_3, (x, y, z, w) = pose_to_quaternion(T)
    return pose_from_quaternion(t_3, [w, x, y, z])


@pytest.fixture(scope="module")
def office(shared_data, tmp_path_factory):
    """Sixteen frames of a real walk, with poses and depth: nothing is wrong with them."""
    root, source = tmp_path_factory.mktemp("check") / "office", shared_data / "office"
    poses = np.loadtxt(source / "poses.txt").reshape(-1, 4, 4)
    with SceneWriter(root, ["office"]) as writer:
        camera_id = writer.add_camera(Camera.from_K(np.loadtxt(source / "K.txt"), 540, 360))
        files = sorted((source / "rgb").iterdir())
        for name, number in zip(NAMES, FRAMES, strict=True):
            depth_m = DepthFile(source / "depth" / f"{files[number].stem}.png", 1000.0).load_m()
            fields = {"image_file": files[number], "stem": name, "T_world_camera": poses[number]}
            writer.add_frame("walk", number * 100_000_000, camera_id, **fields, depth_m=depth_m, split="train")
        writer.describe(scale="metric", scale_source="poses")
    return root


@pytest.fixture
def broken(office, tmp_path):
    """A copy of the office to break. Returns its root."""
    shutil.copytree(office, tmp_path / "office")
    return tmp_path / "office"


def change_frames(root, change) -> None:
    dataset = SceneDataset(root)
    dataset.save_frames([change(index, frame) for index, frame in enumerate(dataset.frames)])


def change_image(root, index, change) -> None:
    dataset = SceneDataset(root)
    path = str(dataset.image_path(dataset.frames[index]))
    cv2.imwrite(path, change(cv2.imread(path)))


def finding(root, check):
    """The finding of that name, from the one part that makes it, to be quick."""
    dataset = SceneDataset(root)
    if check in CLOCK_CHECKS:
        findings = check_stamps(dataset.frames)
    elif check in POSE_CHECKS:
        findings, _ = check_poses(dataset, dataset.frames)
    else:
        findings, qualities = check_images(dataset, dataset.frames)
        findings = findings + check_cameras(dataset, dataset.frames, qualities)
    found = {finding.check: finding for finding in findings}
    assert check in found, f"found only {sorted(found)}"
    return found[check]


def test_a_good_recording_is_good(office):
    report = check_dataset(office)
    assert report.usable
    assert [finding.check for finding in report.findings if finding.severity is not Severity.NOTE] == []
    assert report.values["agreement"]["T_world_camera as given"] > 0.9


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (invert_pose, "they fit as world to camera"),
        (lambda T: T @ OPENGL, "they fit as OpenGL camera axes"),
        (lambda T: OPENGL @ invert_pose(T), "they fit as world to camera with OpenGL camera axes"),
        (lambda T: T @ invert_pose(BODY_OPTICAL), "they fit as body axes"),
        (lambda T: make_pose(T[:3, :3].T, T[:3, 3]), "they fit as a transposed rotation"),
        (w_first, "they fit as a quaternion in the order w x y z"),
    ],
    ids=["inverse", "opengl", "inverse opengl", "body", "transposed", "w first"],
)
def test_poses_of_another_convention_are_recognized(broken, stored, words):
    change_frames(broken, lambda _, frame: replace(frame, T_world_camera=stored(frame.T_world_camera)))
    wrong = finding(broken, "pose convention")
    assert wrong.severity is Severity.ERROR
    assert words in wrong.message


def test_poses_of_another_recording_fit_no_convention(broken):
    rng = np.random.default_rng(0)
    change_frames(
        broken,
        lambda i, f: replace(
            f, T_world_camera=make_pose(Rotation.random(random_state=i).as_matrix(), rng.normal(size=3))
        ),
    )
    wrong = finding(broken, "poses disagree")
    assert wrong.severity is Severity.ERROR


def test_a_pose_that_jumps_is_named(broken):
    away = make_pose(so3_exp([0, 0.8, 0]), [4.0, 0, 1.0])
    change_frames(
        broken,
        lambda i, f: replace(f, T_world_camera=f.T_world_camera @ away) if i == 8 else f,
    )
    jump = finding(broken, "jumping poses")
    assert jump.severity is Severity.ERROR
    assert "walk/00108.jpg" in jump.frames


def test_a_standstill_before_the_walk_is_no_jump():
    places = [0.0] * 20 + [0.05 * i for i in range(20)]
    frames = [
        Frame(f"a/{i}", "a", i * 10**8, "c", T_world_camera=make_pose(np.eye(3), [x, 0, 0]))
        for i, x in enumerate(places)
    ]
    assert find_jumps(frames) == []
    frames[30] = replace(frames[30], T_world_camera=make_pose(np.eye(3), [9.0, 0, 0]))
    assert [(a.name, b.name) for a, b in find_jumps(frames)] == [("a/29", "a/30"), ("a/30", "a/31")]


def test_frames_without_poses_are_counted(broken):
    change_frames(broken, lambda i, f: replace(f, T_world_camera=None) if i < 6 else f)
    assert "6 of 16 frames have no pose" in finding(broken, "missing poses").message
    change_frames(broken, lambda i, f: replace(f, T_world_camera=None))
    assert finding(broken, "no poses").severity is Severity.NOTE


def test_a_K_of_larger_images_is_recognized(broken):
    cameras = json.loads((broken / "cameras.json").read_text())
    cameras["camera0"] |= {key: cameras["camera0"][key] * 2 for key in ("fx", "fy", "cx", "cy")}
    (broken / "cameras.json").write_text(json.dumps(cameras))
    wrong = finding(broken, "principal point")
    assert "K fits images of about 10" in wrong.remedy
    assert "scale it by 0.5" in wrong.remedy


def test_images_of_another_size_than_K_are_an_error(broken):
    change_image(broken, 3, lambda image: cv2.resize(image, (270, 180)))
    wrong = finding(broken, "image size")
    assert wrong.severity is Severity.ERROR
    assert wrong.frames == ("walk/00103.jpg",)
    assert "1 images of camera0 are 270x180, its K is for 540x360" in wrong.message


def test_an_impossible_focal_length_and_pixels_that_are_not_square(broken):
    cameras = json.loads((broken / "cameras.json").read_text())
    cameras["camera0"] |= {"fx": 40.0, "known": False}
    (broken / "cameras.json").write_text(json.dumps(cameras))
    assert finding(broken, "focal length").severity is Severity.ERROR
    assert finding(broken, "pixel aspect").severity is Severity.WARNING
    assert finding(broken, "guessed focal").severity is Severity.NOTE


def test_depth_in_another_unit_is_recognized(broken):
    for path in (broken / "depth").rglob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 5)
    assert finding(broken, "depth scale").values["factor"] == pytest.approx(0.2, rel=0.05)


def test_depth_that_has_nothing_to_do_with_the_images_is_named(broken):
    """Its median is right by chance; each pixel is anything from a twentieth to twenty times as much."""
    rng = np.random.default_rng(0)
    for path in (broken / "depth").rglob("*.png"):
        depth_mm = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        factor_hw = np.exp(rng.uniform(-3, 3, depth_mm.shape))
        cv2.imwrite(str(path), np.clip(depth_mm * factor_hw, 0, 65000).astype(np.uint16))
    assert finding(broken, "depth disagrees").values["agree"] < 0.4


def test_blurred_dark_and_white_images_are_named(broken):
    change_image(broken, 2, lambda image: cv2.blur(image, (21, 1)))
    change_image(broken, 5, lambda image: image // 12)
    change_image(broken, 9, lambda image: np.full_like(image, 255))
    assert "walk/00102.jpg" in finding(broken, "blurred").frames
    assert finding(broken, "dark").frames == ("walk/00105.jpg",)
    assert finding(broken, "overexposed").frames == ("walk/00109.jpg",)


def test_broken_images_are_an_error(broken):
    dataset = SceneDataset(broken)
    whole = dataset.image_path(dataset.frames[0]).read_bytes()
    dataset.image_path(dataset.frames[0]).write_bytes(whole[: len(whole) // 2])
    dataset.image_path(dataset.frames[1]).write_text("no image")
    dataset.image_path(dataset.frames[2]).unlink()
    wrong = finding(broken, "unreadable")
    assert wrong.severity is Severity.ERROR
    assert wrong.frames == ("walk/00100.jpg", "walk/00101.jpg", "walk/00102.jpg")


def test_copies_standstills_and_leaks(broken):
    dataset = SceneDataset(broken)
    paths = [dataset.image_path(frame) for frame in dataset.frames]
    shutil.copyfile(paths[4], paths[5])
    change_image(broken, 10, lambda _: cv2.imread(str(paths[9])))  # encoded again: no copy, but nothing moved
    assert finding(broken, "duplicate").frames == ("walk/00105.jpg",)
    assert finding(broken, "motionless").frames == ("walk/00110.jpg",)
    change_frames(broken, lambda i, f: replace(f, split="test") if i == 5 else f)
    assert finding(broken, "leak").severity is Severity.ERROR


def test_clocks(broken):
    def stamps(*changes):
        stamp_ns = {i: (100 + i) * 100_000_000 for i in range(16)} | dict(changes)
        order = [f"walk/{name}.jpg" for name in NAMES]
        change_frames(broken, lambda _, f: replace(f, stamp_ns=stamp_ns[order.index(f.name)]))

    stamps(*((i, (100 + i) * 100_000_000 + 3600 * 10**9) for i in range(8, 16)))
    assert "jumps 1 times, by up to 3600 s" in finding(broken, "clock jump").message
    stamps(*((i, (100 + i) * 100_000_000 + 10**9) for i in range(8, 16)))
    assert finding(broken, "gap").frames == ("walk/00108.jpg",)
    stamps(*((i, (100 + i + i // 4) * 100_000_000) for i in range(16)))
    assert "3 of 15 intervals lack frames" in finding(broken, "rolling gaps").message
    stamps((8, 107 * 100_000_000))
    assert finding(broken, "same stamp").frames == ("walk/00108.jpg",)
    stamps((15, (2**31 + 5) * 10**9))
    assert "stamps reach 2.15e+09 s, which is after January 2038" in finding(broken, "late stamps").message
    stamps(*((i, 10**27 * (i + 1)) for i in range(16)))
    assert len(finding(broken, "late stamps").frames) == 16
    stamps((8, 0))
    assert finding(broken, "clock runs back").frames == ("walk/00108.jpg",)


def test_the_command_prints_a_table_and_exits_by_the_gravest(office, broken, tmp_path):
    good = invoke(train, "dataset", "check", office, "--json", tmp_path / "good.json")
    assert good.exit_code == 0, good.output
    assert json.loads((tmp_path / "good.json").read_text())["usable"] is True
    change_image(broken, 0, lambda image: cv2.resize(image, (270, 180)))
    bad = invoke(train, "dataset", "check", broken, "--json", tmp_path / "bad.json")
    assert bad.exit_code == 1
    assert "not good enough: 1 errors" in bad.output
    written = json.loads((tmp_path / "bad.json").read_text())
    assert (written["usable"], written["errors"]) == (False, 1)
    assert all(finding["remedy"] for finding in written["findings"])
    nothing = invoke(train, "dataset", "check", tmp_path)
    assert nothing.exit_code == 1
    assert "is not a dataset" in nothing.output


def test_blur_is_between_nothing_and_everything():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (100, 120), np.uint8)
    assert blur_of(noise) < 0.2
    assert blur_of(cv2.GaussianBlur(noise, (0, 0), 4)) > 0.6
    assert blur_of(cv2.GaussianBlur(noise, (0, 0), sigmaX=4, sigmaY=0.01)) > 0.6  # motion along one axis
    assert blur_of(np.zeros((10, 10), np.uint8)) == 1.0


def test_epipolar_distance_and_depth_by_exact_geometry():
    camera = Camera(640, 480, 500.0, 500.0, 319.5, 239.5)
    rng = np.random.default_rng(1)
    points_n3 = rng.uniform([-1, -1, 3], [1, 1, 6], (50, 3))
    T_b_a = make_pose(so3_exp([0.02, 0.1, -0.03]), [0.4, -0.1, 0.05])
    in_b_n3 = points_n3 @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    matches = Matches("a", "b", camera.project(points_n3), camera.project(in_b_n3))
    np.testing.assert_allclose(epipolar_px(T_b_a, camera, camera, matches), 0, atol=1e-9)
    z_a, z_b, angle_rad = triangulated_depths(T_b_a, camera, camera, matches)
    np.testing.assert_allclose(z_a, points_n3[:, 2], rtol=1e-9)
    np.testing.assert_allclose(z_b, in_b_n3[:, 2], rtol=1e-9)
    assert (angle_rad > 0.02).all()
    assert agreement(T_b_a, camera, camera, matches, 1.0) == 1.0
    # The opposite direction has the same epipolar lines, but puts everything behind the cameras.
    opposite = make_pose(T_b_a[:3, :3], -T_b_a[:3, 3])
    np.testing.assert_allclose(epipolar_px(opposite, camera, camera, matches), 0, atol=1e-9)
    assert agreement(opposite, camera, camera, matches, 1.0) == 0.0
    sideways = Matches("a", "b", np.array([[319.5, 239.5]]), np.array([[319.5, 242.5]]))
    shift = make_pose(np.eye(3), [1.0, 0, 0])
    assert epipolar_px(shift, camera, camera, sideways)[0] == pytest.approx(3 / np.sqrt(2))
