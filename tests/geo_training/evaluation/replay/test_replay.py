"""A recording through an estimator: every frame, interpolated truth, the same twice, one line for each mistake."""

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.recordings.pose_options import PoseOptions
from geo_training.evaluation.localization.summary import headline
from geo_training.evaluation.replay.bag_input import open_bag
from geo_training.evaluation.replay.config import ReplayConfig
from geo_training.evaluation.replay.live import NO_ANSWER, LiveRun, live_metrics, live_outcomes
from geo_training.evaluation.replay.live_publisher import Pace
from geo_training.evaluation.replay.replay import evaluation_of, explain, replay_bag
from geo_training.metrics.pose import LengthUnit
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose
from geo_perception.localization.result import Detections, Localization, Verdict

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_123_456_789
STEP_NS = 100_000_000
FRAMES = 6


def write_bag(path, poses=True, infos=True, bad_frame=None, info_frame="camera", info_scale=1, deep=False):
    """Grey images of level 10 i at x = 0.1 i metres; poses lie half a step beside the images, so truth interpolates."""
    types = STORE.types
    header = lambda ns, frame: types["std_msgs/msg/Header"](  # noqa: E731
        types["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9), frame
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def connect(topic, kind):
            return writer.add_connection(topic, kind, typestore=STORE)

        def write(connection, ns, message):
            writer.write(connection, ns, STORE.serialize_cdr(message, connection.msgtype))

        image = connect("/camera/image_raw", "sensor_msgs/msg/Image")
        info = connect("/camera/camera_info", "sensor_msgs/msg/CameraInfo") if infos else None
        pose = connect("/ground_truth/pose", "geometry_msgs/msg/PoseStamped") if poses else None
        for i in range(FRAMES + 1):
            ns = START_NS + i * STEP_NS
            if poses:
                place = types["geometry_msgs/msg/Point"](0.1 * (i - 0.5), 0.0, 0.0)
                turn = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
                stamped = types["geometry_msgs/msg/PoseStamped"](
                    header(ns - STEP_NS // 2, "map"), types["geometry_msgs/msg/Pose"](place, turn)
                )
                write(pose, ns - STEP_NS // 2, stamped)
            if i == FRAMES:
                break
            if infos:
                roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
                K = np.array([40.0, 0, 15.5, 0, 40.0, 11.5, 0, 0, 1])
                height, width = 24 * info_scale, 32 * info_scale
                P = np.array([40.0, 0, 15.5, 0, 0, 40.0, 11.5, 0, 0, 0, 1, 0])
                message = types["sensor_msgs/msg/CameraInfo"](
                    header(ns, info_frame), height, width, "plumb_bob", np.zeros(5), K, np.eye(3).ravel(), P, 0, 0, roi
                )
                write(info, ns, message)
            pixels = np.full(5 if i == bad_frame else 24 * 32, 10 * i, np.uint8)
            encoding, step = "mono8", 32
            if deep:
                grey = np.full(24 * 32, 4095 if i == FRAMES - 1 else 100 * i, "<u2")
                encoding, step, pixels = "mono16", 64, np.frombuffer(grey.tobytes(), np.uint8)
            write(image, ns, types["sensor_msgs/msg/Image"](header(ns, "camera"), 24, 32, encoding, 0, step, pixels))
    return path


class GreyLevelEstimator:
    """Reads the place off the grey level, 2 cm beside the truth; the frame of level 30 is not localized."""

    def __init__(self):
        self.seeds = []

    def estimate(self, image_rgb, camera, seed=0):
        self.seeds.append(seed)
        assert camera == Camera(32, 24, 40.0, 40.0, 15.5, 11.5)
        level = int(image_rgb[0, 0, 0])
        if level == 30:
            return Localization(Verdict.TOO_FEW_LANDMARKS, "3 found")
        found = Detections(np.array([0]), np.array([[5.0, 6.0]]), np.array([[0, 0, 2.0]]), np.ones(1), np.ones(1),
                           np.ones(1, bool))  # fmt: skip
        noise_m = np.random.default_rng(seed).normal() * 1e-4
        T = make_pose(np.eye(3), [0.01 * level, 0.02 + noise_m, 0])
        return Localization(Verdict.LOCALIZED, "", found, T, np.eye(6) * 0.02**2)


LANDMARKS = np.array([[0.0, 0.0, 2.0]])


def test_every_frame_is_measured_against_the_interpolated_truth(tmp_path):
    evaluation = replay_bag(GreyLevelEstimator(), open_bag(write_bag(tmp_path / "walk")), LANDMARKS)
    metrics = evaluation.metrics
    assert [o.name for o in evaluation.outcomes] == [f"walk/{i:06d}" for i in range(FRAMES)]
    assert [o.stamp_ns for o in evaluation.outcomes] == [START_NS + i * STEP_NS for i in range(FRAMES)]
    for i, outcome in enumerate(evaluation.outcomes):
        assert outcome.T_true[:3, 3] == pytest.approx([0.1 * i, 0, 0], abs=1e-6)
    assert metrics["localized_share"] == pytest.approx(5 / 6)
    assert metrics["recall_5cm_5deg"] == pytest.approx(5 / 6)
    assert metrics["recall_1cm_1deg"] == 0.0
    assert metrics["median_cm"] == pytest.approx(2.0, abs=0.05)
    assert metrics["coverage_90"] == 1.0
    assert "/ground_truth/pose" in evaluation.metadata["true poses"]


def test_a_replay_gives_the_same_answer_twice(tmp_path):
    path = write_bag(tmp_path / "walk")
    results = []
    for _ in range(2):
        estimator = GreyLevelEstimator()
        evaluation = replay_bag(estimator, open_bag(path), LANDMARKS, seed=5)
        assert estimator.seeds == [5] * FRAMES
        results.append([(o.verdict, o.error, o.stamp_ns) for o in evaluation.outcomes])
    assert results[0] == results[1]


def test_an_image_that_cannot_be_decoded_is_a_miss_with_a_reason(tmp_path):
    evaluation = replay_bag(GreyLevelEstimator(), open_bag(write_bag(tmp_path / "walk", bad_frame=2)), LANDMARKS)
    bad = evaluation.outcomes[2]
    assert bad.verdict == Verdict.BAD_IMAGE.value
    assert bad.detail
    assert evaluation.metrics["recall_5cm_5deg"] == pytest.approx(4 / 6)


def test_a_recording_without_truth_is_replayed_and_says_so(tmp_path, capsys):
    evaluation = replay_bag(GreyLevelEstimator(), open_bag(write_bag(tmp_path / "walk", poses=False)), LANDMARKS)
    assert evaluation.metrics["frames_with_truth"] == 0
    assert np.isnan(evaluation.metrics["recall_5cm_5deg"])
    assert evaluation.metrics["localized_share"] == pytest.approx(5 / 6)
    assert "no true poses" in capsys.readouterr().err


def test_truth_is_not_made_up_over_gaps(tmp_path):
    bag = open_bag(write_bag(tmp_path / "walk"), pose=PoseOptions(max_gap_s=0.05))
    assert bag.true_pose(START_NS) is None


@pytest.mark.parametrize(("poses", "options"), [(False, []), (True, ["--pose", "none"])])
def test_the_command_needs_no_truth(tmp_path, poses, options):
    """It gets as far as the scene, which is missing, without a word about poses."""
    bag = write_bag(tmp_path / "walk", poses=poses)
    done = invoke(evaluate, "replay", bag, "--scene", tmp_path / "no.safetensors", *options)
    assert done.exit_code == 1
    assert "no.safetensors" in done.output
    assert "pose" not in done.output


def test_a_recording_without_camera_info_lists_its_topics(tmp_path):
    with pytest.raises(InputError, match=r"no CameraInfo for /camera/image_raw; it holds none") as error:
        open_bag(write_bag(tmp_path / "walk", infos=False))
    assert "\n" not in str(error.value)


def test_another_cameras_info_is_refused_before_anything_is_replayed(tmp_path):
    with pytest.raises(InputError, match=r"'left' and 64 x 48 .* 'camera' and 32 x 24") as error:
        open_bag(write_bag(tmp_path / "walk", info_frame="left", info_scale=2))
    assert "\n" not in str(error.value)


def test_another_frame_of_the_same_size_is_told_once(tmp_path, capsys):
    bag = open_bag(write_bag(tmp_path / "walk", info_frame="left"))
    evaluation = replay_bag(GreyLevelEstimator(), bag, LANDMARKS)
    assert evaluation.metrics["localized_share"] == pytest.approx(5 / 6)
    assert capsys.readouterr().err.count("taken as one camera's") == 1
    assert "'left'" in evaluation.metadata["taken"]


def test_16_bit_images_are_read_at_the_depth_of_the_whole_recording(tmp_path):
    """In any order, so that a picture in the report is the one that was localized."""
    bag = open_bag(write_bag(tmp_path / "walk", deep=True))
    assert bag.decoder.bits == 12
    levels = [int(bag.decoder.decode(message)[0, 0, 0]) for _, _, message in bag.messages()]
    assert levels == [round(100 * i * 255 / 4095) for i in range(FRAMES - 1)] + [255]
    assert int(bag.images(["walk/000004"])["walk/000004"][0, 0, 0]) == levels[4]
    deeper = open_bag(tmp_path / "walk", image_bits=14)
    assert int(deeper.images(["walk/000005"])["walk/000005"][0, 0, 0]) == round(4095 * 255 / 16383)


def test_a_missing_recording_is_one_line(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_bag(tmp_path / "none")


def test_pictures_of_live_frames_get_their_detections_in_process(tmp_path):
    bag = open_bag(write_bag(tmp_path / "walk"))
    outcomes = replay_bag(GreyLevelEstimator(), bag, LANDMARKS).outcomes[:2]
    bare = [type(o)(o.name, o.sequence, o.stamp_ns, o.verdict, o.T_true, o.T_estimated) for o in outcomes]
    explained = list(explain(GreyLevelEstimator(), bag, bare))
    assert [len(o.localization.detections) for o in explained] == [1, 1]
    assert explained[0].camera.width_px == 32


def live_run():
    """Six published, four answered with 20 ms, one replaced, one not localized."""
    run = LiveRun()
    for i in range(FRAMES):
        stamp_ns = START_NS + i * STEP_NS
        run.published_s[stamp_ns] = 50.0 + 0.1 * i
        if i < 4:
            run.received_s[stamp_ns] = 50.02 + 0.1 * i
            run.poses[stamp_ns] = make_pose(np.eye(3), [0.1 * i, 0.02 if i else 0.2, 0]), np.eye(6)
    run.counts = {"received": 6, "processed": 5, "replaced by a newer frame": 1, "rejected": 0}
    return run


def test_live_answers_are_matched_by_stamp(tmp_path):
    outcomes = live_outcomes(open_bag(write_bag(tmp_path / "walk")), live_run())
    assert [o.localized for o in outcomes] == [True] * 4 + [False] * 2
    assert outcomes[4].verdict == NO_ANSWER
    assert [o.latency_s for o in outcomes[:4]] == pytest.approx([0.02] * 4)
    assert np.isnan(outcomes[5].latency_s)


def test_live_recall_counts_what_was_published_and_apart_what_was_taken(tmp_path):
    run = live_run()
    outcomes = live_outcomes(open_bag(write_bag(tmp_path / "walk")), run)
    metrics = live_metrics(run, outcomes, LengthUnit())
    assert metrics["frames_published"] == 6
    assert metrics["frames_replaced"] == 1
    assert metrics["answered_share"] == pytest.approx(4 / 6)
    assert metrics["published_hz"] == pytest.approx(10.0)
    assert metrics["taken_recall_5cm_5deg"] == pytest.approx(3 / 5)
    assert metrics["answered_recall_5cm_5deg"] == pytest.approx(3 / 4)
    assert metrics["answered_with_truth"] == 4
    assert metrics["frames_dropped"] == 1


def test_frames_that_were_lost_on_the_way_are_dropped_too(tmp_path):
    run = live_run()
    run.counts = {"received": 4, "processed": 3, "replaced by a newer frame": 1, "rejected": 0}  # an old count
    metrics = live_metrics(run, live_outcomes(open_bag(write_bag(tmp_path / "walk")), run), LengthUnit())
    assert metrics["frames_processed"] == 4  # as many as poses came
    assert metrics["frames_dropped"] == 2


def test_a_live_run_without_an_answer_has_no_recall_of_the_answered(tmp_path):
    run = live_run()
    run.poses.clear()
    run.received_s.clear()
    bag = open_bag(write_bag(tmp_path / "walk"))
    outcomes = live_outcomes(bag, run)
    metrics = live_metrics(run, outcomes, LengthUnit())
    assert np.isnan(metrics["answered_recall_5cm_5deg"])
    assert metrics["taken_recall_5cm_5deg"] == 0.0
    evaluation = evaluation_of(bag, outcomes, LANDMARKS, True, "Live", None, {})
    evaluation.metrics.update(metrics)
    line = headline(evaluation)
    assert "0 of 6 published frames answered, 1 dropped" in line
    assert "no frame was answered, so no time is known" in line
    assert "nan" not in line


def test_most_frames_dropped_leaves_no_median(tmp_path):
    run = live_run()
    for stamp_ns in list(run.poses)[1:]:
        del run.poses[stamp_ns], run.received_s[stamp_ns]
    evaluation = evaluation_of(
        bag := open_bag(write_bag(tmp_path / "walk")), live_outcomes(bag, run), LANDMARKS, True, "Live", None, {}
    )
    assert evaluation.metrics["median_cm"] == np.inf
    assert evaluation.metrics["frames_missed"] == 5


def test_images_are_due_as_they_were_recorded():
    pace = Pace(rate=2.0)
    assert pace.wait_s(5 * 10**9, 100.0) == 0.0
    assert pace.wait_s(6 * 10**9, 100.1) == pytest.approx(0.4)
    assert pace.wait_s(7 * 10**9, 101.1) == 0.0  # a little late
    assert pace.wait_s(8 * 10**9, 101.2) == pytest.approx(0.3)  # and caught up


def test_a_publisher_that_comes_late_does_not_publish_in_a_burst():
    pace = Pace(rate=1.0)
    assert pace.wait_s(0, 50.0) == 0.0
    assert pace.wait_s(10**9, 55.0) == 0.0  # four seconds late
    assert pace.wait_s(2 * 10**9, 55.0) == pytest.approx(1.0)
    assert pace.wait_s(3 * 10**9, 56.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene: a\nimagee: /b", "'imagee' is not known; did you mean 'image'"),
        ("scene: a\nrate: fast", "'rate'"),
        ("scene: a\nrate: 0.0", "'rate'.*greater than 0"),
        ("scene: a\nseed: -1", "'seed'"),
        ("scene: a\nrectified: perhaps", "'rectified'"),
        ("scene: a\nimage_bits: 9", "'image_bits'"),
        ("- a", "must hold keys"),
        ("a: [", "cannot be read as YAML"),
        ("image: /b", "no scene is given"),
    ],
)
def test_a_wrong_configuration_names_the_key(tmp_path, text, message):
    path = tmp_path / "replay.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        ReplayConfig.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "taken"), [("true", "true"), ("false", "false"), ("auto", "auto"), ('"true"', "true")]
)
def test_the_bare_words_of_rectified_are_taken(tmp_path, word, taken):
    path = tmp_path / "replay.yaml"
    path.write_text(f"scene: a\nrectified: {word}\nimage_bits: 12")
    config = ReplayConfig.load(path)
    assert (config.rectified, config.image_bits) == (taken, 12)
    assert ReplayConfig.load(path, rectified="false", image_bits=0).rectified == "false"


def test_options_count_more_than_the_file_and_its_scene_is_beside_it(tmp_path):
    path = tmp_path / "replay.yaml"
    path.write_text("scene: office.safetensors\nrate: 2.0\nnode_parameters: {min_inliers: 12}")
    config = ReplayConfig.load(path, rate=0.5, image=None)
    assert config.scene == str(tmp_path / "office.safetensors")
    assert config.rate == 0.5
    assert config.node_parameters == {"min_inliers": 12}
    assert ReplayConfig.load(None, scene="x").rate == 1.0
