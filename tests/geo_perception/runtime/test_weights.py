"""Weights on disk: what comes back is what was written, and a damaged file is refused with one line."""

import contextlib
import resource
import subprocess
import sys

import numpy as np
import pytest

from geo_perception.errors import InputError
from geo_perception.runtime.weights import checksum, load_weights, save_weights, with_present_names

HEADER = {"kind": "scene", "format_version": 1, "note": "a"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_weights(path, {"a": np.arange(1000, dtype=np.float32), "b": np.ones((2, 3), np.int8)}, HEADER)
    return path


def test_tensors_and_header_come_back(file):
    tensors, header = load_weights(file, "scene", 1)
    np.testing.assert_array_equal(tensors["a"], np.arange(1000, dtype=np.float32))
    assert tensors["b"].dtype == np.int8
    assert header == HEADER
    assert not list(file.parent.glob("*.partial"))


def test_every_changed_byte_of_the_tensors_is_noticed(file):
    content = bytearray(file.read_bytes())
    for place in (len(content) - 1, len(content) - 2000, len(content) - 4006):
        changed = bytearray(content)
        changed[place] ^= 0x10
        file.write_bytes(bytes(changed))
        with pytest.raises(InputError, match=r"changed|damaged"):
            load_weights(file, "scene", 1)


def test_every_changed_byte_of_the_header_is_noticed_or_harmless(file):
    content = bytearray(file.read_bytes())
    start = content.index(b"__metadata__")
    for place in range(start, start + 200):
        changed = bytearray(content)
        changed[place] ^= 0x01
        file.write_bytes(bytes(changed))
        with contextlib.suppress(InputError):
            assert load_weights(file, "scene", 1)[1] == HEADER


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="damaged"):
        load_weights(file, "scene", 1)


def test_another_version_another_kind_and_no_file_are_told_apart(file, tmp_path):
    with pytest.raises(InputError, match="format 1, this version reads 2"):
        load_weights(file, "scene", 2)
    with pytest.raises(InputError, match="is a scene file; a calibration file is needed"):
        load_weights(file, "calibration", 1)
    with pytest.raises(InputError, match="does not exist"):
        load_weights(tmp_path / "none.safetensors", "scene", 1)


def test_the_checksum_sees_names_shapes_and_types():
    a = np.zeros(6, np.float32)
    sums = {
        checksum({"a": a}),
        checksum({"b": a}),
        checksum({"a": a.reshape(2, 3)}),
        checksum({"a": a.astype(np.int32)}),
    }
    assert len(sums) == 4


def test_a_full_disk_is_an_error_of_the_system_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, {"a": np.zeros(3)}, {})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match=r"weights\.safetensors cannot be written"):
            save_weights(path, {"a": np.zeros(1 << 20)}, {})  # 8 MB
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_modules_below_a_prefix_get_their_present_names():
    state = {"depth.doubt.0.weight": 1, "depth.doubtful.bias": 2, "motion.doubt.bias": 3, "depth.doubt": 4}
    renamed = {"depth.head.0.weight": 1, "depth.doubtful.bias": 2, "motion.doubt.bias": 3, "depth.head": 4}
    assert with_present_names(state, {"doubt": "head"}, "depth.") == renamed


def test_a_file_larger_than_the_memory_that_is_left_raises_and_ends_nothing(tmp_path):
    path = tmp_path / "large.safetensors"
    save_weights(path, {"padding": np.zeros(64 << 20, np.float16)}, {"kind": "a", "format_version": 1})
    script = (
        "import re, resource, sys\n"
        "from geo_perception.runtime.weights import load_weights\n"
        "used = 1024 * int(re.search(r'VmData:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (used + (8 << 20), resource.RLIM_INFINITY))\n"
        "try:\n"
        "    load_weights(sys.argv[1], 'a', 1)\n"
        "except MemoryError:\n"
        "    print('no memory')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "no memory\n", "")
