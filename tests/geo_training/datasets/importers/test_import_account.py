"""What an import does not take, it says; hostile folders cost what is broken, and nothing else."""

import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.datasets.commands import app
from geo_training.datasets.importers import ImportOptions, guess_format, import_dataset
from geo_training.datasets.importers.account import Account, printable
from geo_training.datasets.pictures import MAX_PIXELS, read_header, reason_against
from geo_training.datasets.scene import SceneDataset
from image_files import write_image
from PIL import Image

from geo_perception.errors import InputError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def write_empty_png(path, width, height):
    """A valid PNG of one bit a pixel: many pixels, few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = bytes((width + 7) // 8 + 1) * (height if width * height <= MAX_PIXELS else 1)
    data = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def names(out) -> list[str]:
    return [frame.name for frame in SceneDataset(out).frames]


@pytest.fixture
def hostile(tmp_path):
    """What lies in folders that came from a phone, a Mac and an old disk."""
    root = tmp_path / "hall"
    images = root / "images"
    for name in ("1²2.jpg", "a b c.jpg", "ünïcödé.png", "٣.jpg", "UP.JPG", "d.JPEG"):
        write_image(images / name)
    write_image(root / "thumbnail.jpg", size_px=(16, 12))
    write_image(images / ".thumbnails" / "1.jpg")
    (images / "._a b c.jpg").write_bytes(b"\0\5\x16\7")
    (images / "IMG_1.HEIC").write_bytes(HEIC)
    (images / "IMG_2.jpg").write_bytes(HEIC)
    (images / "raw.DNG").write_bytes(b"II*\0")
    (images / "empty.jpg").write_bytes(b"")
    (images / "text.png").write_text("hello")
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "folder.jpg").mkdir()
    os.mkfifo(images / "pipe.jpg")
    (images / "notes.txt").write_text("not a picture")
    return root


def test_a_hostile_folder_costs_what_is_broken(hostile, tmp_path):
    result = import_dataset(hostile, tmp_path / "out", "images")
    assert sorted(names(tmp_path / "out")) == [
        "hall/1²2.jpg", "hall/UP.jpg", "hall/a b c.jpg", "hall/d.jpeg", "hall/ünïcödé.png", "hall/٣.jpg",
    ]  # fmt: skip
    line = result["notes"][0]
    assert line.startswith("hall: found 15 images, used 6, left out: ")
    for words in (
        "1 hidden (._a b c.jpg)",
        "1 elsewhere than in the folder of images that was taken (thumbnail.jpg)",
        "1 HEIC pictures, to be converted to JPEG or PNG first (IMG_1.HEIC)",
        "1 HEIC pictures under another name, to be converted to JPEG or PNG first (IMG_2.jpg)",
        "1 raw pictures, to be converted to JPEG or PNG first (raw.DNG)",
        "1 empty files (empty.jpg)",
        "1 cannot be read as images (text.png)",
        "1 links that lead nowhere (gone.jpg)",
        "1 that are no files (pipe.jpg)",
    ):
        assert words in line
    tally = result["tallies"][0]
    assert (tally["things"], tally["found"], tally["used"]) == ("images", 15, 6)
    assert tally["found"] == tally["used"] + sum(tally["left_out"].values())
    assert SceneDataset(tmp_path / "out").info.notes == result["notes"]


def test_the_command_says_it_and_writes_it(hostile, tmp_path):
    (hostile / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 13)
    (hostile / "K.txt").write_text("50 50 31.5 23.5")
    (hostile / "depth").mkdir()
    cv2.imwrite(str(hostile / "depth" / "d.png"), np.full((48, 64), 1000, np.uint16))
    cv2.imwrite(str(hostile / "depth" / "other.png"), np.full((48, 64), 1000, np.uint16))
    arguments = ["import", str(hostile), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "out.json")]
    answer = invoke(app, *arguments, "--format", "images")
    assert answer.exit_code == 0, answer.output
    said = " ".join(answer.output.split())
    assert "hall: found 15 images, used 6 (5 without depth), left out: 1 hidden" in said
    assert "hall: found 13 poses, used 6, left out: 7 whose image was left out" in said
    assert "hall: found 2 depth images, used 1, left out: 1 of no image (other.png)" in said
    content = json.loads((tmp_path / "out.json").read_text())
    assert {tally["things"]: tally["used"] for tally in content["tallies"]} == {
        "images": 6, "poses": 6, "depth images": 1,
    }  # fmt: skip


def test_what_was_asked_for_is_counted_too(tmp_path):
    for sequence in ("a", "b"):
        for number in range(4):
            write_image(tmp_path / "site" / "images" / sequence / f"{number}.jpg")
    options = ImportOptions(fps=5.0, sequences=("a",))
    result = import_dataset(tmp_path / "site", tmp_path / "out", options=options)
    assert result["notes"][0] == (
        "site: found 8 images, used 2, left out: 4 of sequences that were not asked for (the first: 0.jpg), "
        "2 for the frame rate (the first: 1.jpg)."
    )


def test_the_folder_that_holds_more_is_taken(tmp_path):
    write_image(tmp_path / "a" / "thumbnail.jpg")
    for number in range(3):
        write_image(tmp_path / "a" / "images" / f"{number}.jpg")
        write_image(tmp_path / "b" / f"{number}.jpg")
        write_image(tmp_path / "c" / "images" / "walk" / f"{number}.jpg")
    write_image(tmp_path / "b" / "images" / "icon.jpg")
    write_image(tmp_path / "c" / "images" / "cover.jpg")
    for name, folder in (("a", "a"), ("b", "b"), ("c", "walk")):
        result = import_dataset(tmp_path / name, tmp_path / f"out_{name}")
        assert names(tmp_path / f"out_{name}") == [f"{folder}/{number}.jpg" for number in range(3)]
        assert "1 elsewhere than in the folder of images that was taken" in result["notes"][0]


def test_nothing_usable_is_answered_with_the_reasons(tmp_path):
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "a.heic").write_bytes(HEIC)
    assert guess_format(tmp_path / "phone") == "images"
    with pytest.raises(
        InputError, match=r"1 HEIC pictures, to be converted to JPEG or PNG first \(a\.heic\)"
    ) as refused:
        import_dataset(tmp_path / "phone", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf8(tmp_path):
    write_image(tmp_path / "old" / "a.jpg")
    os.rename(tmp_path / "old" / "a.jpg", os.fsencode(tmp_path / "old") + b"/caf\xe9.jpg")
    result = import_dataset(tmp_path / "old", tmp_path / "out")
    assert names(tmp_path / "out") == ["old/caf\N{REPLACEMENT CHARACTER}.jpg"]
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.image(dataset.frames[0]).shape == (48, 64, 3)
    json.dumps(result).encode()


def test_200_megapixels_are_read_and_bombs_are_not(tmp_path):
    root = tmp_path / "phone"
    root.mkdir()
    write_empty_png(root / "a.png", 16320, 12240)  # as phones take them
    write_empty_png(root / "bomb.png", 20000, 20000)
    assert read_header(root / "a.png").stored_size == (16320, 12240)
    with pytest.raises(InputError, match="larger than 268 million pixels"):
        read_header(root / "bomb.png")
    result = import_dataset(root, tmp_path / "out")
    assert names(tmp_path / "out") == ["phone/a.png"]
    assert "1 larger than 268 million pixels (bomb.png)" in result["notes"][0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_left_out(tmp_path):
    write_image(tmp_path / "hall" / "a.jpg")
    write_image(tmp_path / "hall" / "b.jpg")
    (tmp_path / "hall" / "b.jpg").chmod(0)
    result = import_dataset(tmp_path / "hall", tmp_path / "out")
    assert "1 cannot be opened (Permission denied) (b.jpg)" in result["notes"][0]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("poses.txt", b"\xff\xfe1\x000\x00"),
        ("K.txt", b"\xff\xfe1\x000\x00"),
        ("K.txt", b"500 0 320\n0 500 nan\n0 0 1"),
        ("K.txt", b"50 0 0\n0 50 0\n32 24 1"),  # column by column
        ("K.txt", b"500 0 3200\n0 500 2400\n0 0 1"),  # of larger images
        ("K.txt", b"0.8 0 0.5\n0 1.1 0.5\n0 0 1"),  # as a share of the sides
    ],
)
def test_files_beside_the_images_that_are_broken(tmp_path, file, content):
    write_image(tmp_path / "hall" / "a.jpg")
    (tmp_path / "hall" / file).write_bytes(content)
    with pytest.raises(InputError) as refused:
        import_dataset(tmp_path / "hall", tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_a_byte_order_mark_and_commas_are_no_mistake(tmp_path):
    write_image(tmp_path / "hall" / "a.jpg")
    (tmp_path / "hall" / "K.txt").write_bytes(b"\xef\xbb\xbf50,0,31.5\r\n0,50,23.5\r\n0,0,1\r\n")
    import_dataset(tmp_path / "hall", tmp_path / "out")
    assert SceneDataset(tmp_path / "out").cameras["camera0"].fx_px == 50


def test_one_K_for_images_of_several_sizes_is_that_of_one_size(tmp_path):
    """K of 64x48: the half as large image gets half of it, and one of another shape is left out."""
    for name, size in (("a.jpg", (64, 48)), ("b.jpg", (64, 48)), ("c.jpg", (32, 24)), ("d.jpg", (48, 64))):
        write_image(tmp_path / "hall" / name, size_px=size)
    (tmp_path / "hall" / "K.txt").write_text("50 51 31.5 23.5")
    result = import_dataset(tmp_path / "hall", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [(frame.name, dataset.camera(frame).fx_px) for frame in dataset.frames] == [
        ("hall/a.jpg", 50), ("hall/b.jpg", 50), ("hall/c.jpg", 25),
    ]  # fmt: skip
    assert "1 of another shape than their camera (d.jpg)" in result["notes"][0]


BAD_POSES = {
    "scaled": "2 0 0 1 0 2 0 0 0 0 2 0",
    "mirrored": "-1 0 0 1 0 1 0 0 0 0 1 0",
    "sheared": "1 0.3 0 1 0 1 0 0 0 0 1 0",
    "zeros": " ".join(["0"] * 12),
    "huge": " ".join(["1e300"] * 12),
    "far": "1 0 0 1e300 0 1 0 0 0 0 1 0",
    "short": "1 0 0 0 0 1",
    "text": "1 0 0 x 0 1 0 0 0 0 1 0",
}


@pytest.mark.parametrize("bad", BAD_POSES)
def test_one_bad_pose_costs_its_frame_the_pose(tmp_path, bad):
    for number in range(3):
        write_image(tmp_path / "hall" / f"{number}.jpg")
    good = "1 0.004 0 5 -0.004 1 0 0 0 0 1 0"  # rounded: made exact
    (tmp_path / "hall" / "poses.txt").write_text("\n".join([good, BAD_POSES[bad], good]))
    result = import_dataset(tmp_path / "hall", tmp_path / "out")
    first, second, third = (frame.T_world_camera for frame in SceneDataset(tmp_path / "out").frames)
    assert second is None
    for T in (first, third):
        np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-7)
        assert T[0, 3] == 5
    assert "found 3 poses, used 2, left out: 1 no rigid pose (" in result["notes"][1]
    assert "poses.txt line 2" in result["notes"][1]
    (tmp_path / "hall" / "poses.txt").write_text("\n".join([BAD_POSES[bad]] * 3))
    with pytest.raises(InputError, match=r"none of the 3 poses is one: .*poses\.txt line 1") as refused:
        import_dataset(tmp_path / "hall", tmp_path / "none")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bad", ["0 0 0 0", "nan 0 0 1", "1e300 0 0 0", "3 4 0 0", "1 0 0", "x 0 0 1"])
def test_one_bad_quaternion_costs_a_recording_one_line(tmp_path, bad):
    root = tmp_path / "rgbd_dataset_freiburg3_desk"
    for stamp in ("10.00", "10.05", "10.10"):
        write_image(root / "rgb" / f"{stamp}.png", size_px=(640, 480))
    (root / "rgb.txt").write_text("".join(f"{stamp} rgb/{stamp}.png\n" for stamp in ("10.00", "10.05", "10.10")))
    lines = ["10.00 0 0 0 0 0 0 1", f"10.05 500 0 0 {bad}", "10.10 1 0 0 0 0 0 1.05"]
    (root / "groundtruth.txt").write_text("\n".join(lines))
    result = import_dataset(root, tmp_path / "out")
    xs = [frame.T_world_camera[0, 3] for frame in SceneDataset(tmp_path / "out").frames]
    assert xs == pytest.approx([0, 0.5, 1])
    assert any("1 of 3 lines of groundtruth.txt are no pose, the first: " in note and "line 2" in note
               for note in result["notes"])  # fmt: skip


@pytest.mark.parametrize("mark", [1, 6])
def test_a_picture_that_was_cut_is_left_out_and_one_without_its_end_mark_is_not(tmp_path, mark):
    """Decoders fill the rest with grey; once that is put upright and stored again, nobody could tell."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = mark
    (tmp_path / "walk").mkdir()
    for name in ("whole", "unended", "cut"):
        Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).save(tmp_path / "walk" / f"{name}.jpg", exif=exif)
    for name, share in (("unended", 2), ("cut", 4000)):
        data = (tmp_path / "walk" / f"{name}.jpg").read_bytes()
        (tmp_path / "walk" / f"{name}.jpg").write_bytes(data[:-share])
    result = import_dataset(tmp_path / "walk", tmp_path / "out")
    assert names(tmp_path / "out") == ["walk/unended.jpg", "walk/whole.jpg"]
    assert "1 cut short (cut.jpg)" in result["notes"][0]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_other_formats_that_were_cut(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    (tmp_path / "walk").mkdir()
    for name in ("whole", "cut"):
        Image.fromarray(pixels).save(tmp_path / "walk" / f"{name}{suffix}")
    cut = tmp_path / "walk" / f"cut{suffix}"
    cut.write_bytes(cut.read_bytes()[:-1500])
    result = import_dataset(tmp_path / "walk", tmp_path / "out")
    assert names(tmp_path / "out") == [f"walk/whole{suffix}"]
    assert f"1 cannot be read as images (cut{suffix})" in result["notes"][0]


def test_images_of_floats_are_left_out(tmp_path):
    write_image(tmp_path / "walk" / "a.jpg")
    Image.fromarray(np.full((48, 64), 0.5, np.float32)).save(tmp_path / "walk" / "b.tif")
    result = import_dataset(tmp_path / "walk", tmp_path / "out")
    assert names(tmp_path / "out") == ["walk/a.jpg"]
    assert "1 with floats or more than 16 bits a sample (b.tif)" in result["notes"][0]


def test_names_of_columns_are_no_line(tmp_path):
    for number in range(3):
        write_image(tmp_path / "hall" / f"{number}.jpg")
    rows = [f"1,0,0,{number},0,1,0,0,0,0,1,0" for number in range(3)]
    (tmp_path / "hall" / "poses.txt").write_text("\n".join(["r11,r12,r13,tx,r21,r22,r23,ty,r31,r32,r33,tz", *rows]))
    import_dataset(tmp_path / "hall", tmp_path / "out")
    assert [frame.T_world_camera[0, 3] for frame in SceneDataset(tmp_path / "out").frames] == [0, 1, 2]


def test_files_beside_the_images_that_are_not_read_are_named(tmp_path):
    write_image(tmp_path / "hall" / "images" / "a.jpg")
    for name in ("camera_intrinsics.yaml", "ground_truth.json", "K.txt", ".hidden.txt"):
        (tmp_path / "hall" / name).write_text("50 50 31.5 23.5")
    result = import_dataset(tmp_path / "hall", tmp_path / "out")
    assert any(note.startswith("camera_intrinsics.yaml, ground_truth.json beside the images: not read")
               for note in result["notes"])  # fmt: skip


def test_accounts_add_up():
    account = Account()
    account.find("images", 5)
    account.leave("images", "hidden", "._a.jpg")
    account.leave("images", "hidden", "._b.jpg")
    account.leave("images", "empty files", "c.jpg")
    assert (account.used("images"), account.left("images"), account.left("images", "hidden")) == (2, 3, 2)
    (tally,) = account.tallies("hall", {"without a pose": 1})
    assert tally.sentence == (
        "hall: found 5 images, used 2 (1 without a pose), left out: 2 hidden (the first: ._a.jpg), "
        "1 empty files (c.jpg)."
    )
    assert printable("a\nb\udce9") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_reasons_by_name(tmp_path):
    assert reason_against(tmp_path / ".x.jpg") == "hidden"
    assert reason_against(tmp_path / "x.HEIF").startswith("HEIC")
    assert reason_against(tmp_path / "x.gif").startswith("in a format that is not read")
    write_image(tmp_path / "x.jpg")
    assert reason_against(tmp_path / "x.jpg") == ""
