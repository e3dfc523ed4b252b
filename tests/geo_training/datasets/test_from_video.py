"""Videos become datasets: the sharpest image of each interval, upright, with its time in the video."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from geo_training.cli import train
from geo_training.datasets.from_video import dataset_from_videos
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.sharpness import SharpestPerInterval, sharpness
from typer.testing import CliRunner

from geo_perception.errors import InputError

RATE_HZ = 20


def picture(seed=0):
    """96 x 64, red on the left, blue on the right, with detail."""
    random = np.random.default_rng(seed).integers(0, 60, (16, 24), np.uint8)
    detail = cv2.resize(random, (96, 64), interpolation=cv2.INTER_NEAREST)
    image = np.repeat(detail[..., None], 3, axis=2)
    image[:, :48, 0] += 180
    image[:, 48:, 2] += 180
    return image


def write_video(path, images, turn_deg=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.bit_rate, stream.gop_size = 4_000_000, 1
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turn_deg:
        # What a phone does: the matrix in the track header says how to turn the images; they are stored as they were.
        data = bytearray(path.read_bytes())
        at = data.index(b"tkhd") + 4 + 40
        quarter = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[turn_deg]
        for offset, value in zip((0, 4, 12, 16), quarter, strict=True):
            data[at + offset : at + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
        path.write_bytes(data)
    return path


def test_the_sharpest_of_each_quarter_second(tmp_path):
    images = [picture() if i % 5 == 2 else cv2.blur(picture(), (7, 7)) for i in range(20)]
    result = dataset_from_videos([write_video(tmp_path / "walk.mp4", images)], tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [round(f.stamp_s * RATE_HZ) for f in dataset.frames] == [2, 7, 12, 17]
    assert result["sequences"] == {"walk": 4}
    assert result["cameras_known"] is False
    assert dataset.info.scale == "unknown"
    assert len(dataset_from_videos([tmp_path / "walk.mp4"], tmp_path / "all", fps=0)["notes"]) == 1
    assert len(SceneDataset(tmp_path / "all")) == 20


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_images_are_turned_upright(tmp_path, turn_deg):
    """The matrix turns clockwise: after 90 degrees, what was left is above."""
    video = write_video(tmp_path / "walk.mp4", [picture()], turn_deg)
    dataset_from_videos([video], tmp_path / "out", fps=0)
    dataset = SceneDataset(tmp_path / "out")
    image = dataset.image(dataset.frames[0]).astype(int)
    expected = np.rot90(picture(), -turn_deg // 90)
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < 12


def test_several_videos_and_a_given_k(tmp_path):
    (tmp_path / "again").mkdir()
    videos = [write_video(tmp_path / f"{folder}/walk.mp4", [picture()] * 3) for folder in (".", "again")]
    K_33 = np.array([[80.0, 0, 47.5], [0, 80, 31.5], [0, 0, 1]])
    result = dataset_from_videos(videos, tmp_path / "out", K_33=K_33)
    dataset = SceneDataset(tmp_path / "out")
    assert result["sequences"] == {"walk": 1, "walk_2": 1}
    assert result["cameras_known"] is True
    assert dataset.camera(dataset.frames[0]).fx_px == 80
    with pytest.raises(InputError, match="outside the images"):
        dataset_from_videos(videos, tmp_path / "out2", K_33=K_33 * 10)


def test_a_cut_video_keeps_what_was_readable(tmp_path):
    video = write_video(tmp_path / "walk.avi", [picture(i) for i in range(20)])
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    result = dataset_from_videos([video], tmp_path / "out", fps=0)
    assert 8 <= result["frames"] < 20


@pytest.mark.parametrize("content", [b"", b"hello" * 100])
def test_a_file_that_is_no_video(tmp_path, content):
    (tmp_path / "no.mp4").write_bytes(content)
    for path in (tmp_path / "no.mp4", tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(InputError) as error:
            dataset_from_videos([path], tmp_path / "out")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_video_without_its_index(tmp_path):
    video = write_video(tmp_path / "walk.mp4", [picture()] * 5)
    video.write_bytes(video.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"walk\.mp4"):
        dataset_from_videos([video], tmp_path / "out")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match="no video stream"):
        dataset_from_videos([tmp_path / "sound.wav"], tmp_path / "out")


def test_the_command(tmp_path):
    video = write_video(tmp_path / "walk.mp4", [picture()] * 6)
    run = CliRunner().invoke
    arguments = ["dataset", "from-video", str(video), "--out", str(tmp_path / "out"), "--K", "80,80,48,32"]
    assert run(train, arguments).exit_code == 0
    assert run(train, arguments).exit_code == 1
    assert run(train, [*arguments[:-1], "80,80", "--overwrite"]).exit_code == 1
    assert run(train, [*arguments, "--fps", "-1"]).exit_code == 2


def test_sharpness_falls_with_blur():
    values = [sharpness(cv2.blur(picture(), (k, k))) for k in (1, 2, 3, 5, 9)]
    assert values == sorted(values, reverse=True)


def test_a_clock_that_jumps_back_begins_a_new_interval():
    selector = SharpestPerInterval(4.0)
    offered = [selector.offer(stamp_ns, picture()) for stamp_ns in (0, 10**8, 10**9, 10**8)]
    found = [image.stamp_ns for image in [*offered, selector.finish()] if image is not None]
    assert found == [0, 10**9, 10**8]
