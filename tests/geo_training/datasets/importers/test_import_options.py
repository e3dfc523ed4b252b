"""An option of an import that would have no effect is refused before anything is written."""

import cv2
import numpy as np
import pytest
from command_line import invoke
from geo_training.cli import train
from image_files import write_image


@pytest.fixture
def images(tmp_path):
    for number in range(3):
        write_image(tmp_path / "source" / "images" / f"{number:03d}.png", 40 * number)
    return tmp_path / "source"


@pytest.fixture
def tum(tmp_path):
    root = tmp_path / "source"
    for kind, pixel in (("rgb", np.full((480, 640, 3), 9, np.uint8)), ("depth", np.full((480, 640), 5000, np.uint16))):
        (root / kind).mkdir(parents=True)
        cv2.imwrite(str(root / kind / "100.0.png"), pixel)
        (root / f"{kind}.txt").write_text(f"100.0 {kind}/100.0.png\n")
    (root / "groundtruth.txt").write_text("100.0 0 0 0 0 0 0 1\n")
    return root


def run_import(source, *options):
    out = source.parent / "out"
    done = invoke(train, "dataset", "import", source, "--out", out, *options)
    return done, out


def test_a_depth_scale_without_depth(images):
    done, out = run_import(images, "--depth-scale", "1000")
    assert done.exit_code == 1
    assert "so --depth-scale would have no effect" in done.output
    assert not out.exists()
    assert run_import(images)[0].exit_code == 0


def test_a_rate_for_images_that_have_stamps(tum):
    done, out = run_import(tum, "--format", "tum", "--rate", "10")
    assert done.exit_code == 1
    assert "so --rate would have no effect" in done.output
    assert not out.exists()
    done, _ = run_import(tum, "--format", "tum", "--depth-scale", "2500")
    assert done.exit_code == 0, done.output
