"""Small versions of the references learn the tiny room, are kept, and localize."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import invoke
from geo_training.cli import evaluate
from geo_training.datasets.scene import SceneDataset
from geo_training.experiments.landmark_papers.config import CONFIGS, NAMES, CropConfig, ReferenceConfig
from geo_training.experiments.landmark_papers.crops import FrameCrops
from geo_training.experiments.landmark_papers.fit import (
    ReferenceTask,
    batches_of_epoch,
    fit_reference,
    open_data,
    with_steps,
)
from geo_training.experiments.landmark_papers.localizer import ReferenceLocalizer
from geo_training.experiments.landmark_papers.networks import ReferenceNetwork
from geo_training.experiments.landmark_papers.reference_file import Reference
from geo_training.localization.config import HeadTrainingConfig
from geo_training.localization.data import HeadData
from geo_training.mapping.landmark_set import SEEN
from tiny_scene import landmarks_of, make_dataset, map_of

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.result import Verdict
from geo_perception.runtime.weights import save_weights

LANDMARKS = 12
SMALL = {"networks": 1, "landmarks_each": LANDMARKS, "network_width_px": 128, "batch": 2, "device": "cpu",
         "evaluations": 1, "held_out": 0.1, "schedule": "constant"}  # fmt: skip
CROPS = {"size_px": 32, "positive": 4, "random": 1}
# The same layers in few channels, where the weights of the large network are not on a machine anyway.
BACKBONES = {
    "sld_star": {"removed_strides": [3, 5], "normalized": False},
    "sld_nbe": {"name": "resnet10t", "removed_strides": [3, 4]},
    "paper": {"name": "resnet10t", "removed_strides": [3, 4], "reduced_to": 64, "frozen": True},
    "paper_dilated_backbone": {"name": "resnet10t", "dilated": True, "reduced_to": 64, "frozen": True},
    "paper_efficientnet": {"removed_strides": [3, 5], "frozen": True, "reduced_to": 64},
    "paper_efficientnet_dilated_backbone": {"dilated": True, "frozen": True, "reduced_to": 64},
    "paper_swin": {"name": "swin_tiny_patch4_window7_224", "levels": 2, "frozen": True, "reduced_to": 64},
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """The tiny room's dataset, landmarks and map."""
    root = tmp_path_factory.mktemp("room") / "dataset"
    make_dataset(root)
    dataset = SceneDataset(root)
    return dataset, landmarks_of(dataset), map_of(dataset)


def small(name, **changes):
    given = SMALL | {"backbone": BACKBONES[name], "crops": CROPS} | changes
    return ReferenceConfig.load(CONFIGS / f"{name}.yaml", **given)


def data_of(room, config):
    dataset, landmarks, scene_map = room
    wanted = config.landmarks
    own = replace(
        landmarks, points_world_l3=landmarks.points_world_l3[:wanted], score_l=landmarks.score_l[:wanted],
        visibility_fl=landmarks.visibility_fl[:, :wanted], pixels_fl2=landmarks.pixels_fl2[:, :wanted],
    )  # fmt: skip
    as_ours = HeadTrainingConfig(network_width_px=config.network_width_px, held_out=config.held_out)
    return HeadData(dataset, own, scene_map, as_ours)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_learns_in_a_few_steps(room, name):
    config = small(name, learning_rate=3e-3)
    task = ReferenceTask(data_of(room, config), config, ReferenceNetwork(config), torch.device("cpu"))
    task.prepare()
    batch = next(task.batches(0))
    optimizer, losses = torch.optim.AdamW(task.network.parameters(), lr=config.learning_rate), []
    task.network.train()
    for _ in range(8):
        terms = task.losses(task.network, batch)
        losses.append({key: value.item() for key, value in terms.items()})
        sum(terms.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert set(terms) == set(task.loss_weights)
    for key in terms:
        assert losses[-1][key] < 0.6 * losses[0][key], losses


def test_a_frozen_backbone_learns_from_a_buffer_and_a_free_one_from_crops(room):
    config = small("paper_efficientnet")
    task = ReferenceTask(data_of(room, config), config, ReferenceNetwork(config), torch.device("cpu"))
    batch = next(task.batches(0))
    assert batch.detector is None
    assert batch.input_bchw.shape == (2, 320, 12, 16)  # 128 x 96 pixels
    before = {key: value.clone() for key, value in task.network.backbone.network.state_dict().items()}
    task.network.train()
    sum(task.losses(task.network, batch).values()).backward()
    assert all(p.grad is None for p in task.network.backbone.parameters())
    assert all(torch.equal(value, before[key]) for key, value in task.network.backbone.network.state_dict().items())
    config = small("sld_star")
    task = ReferenceTask(data_of(room, config), config, ReferenceNetwork(config), torch.device("cpu"))
    assert next(task.batches(0)).input_bchw.shape == (2 * (4 + 1), 3, 32, 32)


def test_detectors_take_turns_each_with_its_own_landmarks(room):
    config = small("sld_star", networks=3, landmarks_each=4)
    task = ReferenceTask(data_of(room, config), config, ReferenceNetwork(config), torch.device("cpu"))
    frames = len(task.data.training)
    assert batches_of_epoch(config, frames) == 3 * -(-frames // 2)
    first = [batch for batch, _ in zip(task.batches(0), range(3), strict=False)]
    assert [batch.detector for batch in first] == [0, 1, 2]
    task.network.train()
    task.losses(task.network, first[1])["heatmap"].backward()
    learned = [any(p.grad is not None for p in detector.parameters()) for detector in task.network.detectors]
    assert learned == [False, True, False]
    again = next(zip(task.batches(0, 2), range(1), strict=False))[0]
    assert again.detector == 2
    assert torch.equal(again.input_bchw, first[2].input_bchw)
    # Positive crops are drawn around the detector's own landmarks.
    own = first[1].state_bl[:4, 4:8]
    assert ((own == SEEN).any(dim=1)).all()


def test_steps_are_those_of_the_epochs(room):
    config = small("sld_star", networks=2, landmarks_each=6, epochs=5)
    frames, network = 33, ReferenceNetwork(config)
    assert with_steps(config, frames, network).steps == 5 * 17 * 2
    assert with_steps(small("sld_star", steps=7), frames, network).steps == 7
    frozen = small("paper_efficientnet", epochs=5)
    assert with_steps(frozen, frames, ReferenceNetwork(frozen)).steps == 5 * 17


def test_crops_show_the_landmark_where_the_label_says(room):
    config = small("sld_star")
    data = data_of(room, config)
    crops = FrameCrops(data, CropConfig(size_px=64, brightness=0, colour=0))
    rng = np.random.default_rng(0)
    for landmark in range(6):
        view = crops.around(landmark, rng)
        assert view.image_hw3.shape == (64, 64, 3)
        assert view.state_l[landmark] == SEEN
        # The view's own pose and camera put the landmark where the label has it.
        offset_3 = data.landmarks.points_world_l3[landmark] - view.T_world_camera[:3, 3]
        pixel_2 = view.camera.project(offset_3 @ view.T_world_camera[:3, :3])[0]
        assert pixel_2 == pytest.approx(view.pixels_l2[landmark], abs=1e-4)
        assert view.camera.contains(pixel_2)
    plain = crops.anywhere(0, rng)
    assert plain.T_world_camera == pytest.approx(data.map.T_world_camera[data.frames[data.training[0]].name])
    turned = crops.turned(0, 5.0, rng)
    bearings_l3 = crops.bearings_l3(turned)
    seen = turned.state_l == SEEN
    assert bearings_l3[seen] == pytest.approx(turned.camera.bearings(turned.pixels_l2[seen]), abs=1e-5)
    assert np.linalg.norm(bearings_l3, axis=1) == pytest.approx(np.ones(len(bearings_l3)))


def test_a_frame_smaller_than_a_crop_is_refused(room):
    config = small("sld_star", crops={"size_px": 128})
    with pytest.raises(InputError, match="128 x 96 pixels, less than a crop of 128"):
        FrameCrops(data_of(room, config), config.crops).check_sizes()


def test_bearings_are_learned_beside_a_frozen_backbone_from_other_frames_in_every_batch(room):
    config = small("paper_efficientnet", bearing={"batch": 2, "width": 16})
    task = ReferenceTask(data_of(room, config), config, ReferenceNetwork(config), torch.device("cpu"))
    first, second = (batch for batch, _ in zip(task.batches(0), range(2), strict=False))
    assert first.image_b3hw.shape == (2, 3, 96, 128)
    assert first.bearing_bl3.shape == (2, LANDMARKS, 3)
    assert not torch.equal(first.image_b3hw, second.image_b3hw)
    (again, *_) = task.batches(0, 1)
    assert torch.equal(again.image_b3hw, second.image_b3hw)


def test_a_checkpoint_is_of_one_start_wherever_its_weights_lie(room, tmp_path):
    config = small("paper")
    data = data_of(room, config)

    def fingerprint(seed, file):
        own = config.model_copy(update={"backbone": config.backbone.model_copy(update={"file": file})})
        network = ReferenceNetwork(config.model_copy(update={"seed": seed}))
        return ReferenceTask(data, own, network, torch.device("cpu")).fingerprint

    assert fingerprint(0, None) == fingerprint(0, tmp_path / "moved.safetensors")
    assert fingerprint(0, None) != fingerprint(1, None)


@pytest.fixture(scope="module")
def trained(room, tmp_path_factory):
    """SLD with bearings after a few steps: its file and what the training said."""
    config = small("sld_nbe", steps=4, crops=CROPS | {"positive": 1})
    path = tmp_path_factory.mktemp("trained") / "sld.safetensors"
    return path, config, fit_reference(data_of(room, config), path, config)


def test_a_training_writes_its_file_its_curves_and_its_figures(trained):
    path, config, result = trained
    assert result.metrics["file_bytes"] == path.stat().st_size
    assert {"held_out_recall_5cm_5deg", "held_out_median_deg"} <= set(result.metrics)
    assert [record["step"] for record in result.history] == [4]
    assert (result.run_dir / "curves.html").is_file()
    reference = Reference.load(path)
    assert reference.config.to_json(exclude={"device"}) == config.to_json(exclude={"device"})
    assert reference.landmarks_map_l3.shape == (LANDMARKS, 3)
    assert reference.metric


def test_a_finished_training_is_not_written_over(room, trained):
    path, config, _ = trained
    with pytest.raises(InputError, match="overwrite"):
        fit_reference(data_of(room, config), path, config)


def test_a_file_that_is_no_reference_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Reference.load(tmp_path / "none.safetensors")
    save_weights(tmp_path / "scene.safetensors", {}, {"kind": "scene", "format_version": 1})
    with pytest.raises(InputError, match="is a scene file; a landmark reference file is needed here"):
        Reference.load(tmp_path / "scene.safetensors")


def test_fewer_landmarks_than_wanted_are_refused(room):
    dataset, landmarks, _ = room
    landmarks.save(dataset.root / "landmarks.safetensors")
    config = ReferenceConfig.load(CONFIGS / "sld_star.yaml")
    with pytest.raises(InputError, match=f"has {len(landmarks)} landmarks, but 8 x 125 are needed"):
        open_data(dataset.root, config)


class _Oracle(torch.nn.Module):
    """Heatmaps of `seen` landmarks as the truth has them, and true bearings of all."""

    def __init__(self, data, index, seen):
        super().__init__()
        self.view, self.seen = data.view(index, 0, 0), seen
        offset_l3 = data.landmarks.points_world_l3 - self.view.T_world_camera[:3, 3]
        self.bearings = offset_l3 @ self.view.T_world_camera[:3, :3]

    def forward(self, image_b3hw):
        from geo_training.experiments.landmark_papers.heatmaps import heatmap_labels

        state_l = np.where(np.isin(np.arange(len(self.bearings)), self.seen), self.view.state_l, -1)
        H, W = (side // 8 for side in image_b3hw.shape[-2:])
        pixels_bl2 = torch.from_numpy(np.nan_to_num(self.view.pixels_l2, nan=-1e4))[None]
        return heatmap_labels(pixels_bl2, torch.from_numpy(state_l)[None], H, W, 1.0, 0.0)

    def bearing(self, image_b3hw):
        unit_l3 = self.bearings / np.linalg.norm(self.bearings, axis=1, keepdims=True)
        return torch.from_numpy(unit_l3)[None].float()


@pytest.mark.parametrize(("seen", "words"), [(12, "landmarks agree"), (3, "12 of 12 bearings agree, 3 of them")])
def test_a_pose_comes_from_landmarks_or_where_too_few_are_seen_from_bearings(room, seen, words):
    config = small("sld_nbe", bearing={"fewer_than": 4})
    data = data_of(room, config)
    shown = next(i for i in data.training if (data.view(i, 0, 0).state_l == SEEN).sum() >= 6)
    landmarks = np.flatnonzero(data.view(shown, 0, 0).state_l == SEEN)[:seen]
    points_l3 = data.landmarks.points_world_l3.astype(float)
    oracle = _Oracle(data, shown, landmarks)
    localizer = ReferenceLocalizer(Reference(config, oracle, points_l3, data.network_focal_px, True), "cpu")
    frame = data.frames[shown]
    result = localizer.estimate(data.dataset.image(frame), data.map.cameras[frame.name])
    assert result.localized
    assert words in result.detail
    offset_m = np.linalg.norm(result.T_map_camera[:3, 3] - data.map.T_world_camera[frame.name][:3, 3])
    assert offset_m < 0.1
    assert result.covariance_66.shape == (6, 6)
    assert len(result.detections) == len(landmarks)


def test_nothing_seen_is_no_pose(room):
    config = small("sld_star")
    data = data_of(room, config)
    points_l3 = data.landmarks.points_world_l3.astype(float)
    oracle = _Oracle(data, data.training[0], [])
    localizer = ReferenceLocalizer(Reference(config, oracle, points_l3, data.network_focal_px, True), "cpu")
    camera = Camera(320, 224, 210.0, 210.0, 159.5, 111.5)
    result = localizer.estimate(np.zeros((224, 320, 3), np.uint8), camera)
    assert result.verdict is Verdict.TOO_FEW_LANDMARKS
    assert localizer.estimate(np.zeros((224, 320), np.uint8), camera).verdict is Verdict.BAD_IMAGE


def test_the_evaluation_is_that_of_localization(trained, room, tmp_path):
    path, _, _ = trained
    dataset, _, _ = room
    written = tmp_path / "figures.json"
    result = invoke(evaluate, "localization-reference", path, dataset.root, "--device", "cpu", "--json", written)
    assert result.exit_code == 0, result.output
    assert "frames" in result.output
    figures = json.loads(written.read_text())["figures"]
    assert figures["frames"] == len(dataset.of_split("test"))
