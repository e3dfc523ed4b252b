"""Crops on disk: every file can be made again alone, a run goes on where it stopped, no panorama is in two splits."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from geo_training.calibration.config import CONFIGS
from geo_training.calibration.data import crop_writer
from geo_training.calibration.data.crop_set import (
    COLUMNS,
    CropFolder,
    CropSetConfig,
    crop_spec,
    plan_crops,
    split_by_panorama,
)
from geo_training.calibration.data.crop_writer import write_crops
from geo_training.calibration.data.crops import CropDistribution, render_crop
from geo_training.calibration.data.panorama_files import load_panorama
from geo_training.calibration.data.panoramas import Panorama
from tiny_panoramas import write_panoramas

from geo_perception.errors import InputError

SMALL = CropDistribution(sizes_px=((24, 16), (16, 16)), vfov_deg=(30, 60))


def config(**changes):
    return CropSetConfig(**({"crops": SMALL, "count": 12, "test_share": 0.2} | changes))


def make_panoramas(folder, domains=("indoor",) * 5):
    rng = np.random.default_rng(0)
    coarse = [cv2.resize(rng.integers(0, 255, (8, 16, 3), np.uint8), (64, 32)) for _ in domains]
    named = {f"p{number}.png": each for number, each in enumerate(zip(domains, coarse, strict=True))}
    return write_panoramas(folder, named)


@pytest.fixture
def panoramas(tmp_path):
    return make_panoramas(tmp_path / "panoramas")


def several(*domains):
    return [Panorama(f"p{number}", Path(f"p{number}.png"), domain) for number, domain in enumerate(domains)]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_is_written_is_read_back_exactly(panoramas, tmp_path):
    result = write_crops(panoramas, tmp_path / "out", config(licence="CC0"))
    crops = CropFolder(tmp_path / "out")
    assert len(crops) == result["crops"] == result["made"] == 15  # 12 of four panoramas, so 3 of the one for testing
    assert result["splits"] == {"train": 9, "validation": 3, "test": 3}
    with (tmp_path / "out" / "crops.csv").open() as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    for crop in crops.crops:
        image = crops.image(crop)
        assert image.shape == (crop.spec.height_px, crop.spec.width_px, 3)
        panorama = load_panorama(panoramas / f"{crop.panorama}.png")
        assert (image == render_crop(panorama, crop.spec)).all()  # bit for bit what training makes on the fly
    info = crops.info
    assert (info["complete"], info["licence"], info["panoramas"]) == (True, "CC0", "panoramas")
    assert [len(source["sha256"]) for source in info["sources"]] == [64] * 5
    assert CropSetConfig.load(tmp_path / "out" / "config.yaml") == config(licence="CC0")


def test_no_panorama_is_in_two_splits(panoramas, tmp_path):
    write_crops(panoramas, tmp_path / "out", config(count=40))
    crops = CropFolder(tmp_path / "out")
    by_split = [{crop.panorama for crop in crops.of(split)} for split in ("train", "validation", "test")]
    assert [len(names) for names in by_split] == [3, 1, 1]
    assert len(set.union(*by_split)) == 5


def test_a_crop_depends_on_its_seed_panorama_and_number_alone():
    spec = crop_spec(config(), "forest", 7)
    assert spec == crop_spec(config(count=999, test_share=0.5), "forest", 7)
    assert spec != crop_spec(config(), "forest", 8)
    assert spec != crop_spec(config(), "garden", 7)
    assert spec != crop_spec(config(seed=1), "forest", 7)


def test_every_domain_gets_its_count_and_its_splits():
    splits = split_by_panorama(several(*["in"] * 10, *["out"] * 5), config(count=23, test_share=0.2, test_count=4))
    assert {split: len(chosen) for split, chosen in splits.items()} == {"train": 9, "validation": 3, "test": 3}
    crops = plan_crops(splits, config(count=23, test_count=4))
    for domain, learning in (("in", 8), ("out", 4)):
        of_domain = [crop for crop in crops if crop.domain == domain]
        learnt = [crop.panorama for crop in of_domain if crop.split != "test"]
        assert (len(learnt), len(of_domain)) == (23, 27)
        counts = [learnt.count(name) for name in set(learnt)]
        assert len(counts) == learning
        assert max(counts) - min(counts) <= 1
    assert len({crop.file for crop in crops}) == len(crops)


def test_named_panoramas_are_for_testing():
    splits = split_by_panorama(several(*["in"] * 6), config(held_out=("p4", "p1"), test_share=0.9))
    assert [panorama.name for panorama in splits["test"]] == ["p1", "p4"]
    with pytest.raises(InputError, match="'p9', which is not there"):
        split_by_panorama(several("in", "in"), config(held_out=("p9",)))
    with pytest.raises(InputError, match="of the domain 'out' is held out"):
        split_by_panorama(several("in", "out"), config(held_out=("p1",)))


def test_only_the_domains_that_are_asked_for(tmp_path):
    folder = make_panoramas(tmp_path / "panoramas", ("indoor", "outdoor", "outdoor", "outdoor"))
    write_crops(folder, tmp_path / "out", config(domains=("outdoor",)))
    crops = CropFolder(tmp_path / "out")
    assert {crop.domain for crop in crops.crops} == {"outdoor"}
    assert crops.of(domain="indoor") == []
    with pytest.raises(InputError, match="no panorama is of the domain 'street'"):
        write_crops(folder, tmp_path / "street", config(domains=("street",)))
    assert not (tmp_path / "street").exists()


def test_an_interrupted_run_goes_on_and_ends_the_same(panoramas, tmp_path, monkeypatch):
    write_crops(panoramas, tmp_path / "whole", config())
    monkeypatch.setattr(crop_writer, "_CROPS_A_TASK", 2)
    made, render = [], crop_writer.render_crop

    def interrupted(panorama, spec):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(spec)
        return render(panorama, spec)

    monkeypatch.setattr(crop_writer, "render_crop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_crops(panoramas, tmp_path / "out", config())
    with pytest.raises(InputError, match="is not finished; run the same"):
        CropFolder(tmp_path / "out")
    assert len(list((tmp_path / "out" / "images").rglob("*.*"))) == 5
    (tmp_path / "out" / "images" / "train" / "000008.png.partial").write_bytes(b"half of")  # a killed process
    monkeypatch.setattr(crop_writer, "render_crop", render)
    assert write_crops(panoramas, tmp_path / "out", config())["made"] == 10
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert write_crops(panoramas, tmp_path / "out", config())["made"] == 0


def test_several_processes_make_the_same_files(panoramas, tmp_path):
    write_crops(panoramas, tmp_path / "one", config(count=4))
    write_crops(panoramas, tmp_path / "two", config(count=4), jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("change", ["config", "panorama"])
def test_another_run_is_not_mixed_in_unless_told_to_replace(panoramas, tmp_path, change):
    write_crops(panoramas, tmp_path / "out", config())
    before, other = contents(tmp_path / "out"), config()
    if change == "config":
        other = config(seed=5)
    else:
        cv2.imwrite(str(panoramas / "p3.png"), np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"another config or other panoramas; .*--overwrite"):
        write_crops(panoramas, tmp_path / "out", other)
    assert contents(tmp_path / "out") == before
    assert write_crops(panoramas, tmp_path / "out", other, overwrite=True)["made"] == 15
    assert contents(tmp_path / "out") != before


def test_what_is_no_crop_folder_is_never_replaced(panoramas, tmp_path):
    other = make_panoramas(tmp_path / "other")
    with pytest.raises(InputError, match="holds files that are not crops"):
        write_crops(panoramas, other, config(), overwrite=True)
    assert len(list(other.glob("*.png"))) == 5
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        write_crops(panoramas, tmp_path / "file", config())


def test_the_panoramas_are_never_mixed_with_crops(panoramas, tmp_path):
    before = contents(tmp_path)
    for out in (panoramas, panoramas / "crops", tmp_path):
        with pytest.raises(InputError, match=r"is the source itself|lies in the source|holds the source"):
            write_crops(panoramas, out, config(), overwrite=True)
    assert contents(tmp_path) == before


def test_unusable_panoramas_are_named_before_anything_is_made(panoramas, tmp_path):
    (panoramas / "p1.png").write_bytes(b"not an image")
    cv2.imwrite(str(panoramas / "p3.png"), np.zeros((32, 50, 3), np.uint8))
    with pytest.raises(InputError, match=r"(?s)p1\.png cannot be read.*p3\.png has 50 x 32") as caught:
        write_crops(panoramas, tmp_path / "out", config())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_jpeg_keeps_full_colour_resolution(panoramas, tmp_path):
    # One pixel wide stripes of red and blue: halved colour would make them all purple.
    stripes = np.zeros((32, 64, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (255, 0, 0), (0, 0, 255)
    for path in panoramas.glob("*.png"):
        cv2.imwrite(str(path), stripes)
    narrow = CropDistribution(sizes_px=((32, 32),), focal_px=(40, 40), pitch_deg=(0, 0), roll_deg=(0, 0))
    write_crops(panoramas, tmp_path / "out", config(crops=narrow, image_format="jpeg", count=4))
    crops = CropFolder(tmp_path / "out")
    crop = crops.crops[0]
    assert crop.file.endswith(".jpg")
    exact = render_crop(load_panorama(panoramas / f"{crop.panorama}.png"), crop.spec)
    assert np.abs(crops.image(crop).astype(int) - exact).mean() < 6


def test_a_damaged_or_missing_crop_is_named(panoramas, tmp_path):
    write_crops(panoramas, tmp_path / "out", config())
    crops = CropFolder(tmp_path / "out")
    (tmp_path / "out" / crops.crops[2].file).write_bytes(b"")
    (tmp_path / "out" / crops.crops[3].file).unlink()
    for crop in crops.crops[2:4]:
        with pytest.raises(InputError, match=rf"{crop.file} is missing or damaged"):
            crops.image(crop)
    assert crops.image(crops.crops[4]).dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("crops.json", "{", "cannot be read"),
        ("crops.json", "{}", "is not of a crop set"),
        ("crops.csv", "file,split\na,b\n", "line 2 is not a crop; it needs file,split"),
        ("crops.csv", None, "cannot be read"),
    ],
)
def test_a_broken_folder_is_refused(panoramas, tmp_path, name, content, words):
    write_crops(panoramas, tmp_path / "out", config(count=4))
    (tmp_path / "out" / name).unlink()
    if content is not None:
        (tmp_path / "out" / name).write_text(content)
    with pytest.raises(InputError, match=words):
        CropFolder(tmp_path / "out")


def test_a_folder_without_crops_or_of_another_version_is_refused(panoramas, tmp_path):
    with pytest.raises(InputError, match="holds no crops"):
        CropFolder(panoramas)
    write_crops(panoramas, tmp_path / "out", config(count=4))
    path = tmp_path / "out" / "crops.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(InputError, match="crop format 99, this version reads 1"):
        CropFolder(tmp_path / "out")


def test_the_robot_config_is_the_default():
    assert CropSetConfig.load(CONFIGS / "crops_robot.yaml") == CropSetConfig()


def test_the_paper_config_makes_what_the_paper_says():
    paper = CropSetConfig.load(CONFIGS / "crops_paper.yaml")
    splits = split_by_panorama(several(*["indoor"] * 292), paper)
    assert {split: len(chosen) for split, chosen in splits.items()} == {"train": 228, "validation": 57, "test": 7}
    fiftieth = paper.model_copy(update={"count": 2990, "test_count": 72})  # all of them would take seconds to draw
    crops = plan_crops(splits, fiftieth)
    counts = [sum(crop.split == split for crop in crops) for split in ("train", "validation", "test")]
    assert (counts[0] + counts[1], counts[2]) == (2990, 72)
    assert counts[1] / 2990 == pytest.approx(0.2, abs=0.01)
    assert (paper.count, paper.test_count) == (149504, 3584)
    assert (149504 / 292, 3584 / 7) == (512, 512)
    assert {(crop.spec.width_px, crop.spec.height_px) for crop in crops} == {(299, 299)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("count: 0", "config key 'count'"),
        ("crops: {sizes_px: [[64, 64]], vfov_deg: [60, 20]}", "config key 'crops.vfov_deg'"),
        ("image_format: gif", "config key 'image_format'"),
        ("colour: red", "config key 'colour'"),
    ],
)
def test_a_wrong_config_is_refused_by_its_key(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        CropSetConfig.load(tmp_path / "c.yaml")
