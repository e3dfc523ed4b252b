"""What a teacher says: asked once, kept, and cut like the image that it was said of."""

import shutil

import asked_teacher
import cv2
import numpy as np
import pytest
import torch
from geo_training.depth.config import DepthTrainingConfig
from geo_training.depth.data import teacher as teacher_module
from geo_training.depth.data.clip_data import ClipStream, _Cut, _inverse_depth, clip_sources
from geo_training.depth.data.teacher import Teacher
from several_processes import started_on_machines
from tiny_onnx import write_network
from tiny_walk import CAMERA, make_walk

from geo_perception.depth.estimator import DepthEstimator
from geo_perception.depth.network import DepthNetwork, DepthNetworkConfig
from geo_perception.errors import InputError

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
CPU = torch.device("cpu")
CARD = "name: Tiny\nlicence: MIT\noutput: {output}\nsize_px: [64, 64]\n"
TAUGHT = {"weights": {"teacher": 1.0}}


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return make_walk(tmp_path_factory.mktemp("walk") / "data", depth=False)


def teacher_of(folder, output="depth", more="") -> Teacher:
    folder.mkdir(exist_ok=True)
    return Teacher(write_network(folder, CARD.format(output=output) + more), CPU)


def all_of(walk):
    return [(walk, frame) for frame in walk.frames]


class Counted:
    """Counts how often a network is asked."""

    def __init__(self, monkeypatch):
        self.times, run = 0, teacher_module.DepthEstimator.estimate

        def estimate(estimator, *arguments):
            self.times += 1
            return run(estimator, *arguments)

        monkeypatch.setattr(teacher_module.DepthEstimator, "estimate", estimate)


def test_it_says_depth_as_its_card_has_it(walk, tmp_path):
    """The tiny network gives 1 + 2 red."""
    red_hw = walk.image(walk.frames[0])[..., 0] / 255
    cases = (("depth", "metric: true", "metric"), ("depth", "", "depth"), ("inverse_depth", "", "depth"),
             ("disparity", "", "disparity"))  # fmt: skip
    for number, (output, more, kind) in enumerate(cases):
        teacher = teacher_of(tmp_path / str(number), output, more)
        teacher.prepare(all_of(walk)[:1], tmp_path / "run")
        inverse_hw = 1 / (1 + 2 * red_hw) if output == "depth" else 1 + 2 * red_hw
        inverse_hw = inverse_hw if kind == "metric" else inverse_hw / np.median(inverse_hw)
        assert (teacher.kind, teacher.name, teacher.licence) == (kind, "Tiny", "MIT")
        np.testing.assert_allclose(teacher.inverse_depth(walk, walk.frames[0]), inverse_hw, rtol=2e-3)


def test_weights_of_the_package_teach_depth_up_to_a_factor(walk, tmp_path):
    path = tmp_path / "own.safetensors"
    network = DepthNetwork(DepthNetworkConfig("tf_efficientnet_lite0", (8, 8, 8, 8, 8)))
    DepthEstimator(network, "cpu", 64 * 64).save(path, {"licence": "MIT-0"})
    teacher = Teacher(path, CPU)
    teacher.prepare(all_of(walk)[:1], tmp_path / "run")
    assert (teacher.kind, teacher.name, teacher.licence) == ("depth", "own", "MIT-0")
    answer = DepthEstimator.load(path, "cpu").estimate(walk.image(walk.frames[0]), CAMERA)
    expected_hw = np.median(1 / answer.depth_hw) * answer.depth_hw
    np.testing.assert_allclose(1 / teacher.inverse_depth(walk, walk.frames[0]).astype(float), expected_hw, rtol=2e-3)


def test_every_frame_is_asked_about_once_also_by_a_later_training(walk, tmp_path, monkeypatch):
    asked = Counted(monkeypatch)
    teacher_of(tmp_path / "a").prepare(all_of(walk)[:3] * 2, tmp_path / "run")
    assert asked.times == 3
    teacher_of(tmp_path / "a").prepare(all_of(walk)[:5], tmp_path / "run")
    assert asked.times == 5
    (tmp_path / "b").mkdir()
    teacher_of(tmp_path / "b").prepare(all_of(walk)[:5], tmp_path / "run")  # the same network, elsewhere
    assert asked.times == 5
    teacher_of(tmp_path / "c", "disparity").prepare(all_of(walk)[:5], tmp_path / "run")  # read in another way
    assert asked.times == 10


def test_another_image_of_the_same_name_is_asked_about_again(tmp_path, monkeypatch):
    walk, asked = make_walk(tmp_path / "walk"), Counted(monkeypatch)
    teacher_of(tmp_path / "a").prepare(all_of(walk), tmp_path / "run")
    image_hw3 = cv2.imread(str(walk.image_path(walk.frames[2])))
    cv2.imwrite(str(walk.image_path(walk.frames[2])), 255 - image_hw3)
    teacher_of(tmp_path / "a").prepare(all_of(walk), tmp_path / "run")
    assert asked.times == 9


@pytest.mark.slow
def test_processes_share_the_frames_and_a_machine_that_sees_no_answers_gets_them(walk, tmp_path):
    network = write_network(tmp_path, CARD.format(output="depth"))
    shutil.copytree(walk.root, tmp_path / "second" / "walk")
    roots, runs = (walk.root, tmp_path / "second" / "walk"), (tmp_path / "run", tmp_path / "second" / "run")

    def both():
        commands = [(asked_teacher.__file__, root, network, run) for root, run in zip(roots, runs, strict=True)]
        ends = [(*process.communicate(timeout=120), process.returncode) for process in started_on_machines(*commands)]
        assert [code for _, _, code in ends] == [0, 0], ends
        (asked, told), (asked_by_other, told_other) = (stdout.splitlines() for stdout, _, _ in ends)
        assert told == told_other
        assert not runs[1].exists()
        return told, asked, asked_by_other

    told, *asked = both()
    assert asked == ["asked 4", "asked 4"]
    kept = sorted(runs[0].rglob("*.npy"))
    assert len(kept) == 8
    # What is kept is not asked again, and the first one says what is.
    kept[0].unlink()
    assert both() == (told, "asked 1", "asked 0")


def test_an_answer_that_is_damaged_is_named(walk, tmp_path):
    teacher = teacher_of(tmp_path / "a")
    teacher.prepare(all_of(walk)[:1], tmp_path / "run")
    (kept,) = (tmp_path / "run").rglob("*.npy")
    for content in (b"", kept.read_bytes()[:200], b"no array"):
        kept.write_bytes(content)
        with pytest.raises(InputError, match=rf"{kept.name} is damaged; remove it, and run the same command again"):
            teacher.inverse_depth(walk, walk.frames[0])


def test_what_it_cannot_use_or_does_not_know_is_unknown(tmp_path):
    walk = make_walk(tmp_path / "walk", frames=2)
    grey = np.full((64, 64, 3), 128, np.uint8)
    cv2.imwrite(str(walk.image_path(walk.frames[0])), grey)
    teacher = teacher_of(tmp_path / "a", "depth", "mean: [0.8, 0, 0]\n")  # 1 + 2 (red - 0.8): negative where dark
    teacher.prepare(all_of(walk), tmp_path / "run")
    assert not teacher.inverse_depth(walk, walk.frames[0]).any()
    red_hw = walk.image(walk.frames[1])[..., 0] / 255
    np.testing.assert_array_equal(teacher.inverse_depth(walk, walk.frames[1]) > 0, 1 + 2 * (red_hw - 0.8) > 0)


@pytest.mark.parametrize("flip", [False, True])
def test_it_is_cut_as_the_image_is(flip):
    """Inverse depth that is a plane stays the same plane, of whatever size it came."""
    x_hw, y_hw = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    plane_hw = (1 + 0.02 * x_hw + 0.01 * y_hw).astype(np.float32)
    cut = _Cut(8, 16, 40, 32, (20, 16), flip)
    for size_px in ((64, 64), (32, 32), (128, 32)):
        given_hw = cv2.resize(plane_hw, size_px, interpolation=cv2.INTER_AREA).astype(np.float16)
        if size_px[0] > 64:
            given_hw = cv2.resize(plane_hw, size_px, interpolation=cv2.INTER_LINEAR).astype(np.float16)
        got_hw = _inverse_depth(cut, given_hw, CAMERA)
        x, y = 8 + 2 * (np.arange(20) + 0.5), 16 + 2 * (np.arange(16) + 0.5)
        expected_hw = 1 + 0.02 * (x[::-1] if flip else x)[None] + 0.01 * y[:, None]
        np.testing.assert_allclose(got_hw, expected_hw, atol=4e-3)


def test_unknown_pixels_are_not_averaged_in():
    inverse_hw = np.full((64, 64), 2.0, np.float16)
    inverse_hw[:, :31] = 0
    got_hw = _inverse_depth(_Cut(0, 0, 64, 64, (32, 32), False), inverse_hw, CAMERA)
    assert not got_hw[:, :15].any()
    np.testing.assert_allclose(got_hw[:, 15:], 2.0)  # of two pixels one is known


def test_batches_bring_what_the_teacher_says_of_their_views(walk, tmp_path):
    """Flipped and zoomed at random: the tiny network's depth follows from the colours of the same pixels."""
    config = DepthTrainingConfig.load(
        None, datasets=[walk.root], losses=TAUGHT, teacher="x.onnx", size_px=[64, 64], batch=3, pretrained=False,
        augmentation={"light": None},
    )  # fmt: skip
    sources, teacher = clip_sources(config), teacher_of(tmp_path / "a", "depth", "metric: true\n")
    assert len(sources[0].clips) == 8  # single frames, without any depth
    teacher.prepare([(walk, clip.target) for clip in sources[0].clips], tmp_path / "run")
    stream = ClipStream(sources, config, CPU, teacher)
    for number in range(3):
        batch = stream.batch(number)
        assert batch.teacher_kind == "metric"
        expected = 1 / (1 + 2 * batch.view_b3hw[:, :1])
        assert (batch.teacher_b1hw - expected).abs().mean() < 0.02
        assert (batch.teacher_b1hw.flip(3) - expected).abs().mean() > 0.05


def test_without_a_teacher_batches_have_none(walk):
    config = DepthTrainingConfig.load(None, datasets=[walk.root], size_px=[64, 64], batch=1, pretrained=False)
    batch = ClipStream(clip_sources(config), config, CPU).batch(0)
    assert batch.teacher_b1hw is None
    assert batch.teacher_kind is None


def test_a_split_without_frames_is_refused(walk, tmp_path):
    other = make_walk(tmp_path / "held", held_out=8)
    config = DepthTrainingConfig.load(None, datasets=[other.root], losses=TAUGHT, teacher="x.onnx")
    with pytest.raises(InputError, match=r"has no frame of the splits train, .none."):
        clip_sources(config)
