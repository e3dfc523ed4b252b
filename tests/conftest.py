"""What tests of every room share."""

import fcntl
from pathlib import Path

import pytest
from tiny_scene import TinyScene, fingerprint, make_tiny_scene
from two_scenes import TwoScenes, make_two_scenes

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def engine_cache(request):
    """What engines compile stays with the tests, not with the user; nodes in processes of their own find it, too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("GEO_PERCEPTION_CACHE", str(request.config.cache.mkdir("engines")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings for tests; they are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings for tests are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_scene(request) -> TinyScene:
    """A small scene file, trained for real, and the rendered dataset it was trained on."""
    folder = Path(request.config.cache.mkdir(f"tiny_scene_{fingerprint()}"))
    with (folder / "lock").open("w") as lock:  # several test processes may ask for it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make_tiny_scene(folder)


@pytest.fixture(scope="session")
def two_scenes(request) -> TwoScenes:
    """A folder of two small scenes of one room that overlap, filled in closed form."""
    folder = Path(request.config.cache.mkdir(f"two_scenes_{fingerprint()}"))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make_two_scenes(folder)
