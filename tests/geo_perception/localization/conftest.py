"""What tests of the localization node share."""

import importlib.util
import os
from pathlib import Path

import pytest

STANDIN = Path(__file__).resolve().parents[2] / "support" / "tf2_standin"


@pytest.fixture
def standin(monkeypatch) -> None:
    """The stand-in for tf2 in the processes of a test, where tf2 itself is not there."""
    found = importlib.util.find_spec("tf2_ros")
    if found is not None and "tf2_standin" not in found.origin:
        pytest.skip("this hears what the stand-in for tf2 sends")
    # Other tests may have put the stand-in on this process's path; the node is a process of its own.
    monkeypatch.setenv("PYTHONPATH", str(STANDIN), prepend=os.pathsep)
