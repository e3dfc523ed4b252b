"""Which frames are measured, what counts as true, and with which camera."""

from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.datasets.splits import frames_of_split
from geo_training.evaluation.localization.evaluate import evaluate_dataset, true_poses
from geo_training.evaluation.predictions import PredictionStore

from geo_perception.errors import InputError
from geo_perception.geometry import Camera, make_pose
from geo_perception.localization.result import Localization, Verdict

CAMERA = Camera(32, 24, 40.0, 40.0, 15.5, 11.5)


def make_dataset(root, splits=("train", "train", "test", "test"), poses=True):
    with SceneWriter(root, sources=["test"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for i, split in enumerate(splits):
            T = make_pose(np.eye(3), [0.1 * i, 0, 0]) if poses else None
            image = np.full((24, 32, 3), 20 * i, np.uint8)
            writer.add_frame("walk", i * 10**8, camera_id, image_rgb=image, T_world_camera=T, split=split)
        writer.describe(scale="metric", gravity_world=(0.0, 0.0, -1.0))
    return SceneDataset(root)


class Exact:
    """Reads the place off the grey level, right on the spot."""

    warmed = 0

    def warm_up(self):
        self.warmed += 1

    def estimate(self, image_rgb, camera, seed=0):
        x = 0.005 * round(float(image_rgb.mean()))
        return Localization(Verdict.LOCALIZED, "", T_map_camera=make_pose(np.eye(3), [x, 0, 0]),
                            covariance_66=np.eye(6) * 1e-4)  # fmt: skip


def test_the_test_split_is_measured_where_there_is_one(tmp_path):
    dataset = make_dataset(tmp_path / "a")
    frames, words = frames_of_split(dataset, None)
    assert [f.split for f in frames] == ["test", "test"]
    assert words == "split test"
    assert len(frames_of_split(dataset, "all")[0]) == 4
    assert len(frames_of_split(make_dataset(tmp_path / "b", ("", "")), None)[0]) == 2


def test_a_split_without_frames_names_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"no frame of split 'val'; there are test, train"):
        frames_of_split(make_dataset(tmp_path / "a"), "val")


def test_an_exact_estimator_is_right_everywhere(tmp_path):
    estimator = Exact()
    evaluation = evaluate_dataset(estimator, make_dataset(tmp_path / "a"), np.zeros((0, 3)))
    assert estimator.warmed == 1
    assert evaluation.metrics["frames"] == 2
    assert evaluation.metrics["recall_1cm_1deg"] == 1.0
    assert evaluation.metrics["coverage_90"] == 1.0
    assert evaluation.up_map_3 == pytest.approx([0, 0, 1])
    assert evaluation.metadata["true poses"] == "poses.csv"
    assert evaluation.load_images([evaluation.outcomes[0].name])["walk/000002.jpg"].shape == (24, 32, 3)
    row = evaluation.as_json()["frames"][0]
    assert row["name"] == "walk/000002.jpg"
    assert row["error_cm"] == pytest.approx(0, abs=0.1)


def test_kept_answers_are_measured_against_other_true_poses(tmp_path):
    dataset = make_dataset(tmp_path / "a")
    evaluate_dataset(Exact(), dataset, np.zeros((0, 3)), store=PredictionStore(write_to=tmp_path / "p.jsonl"))
    shift = make_pose(np.eye(3), [0, 0.03, 0.04])
    dataset.save_frames([replace(frame, T_world_camera=frame.T_world_camera @ shift) for frame in dataset.frames])
    estimator = Exact()
    store = PredictionStore(read_from=tmp_path / "p.jsonl")
    evaluation = evaluate_dataset(estimator, dataset, np.zeros((0, 3)), store=store)
    assert estimator.warmed == 0
    assert evaluation.metrics["median_cm"] == pytest.approx(5.0, abs=0.1)


def test_sixty_percent_unlocalized_is_no_median_of_two_centimetres(tmp_path):
    class Half(Exact):
        """2 cm beside the truth in the first two frames; no pose, or one that is no number, in the other three."""

        def estimate(self, image_rgb, camera, seed=0):
            index = round(float(image_rgb.mean()) / 20)
            if index >= 4:
                return Localization(Verdict.NO_CONSENSUS, "3 agree")
            place = [0.1 * index, 0.02, 0.0] if index < 2 else [np.nan, 0, 0]
            return Localization(
                Verdict.LOCALIZED, "", T_map_camera=make_pose(np.eye(3), place), covariance_66=np.eye(6)
            )

    dataset = make_dataset(tmp_path / "a", ("test",) * 5)
    metrics = evaluate_dataset(Half(), dataset, np.zeros((0, 3))).metrics
    assert metrics["localized_share"] == pytest.approx(0.4)
    assert metrics["frames_missed"] == 3
    assert metrics["recall_2cm_2deg"] == pytest.approx(0.4)
    assert metrics["median_cm"] == metrics["p90_cm"] == metrics["ate_cm"] == metrics["rpe_cm"] == np.inf
    assert metrics["localized_ate_cm"] == pytest.approx(2.0)
    assert (metrics["localized_frames"], metrics["localized_pairs"], metrics["coverage_frames"]) == (2, 1, 2)


def test_without_poses_and_without_a_map_there_is_no_truth(tmp_path):
    dataset = make_dataset(tmp_path / "a", poses=False)
    with pytest.raises(InputError, match=r"neither true poses nor a map; run `geo-train map"):
        true_poses(dataset)
    with pytest.raises(InputError, match="--truth map"):
        true_poses(dataset, "poses")


def test_frames_without_a_true_pose_alone_cannot_be_measured(tmp_path):
    dataset = make_dataset(tmp_path / "a")
    dataset.save_frames([replace(f, T_world_camera=None) if f.split == "test" else f for f in dataset.frames])
    with pytest.raises(InputError, match="has a true pose"):
        evaluate_dataset(Exact(), dataset, np.zeros((0, 3)))


def test_an_unknown_scale_without_landmarks_cannot_be_measured(tmp_path):
    with pytest.raises(InputError, match="scale of this scene is unknown"):
        evaluate_dataset(Exact(), make_dataset(tmp_path / "a"), np.zeros((0, 3)), metric=False)
