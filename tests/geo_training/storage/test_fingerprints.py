"""What keys a kept result changes with what the result depends on, and with nothing else."""

import os

import numpy as np
import pytest
from geo_training.calibration.data.panoramas import cached_panorama
from geo_training.storage.fingerprints import digest_of, digest_of_files, file_digest, file_version, sample_digest


def test_arrays_count_by_values_shape_and_type():
    array = np.arange(6, dtype=np.float32)
    own = digest_of("a", array)
    assert digest_of("a", array.copy()) == own
    assert digest_of("a", np.arange(12, dtype=np.float32)[::2] / 2) == own  # not contiguous
    for other in (array.reshape(2, 3), array.astype(np.float64), array + np.float32(1e-6)):
        assert digest_of("a", other) != own
    assert digest_of(["a"], array) != own
    assert digest_of({"x": 1, "y": 2}) == digest_of({"y": 2, "x": 1})


@pytest.mark.parametrize("size", [0, 10, 1 << 16, (1 << 16) + 5, 300_000])
def test_a_change_at_either_end_of_a_file_counts_and_its_place_does_not(tmp_path, size):
    data = bytes(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    paths = [tmp_path / name for name in ("one", "copy", "first", "last", "longer")]
    changed = [data, data, b"\0" + data[1:], data[:-1] + b"\0", data + b"\0"]
    for path, content in zip(paths, changed, strict=True):
        path.write_bytes(content)
    digests = [sample_digest(path) for path in paths]
    assert digests[0] == digests[1]
    assert all(digests[0] != digest for digest, content in zip(digests, changed, strict=True) if content != data)
    assert sample_digest(tmp_path / "none") == ""
    assert digest_of_files(paths[:2]) == digest_of_files([paths[1], paths[0]])
    assert digest_of_files([paths[0], paths[4]]) != digest_of_files([paths[4], paths[0]])


def test_a_whole_file_counts_to_its_middle(tmp_path):
    data = bytearray(3 << 20)
    (tmp_path / "a").write_bytes(data)
    data[1 << 21] = 1
    (tmp_path / "b").write_bytes(data)
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "b")


def test_a_picture_that_was_replaced_is_read_again(tmp_path):
    import cv2

    path = tmp_path / "panorama.png"
    for grey in (10, 200):
        cv2.imwrite(str(path), np.full((32, 64, 3), grey, np.uint8))
        os.utime(path, ns=(grey, grey))
        assert (cached_panorama(path) == grey).all()
    assert file_version(path)[2] == 200
    assert file_version(tmp_path / "none") == (str(tmp_path / "none"), -1, -1)
