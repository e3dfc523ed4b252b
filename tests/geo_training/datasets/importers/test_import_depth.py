"""Depth of other programs: its unit, its type, its shape; and images of more than 8 bits."""

import cv2
import numpy as np
import pytest
from geo_training.datasets.check.check import check_dataset
from geo_training.datasets.check.images import measure_quality
from geo_training.datasets.importers import ImportOptions, import_dataset
from geo_training.datasets.scene import SceneDataset
from image_files import write_image

from geo_perception.errors import InputError

SIZE = 64, 48


@pytest.fixture
def folder(tmp_path):
    """Three images; the tests add depth."""
    root = tmp_path / "hall"
    for number in range(3):
        write_image(root / "images" / f"{number}.png", size_px=SIZE)
    (root / "depth").mkdir()
    return root


def depth_of(folder, out, **options):
    result = import_dataset(folder, out, options=ImportOptions(**options))
    dataset = SceneDataset(out)
    return [dataset.depth_m(frame) for frame in dataset.frames], result


def write_exr(path, values_hw):
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": values_hw.astype(np.float32)}) as file:
        file.write(str(path))


def test_whole_numbers_are_millimetres_and_floats_metres(folder, tmp_path):
    cv2.imwrite(str(folder / "depth" / "0.png"), np.full(SIZE[::-1], 2500, np.uint16))
    floats = np.full(SIZE[::-1], 2.5, np.float32)
    floats[0, :4] = [np.nan, np.inf, -1, 0]
    cv2.imwrite(str(folder / "depth" / "1.tiff"), floats)
    np.save(folder / "depth" / "2.npy", floats.astype(np.float64))
    depths, result = depth_of(folder, tmp_path / "out")
    for depth_hw in depths:
        assert depth_hw[5, 5] == pytest.approx(2.5)
    assert depths[1][0, :5].tolist() == [0, 0, 0, 0, 2.5]
    notes = " ".join(result["notes"])
    assert "Depth: 1000 units a metre (assumed: millimetres); the median is 2.5 m." in notes
    assert "Depth: floats, taken as metres; the median is 2.5 m." in notes


def test_exr_depth(folder, tmp_path):
    pytest.importorskip("OpenEXR")
    for number in range(3):
        write_exr(folder / "depth" / f"{number}.exr", np.full(SIZE[::-1], 80.0 + number))
    depths, _ = depth_of(folder, tmp_path / "out")
    assert [depth[1, 1] for depth in depths] == [80, 81, 82]


def test_a_unit_that_the_user_gives_holds_for_floats_too(folder, tmp_path):
    np.save(folder / "depth" / "0.npy", np.full(SIZE[::-1], 2500.0, np.float32))
    cv2.imwrite(str(folder / "depth" / "1.png"), np.full(SIZE[::-1], 500, np.uint16))
    depths, result = depth_of(folder, tmp_path / "out", depth_units_per_m=1000.0)
    assert [depths[0][0, 0], depths[1][0, 0]] == [2.5, 0.5]
    assert any("1000 units a metre (as --depth-scale says)" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("value", "metres", "plausible"),
    [(50, "0.05", False), (400_000, "400", False), (256 * 20, "5.12", True), (150, "0.15", True)],
)
def test_an_implausible_unit_is_said(folder, tmp_path, value, metres, plausible):
    np.save(folder / "depth" / "0.npy", np.full(SIZE[::-1], value, np.uint32))
    _, result = depth_of(folder, tmp_path / "out")
    note = next(note for note in result["notes"] if note.startswith("Depth: "))
    assert f"the median is {metres} m." in note
    assert ("not plausible" in note) is not plausible
    assert ("--depth-scale" in note) is not plausible


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(SIZE[::-1], 100, np.uint8), "8-bit pictures"),
        (np.full((*SIZE[::-1], 3), 1000, np.uint16), "pictures in colour"),
        (np.full((*SIZE[::-1], 3), 100, np.uint8), "pictures in colour"),
        (np.full((48, 48), 1000, np.uint16), "48x48 for 64x48"),
        (np.full((64, 48), 1000, np.uint16), "48x64 for 64x48"),
        (np.full((36, 64), 1000, np.uint16), "64x36 for 64x48"),
    ],
)
def test_depth_that_cannot_be_this_cameras(folder, tmp_path, values, words):
    cv2.imwrite(str(folder / "depth" / "1.png"), values)
    with pytest.raises(InputError, match=f"none of the 1 depth images can be used: 1.png: .*{words}") as refused:
        import_dataset(folder, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    cv2.imwrite(str(folder / "depth" / "0.png"), np.full(SIZE[::-1], 1000, np.uint16))
    depths, result = depth_of(folder, tmp_path / "out")
    assert depths[0][0, 0] == 1.0
    assert depths[1] is depths[2] is None
    assert any("found 2 depth images, used 1, left out: 1 " in n and words in n for n in result["notes"])


def test_depth_as_jpeg_is_refused(folder, tmp_path):
    cv2.imwrite(str(folder / "depth" / "0.jpg"), np.full(SIZE[::-1], 100, np.uint8))
    with pytest.raises(InputError, match=r"none of the 1 depth images can be used: 0\.jpg: not one of \.png, \.tif"):
        import_dataset(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["0.png", "0.npy", "0.exr", "0.tiff"])
def test_damaged_depth_is_counted(folder, tmp_path, name):
    (folder / "depth" / name).write_bytes(b"no depth at all")
    np.save(folder / "depth" / "1.npy", np.full(SIZE[::-1], 1.0, np.float32))
    depths, result = depth_of(folder, tmp_path / "out")
    assert [depth is not None for depth in depths] == [False, True, False]
    assert any(f"1 cannot be read as depth ({name})" in note for note in result["notes"])


def test_pickles_are_never_loaded(folder, tmp_path):
    np.save(folder / "depth" / "0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as depth"):
        import_dataset(folder, tmp_path / "out")


def test_smaller_depth_keeps_its_place(folder, tmp_path):
    """Half the size: each value covers the four pixels it was measured for."""
    small = (np.arange(32 * 24).reshape(24, 32) + 1000).astype(np.uint16)
    cv2.imwrite(str(folder / "depth" / "0.png"), small)
    depths, result = depth_of(folder, tmp_path / "out")
    np.testing.assert_allclose(depths[0], np.kron(small, np.ones((2, 2))) / 1000, atol=1e-6)
    assert any("1 depth images or masks of 32x24 are resized to 64x48" in note for note in result["notes"])


def brightness(out) -> list[float]:
    dataset = SceneDataset(out)
    return [float(dataset.image(frame).mean()) for frame in dataset.frames]


@pytest.mark.parametrize(("top", "bits"), [(1000, 10), (4000, 12), (16000, 14), (60000, 16)])
def test_one_brightness_is_one_grey_value_in_a_sequence(tmp_path, top, bits):
    """A dark image among bright ones stays dark: grey 900 of 12 bits is 56, not the 224 of 10 bits."""
    (tmp_path / "walk").mkdir()
    for number, value in enumerate((900, top, 900)):
        cv2.imwrite(str(tmp_path / "walk" / f"{number}.png"), np.full(SIZE[::-1], value, np.uint16))
    result = import_dataset(tmp_path / "walk", tmp_path / "out")
    full = (1 << bits) - 1
    expected = [round(255 * value / full) for value in (900, top, 900)]
    assert brightness(tmp_path / "out") == expected
    assert any(f"stored in 8; {bits} bits were in use" in note for note in result["notes"])
    dataset = SceneDataset(tmp_path / "out")
    assert cv2.imread(str(dataset.image_path(dataset.frames[0])), cv2.IMREAD_UNCHANGED).dtype == np.uint8
    qualities = [measure_quality(dataset.image_path(frame)) for frame in dataset.frames]
    assert [round(quality.bright_percentile) for quality in qualities] == expected


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm", ".ppm"])
def test_every_16_bit_format(tmp_path, suffix):
    (tmp_path / "walk").mkdir()
    shape = SIZE[::-1] if suffix != ".ppm" else (*SIZE[::-1], 3)
    cv2.imwrite(str(tmp_path / "walk" / f"0{suffix}"), np.full(shape, 3000, np.uint16))
    import_dataset(tmp_path / "walk", tmp_path / "out")
    assert brightness(tmp_path / "out") == [round(3000 * 255 / 4095)]


def test_colour_of_16_bits_keeps_its_channels(tmp_path):
    (tmp_path / "walk").mkdir()
    bgr = np.full((*SIZE[::-1], 3), (1000, 2000, 4000), np.uint16)
    cv2.imwrite(str(tmp_path / "walk" / "0.png"), bgr)
    import_dataset(tmp_path / "walk", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    assert dataset.image(dataset.frames[0])[3, 3].tolist() == [round(v * 255 / 4095) for v in (4000, 2000, 1000)]


def test_check_sees_16_bit_images_as_training_does(tmp_path):
    """A dataset that was made by hand with a 16-bit image: grey 20000 of 65535 is 78, neither white nor black."""
    (tmp_path / "walk").mkdir()
    cv2.imwrite(str(tmp_path / "walk" / "0.png"), np.full(SIZE[::-1], 200, np.uint8))
    import_dataset(tmp_path / "walk", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    path = dataset.image_path(dataset.frames[0])
    cv2.imwrite(str(path), np.full(SIZE[::-1], 20000, np.uint16))
    grey = dataset.image(dataset.frames[0]).mean()
    assert measure_quality(path).bright_percentile == grey == pytest.approx(78, abs=1)


def test_check_names_marked_images(tmp_path):
    from PIL import Image

    (tmp_path / "walk").mkdir()
    Image.new("RGB", SIZE, (90, 90, 90)).save(tmp_path / "walk" / "0.jpg")
    import_dataset(tmp_path / "walk", tmp_path / "out")
    dataset = SceneDataset(tmp_path / "out")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", SIZE, (90, 90, 90)).save(dataset.image_path(dataset.frames[0]), exif=exif)
    assert "orientation" in {finding.check for finding in check_dataset(tmp_path / "out").findings}
