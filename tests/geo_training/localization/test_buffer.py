"""The feature buffer: what it holds, where it keeps it, and which views meet in a batch."""

import os
import re
import resource
import tempfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from geo_training.engine import whole_batch
from geo_training.localization import buffer as buffer_module
from geo_training.localization.buffer import FeatureBuffer
from geo_training.localization.views import View
from geo_training.storage import output_file

from geo_perception.errors import InputError
from geo_perception.runtime.backbone import create_backbone
from geo_perception.runtime.frozen import FrozenNetwork

SIZE = (96, 64)


class CountingViews:
    """Views that say which they are by their colour."""

    def __init__(self, sizes_px):
        self.sizes_px, self.made = sizes_px, []

    def __call__(self, frame, view, generation):
        self.made.append((frame, view, generation))
        width_px, height_px = self.sizes_px[frame]
        image = np.full((height_px, width_px, 3), (frame * 20 + view * 7 + generation * 3) % 256, np.uint8)
        return View(image, None, np.eye(4), np.full((5, 2), float(frame)), np.ones(5, np.int8))


@pytest.fixture(scope="module")
def backbone():
    return create_backbone()


def buffer_of(backbone, **changes):
    """A buffer of six frames, and the views that it asked for."""
    options = {
        "sizes_px": [SIZE] * 6, "views": 2, "batch": 4, "budget_bytes": 1 << 30, "refresh": 0.5,
        "device": torch.device("cpu"), "seed": 1,
    } | changes  # fmt: skip
    views = CountingViews(options["sizes_px"])
    return FeatureBuffer(FrozenNetwork(backbone, options["device"]), views, **options), views


def slots_of(buffer, epoch=0):
    return [number for batch in buffer._batches(epoch) for number in batch]


def test_the_budget_decides_how_many_views_are_kept(backbone):
    # Half precision: channels over the cells of each stride.
    one = 2 * sum(c * (64 // s) * (96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True))
    tight, _ = buffer_of(backbone, views=8, budget_bytes=one * 6 * 3)
    assert (tight.bytes_a_view, tight.views, tight.left_out, len(tight)) == (6 * one, 3, 5, 18)
    assert tight._storage.nbytes == one * 6 * 3
    with pytest.raises(InputError, match=r"one view of each of 6 frames take .* GiB, .* raise buffer_gib"):
        buffer_of(backbone, budget_bytes=one * 6 - 1)


def test_it_says_how_many_views_it_holds_where(backbone):
    buffer, _ = buffer_of(backbone, sizes_px=[(640, 480)] * 6)
    gib = buffer.bytes_a_view * 2 / 2**30
    assert str(buffer) == f"features of 2 views of each of 6 frames: {gib:.3g} GiB in memory"
    assert str(buffer_of(backbone, place="disk")[0]).endswith(" on disk")


def test_an_epoch_meets_every_slot_once_in_an_order_of_its_own(backbone):
    buffer, _ = buffer_of(backbone, refresh=0.0)
    epochs = [slots_of(buffer, epoch) for epoch in (0, 1, 0)]
    assert sorted(epochs[0]) == list(range(12))
    assert epochs[0] != epochs[1]
    assert epochs[0] == epochs[2]
    frames = [float(value) for batch in buffer.batches(0) for value in batch.pixels_bl2[:, 0, 0]]
    assert frames == [float(number % 6) for number in epochs[0]]


def test_a_batch_is_always_full(backbone):
    # 9 frames, 4 a batch: three batches, three slots of the last are met twice.
    buffer, _ = buffer_of(backbone, sizes_px=[SIZE] * 9, views=1)
    counts = Counter(slots_of(buffer))
    assert [len(batch.pixels_bl2) for batch in buffer.batches(0)] == [4, 4, 4]
    assert (sorted(counts), sum(counts.values()), max(counts.values())) == (list(range(9)), 12, 2)


def test_views_of_one_size_stand_together_also_where_they_are_fewer_than_a_batch(backbone):
    sizes_px = [SIZE, (64, 64), SIZE, SIZE, SIZE, (64, 64), SIZE]
    buffer, _ = buffer_of(backbone, sizes_px=sizes_px, views=1)
    batches = buffer._batches(0)
    assert sorted(len({sizes_px[number] for number in batch}) for batch in batches) == [1, 1, 1]
    assert [sorted(batch) for batch in batches if 1 in batch] == [[1, 1, 5, 5]]
    assert sorted(tuple(batch.features[0].shape[-2:]) for batch in buffer.batches(0)) == [(16, 16), (16, 24), (16, 24)]


def test_fewer_views_than_a_batch_are_refused(backbone):
    with pytest.raises(InputError, match=r"6 views are too few for a batch of 8; lower batch"):
        buffer_of(backbone, views=1, batch=8)


def test_a_share_of_the_slots_is_made_anew_each_epoch(backbone):
    buffer, views = buffer_of(backbone, refresh=0.5)
    list(buffer.batches(0))
    before = len(views.made)
    list(buffer.batches(1))
    assert 4 <= len(views.made) - before <= 8  # half of twelve, give or take the turn they are in
    assert {buffer.generation(number, 4) for number in range(12)} == {2}


def test_batches_after_some_are_those_of_the_whole_epoch_and_the_rest_is_not_made(backbone):
    whole, _ = buffer_of(backbone, views=8, refresh=1.0)
    expected = list(whole.batches(2))
    resumed, views = buffer_of(backbone, views=8, refresh=1.0)
    for number in resumed.own:
        resumed.slot(number, 2)
    made = len(views.made)
    found = list(resumed.batches(2, first=9))
    assert (len(expected), len(found), len(views.made)) == (12, 3, made)
    for one, other in zip(expected[9:], found, strict=True):
        assert torch.equal(one.pixels_bl2, other.pixels_bl2)
        assert all(torch.equal(a, b) for a, b in zip(one.features, other.features, strict=True))
    # A slot of an earlier epoch is made anew only where a batch that comes has it.
    late, views = buffer_of(backbone, views=8, refresh=1.0)
    for number in late.own:
        late.slot(number, 0)
    made = len(views.made)
    list(late.batches(2, first=9))
    assert len(views.made) == made + 12


@pytest.fixture
def process(monkeypatch):
    """Says which of how many processes this is."""

    def be(rank, world):
        monkeypatch.setattr(whole_batch, "rank", lambda: rank)
        monkeypatch.setattr(whole_batch, "world", lambda: world)

    return be


def test_processes_keep_and_fill_their_rows_of_the_batches_of_one(backbone, process):
    sizes_px = [SIZE] * 9 + [(64, 64)] * 5
    whole, _ = buffer_of(backbone, sizes_px=sizes_px, refresh=0.4)
    expected = [list(whole.batches(epoch)) for epoch in range(3)]
    kept = []
    for rank in range(2):
        process(rank, 2)
        part, views = buffer_of(backbone, sizes_px=sizes_px, refresh=0.4)
        for epoch, batches in enumerate(expected):
            own = list(part.batches(epoch))
            assert len(own) == len(batches)
            for mine, of_all in zip(own, batches, strict=True):
                rows = slice(2 * rank, 2 * rank + 2)
                assert torch.equal(mine.pixels_bl2, of_all.pixels_bl2[rows])
                assert all(torch.equal(a, b[rows]) for a, b in zip(mine.features, of_all.features, strict=True))
        assert {frame + 14 * view for frame, view, _ in views.made} == set(part.own)
        kept.append(part.own)
    assert set(kept[0]).isdisjoint(kept[1])
    assert sorted(kept[0] + kept[1]) == list(range(28))


def test_a_batch_that_processes_cannot_share_is_refused(backbone, process):
    process(0, 3)
    with pytest.raises(InputError, match="a batch of 4 cannot be shared evenly by 3 processes; give a multiple of 3"):
        buffer_of(backbone)


def test_features_on_disk_are_those_in_memory_and_leave_no_file(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    on_disk, _ = buffer_of(backbone, place="disk")
    in_memory, _ = buffer_of(backbone, place="host")
    for one, other in zip(on_disk.batches(0), in_memory.batches(0), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.features, other.features, strict=True))
    with open("/proc/self/maps") as maps:
        assert any(str(tmp_path) in line and "deleted" in line for line in maps)  # it is a file, and has no name
    assert list(tmp_path.iterdir()) == []


def test_the_first_place_with_room_is_taken(backbone, monkeypatch):
    needed = 2 * buffer_of(backbone)[0].bytes_a_view

    def free(host_bytes):
        monkeypatch.setattr(
            buffer_module.psutil, "virtual_memory", lambda: SimpleNamespace(available=host_bytes, total=1 << 40)
        )

    free(2 * needed)
    assert buffer_of(backbone)[0].place == "host"
    assert buffer_of(backbone, place="device")[0].place == "host"  # which on a CPU is the device
    free(needed)
    assert buffer_of(backbone)[0].place == "disk"
    for place in ("device", "host"):
        with pytest.raises(InputError, match=r"takes .* GiB in memory, where it may take .*; lower buffer_gib, or set"):
            buffer_of(backbone, place=place)


def test_a_disk_without_room_is_told_at_the_door(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(output_file.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=re.escape(str(tmp_path)) + r" has 0.00 GB free, .* make room"):
        buffer_of(backbone, place="disk")


def test_a_disk_that_does_not_take_the_file_is_told_at_the_door(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be kept in .* lower buffer_gib, or set TMPDIR"):
            buffer_of(backbone, place="disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []
