"""What views look like, and which scenes that proposes."""

import numpy as np
import pytest
import torch

from geo_perception.localization.view_descriptors import (
    CHANNELS,
    MAX_VIEWS,
    PLACES,
    ViewDescriptors,
    ViewIndex,
    describe_frame,
    describe_view,
)


class Room:
    """Maps of views of a made-up room, (1, 8, 22, 30) and (1, 32, 11, 15): its own few surfaces beside what all rooms
    have."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        common = np.random.default_rng(0).uniform(0, 1, (4, 32))
        self.surfaces_sc = np.concatenate([common, common.mean(axis=0) + 0.3 * self.rng.normal(size=(6, 32))])

    def view(self) -> list[torch.Tensor]:
        shown_hw = self.rng.integers(0, len(self.surfaces_sc), (4, 5)).repeat(3, axis=0).repeat(3, axis=1)[:11]
        map_hwc = self.surfaces_sc[shown_hw] + 0.02 * self.rng.normal(size=(11, 15, 32))
        return [torch.zeros(1, 8, 22, 30), torch.from_numpy(map_hwc.astype(np.float32)).permute(2, 0, 1)[None]]


def described(room: Room, count: int = 12) -> ViewDescriptors:
    return ViewDescriptors.of([describe_view(room.view()) for _ in range(count)])


def test_a_view_is_described_by_places_of_the_last_map_in_some_hundred_bytes():
    views = described(Room(1))
    assert len(views) == 12
    assert views.bytes_per_view == PLACES * CHANNELS // 2 == 960
    assert describe_frame(Room(1).view()).shape == (9 * 13, CHANNELS)  # each of 3 x 3 cells of 11 x 15
    assert describe_view(Room(1).view()).shape == (5 * 7, CHANNELS)


def test_angles_between_places_are_kept_by_the_projection():
    rng = np.random.default_rng(3)
    cells_nc = rng.uniform(0, 1, (30, 500)).astype(np.float32)
    maps = [torch.from_numpy(cells_nc.T.reshape(1, 500, 1, 30).copy())]  # whose places are single cells
    projected_nc = describe_frame(maps)
    unit_nc = cells_nc / np.linalg.norm(cells_nc, axis=1, keepdims=True)
    off_nn = projected_nc @ projected_nc.T - unit_nc @ unit_nc.T
    # Of a product of unit vectors the projection is off by 1 / sqrt(CHANNELS), times sqrt(2) for vectors that are one.
    assert np.sqrt((off_nn**2).mean()) < 1.5 / np.sqrt(CHANNELS)


def test_a_picture_smaller_than_a_place_and_one_of_nothing_are_described_too():
    assert describe_view([torch.ones(1, 32, 2, 1)]).shape == (1, CHANNELS)
    index = ViewIndex({"a": described(Room(1)), "b": described(Room(2))})
    assert all(np.isfinite(share) for _, share in index.rank(describe_frame([torch.zeros(1, 32, 11, 15)])))


def test_descriptors_come_back_from_a_file_the_same_and_other_arrays_are_refused():
    views = described(Room(1))
    tensors = views.to_tensors()
    np.testing.assert_array_equal(ViewDescriptors.from_tensors(tensors).values_nc, views.values_nc)
    assert sum(array.nbytes for array in tensors.values()) == views.nbytes == 12 * 960 + 8 * CHANNELS
    assert ViewDescriptors.from_tensors({"other": np.zeros(3)}) is None
    for wrong in (views.codes_vnk.astype(np.float32), views.codes_vnk[:, :3], views.codes_vnk[:0]):
        with pytest.raises(ValueError, match="views"):
            ViewDescriptors.from_tensors(tensors | {next(iter(tensors)): wrong})
    with pytest.raises(ValueError, match="views"):
        ViewDescriptors.from_tensors(tensors | {"views.mean_c": np.zeros(3, np.float32)})
    del tensors["views.scale_c"]
    with pytest.raises(KeyError):
        ViewDescriptors.from_tensors(tensors)


def test_what_a_file_holds_is_as_exact_as_four_bits_of_what_sets_places_apart():
    told_nc = np.random.default_rng(2).normal(5.0, 0.3, (50 * PLACES, CHANNELS))
    kept_nc = ViewDescriptors.of(np.split(told_nc, 50)).values_nc
    within = np.abs(told_nc - 5.0) < 2.2 * 0.3  # beyond 2.5 deviations all is one
    step = 2.5 * 0.3 / 7.5
    assert np.abs(kept_nc - told_nc)[within].max() < 0.6 * step
    assert np.abs(kept_nc - 5.0).max() < 2.9 * 0.3


def test_views_that_are_all_the_same_are_kept_as_they_are():
    told_nc = np.full((3 * PLACES, CHANNELS), 0.25)
    views = ViewDescriptors.of([told_nc, told_nc])
    assert len(views) == 2
    np.testing.assert_allclose(views.values_nc, 0.25, atol=1e-6)


def test_a_few_places_are_kept_again_until_there_are_as_many_as_of_any_views():
    told_nc = np.random.default_rng(4).normal(size=(5, CHANNELS))
    kept_nc = ViewDescriptors.of([told_nc, told_nc]).values_nc
    np.testing.assert_array_equal(kept_nc[:10], kept_nc[10:20])
    np.testing.assert_array_equal(kept_nc[:5], kept_nc[5:10])


def test_what_few_places_show_is_kept_beside_what_most_of_them_show():
    rng = np.random.default_rng(5)
    kinds_kc = rng.normal(size=(400, CHANNELS))
    often_k = 1 / np.arange(1, 401)  # of 3000 places 457 show the commonest kind, one or two a rare one
    kind_n = rng.choice(400, 3000, p=often_k / often_k.sum())
    told_nc = kinds_kc[kind_n] + 0.2 * rng.normal(size=(3000, CHANNELS))

    def shown(kept_nc: np.ndarray) -> float:
        """Of the kinds that the places are of, how many are kept in one descriptor at least."""
        there_kc = kinds_kc[np.unique(kind_n)]
        alike_km = np.corrcoef(there_kc, kept_nc)[: len(there_kc), len(there_kc) :]
        return float((alike_km.max(axis=1) > 0.9).mean())

    kept_nc = ViewDescriptors.of(np.split(told_nc, 30)).values_nc
    assert len(kept_nc) == 30 * PLACES
    assert shown(kept_nc) > 0.9
    assert shown(rng.permutation(told_nc)[: len(kept_nc)]) < 0.5


def test_of_very_many_views_no_more_is_kept_and_the_same_ones_again():
    many = np.random.default_rng(6).normal(size=(150, 20, CHANNELS))
    views = ViewDescriptors.of(list(many))
    assert len(views) == MAX_VIEWS
    np.testing.assert_array_equal(ViewDescriptors.of(list(many)).codes_vnk, views.codes_vnk)
    assert ViewDescriptors.of([]) is None


def test_further_views_stand_beside_those_that_are_there_up_to_as_many_as_a_scene_keeps():
    rng = np.random.default_rng(7)
    there = ViewDescriptors.of(list(rng.normal(size=(4, 30, CHANNELS))))
    more = list(1 + rng.normal(size=(3, 30, CHANNELS)))
    grown = there.with_more(more)
    assert len(grown) == 7
    off_nc = np.abs(grown.values_nc[: 4 * PLACES] - there.values_nc)
    assert (off_nc <= 0.51 * grown.scale_c).mean() > 0.95  # but for what is beyond what four bits reach
    assert grown.values_nc[4 * PLACES :].mean() == pytest.approx(1, abs=0.1)
    assert len(there.with_more([])) == 4
    full = ViewDescriptors.of(list(rng.normal(size=(MAX_VIEWS, PLACES, CHANNELS)))).with_more(more)
    assert len(full) == MAX_VIEWS
    assert (full.values_nc.mean(axis=1) > 0.5).any()


def test_the_room_that_a_frame_was_taken_in_is_proposed_first_and_scenes_without_views_last():
    rooms = {name: Room(seed) for seed, name in enumerate("abcdef", start=1)}
    views = {name: described(room, 8 + ord(name) % 5) for name, room in rooms.items()}
    index = ViewIndex(views | {"old": None})
    for name, room in rooms.items():
        ranked = index.rank(describe_frame(room.view()))
        assert ranked[0][0] == name
        assert ranked[0][1] > ranked[1][1] + 0.1
        assert ranked[-1][0] == "old"
        assert np.isnan(ranked[-1][1])
        assert sum(share for _, share in ranked[:-1]) == pytest.approx(1, abs=1e-5)


def test_a_single_scene_is_proposed_and_a_folder_whose_scenes_all_lack_views_proposes_nothing():
    assert ViewIndex({"a": described(Room(1))}).rank(describe_frame(Room(2).view())) == [("a", 1.0)]
    ranked = ViewIndex({"a": None, "b": None}).rank(np.ones((4, CHANNELS), np.float32))
    assert [name for name, _ in ranked] == ["a", "b"]
    assert all(np.isnan(share) for _, share in ranked)
