"""`geo-eval calibration --exif`: what photographs say of their focal length, as a prior and as a test."""

import json
from functools import partial

import cv2
import numpy as np
import pytest
from blank_calibrator import blank_calibrator
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene_writer import SceneWriter
from PIL import Image

from geo_perception.geometry import Camera, make_pose

run = partial(invoke, evaluate)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return blank_calibrator(tmp_path_factory.mktemp("weights") / "blank.safetensors")


def photograph(path, focal_35mm=None, size=(96, 64)):
    exif = Image.Exif()
    if focal_35mm:
        exif.get_ifd(0x8769)[0xA405] = focal_35mm
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(cv2.resize(pixels, size)).save(path, exif=exif)


@pytest.fixture
def album(tmp_path):
    """Photographs in a dataset, of a camera of 80 pixels. By EXIF a has 37.49 mm / 43.27 mm of the diagonal of 115.4:
    100 pixels; b has 30 mm, 80 pixels; c does not say."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, focal_35mm in (("a", 37.49), ("bb", 30), ("ccc", None)):
        photograph(folder / f"{name}.jpg", focal_35mm)
    with SceneWriter(tmp_path / "album", sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(96, 64, 80.0, 80.0, 47.5, 31.5))
        for i, path in enumerate(sorted(folder.iterdir())):
            pose = make_pose(np.eye(3), [0, 0, i])
            writer.add_frame("album", i * 10**8, camera_id, image_file=path, stem=path.stem, T_world_camera=pose)
    return tmp_path / "album"


def test_a_focal_length_in_exif_is_known_to_a_tenth(weights, album, tmp_path):
    out, kept = tmp_path / "out.json", tmp_path / "kept.jsonl"
    common = "calibration", weights, album, "--gravity", "0,1,0", "--device", "cpu", "--json", out
    assert run(*common).exit_code == 0
    alone = [row["estimated"]["focal_px"] for row in json.loads(out.read_text())["frames"]]
    result = run(*common, "--exif", "--predictions", kept)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["metadata"]["EXIF"] == "2 of 3 say their focal length, half of them within 12.5 %"
    a, b, c = (row["estimated"]["focal_px"] for row in content["frames"])
    assert (a, b) == pytest.approx((100, 80), rel=0.25)  # the network knows nothing, and is not sure of it
    assert a > b
    assert c == pytest.approx(alone[2])
    kept_of = "calibration", weights, album, "--gravity", "0,1,0", "--from-predictions", kept
    assert run(*kept_of, "--exif").exit_code == 0
    refused = run(*kept_of)
    assert refused.exit_code == 1  # these are answers with EXIF


def test_plain_photographs_are_compared_with_their_exif(weights, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, focal_35mm in (("a", 35), ("bb", 30), ("ccc", None)):
        photograph(folder / f"{name}.jpg", focal_35mm)
    out = tmp_path / "out.json"
    result = run("calibration", weights, folder, "--exif", "--device", "cpu", "--json", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 photographs say their focal length (1 do not)")
    content = json.loads(out.read_text())
    assert [row["name"] for row in content["frames"]] == ["a.jpg", "bb.jpg"]
    assert content["frames"][0]["exif_focal_px"] == pytest.approx(35 / 43.2666 * np.hypot(96, 64), rel=1e-4)
    for row in content["frames"]:
        share = row["focal_px"] / row["exif_focal_px"]
        assert row["focal_difference_pct"] == pytest.approx(100 * abs(share - 1))
    differences = [row["focal_difference_pct"] for row in content["frames"]]
    assert content["figures"]["focal_median_pct"] == pytest.approx(np.mean(differences))
    paged = run("calibration", weights, folder, "--exif", "--device", "cpu", "--report", tmp_path / "page.html")
    assert paged.exit_code == 2
    assert not (tmp_path / "page.html").exists()


def test_photographs_that_say_nothing_are_told(weights, tmp_path):
    photograph(tmp_path / "a.jpg")
    walk = tmp_path / "walk"
    with SceneWriter(walk, sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(96, 64, 80.0, 80.0, 47.5, 31.5))
        image_hw3 = np.full((64, 96, 3), 120, np.uint8)
        writer.add_frame("walk", 0, camera_id, image_rgb=image_hw3, T_world_camera=make_pose(np.eye(3), [0, 0, 0]))
    for folder, more in ((tmp_path, ()), (walk, ("--gravity", "0,1,0"))):
        result = run("calibration", weights, folder, "--exif", "--device", "cpu", *more)
        assert result.exit_code == 1
        assert "no photograph" in result.output
        assert "leave out --exif" in result.output
    (tmp_path / "b.jpg").write_text("no picture")
    result = run("calibration", weights, tmp_path, "--exif", "--device", "cpu")
    assert result.exit_code == 1
    assert "b.jpg" in result.output
    assert len(result.output.strip().splitlines()) == 1
    (tmp_path / "b.jpg").unlink()
    photograph(tmp_path / "c.jpg", 35, (960, 640))
    whole = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(whole[: len(whole) // 2])
    result = run("calibration", weights, tmp_path, "--exif", "--device", "cpu")
    assert result.exit_code == 1
    assert "c.jpg" in result.output
