"""Options of a map that would have no effect are refused before any work."""

import pytest
from command_line import invoke
from flat_dataset import make_flat_dataset
from geo_training.cli import train


@pytest.fixture
def dataset(tmp_path):
    return make_flat_dataset(tmp_path / "dataset", step_m=0.1, walk=12).root


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mapper", "global"], "with --poses known, --mapper global would have no effect"),
        (["--poses", "prior", "--mapper", "global"], "with --poses prior, --mapper global would have no effect"),
        (["--prior-sigma", "0.1"], "with --poses known, --prior-sigma would have no effect"),
        (["--motion-sigma", "1", "--motion-sigma-deg", "1"], "--motion-sigma, --motion-sigma-deg would have no effect"),
        (["--prior-sigma-deg", "1"], "with --poses known, --prior-sigma-deg would have no effect"),
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
