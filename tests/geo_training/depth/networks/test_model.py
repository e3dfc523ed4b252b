"""The networks that learn together, as a config makes them."""

import pytest
import torch
from geo_training.depth.batch import ClipBatch
from geo_training.depth.config import DepthTrainingConfig, LossConfig
from geo_training.depth.networks.model import DepthAndMotion, depth_network

from geo_perception.depth.estimator import CANONICAL_FOCAL_PX
from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone


def config_of(weights=None, **changes) -> DepthTrainingConfig:
    losses = changes.pop("losses", {})
    if weights is not None:
        losses = losses | {"weights": weights}
    return DepthTrainingConfig(losses=LossConfig(**losses), pretrained=False, **changes)


def batch_of(sources=2, fx_px=60.0, poses=False, clips=2) -> ClipBatch:
    torch.manual_seed(1)
    target, images = torch.rand(clips, 3, 64, 64), torch.rand(clips, sources, 3, 64, 64)
    K_133 = torch.tensor([[[fx_px, 0, 31.5], [0, 4 * fx_px, 31.5], [0, 0, 1]]])
    motions = torch.eye(4).expand(clips, sources, 4, 4) + 0.01 if poses else None
    nothing = torch.zeros(clips, 1, 64, 64)
    has_boundary = torch.zeros(clips, dtype=torch.bool)
    return ClipBatch(target, target, images, K_133.expand(clips, 3, 3), motions, nothing, nothing, has_boundary)


@pytest.fixture(scope="module")
def default():
    torch.manual_seed(0)
    return DepthAndMotion(config_of()).eval()


def test_the_default_predicts_depth_doubt_motion_and_the_depth_of_one_source(default):
    with torch.inference_mode():
        prediction = default(batch_of())
    assert [tuple(d.shape) for d in prediction.depth] == [(2, 1, 64 >> s, 64 >> s) for s in range(4)]
    assert prediction.log_sigma_b1hw.shape == (2, 1, 64, 64)
    assert prediction.T_source_target_bs44.shape == (2, 2, 4, 4)
    assert prediction.source in (0, 1)
    assert prediction.source_depth_b1hw.shape == (2, 1, 64, 64)
    assert prediction.explained is None
    assert prediction.descriptors is None


def test_depth_is_the_focal_factor_over_disparity(default):
    with torch.inference_mode():
        prediction = default(batch_of(fx_px=60.0))
    factor = (60.0 * 240.0) ** 0.5 / CANONICAL_FOCAL_PX
    for depth, disparity in zip(prediction.depth, prediction.disparity, strict=True):
        torch.testing.assert_close(depth * disparity, torch.full_like(depth, factor))


def test_which_source_is_looked_at_changes_from_step_to_step_and_repeats_with_the_seed(default):
    batch, drawn = batch_of(), []
    with torch.inference_mode():
        for seed in (*range(6), *range(6)):
            torch.manual_seed(seed)
            drawn.append(default(batch).source)
    assert drawn[:6] == drawn[6:]
    assert set(drawn) == {0, 1}


def test_pairs_see_each_source_by_itself(default):
    """The motion of a source does not change when another source does."""
    batch = batch_of()
    with torch.inference_mode():
        before, _ = default._motion(batch)
        batch.sources_bs3hw[:, 1] = 0.5
        after, _ = default._motion(batch)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.equal(after[:, 1], before[:, 1])


def test_masks_of_pairs_are_one_for_each_source():
    network = DepthAndMotion(config_of({"photometric": 1.0, "mask": 0.2}, losses={"explainability": True})).eval()
    with torch.inference_mode():
        T_bs44, explained = network._motion(batch_of())
    assert T_bs44.shape == (2, 2, 4, 4)
    assert [tuple(mask.shape) for mask in explained] == [(2, 2, 64 >> s, 64 >> s) for s in range(4)]


def test_a_stack_takes_the_whole_clip_at_once():
    network = DepthAndMotion(config_of(motion_views="stacked"))
    assert network.motion.config.sources == 2
    assert network.motion.encoder[0][0].in_channels == 9


def test_known_motion_is_the_batches_own_and_needs_no_network():
    network = DepthAndMotion(config_of({"photometric": 1.0}, motion="known")).eval()
    batch = batch_of(poses=True)
    with torch.inference_mode():
        prediction = network(batch)
        assert network.motion is None
        assert torch.equal(prediction.T_source_target_bs44, batch.T_source_target_bs44)
        assert prediction.source_depth_b1hw is None  # no term compares two views' depth
        with pytest.raises(InputError, match="a clip has no poses"):
            network(batch_of(poses=False))


def test_single_frames_need_neither_motion_nor_sources():
    network = DepthAndMotion(config_of({"depth": 1.0, "confidence": 0.1})).eval()
    with torch.inference_mode():
        prediction = network(batch_of(sources=0))
    assert network.motion is None
    assert prediction.T_source_target_bs44 is None
    assert prediction.depth[0].shape == (2, 1, 64, 64)


def test_learned_descriptors_come_for_target_and_sources():
    network = DepthAndMotion(config_of({"descriptor": 1.0}, motion="known")).eval()
    with torch.inference_mode():
        target, sources = network(batch_of(poses=True)).descriptors
    assert sources.shape == (target.shape[0], 2, *target.shape[1:])


@pytest.mark.parametrize(("stages", "some"), [(-1, False), (0, True), (2, True)])
def test_frozen_stages_do_not_learn(stages, some):
    network = depth_network(config_of(frozen_stages=stages))
    frozen = {name for name, p in network.backbone.named_parameters() if not p.requires_grad}
    assert bool(frozen) == some
    assert {name.split(".")[1] for name in frozen if name.startswith("blocks")} == {str(n) for n in range(stages)}


def test_a_pretrained_backbone_is_the_one_of_the_package():
    network = depth_network(DepthTrainingConfig())
    expected = create_backbone().network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.backbone.state_dict().items())
