"""Which frames become clips: by the poses where there are metres, by the pictures where there are none."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.depth.data.clips import ClipOptions, find_clips
from geo_training.depth.data.image_motion import CACHE_NAME, ImageMotions
from pydantic import ValidationError

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose, so3_exp

CAMERA = Camera(160, 120, 140.0, 140.0, 79.5, 59.5)
BLANK = np.zeros((120, 160, 3), np.uint8)
PICTURE = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (400, 800), np.uint8), (0, 0), 2.5)
PICTURE = cv2.normalize(PICTURE, None, 0, 255, cv2.NORM_MINMAX)


def make_dataset(out, frames, scale="metric"):
    """`frames`: (sequence, seconds, image or None, T_world_camera or None, split)."""
    with SceneWriter(out, ["made"]) as writer:
        writer.describe(scale=scale)
        camera_id = writer.add_camera(CAMERA)
        for sequence, stamp_s, image, T, split in frames:
            shown = BLANK if image is None else np.repeat(image[..., None], 3, axis=2)
            writer.add_frame(sequence, round(stamp_s * 1e9), camera_id, shown, T_world_camera=T, split=split)
    return SceneDataset(out)


def at(x_m, turn_deg=0.0):
    return make_pose(so3_exp([0.0, np.deg2rad(turn_deg), 0.0]), [x_m, 0.0, 0.0])


def walk(out, places_m, rate_hz, split="train", turn_deg=0.0):
    return make_dataset(out, [("a", i / rate_hz, None, at(x, i * turn_deg), split) for i, x in enumerate(places_m)])


def stamps_ms(dataset, clip):
    return [round(frame.stamp_s * 1e3) for frame in (clip.sources[0], clip.target, clip.sources[-1])]


def test_neighbours_that_moved_are_the_sources(tmp_path):
    """0.1 m a frame: every frame but the first and the last is a target between its neighbours."""
    clips = find_clips(walk(tmp_path / "d", 0.1 * np.arange(6), 10), ClipOptions())
    assert [round(clip.target.stamp_s, 3) for clip in clips] == [0.1, 0.2, 0.3, 0.4]
    for clip in clips:
        x_m = [f.T_world_camera[0, 3] for f in (clip.sources[0], clip.target, clip.sources[1])]
        np.testing.assert_allclose(np.diff(x_m), 0.1)


def test_at_a_high_rate_the_sources_lie_further_away(tmp_path):
    """30 frames a second at 0.3 m/s are 1 cm a frame: 5 cm are five frames."""
    dataset = walk(tmp_path / "d", 0.01 * np.arange(40), 30)
    clips = find_clips(dataset, ClipOptions(min_motion_m=0.0499))
    for clip in clips:
        moved_m = [abs(f.T_world_camera[0, 3] - clip.target.T_world_camera[0, 3]) for f in clip.sources]
        np.testing.assert_allclose(moved_m, 0.05)
    # Targets are as far from each other: frames 5, 10, ... 30; the others show nearly the same.
    assert [round(clip.target.stamp_s * 30) for clip in clips] == [5, 10, 15, 20, 25, 30]


def test_standing_still_is_left_out(tmp_path):
    """A second of walking, three of standing, one of walking, at 10 Hz: no clip has its target while standing."""
    places = np.concatenate([0.1 * np.arange(10), np.full(30, 0.95), 1.0 + 0.1 * np.arange(10)])
    dataset = walk(tmp_path / "d", places, 10)
    targets = [round(clip.target.stamp_s * 10) for clip in find_clips(dataset, ClipOptions(max_gap_s=0.5))]
    # Frame 10 is the first that stands (nothing moves within 0.5 s after it), 40 the first that moved on from there.
    assert targets == [*range(1, 10), *range(40, 49)]


def test_nothing_moves(tmp_path):
    dataset = walk(tmp_path / "d", np.zeros(20), 30)
    with pytest.raises(InputError, match="no two frames of it differ enough"):
        find_clips(dataset, ClipOptions())


def test_turning_on_the_spot_gives_no_clip(tmp_path):
    dataset = walk(tmp_path / "d", np.zeros(20), 10, turn_deg=3.0)
    with pytest.raises(InputError, match="differ enough"):
        find_clips(dataset, ClipOptions())


def test_a_jump_or_a_turn_that_is_too_large_is_no_clip(tmp_path):
    """5 m between frames 2 and 3, then 30 degrees between 5 and 6."""
    x_m, turn_deg = [0, 0.1, 0.2, 5.2, 5.3, 5.4, 5.5, 5.6], [0, 0, 0, 0, 0, 0, 30, 30]
    frames = [("a", i / 10, None, at(x, turn), "") for i, (x, turn) in enumerate(zip(x_m, turn_deg, strict=True))]
    clips = find_clips(make_dataset(tmp_path / "d", frames), ClipOptions())
    assert [round(clip.target.stamp_s * 10) for clip in clips] == [1, 4]


def test_a_gap_in_time_is_not_bridged(tmp_path):
    stamps = [0, 0.1, 0.2, 1.5, 1.6, 1.7]
    frames = [("a", stamp_s, None, at(0.1 * i), "") for i, stamp_s in enumerate(stamps)]
    dataset = make_dataset(tmp_path / "d", frames)
    assert [stamps_ms(dataset, c) for c in find_clips(dataset, ClipOptions())] == [[0, 100, 200], [1500, 1600, 1700]]
    assert len(find_clips(dataset, ClipOptions(max_gap_s=1.3))) == 4


def test_clips_stay_within_a_sequence_and_a_split(tmp_path):
    """Sequences a and b overlap in time; frames 3 to 5 of each are test."""
    frames = [(name, i / 10, None, at(0.1 * i), "test" if 3 <= i <= 5 else "train") for name in "ab" for i in range(9)]
    dataset = make_dataset(tmp_path / "d", frames)
    clips = find_clips(dataset, ClipOptions(splits=("train", "test")))
    for clip in clips:
        assert {frame.sequence for frame in clip.sources} == {clip.target.sequence}
        assert {frame.split for frame in clip.sources} == {clip.target.split}
    test_only = find_clips(dataset, ClipOptions(splits=("test",)))
    assert [clip.target.name for clip in test_only] == [
        clip.target.name for clip in clips if clip.target.split == "test"
    ]
    assert [(c.target.sequence, round(c.target.stamp_s * 10)) for c in test_only] == [("a", 4), ("b", 4)]
    assert all(clip.target.split == "train" for clip in find_clips(dataset, ClipOptions()))
    with pytest.raises(InputError, match="no frame of the splits val"):
        find_clips(dataset, ClipOptions(splits=("val",)))


def test_longer_clips_are_chains(tmp_path):
    """Of five frames each moved enough from the next, in the order of time."""
    clips = find_clips(walk(tmp_path / "d", 0.02 * np.arange(30), 30), ClipOptions(length=5, min_motion_m=0.039))
    for clip in clips:
        chain = [*clip.sources[:2], clip.target, *clip.sources[2:]]
        np.testing.assert_allclose(np.diff([f.T_world_camera[0, 3] for f in chain]), 0.04, atol=1e-9)
    assert round(clips[0].target.stamp_s * 30) == 4


@pytest.mark.parametrize("wrong", [{"length": 4}, {"min_motion_m": 4.0}, {"splits": ()}, {"speed": 1}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        ClipOptions(**wrong)


def seen(shift_px):
    """Two walls, the upper one half as far: a camera that slid sideways sees it move twice as much."""
    rows = [PICTURE[y, 200 + shift : 360 + shift] for y in range(120) for shift in [shift_px * (2 if y < 60 else 1)]]
    return np.array(rows)


def turned(degrees):
    """What a camera that only turned sees of a picture far away."""
    wide = Camera(800, 400, 140.0, 140.0, 399.5, 199.5)
    H_33 = CAMERA.K @ so3_exp([0.0, np.deg2rad(degrees), 0.0]).T @ np.linalg.inv(wide.K)
    return cv2.warpPerspective(PICTURE, H_33, (160, 120), flags=cv2.INTER_LINEAR)


def pictures(out, images, scale="unknown"):
    return make_dataset(out, [("a", i / 10, image, None, "") for i, image in enumerate(images)], scale)


def test_without_poses_the_pictures_tell(tmp_path):
    """Grey pictures that stand, slide by 2 and 4 px of 160, and stand again."""
    images = [seen(shift) for shift in (0, 0, 0, 2, 4, 6, 6, 6)]
    dataset = pictures(tmp_path / "d", images)
    clips = find_clips(dataset, ClipOptions(max_gap_s=0.3))
    assert [round(clip.target.stamp_s * 10) for clip in clips] == [3, 4]
    assert [round(frame.stamp_s * 10) for frame in clips[0].sources] == [2, 4]


def test_the_measured_motion_is_that_of_the_pictures(tmp_path):
    """All corners move 4 px of 160. Then half of them 3 px and half 6 px: no turn does that. Then a turn of 2 degrees:
    140 tan(2 degrees) = 4.9 px in the middle, more at the sides, and nothing is left without it."""
    slid = [PICTURE[:120, 200 + shift : 360 + shift] for shift in (0, 4)]
    images = [*slid, seen(0), seen(3), turned(0.0), turned(2.0)]
    frames = [("a", i, image, at(0.0) if i < 2 else None, "") for i, image in enumerate(images)]
    dataset = make_dataset(tmp_path / "d", frames, "unknown")
    measure = ImageMotions(dataset)
    plain, relief, spun = (measure(*dataset.frames[i : i + 2]) for i in (0, 2, 4))
    assert plain.flow == pytest.approx(4 / 160, rel=0.02)
    assert plain.parallax == pytest.approx(4 / 160, rel=0.02)  # the poses say that it did not turn
    assert 2.9 / 160 < relief.flow < 6.1 / 160
    assert 0.5 / 160 < relief.parallax < 2.0 / 160
    assert 4.7 / 160 < spun.flow < 6.5 / 160
    assert spun.parallax < 0.2 / 160


def test_pictures_that_only_turn_give_no_clip(tmp_path):
    dataset = pictures(tmp_path / "d", [turned(1.5 * i) for i in range(5)])
    with pytest.raises(InputError, match="differ enough"):
        find_clips(dataset, ClipOptions())


def test_poses_of_unknown_scale_take_the_turn_out(tmp_path):
    """The same pictures, said to be taken without turning: then all of their motion is parallax."""
    frames = [("a", i / 10, turned(1.5 * i), at(0.0), "") for i in range(5)]
    assert len(find_clips(make_dataset(tmp_path / "d", frames, "unknown"), ClipOptions())) == 3


def test_nothing_to_see_and_views_without_overlap_are_no_motion(tmp_path):
    other = np.random.default_rng(9).integers(0, 256, (120, 160), np.uint8)
    dataset = pictures(tmp_path / "d", [BLANK[..., 0], seen(0), other])
    measure = ImageMotions(dataset)
    assert measure(*dataset.frames[:2]).flow == 0
    assert measure(*dataset.frames[1:]).flow > ClipOptions().max_flow


def test_motion_is_measured_once_for_each_picture(tmp_path, monkeypatch):
    dataset = pictures(tmp_path / "d", [seen(2 * i) for i in range(5)])
    clips, measured, measure = find_clips(dataset, ClipOptions()), [], ImageMotions._measure
    monkeypatch.setattr(ImageMotions, "_measure", lambda own, a, b: measured.append((a, b)) or measure(own, a, b))
    assert find_clips(SceneDataset(dataset.root), ClipOptions()) == clips
    assert measured == []
    # Another picture of the same name is another measurement.
    paths = [dataset.image_path(frame) for frame in dataset.frames]
    paths[1].write_bytes(paths[0].read_bytes())
    assert find_clips(SceneDataset(dataset.root), ClipOptions()) != clips
    assert measured
    measured.clear()
    (dataset.root / CACHE_NAME).write_text("image_a,image_b\nbroken")
    find_clips(SceneDataset(dataset.root), ClipOptions())
    assert measured
