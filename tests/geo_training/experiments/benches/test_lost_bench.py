"""Lost means lost: what counts as called wrong, which frames are of another place, and the figures of it."""

from dataclasses import replace

import numpy as np
import pytest
from geo_training.datasets.scene import SceneDataset
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.evaluation.localization.set import Query
from geo_training.experiments.benches import localization_lost, lost_worlds
from geo_training.experiments.benches.localization_lost import is_wrong, measure, mirrored, summary
from geo_training.metrics.pose import FrameOutcome
from geo_training.synthetic.paths import camera_pose

from geo_perception.errors import InputError
from geo_perception.geometry import Camera
from geo_perception.localization.result import Localization, Verdict

CAMERA = Camera(64, 48, 50.0, 50.0, 30.0, 25.0)


def outcome(shift_m=0.0, turn_deg=0.0, sigma_m=0.1, sigma_rad=0.1, localized=True):
    """Of a frame at the origin."""
    pose = camera_pose(np.array([shift_m, 0.0, 0.0]), np.deg2rad(turn_deg)) if localized else None
    covariance_66 = np.diag([sigma_m**2] * 3 + [sigma_rad**2] * 3) if localized else None
    return FrameOutcome("a/0.jpg", "a", 0, "", camera_pose(np.zeros(3), 0.0), pose, covariance_66)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"shift_m": 0.24, "turn_deg": 9.0}, False),
        ({"shift_m": 0.26}, True),
        ({"turn_deg": 11.0, "sigma_rad": 1.0}, True),
        ({"shift_m": 0.049, "sigma_m": 0.01}, False),  # 4.9 of its standard deviations
        ({"shift_m": 0.051, "sigma_m": 0.01}, True),
        ({"turn_deg": 5.8, "sigma_rad": 0.02}, True),  # 0.101 rad
        ({"turn_deg": 5.6, "sigma_rad": 0.02}, False),
        ({"shift_m": 9.0, "localized": False}, False),
    ],
)
def test_wrong_is_far_off_or_farther_than_stated(given, wrong):
    assert is_wrong(outcome(**given)) is wrong


def test_without_a_stated_error_only_what_is_far_off_is_wrong():
    assert not is_wrong(replace(outcome(0.2), covariance_66=None))
    assert is_wrong(replace(outcome(0.3), covariance_66=None))
    assert not is_wrong(outcome(0.2, sigma_m=0.001), sigmas=np.inf)


def test_a_mirrored_query_is_what_a_camera_sees_of_the_mirrored_world():
    """A bright spot at a point of the world is, in the flipped picture, where the mirrored point projects."""
    point_3 = np.array([0.31, -0.12, 1.5])
    image = np.zeros((48, 64, 3), np.uint8)
    u, v = np.rint(CAMERA.project(point_3[None])[0]).astype(int)
    image[v, u] = 255
    query = Query("right/0.jpg", "right", 0, CAMERA, lambda: image, np.eye(4))
    other = mirrored(query)
    assert other.T_true is None
    flipped_u, flipped_v = other.camera.project((point_3 * [-1, 1, 1])[None])[0]
    rows, columns = np.nonzero(other.load()[..., 0])
    assert (rows[0], columns[0]) == (round(flipped_v), round(flipped_u))
    assert mirrored(other).camera == CAMERA


# A house along x: walk_a looks from x = -5 at a wall in the west and from x = 5 at one in the east; its third frame
# looks from the west through to the east. Depth in metres, all pixels alike.
WALKS = {
    "walk_a": [(-5.0, np.pi, 2.0), (5.0, 0.0, 2.0), (-5.0, 0.0, 8.0)],
    "walk_b": [(-5.1, np.pi, 1.9), (5.0, 0.0, 2.0), (5.1, 0.0, 2.0), (-5.0, np.pi / 2, 0.6)],
    "walk_c": [(-4.9, np.pi, 2.1)],
}


def house(out, walks, depth=True):
    with SceneWriter(out, ["a house"]) as writer:
        camera_id = writer.add_camera(CAMERA)
        for sequence, frames in walks.items():
            for index, (x, yaw_rad, depth_m) in enumerate(frames):
                image = np.full((48, 64, 3), 10 * index, np.uint8)
                writer.add_frame(
                    sequence, index, camera_id, image, stem=f"{index:05d}", lossless=True,
                    T_world_camera=camera_pose(np.array([x, 0.0, 1.4]), yaw_rad),
                    depth_m=np.full((48, 64), depth_m, np.float32) if depth else None,
                )  # fmt: skip
    return out


def test_of_a_house_the_rooms_on_one_side_are_mapped_and_the_others_asked_as_wrong(tmp_path):
    source = SceneDataset(house(tmp_path / "house", WALKS))
    lost_worlds.house_part(source.root, tmp_path / "part")
    part = SceneDataset(tmp_path / "part")
    # The third frame of walk_a looks out of the part, the last of walk_b sees a wall that no mapped frame saw; of
    # those that are elsewhere each second is asked.
    assert [(frame.name, frame.split) for frame in part.frames] == [
        ("right/00000.png", "test"),
        ("walk_a/00000.png", "train"),
        ("walk_c/00000.png", "train"),
        ("wrong/00001.png", "test"),
        ("wrong/00003.png", "test"),
    ]
    by_name = {frame.name: frame for frame in part.frames}
    np.testing.assert_allclose(by_name["wrong/00001.png"].T_world_camera[:3, 3], [5.0, 0.0, 1.4], atol=1e-6)
    assert part.image(by_name["wrong/00001.png"])[0, 0, 0] == 10
    assert part.depth_m(by_name["right/00000.png"])[0, 0] == pytest.approx(1.9)


def test_a_house_that_cannot_be_parted_is_refused(tmp_path):
    east = {"walk_a": WALKS["walk_a"][1:2], "walk_b": WALKS["walk_b"]}
    with pytest.raises(InputError, match="do not lead through both parts"):
        lost_worlds.house_part(house(tmp_path / "east", east), tmp_path / "part")
    with pytest.raises(InputError, match="needs depth"):
        lost_worlds.house_part(house(tmp_path / "flat", WALKS, depth=False), tmp_path / "part")
    assert not (tmp_path / "part").exists()


class Believer:
    """Is where the first frame was, whatever it sees; but refuses what is darker than `darkest`."""

    def __init__(self, pose, darkest):
        self.pose, self.darkest = pose, darkest

    def estimate(self, image_rgb, camera, seed=0):
        if image_rgb.mean() < self.darkest:
            return Localization(Verdict.NO_CONSENSUS, "dark")
        return Localization(Verdict.LOCALIZED, "", T_map_camera=self.pose, covariance_66=np.eye(6))


def test_figures_count_what_is_called_localized_of_each_kind_of_question(tmp_path):
    """Frames of brightness 0, 10, 20 at x = 0, 1, 2, asked of one who believes to be at 0."""
    way = [(float(index), 0.0, 2.0) for index in range(3)]
    root = house(tmp_path / "world", {"right": way, "wrong": way, "moved": way})
    dataset = SceneDataset(root)
    dataset.save_frames([replace(frame, split="test") for frame in dataset.frames])
    got = measure(Believer(dataset.frames[0].T_world_camera, -1), root)
    assert got["right_recall_5cm_5deg"] == got["moved_recall_5cm_5deg"] == pytest.approx(1 / 3)
    assert got["right_localized_wrong"] == got["moved_localized_wrong"] == pytest.approx(2 / 3)
    assert got["wrong_place_localized"] == got["mirrored_localized"] == 1.0
    got = measure(Believer(dataset.frames[0].T_world_camera, 15), root)
    assert got["right_recall_5cm_5deg"] == 0.0
    assert (
        got["moved_localized_wrong"]
        == got["wrong_place_localized"]
        == got["mirrored_localized"]
        == pytest.approx(1 / 3)
    )
    assert set(measure(Believer(dataset.frames[0].T_world_camera, 15), root, asked=("right",))) == {
        "right_recall_5cm_5deg", "right_localized_wrong", "right_localized_far",
    }  # fmt: skip


def test_the_summary_is_the_worst_of_the_worlds():
    names = "wrong_place_localized", "mirrored_localized", "right_recall_5cm_5deg", "unrefused_recall_5cm_5deg"
    figures = {"shop": (0.1, 0.0, 0.9, 0.94), "room": (0.0, 0.2, 0.8, 0.8), "house": (0.02, 0.1, 1.0, 0.99)}
    metrics = {
        f"{world}_{name}": value for world, values in figures.items() for name, value in zip(names, values, strict=True)
    }
    metrics |= {f"room_{name}": 0.3 for name in localization_lost.MOVED}
    got = summary(metrics)
    assert (got["wrong_place_localized"], got["mirrored_localized"]) == (0.1, 0.2)
    assert got["recall_loss"] == pytest.approx(0.04)
    assert got["moved_localized_wrong"] == 0.3
