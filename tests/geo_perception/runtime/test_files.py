import os
import subprocess
import sys

import numpy as np
import pytest

from geo_perception.runtime.files import replace_bytes, replace_text, replaced_file
from geo_perception.runtime.weights import save_weights


def mode_of(path) -> int:
    return path.stat().st_mode & 0o777


def fail_halfway(path) -> None:
    with replaced_file(path) as work:
        work.write_bytes(b"half")
        raise ZeroDivisionError


def run_with_umask(umask: int, code: str, *arguments) -> None:
    subprocess.run(
        [sys.executable, "-c", f"import os; os.umask({umask})\n{code}", *map(str, arguments)], check=True, timeout=120
    )


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_allows(tmp_path, umask, mode):
    """safetensors makes files for their owner alone, so a node of another user could not read its scene."""
    code = (
        "import sys, numpy as np\n"
        "from geo_perception.runtime.weights import save_weights\n"
        "save_weights(sys.argv[1], {'a': np.ones(3)}, {'kind': 'x', 'format_version': 1})"
    )
    run_with_umask(umask, code, tmp_path / "scene.safetensors")
    assert mode_of(tmp_path / "scene.safetensors") == mode


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "v1.json", tmp_path / "newest.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    replace_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert mode_of(target) == 0o640


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.bin"
    replace_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError):
        fail_halfway(path)
    with pytest.raises(FileNotFoundError), replaced_file(path):
        pass  # nothing was written
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_a_disk_that_takes_no_more_leaves_the_old_weights(tmp_path):
    path = tmp_path / "scene.safetensors"
    save_weights(path, {"a": np.ones(3)}, {"kind": "x", "format_version": 1})
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from geo_perception.runtime.weights import save_weights\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "save_weights(sys.argv[1], {'a': np.ones(1_000_000)}, {'kind': 'x', 'format_version': 1})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scene.safetensors"]
