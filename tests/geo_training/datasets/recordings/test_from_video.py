"""Videos become datasets: the sharpest image of each interval, upright, with its time in the video."""

import json
import wave
from functools import partial

import cv2
import numpy as np
import pytest
from command_line import invoke
from film_maker import RATE_HZ, picture, set_shown_width, set_track_matrix, write_film
from geo_training.cli import train
from geo_training.datasets.recordings.from_video import dataset_from_videos
from geo_training.datasets.recordings.sharpness import SharpestPerInterval, sharpness
from geo_training.datasets.scene import SceneDataset

from geo_perception.errors import InputError
from geo_perception.geometry import Camera


def test_the_sharpest_of_each_quarter_second(tmp_path):
    images = [picture() if i % 5 == 2 else cv2.blur(picture(), (7, 7)) for i in range(20)]
    result = dataset_from_videos([write_film(tmp_path / "walk.mp4", images)], tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert [round(f.stamp_s * RATE_HZ) for f in dataset.frames] == [2, 7, 12, 17]
    assert result["sequences"] == {"walk": 4}
    assert result["cameras_known"] is False
    assert dataset.info.scale == "unknown"
    assert result["notes"][0] == "walk.mp4: found 20 images, used 4, left out: 16 for the rate of 4 a second."
    assert result["tallies"][0]["left_out"] == {"for the rate of 4 a second": 16}
    assert [f"{n:.9}" for n in result["warnings"]] == ["No K was "]
    every = dataset_from_videos([tmp_path / "walk.mp4"], tmp_path / "all", fps=0)
    assert every["notes"][0] == "walk.mp4: found 20 images, used 20, left out: none."
    assert len(SceneDataset(tmp_path / "all")) == 20


def test_k_is_for_the_image_as_it_is_shown(tmp_path):
    """A film of 96 x 64 with pixels half as wide, held upright: shown, and stored, at 64 x 48."""
    video = set_shown_width(write_film(tmp_path / "walk.mp4", [picture()]), 48)
    set_track_matrix(video, 0, 1, -1, 0)
    K_33 = np.array([[50.0, 0, 40], [0, 51, 20], [0, 0, 1]])
    dataset_from_videos([video], tmp_path / "out", K_33=K_33)
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.image(dataset.frames[0]).shape == (48, 64, 3)
    assert dataset.camera(dataset.frames[0]) == Camera(64, 48, 50, 51, 40, 20)


def test_one_k_is_not_for_films_of_two_sizes(tmp_path):
    videos = [write_film(tmp_path / f"{side}.mp4", [picture(height=side, width=96)]) for side in (64, 48)]
    K_33 = np.array([[80.0, 0, 47.5], [0, 80, 20], [0, 0, 1]])
    with pytest.raises(InputError, match=r"are 96 x 64 and those of 48\.mp4 96 x 48; import them into"):
        dataset_from_videos(videos, tmp_path / "out", K_33=K_33)
    assert not (tmp_path / "out").exists()
    assert dataset_from_videos(videos, tmp_path / "out")["frames"] == 2


def test_several_videos_and_a_given_k(tmp_path):
    (tmp_path / "again").mkdir()
    videos = [write_film(tmp_path / f"{folder}/walk.mp4", [picture()] * 3) for folder in (".", "again")]
    K_33 = np.array([[80.0, 0, 47.5], [0, 80, 31.5], [0, 0, 1]])
    result = dataset_from_videos(videos, tmp_path / "out", K_33=K_33)
    dataset = SceneDataset(tmp_path / "out")
    assert result["sequences"] == {"walk": 1, "walk_2": 1}
    assert result["cameras_known"] is True
    assert dataset.camera(dataset.frames[0]).fx_px == 80
    with pytest.raises(InputError, match="outside the images"):
        dataset_from_videos(videos, tmp_path / "out2", K_33=K_33 * 10)


def test_a_cut_video_keeps_what_was_readable_and_says_what_is_missing(tmp_path):
    video = write_film(tmp_path / "walk.avi", [picture(i) for i in range(20)])
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    result = dataset_from_videos([video], tmp_path / "out", fps=0)
    used = result["frames"]
    assert 8 <= used < 20
    sentence = f"found 20 images, used {used}, left out: {20 - used} cut off, damaged or hidden by the film's edits."
    assert f"walk.avi: {sentence}" in SceneDataset(tmp_path / "out").info.notes


def test_a_cut_video_without_a_count_is_told_from_its_duration(tmp_path):
    video = write_film(tmp_path / "walk.mkv", [picture(i) for i in range(20)])
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    result = dataset_from_videos([video], tmp_path / "out", fps=0)
    assert any("would have about 20: it may be cut off" in warning for warning in result["warnings"])


@pytest.mark.parametrize("content", [b"", b"hello" * 100])
def test_a_file_that_is_no_video(tmp_path, content):
    (tmp_path / "no.mp4").write_bytes(content)
    for path in (tmp_path / "no.mp4", tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(InputError) as error:
            dataset_from_videos([path], tmp_path / "out")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_video_without_its_index(tmp_path):
    video = write_film(tmp_path / "walk.mp4", [picture()] * 5)
    video.write_bytes(video.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"walk\.mp4"):
        dataset_from_videos([video], tmp_path / "out")


def test_a_film_without_one_good_image_names_its_codec(tmp_path):
    video = write_film(tmp_path / "walk.avi", [picture()] * 3)
    video.write_bytes(video.read_bytes().replace(b"IDAT", b"IDAX"))
    with pytest.raises(InputError, match=r"no image that can be decoded: it is damaged, or its codec \(MPNG\)"):
        dataset_from_videos([video], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sound_alone_is_no_film(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    with pytest.raises(InputError, match=r"sound\.wav cannot be read as a film"):
        dataset_from_videos([tmp_path / "sound.wav"], tmp_path / "out")


def test_the_command(tmp_path):
    video = write_film(tmp_path / "walk.mp4", [picture()] * 6)
    run = partial(invoke, train, "dataset", "from-video", video, "--out", tmp_path / "out")
    lens = ("--K", "80,80,48,32")
    done = run(*lens, "--json", tmp_path / "r.json")
    assert done.exit_code == 0
    assert "walk.mp4: found 6 images, used 2, left out: 4 for the rate of 4 a second." in done.output
    assert json.loads((tmp_path / "r.json").read_text())["tallies"][0]["used"] == 2
    assert run(*lens).exit_code == 1
    assert run("--K", "80,80", "--overwrite").exit_code == 1
    assert run(*lens, "--fps", -1).exit_code == 2


def test_sharpness_falls_with_blur():
    values = [sharpness(cv2.blur(picture(), (k, k))) for k in (1, 2, 3, 5, 9)]
    assert values == sorted(values, reverse=True)


def test_a_clock_that_jumps_back_begins_a_new_interval():
    selector = SharpestPerInterval(4.0)
    offered = [selector.offer(stamp_ns, picture()) for stamp_ns in (0, 10**8, 10**9, 10**8)]
    found = [image.stamp_ns for image in [*offered, selector.finish()] if image is not None]
    assert found == [0, 10**9, 10**8]
