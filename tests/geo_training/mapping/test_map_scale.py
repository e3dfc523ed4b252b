"""What the recorded poses and known distances say of a map's scale, and what of that speaks against the map."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest
from geo_training.datasets.scene import Frame
from geo_training.mapping.colmap_io import registered_poses, to_rigid
from geo_training.mapping.known_distances import KnownDistance
from geo_training.mapping.scale import set_scale

from geo_perception.geometry import make_pose, so3_exp

COUNT = 40
DOWN = (0.0, 1.0, 0.0)


def map_poses():
    """A walk around a bend, 3 long in the unit of the map."""
    along = np.linspace(0, 1, COUNT)
    positions = np.c_[3 * along, np.sin(6 * along), 0.3 * np.cos(4 * along)]
    turns = np.random.default_rng(0).normal(size=(COUNT, 3))
    return [make_pose(so3_exp(turn), position) for turn, position in zip(turns, positions, strict=True)]


def recorded_poses(wrong=0, noise_m=0.0):
    """The same walk twice as large; the last `wrong` poses lie metres from where they were."""
    rng = np.random.default_rng(1)
    poses = [make_pose(T[:3, :3], 2 * T[:3, 3] + rng.normal(0, noise_m, 3)) for T in map_poses()]
    for T in poses[COUNT - wrong :]:
        T[:3, 3] += rng.normal(0, 3, 3)
    return poses


def name(index):
    return f"walk/{index:02d}.jpg"


class Scaled:
    """What `set_scale` says of the map and makes of its model."""

    def __init__(self, recorded=None, metric=True, distances=(), keep_largest=False):
        self.model = pycolmap.Reconstruction()
        self.model.add_camera_with_trivial_rig(pycolmap.Camera.create(1, pycolmap.CameraModelId.PINHOLE, 300, 320, 240))
        for index, T in enumerate(map_poses()):
            image = pycolmap.Image()
            image.name, image.image_id, image.camera_id = name(index), index + 1, 1
            self.model.add_image_with_trivial_frame(image, to_rigid(T))
        frames = [
            Frame(name(index), "walk", index, "0", T_world_camera=None if recorded is None else recorded[index])
            for index in range(COUNT)
        ]
        info = SimpleNamespace(scale="metric" if metric else "unknown", scale_source="rendered", gravity_world=DOWN)
        self.problems, self.warnings = [], []
        self.report, self.gravity = set_scale(
            SimpleNamespace(info=info), frames, self.model, {frame.name for frame in frames}, "none", distances,
            keep_largest, self.problems, self.warnings,
        )  # fmt: skip

    @property
    def span(self):
        """From the first camera to the last."""
        poses = registered_poses(self.model)
        return np.linalg.norm(poses[name(COUNT - 1)][:3, 3] - poses[name(0)][:3, 3])


MAP_SPAN = np.linalg.norm(map_poses()[-1][:3, 3] - map_poses()[0][:3, 3])


def test_recorded_poses_that_agree_give_the_scale_and_gravity():
    scaled = Scaled(recorded_poses())
    assert scaled.report.metric
    assert scaled.report.factor == pytest.approx(2.0)
    assert (scaled.report.poses_agree, scaled.report.poses_total) == (COUNT, COUNT)
    assert scaled.gravity == list(DOWN)
    assert scaled.span == pytest.approx(2 * MAP_SPAN)
    assert (scaled.problems, scaled.warnings) == ([], [])


def test_a_quarter_of_wrong_poses_is_warned_of_and_changes_nothing():
    scaled = Scaled(recorded_poses(wrong=10))
    assert scaled.report.factor == pytest.approx(2.0, rel=1e-3)
    assert scaled.problems == []
    assert [warning for warning in scaled.warnings if warning.startswith("only 30 of 40 recorded poses agree")]


def test_four_in_ten_wrong_poses_refuse_the_map_unless_it_is_wanted():
    scaled = Scaled(recorded_poses(wrong=16))
    assert len(scaled.problems) == 1
    assert scaled.problems[0].startswith("only 24 of 40 recorded poses agree")
    assert scaled.problems[0].endswith("--keep-largest keeps this map")
    wanted = Scaled(recorded_poses(wrong=16), keep_largest=True)
    assert wanted.problems == []
    assert any(warning.startswith("only 24 of 40") for warning in wanted.warnings)


def test_a_scale_that_the_poses_hardly_tell_is_warned_of():
    scaled = Scaled(recorded_poses(noise_m=1.0))
    assert scaled.report.spread > 0.03
    assert any("tell the scale of the map within" in warning for warning in scaled.warnings)


def test_poses_that_have_nothing_to_do_with_the_map_leave_its_scale_unknown():
    rng = np.random.default_rng(2)
    strange = [make_pose(so3_exp(rng.normal(size=3)), rng.normal(0, 3, 3)) for _ in range(COUNT)]
    scaled = Scaled(strange)
    assert not scaled.report.metric
    assert scaled.report.source.startswith("unknown: ")
    assert scaled.gravity is None
    assert scaled.span == pytest.approx(MAP_SPAN)
    assert any("could not be brought into the recorded world" in warning for warning in scaled.warnings)


@pytest.mark.parametrize("recorded", [None, recorded_poses()])
def test_known_distances_say_how_large_it_is(recorded):
    first, last, middle = name(0), name(COUNT - 1), name(COUNT // 2)
    positions = [T[:3, 3] for T in map_poses()]
    distances = (
        KnownDistance(first, last, 10 * np.linalg.norm(positions[-1] - positions[0])),
        KnownDistance(first, middle, 10 * np.linalg.norm(positions[COUNT // 2] - positions[0])),
    )
    scaled = Scaled(recorded, metric=False, distances=distances)
    assert scaled.report.metric
    assert scaled.report.factor == pytest.approx(10.0)
    assert scaled.span == pytest.approx(10 * MAP_SPAN)
    if recorded is None:
        assert (scaled.gravity, scaled.warnings) == (None, [])
    else:
        assert "the map is 5 times as large as the recorded poses, whose scale is unknown" in scaled.warnings
