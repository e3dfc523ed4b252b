import subprocess
import sys

import cv2
import numpy as np
import pytest
from geo_training.storage.images import find_depth, read_depth, read_raw, read_rgb, write_depth, write_image

from geo_perception.errors import InputError


def test_depth_that_fits_is_millimetres_in_16_bits(tmp_path):
    depth_m = np.array([[0.05, 1.2344, 65.534], [np.nan, -1.0, np.inf]], np.float32)
    path = write_depth(tmp_path / "depth" / "a.jpg", depth_m)
    assert path == tmp_path / "depth" / "a.png" == find_depth(tmp_path / "depth" / "a.jpg")
    assert read_raw(path).tolist() == [[50, 1234, 65534], [0, 0, 0]]
    np.testing.assert_allclose(read_depth(path), [[0.05, 1.234, 65.534], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("value_m", [65.5345, 65.535, 80.0, 255.99, 12000.0, 0.049, 0.0004])
def test_depth_that_millimetres_would_spoil_is_kept_as_it_is(tmp_path, value_m):
    """Beyond 65.535 m, KITTI's 80 m included, and so near that a rounded millimetre would be more than a percent."""
    depth_m = np.array([[value_m, 1.23456, np.nan]], np.float32)
    path = write_depth(tmp_path / "a.jpg", depth_m)
    assert path.suffix == ".tiff"
    assert read_depth(path).tolist() == [[np.float32(value_m), np.float32(1.23456), 0.0]]


def test_millimetres_that_were_cut_off_are_unknown(tmp_path):
    """Datasets of before held 65535 for all that is farther."""
    write_image(tmp_path / "a.png", np.array([[65535, 65534, 0]], np.uint16))
    np.testing.assert_allclose(read_depth(tmp_path / "a.png"), [[0, 65.534, 0]], atol=1e-5)


def test_depth_written_again_leaves_one_file(tmp_path):
    for value_m, suffix in ((80.0, ".tiff"), (8.0, ".png"), (80.0, ".tiff")):
        write_depth(tmp_path / "a.jpg", np.full((4, 5), value_m))
        assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
        assert read_depth(find_depth(tmp_path / "a.jpg"))[0, 0] == value_m


def test_what_is_no_depth_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((4, 5), np.uint8))
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((4, 5, 3), np.uint16))
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:30])
    for name in ("grey", "colour", "cut", "none"):
        with pytest.raises(InputError, match=r"is no depth|cannot be read"):
            read_depth(tmp_path / f"{name}.png")


def test_images_come_back_as_they_were_written(tmp_path):
    image_hw3 = np.random.default_rng(0).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "deep" / "a.png", image_hw3)
    assert (read_rgb(tmp_path / "deep" / "a.png") == image_hw3).all()
    ids_hw = np.array([[0, 1, 65535]], np.uint16)
    write_image(tmp_path / "ids.png", ids_hw)
    assert (read_raw(tmp_path / "ids.png") == ids_hw).all()


def test_a_disk_that_takes_no_more_raises(tmp_path):
    """OpenCV's writer would return False, or True for a cut file."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from geo_training.storage.images import write_depth, write_image\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "noise = np.random.default_rng(0).random((80, 80, 3))\n"
        "for write in (lambda: write_image(sys.argv[1] + '/a.jpg', (255 * noise).astype(np.uint8)),\n"
        "              lambda: write_depth(sys.argv[1] + '/b', 1 + noise[..., 0])):\n"
        "    try:\n"
        "        write()\n"
        "    except OSError:\n"
        "        continue\n"
        "    sys.exit('was taken')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
