"""Panoramas are found, read from every format, and split; what cannot be used is named."""

import sys

import cv2
import numpy as np
import pytest
from geo_training.calibration.data import panorama_files, panoramas
from geo_training.calibration.data.panorama_files import BORDER_PX, bordered, load_panorama, tone_map, with_border
from geo_training.calibration.data.panoramas import (
    Panorama,
    cached_panorama,
    list_panoramas,
    random_split,
    split_panoramas,
    with_domain,
)
from geo_training.engine.loader import MemoryCache
from PIL import Image

from geo_perception.errors import InputError

ORANGE = (200, 120, 40)


def plain(colour=ORANGE, width=32):
    return np.full((width // 2, width, 3), colour, np.uint8)


def write(path, image_rgb):
    assert cv2.imwrite(str(path), image_rgb[..., ::-1] if image_rgb.ndim == 3 else image_rgb)
    return path


@pytest.mark.parametrize(("name", "slack"), [("a.png", 0), ("a.jpg", 2), ("a.JPEG", 2)])
def test_colour_images_are_read_as_rgb(tmp_path, name, slack):
    image = load_panorama(write(tmp_path / name, plain()))
    assert (image.dtype, image.shape) == (np.uint8, (16, 32, 3))
    assert np.abs(image.astype(int) - ORANGE).max() <= slack


def test_sixteen_bits_become_eight(tmp_path):
    sixteen = plain().astype(np.uint16) * 256 + 17
    assert (load_panorama(write(tmp_path / "a.png", sixteen)) == ORANGE).all()


def test_grey_becomes_rgb(tmp_path):
    image = load_panorama(write(tmp_path / "a.png", plain()[..., 0]))
    assert image.shape == (16, 32, 3)
    assert (image == 200).all()


def test_transparency_is_left_out(tmp_path):
    Image.fromarray(np.dstack([plain(), np.zeros((16, 32), np.uint8)]), "RGBA").save(tmp_path / "a.png")
    assert (load_panorama(tmp_path / "a.png") == ORANGE).all()


def test_cmyk_is_converted(tmp_path):
    Image.fromarray(plain()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(load_panorama(tmp_path / "a.jpg").astype(int) - ORANGE).max() <= 4


def test_tone_mapping_by_hand():
    # The median is 0.18. L (1 + L / 16) / (1 + L), to the power 1 / 2.2, times 255:
    # 0.18: 0.154269 -> 0.427644 -> 109;  4: 1 -> 255;  1: 0.53125 -> 0.750173 -> 191;  0.045: 0.0431833 -> 61.
    light = np.array([0.045, 0.18, 0.18, 0.18, 1.0, 4.0, 900.0], np.float32)
    assert tone_map(np.repeat(light[None, :, None], 3, axis=2))[0, :, 1].tolist() == [61, 109, 109, 109, 191, 255, 255]


def test_tone_mapping_does_not_depend_on_the_unit_of_light():
    light = np.random.default_rng(0).lognormal(size=(8, 16, 3)).astype(np.float32)
    assert np.abs(tone_map(light).astype(int) - tone_map(1e6 * light)).max() <= 1


def test_light_that_is_no_number_is_black():
    light = np.full((1, 5, 3), 2.0, np.float32)
    light[0, :3, 0] = np.nan, np.inf, -3
    mapped = tone_map(light)
    assert mapped[0, :, 0].tolist() == [0, 0, 0, 109, 109]
    assert (tone_map(np.zeros((2, 4, 3), np.float32)) == 0).all()


def test_radiance_hdr_is_tone_mapped(tmp_path):
    light = np.full((16, 32, 3), (0.5, 0.25, 1.0), np.float32)  # these are exact in RGBE
    write(tmp_path / "a.hdr", light)
    assert (load_panorama(tmp_path / "a.hdr") == tone_map(light)).all()
    # The median is 0.5, so red is mid-grey; blue is 0.36: 0.2706 -> 0.5520 -> 141; green is 0.09: 0.0830 -> 82.
    assert load_panorama(tmp_path / "a.hdr")[0, 0].tolist() == [109, 82, 141]


def write_exr(path, **channels):
    exr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, {name.replace("_", "."): pixels for name, pixels in channels.items()}) as file:
        file.write(str(path))
    return path


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_exr_is_tone_mapped(tmp_path, kind):
    light = np.full((16, 32, 3), (0.5, 0.25, 1.0), kind)
    assert load_panorama(write_exr(tmp_path / "a.exr", RGB=light))[0, 0].tolist() == [109, 82, 141]


def test_exr_of_luminance_alone_is_grey(tmp_path):
    path = write_exr(tmp_path / "a.exr", Y=np.full((16, 32), 3.0, np.float32))
    assert (load_panorama(path) == 109).all()


def test_exr_without_colour_says_what_it_holds(tmp_path):
    path = write_exr(tmp_path / "a.exr", Z=np.ones((16, 32), np.float32))
    with pytest.raises(InputError, match=r"a\.exr has neither .* but Z"):
        load_panorama(path)


def test_a_broken_exr_is_named(tmp_path):
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    (tmp_path / "a.exr").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"a\.exr cannot be read as OpenEXR"):
        load_panorama(tmp_path / "a.exr")


def test_without_the_exr_library_the_answer_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(InputError, match=r"pip install 'OpenEXR>=3\.3'"):
        load_panorama(tmp_path / "a.exr")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.hdr"])
def test_a_file_that_was_cut_short_is_named(tmp_path, name):
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    path = write(tmp_path / name, image.astype(np.float32) if name.endswith("hdr") else image)
    assert load_panorama(path).shape == (64, 128, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=rf"{name} cannot be read as a whole image"):
        load_panorama(path)


def test_a_jpeg_with_a_thumbnail_is_not_taken_for_a_whole_one(tmp_path):
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8))[1].tobytes()
    thumbnail = b"Exif\0\0" + cv2.imencode(".jpg", plain())[1].tobytes()
    header = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + header + data[2:]
    (tmp_path / "a.jpg").write_bytes(whole)
    assert load_panorama(tmp_path / "a.jpg").shape == (64, 128, 3)
    (tmp_path / "a.jpg").write_bytes(whole[:-500])
    with pytest.raises(InputError, match="whole image"):
        load_panorama(tmp_path / "a.jpg")


def test_a_whole_jpeg_without_its_end_mark_is_read(tmp_path):
    path = write(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8))
    whole = load_panorama(path)
    assert path.read_bytes().endswith(b"\xff\xd9")
    path.write_bytes(path.read_bytes()[:-2])
    np.testing.assert_array_equal(load_panorama(path), whole)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
@pytest.mark.parametrize("name", ["a.jpg", "a.hdr"])
def test_what_is_no_image_is_named(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        load_panorama(tmp_path / name)


@pytest.mark.parametrize("shape", [(16, 31), (32, 32), (32, 16)])
def test_another_shape_is_refused_with_its_size(tmp_path, shape):
    path = write(tmp_path / "a.png", np.zeros((*shape, 3), np.uint8))
    with pytest.raises(InputError, match=rf"a\.png has {shape[1]} x {shape[0]} pixels; .* twice as wide as high"):
        load_panorama(path)


def test_a_tiny_panorama_is_refused(tmp_path):
    with pytest.raises(InputError, match="only 8 pixels wide"):
        load_panorama(write(tmp_path / "a.png", plain(width=8)))


def test_a_huge_panorama_is_averaged_down(tmp_path, monkeypatch):
    monkeypatch.setattr(panorama_files, "MAX_WIDTH_PX", 16)
    image = plain()
    image[:, ::2] = 100  # pairs of columns average to (150, 110, 70)
    assert np.unique(load_panorama(write(tmp_path / "a.png", image)).reshape(-1, 3), axis=0).tolist() == [
        [150, 110, 70]
    ]
    light = np.full((16, 32, 3), 0.5, np.float32)
    light[:, ::2] = 0.25, np.nan, 1.0  # of light, (0.375, 0.25, 0.75): the mean is taken before the tone mapping
    write(tmp_path / "a.hdr", np.nan_to_num(light))
    expected = tone_map(np.full((8, 16, 3), (0.375, 0.25, 0.75), np.float32))
    assert (load_panorama(tmp_path / "a.hdr") == expected).all()


def test_beyond_the_edges_lies_the_other_side_of_the_sphere():
    image = np.random.default_rng(0).integers(0, 255, (16, 32, 3), np.uint8)
    view = with_border(image)
    whole = bordered(view)
    assert np.shares_memory(whole, view)  # no second copy
    assert (view == image).all()
    assert (whole == bordered(image)).all()
    b = BORDER_PX
    assert (whole[b + 5, b - 1] == image[5, 31]).all()  # left of the first column is the last
    assert (whole[b + 5, b + 32] == image[5, 0]).all()
    assert (whole[b - 1, b + 3] == image[0, 3 + 16]).all()  # over the zenith: the same row, half a turn away
    assert (whole[b - 2, b + 20] == image[1, 20 - 16]).all()
    assert (whole[b + 16, b + 3] == image[15, 19]).all()
    assert (whole[0, 0] == image[3, (32 - 4 + 16) % 32]).all()


def test_a_part_of_a_bordered_panorama_is_not_taken_for_it():
    view = with_border(np.random.default_rng(0).integers(0, 255, (16, 32, 3), np.uint8))
    mirrored = view[:, ::-1]
    assert (bordered(mirrored)[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] == mirrored).all()


def test_a_loaded_panorama_cannot_be_changed_by_accident(tmp_path):
    image = load_panorama(write(tmp_path / "a.png", plain()))
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0


def test_the_cache_reads_a_file_once_and_forgets_what_does_not_fit(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(panoramas, "load_panorama", lambda path: read.append(path.stem) or plain())
    monkeypatch.setattr(panoramas, "_cache", MemoryCache(2 * plain().nbytes))
    a, b, c = (tmp_path / name for name in "abc")
    for path in (a, b, a, b):
        cached_panorama(path)
    assert read == ["a", "b"]
    for path in (a, c, a, b):  # c takes the place of b, which was used longest ago
        cached_panorama(path)
    assert read == ["a", "b", "c", "b"]


def test_without_an_index_every_image_is_a_panorama(tmp_path):
    for name in ("b.png", "a.jpg", "c.HDR", "notes.txt", "._a.jpg"):
        (tmp_path / name).touch()
    assert [(p.name, p.domain) for p in list_panoramas(tmp_path)] == [("a", ""), ("b", ""), ("c", "")]


def test_an_index_names_files_and_domains(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "index.csv").write_text("\ufefffile,domain\nb.jpg,outdoor\na.jpg, indoor \n", encoding="utf-8")
    found = list_panoramas(tmp_path)
    assert [(p.name, p.path, p.domain) for p in found] == [
        ("a", tmp_path / "a.jpg", "indoor"), ("b", tmp_path / "b.jpg", "outdoor")
    ]  # fmt: skip
    assert [p.name for p in with_domain(found, "indoor")] == ["a"]
    with pytest.raises(InputError, match="'street'; there are indoor, outdoor"):
        with_domain(found, "street")


@pytest.mark.parametrize(
    ("files", "index", "words"),
    [
        ((), None, "holds no panoramas"),
        (("a.jpg",), "file,domain\na.jpg,x\nb.jpg,x\n", "line 3 names b.jpg, which is not there"),
        (("a.jpg",), "name,domain\na.jpg,x\n", "no column 'file'"),
        (("a.jpg", "a.png"), None, "2 panoramas named 'a'"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, files, index, words):
    for name in files:
        (tmp_path / name).touch()
    if index:
        (tmp_path / "index.csv").write_text(index)
    with pytest.raises(InputError, match=words):
        list_panoramas(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        list_panoramas(tmp_path / "nowhere")


def several(count):
    return [Panorama(f"p{number}", None) for number in range(count)]


def test_named_panoramas_are_held_out():
    kept, held = split_panoramas(several(4), ["p2", "p0"])
    assert ([p.name for p in kept], [p.name for p in held]) == (["p1", "p3"], ["p0", "p2"])
    with pytest.raises(InputError, match="'p9', which is not there"):
        split_panoramas(several(4), ["p9"])
    with pytest.raises(InputError, match="every panorama is held out"):
        split_panoramas(several(2), ["p0", "p1"])


@pytest.mark.parametrize(
    ("count", "share", "chosen"), [(10, 0.2, 2), (10, 0.01, 1), (1, 0.5, 0), (2, 0.9, 1), (5, 0, 0)]
)
def test_a_random_split_takes_its_share_and_leaves_some(count, share, chosen):
    rest, taken = random_split(several(count), share, seed=3)
    assert len(taken) == chosen
    assert sorted(p.name for p in rest + taken) == sorted(p.name for p in several(count))
    assert (rest, taken) == random_split(several(count), share, seed=3)
    if count == 10:
        assert taken != random_split(several(count), share, seed=4)[1]


def test_the_real_panoramas_are_found(shared_data):
    found = list_panoramas(shared_data / "panoramas")
    assert (len(found), len(with_domain(found, "indoor")), len(with_domain(found, "outdoor"))) == (36, 18, 18)
    assert load_panorama(found[0].path).shape == (512, 1024, 3)
