"""What a process remembers is replaced whole, believed only where it fits, and delays nobody."""

import json
import os
import time

import pytest

from geo_perception.errors import InputError
from geo_perception.runtime.state_file import ForeignStateError, StateWriter, read_state, write_state


def wait_until(condition, timeout_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return condition()


def test_what_is_written_is_read_by_the_same_owner(tmp_path):
    path = tmp_path / "new" / "state.json"
    write_state(path, "/robot/depth_node", {"sigma": 0.25})
    assert read_state(path, "/robot/depth_node") == {"sigma": 0.25}
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_no_file_is_no_memory(tmp_path):
    assert read_state(tmp_path / "none.json", "/node") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 1}', "\x00\x01"])
def test_a_damaged_file_is_said(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"state\.json is damaged; nothing is remembered"):
        read_state(path, "/node")


@pytest.mark.parametrize("changes", [{"of": "/other"}, {"format_version": 2}, {"state": 3}])
def test_a_file_of_somebody_else_is_said(tmp_path, changes):
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"format_version": 1, "of": "/node", "state": {}} | changes))
    with pytest.raises(ForeignStateError, match="give each node a state file of its own"):
        read_state(path, "/node")


def test_a_folder_in_the_place_of_the_file_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path, "/node")


class TestWriter:
    def test_the_newest_is_written_and_the_rest_at_the_end(self, tmp_path):
        path, failures = tmp_path / "state.json", []
        writer = StateWriter(path, "/node", failures.append, interval_s=60.0)
        writer.keep({"n": 1})
        assert wait_until(lambda: path.exists() and read_state(path, "/node") == {"n": 1})
        for n in range(2, 100):
            writer.keep({"n": n})
        time.sleep(0.05)
        assert read_state(path, "/node") == {"n": 1}  # not its turn yet
        writer.close()
        assert read_state(path, "/node") == {"n": 99}
        assert (failures, writer.failure) == ([], "")

    def test_it_is_written_again_after_the_interval(self, tmp_path):
        path = tmp_path / "state.json"
        writer = StateWriter(path, "/node", pytest.fail, interval_s=0.02)
        for n in range(3):
            writer.keep({"n": n})
            assert wait_until(lambda n=n: path.exists() and read_state(path, "/node") == {"n": n})
        writer.close()

    def test_what_is_to_be_forgotten_is_gone_at_once(self, tmp_path):
        path = tmp_path / "state.json"
        writer = StateWriter(path, "/node", pytest.fail, interval_s=60.0)
        writer.keep({"n": 1})
        assert wait_until(path.exists)
        writer.forget()
        assert wait_until(lambda: not path.exists())
        writer.close()
        assert not path.exists()

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
    def test_a_full_disk_is_said_once_and_ends_nothing(self, tmp_path, monkeypatch):
        from geo_perception.runtime import state_file

        def full(path, text):
            with open("/dev/full", "w") as file:
                file.write(text)

        path, failures = tmp_path / "state.json", []
        replace_text = state_file.replace_text
        monkeypatch.setattr(state_file, "replace_text", full)
        writer = StateWriter(path, "/node", failures.append, interval_s=0.01)
        for n in range(3):
            writer.keep({"n": n})
            assert wait_until(lambda: writer.failure != "")
            time.sleep(0.03)
        assert "No space left on device" in writer.failure
        assert len(failures) == 1
        assert failures[0].endswith("what is known now is forgotten when this process ends")
        monkeypatch.setattr(state_file, "replace_text", replace_text)
        writer.keep({"n": 4})
        assert wait_until(path.exists)
        assert writer.failure == ""
        writer.close()
