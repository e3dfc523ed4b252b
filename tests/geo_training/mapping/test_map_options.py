"""Options of a map that would have no effect are refused before any work."""

import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import train
from geo_training.datasets.scene_writer import SceneWriter

from geo_perception.geometry import Camera


@pytest.fixture
def dataset(tmp_path):
    with SceneWriter(tmp_path / "dataset", sources=["test"]) as writer:
        camera_id = writer.add_camera(Camera(64, 48, 60, 60, 31.5, 23.5))
        for i in range(12):
            image, T = np.zeros((48, 64, 3), np.uint8), np.eye(4)
            T[0, 3] = 0.1 * i
            writer.add_frame("walk", i * 10**8, camera_id, image, T_world_camera=T)
    return tmp_path / "dataset"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mapper", "global"], "with --poses known, --mapper global would have no effect"),
        (["--poses", "prior", "--mapper", "global"], "with --poses prior, --mapper global would have no effect"),
        (["--prior-sigma", "0.1"], "with --poses known, --prior-sigma would have no effect"),
        (["--poses", "none", "--prior-sigma", "0.1"], "with --poses none, --prior-sigma would have no effect"),
        (["--scale-from", "a b 1", "--scale-from", "b c 1"], "leave out --scale-from"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(dataset, options, words):
    done = invoke(train, "map", dataset, *options)
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (dataset / "map.json").exists()
