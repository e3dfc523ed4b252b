"""The fit of the confidence: which poses it is of, how much each kind counts, and how it judges a world left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geo_training.datasets.scene import Frame
from geo_training.datasets.scene_writer import SceneWriter
from geo_training.experiments.benches import localization_confidence
from geo_training.experiments.benches.localization_confidence import fit, judge, questions
from geo_training.localization.confidence import Witness

from geo_perception.geometry import Camera
from geo_perception.localization.confidence import ConfidenceModel, Evidence

RIGHT, WRONG = Evidence(0.6, 0.1, 0.05, 1.0, 0.6, 200), Evidence(0.15, 0.5, 0.4, 2.0, 0.1, 40)


def near(evidence: Evidence, rng: np.random.Generator) -> Evidence:
    shifts = rng.normal(0, 0.03, 5)
    fields = ("share", "patchiness", "contradicted", "noise_scale", "landmarks")
    changes = {name: max(getattr(evidence, name) + shift, 0.01) for name, shift in zip(fields, shifts, strict=True)}
    return replace(evidence, **changes, agreeing=round(evidence.agreeing * np.exp(rng.normal(0, 0.1))))


def world(right: int, wrong: int, seed: int = 0) -> dict[str, list[list[Witness]]]:
    """Images of the mapped place have a wrong pose beside the right one, others a wrong one."""
    rng = np.random.default_rng(seed)
    both = [[Witness(near(WRONG, rng), False), Witness(near(RIGHT, rng), True)] for _ in range(right)]
    other = [[Witness(near(WRONG, rng), False)] for _ in range(wrong)]
    return {"right": both, "moved": [], "wrong": other, "mirrored": [[]]}


def test_a_fit_on_some_worlds_tells_right_from_wrong_in_another():
    poses, model = fit([world(30, 20, 1), world(20, 30, 2)])
    assert len(poses) == 2 * 50 + 50
    assert model.probability(RIGHT) > 0.95
    assert model.probability(WRONG) < 0.05
    judged = judge(model, world(10, 5, 3))
    assert judged["right_kept"] == 1.0
    assert judged["wrong_called"] == judged["wrong_wrong_called"] == 0.0
    assert (judged["share_right_below_half"], judged["share_right_above_half"]) == (0.0, 1.0)
    assert "moved_wrong_called" not in judged


def test_believers_call_every_wrong_place_their_own():
    judged = judge(ConfidenceModel(100.0, 0, 0, 0, 0, 0, 0, 0), world(4, 6))
    # Equally sure of all, they take the first pose of an image: a wrong one; the mirrored image gives none.
    assert judged["right_kept"] == 0.0
    assert judged["wrong_called"] == pytest.approx(10 / 11)
    assert judged["wrong_wrong_called"] == 1.0
    assert judged["mirrored_wrong_called"] == 0.0
    assert np.isnan(judged["share_right_below_half"])


def test_a_long_recording_counts_no_more_than_a_short_one(monkeypatch):
    """Of wrong poses of two kinds, those that look better are few: more of the others must not drown them."""
    rng, better = np.random.default_rng(7), Evidence(0.4, 0.25, 0.2, 1.3, 0.35, 100)
    kinds = world(30, 40, 5) | {"mirrored": [[Witness(near(better, rng), False)] for _ in range(10)]}
    longer = kinds | {"wrong": kinds["wrong"] * 8}

    def doubt() -> float:
        return fit([longer])[1].probability(better) - fit([kinds])[1].probability(better)

    assert abs(doubt()) < 0.01
    monkeypatch.setattr(localization_confidence, "MOST_OF_A_KIND", 1e9)
    assert doubt() > 0.05


def frames_of(sequence: str, count: int) -> list[Frame]:
    return [Frame(f"{sequence}/{k:03d}.png", sequence, k * 10**9, "camera", "", np.eye(4)) for k in range(count)]


def test_of_the_house_another_walk_is_asked_than_any_other_benchmark_asks():
    chosen = localization_confidence._split_house(
        frames_of("walk_a", 4) + frames_of("walk_b", 3) + frames_of("walk_c", 7)
    )
    splits = {(frame.sequence, frame.split) for frame in chosen}
    assert splits == {("walk_a", "train"), ("walk_b", "val"), ("walk_c", "test"), ("walk_c", "val")}
    assert [frame.name for frame in chosen if frame.split == "test"] == [f"walk_c/{k:03d}.png" for k in (0, 3, 6)]


def test_of_the_office_no_frame_is_mapped_or_asked_that_its_own_benchmark_asks():
    frames = frames_of("walk", 200)
    theirs = {f.name: f.split for f in localization_confidence.time_block_split(frames, 0.7, 10)}
    chosen = localization_confidence._split_office(frames)
    assert [frame.name for frame in chosen] == [frame.name for frame in frames]
    asked = {frame.name for frame in chosen if frame.split == "test"}
    assert asked == {f"walk/{k:03d}.png" for start in (40, 90) for k in range(start, start + 10)} | {
        frame.name for frame in chosen[140:] if frame.split == "test"
    }
    assert all(theirs[name] == "train" for name in asked)
    assert all(frame.split == "val" for frame in chosen if theirs[frame.name] == "test")


def world_of(out: Path, sequences: dict[str, int], level: int) -> Path:
    with SceneWriter(out, []) as writer:
        camera_id = writer.add_camera(Camera(32, 24, 30.0, 30.0, 14.0, 11.5))
        for sequence, count in sequences.items():
            for k in range(count):
                image = np.full((24, 32, 3), level, np.uint8)
                image[:, :16] //= 2
                writer.add_frame(sequence, k, camera_id, image, stem=f"{k:03d}", lossless=True,
                                 T_world_camera=np.eye(4), split="test")  # fmt: skip
    return out


def test_questions_of_a_world_are_dimmed_in_turn_and_mirrored(tmp_path):
    asked = questions(world_of(tmp_path / "own", {"right": 4, "wrong": 2}, 200))
    assert {kind: len(queries) for kind, queries in asked.items()} == {
        "right": 4,
        "moved": 0,
        "wrong": 2,
        "mirrored": 4,
    }
    dim, plain = asked["right"][0].load(), asked["right"][1].load()
    assert plain[:, 20:].mean() == 200
    assert dim[:, 20:].mean() == pytest.approx(110, abs=1)
    assert 4 < dim[:, 20:].std() < 8
    np.testing.assert_array_equal(dim, asked["right"][0].load())
    assert asked["mirrored"][1].load()[:, 0].mean() == 200
    assert asked["mirrored"][1].camera.cx_px == 17.0


def test_a_place_without_a_wrong_one_is_asked_some_frames_of_another(tmp_path, monkeypatch):
    own, other = world_of(tmp_path / "own", {"walk": 3}, 200), world_of(tmp_path / "other", {"way": 9}, 100)
    monkeypatch.setattr(localization_confidence, "ELSEWHERE", 4)
    asked = questions(own, other)
    assert len(asked["right"]) == len(asked["mirrored"]) == 3
    assert [query.name.removeprefix("dimmed ") for query in asked["wrong"]] == [
        f"way/{k:03d}.png" for k in (0, 2, 4, 6, 8)
    ]
    assert asked["wrong"][1].load()[:, 20:].mean() == 100
