"""What a manifest says of its places, and how a mistake in it is answered."""

import pytest
from geo_training.fleet.manifest import Manifest, UnusableManifest

from geo_perception.errors import InputError

TWO = """
options:
  dataset: {fps: 2, image: [/front]}
  head: {steps: 100, bytes: 1M, config: {width: 64}}
  needs: {map: {cpu: 2, memory: 4G}}
places:
  office:
    recordings: [monday, s3://bucket/tuesday.mcap]
    held_out: /data/wednesday/
  yard:
    recordings: ["file:///data/yard"]
    held_out: memory://yard/b
    options:
      dataset: {fps: 8}
      head: {config: {batch: 2}}
      gate: {recall_10cm: 0.9, scene_bytes: 500k}
"""


def read(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    return Manifest.read(tmp_path / "m.yaml")


def test_a_places_options_are_laid_over_those_of_all(tmp_path):
    places = read(tmp_path, TWO).places
    office, yard = places["office"].options, places["yard"].options
    assert (office.dataset.fps, yard.dataset.fps) == (2, 8)
    assert yard.dataset.image == ("/front",)
    assert yard.head.config == {"width": 64, "batch": 2}
    assert office.head.config == {"width": 64}
    assert (yard.head.bytes, yard.gate.scene_bytes, office.gate.scene_bytes) == (1_000_000, 500_000, None)
    assert (office.needs.map.cpu, office.needs.map.memory, office.needs.head.cpu) == (2, 4_000_000_000, 1)


def test_relative_recordings_lie_beside_the_manifest_and_urls_stay(tmp_path):
    places = read(tmp_path, TWO).places
    assert places["office"].recordings == (str(tmp_path / "monday"), "s3://bucket/tuesday.mcap")
    assert places["office"].held_out == "/data/wednesday"
    assert places["yard"].recordings == ("/data/yard",)
    assert places["yard"].held_out == "memory://yard/b"


def test_training_options_may_be_a_file_beside_the_manifest(tmp_path):
    (tmp_path / "head.yaml").write_text("width: 96\n")
    place = "places: {a: {recordings: [x], held_out: y, options: {head: {config: head.yaml}}}}"
    assert read(tmp_path, place).places["a"].options.head.config == {"width": 96}


PLACE = "{recordings: [x], held_out: y"
WRONG = {
    f"places: {{a: {PLACE}, fps: 3}}}}": "'places.a.fps' is not known",
    f"places: {{a: {PLACE}}}}}\noption: {{}}": "'option' is not known; did you mean 'options'",
    f"places: {{a: {PLACE}, options: {{dataset: {{fps: fast}}}}}}}}": "'places.a.options.dataset.fps'",
    f"options: {{needs: {{head: {{memory: lots}}}}}}\nplaces: {{a: {PLACE}}}}}": "'lots' is not a size",
    f"options: {{needs: {{head: {{gpu: 1.5}}}}}}\nplaces: {{a: {PLACE}}}}}": "must be a whole number",
    f"options: {{needs: {{map: {{nodes: 2}}}}}}\nplaces: {{a: {PLACE}}}}}": "map runs on one machine; only the head",
    f"places: {{a: {PLACE}, options: {{head: {{config: {{widht: 3}}}}}}}}}}": "'widht' is not known",
    f"places: {{a: {PLACE}, options: {{head: {{config: no.yaml}}}}}}}}": "no.yaml cannot be read as YAML",
    f"places:\n  a: {PLACE}}}\n  a: {PLACE}}}": "'a' stands there 2 times",
    "places: {a: {recordings: [x, ./x], held_out: y}}": "x is named 2 times",
    "places: {a: {recordings: [x, y], held_out: y}}": "y is held out, so it cannot map the place, too",
    "places: {a: {recordings: [], held_out: y}}": "'places.a.recordings'",
    "places: {a: {recordings: x, held_out: y}}": "'places.a.recordings'",
    "places: {a: {recordings: [x]}}": "'places.a.held_out'",
    f"places: {{../a: {PLACE}}}}}": "'../a' cannot name a folder",
    "places: {}": "'places'",
    "- a": "must hold keys and values",
    "places: [": "cannot be read as a manifest",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_one_line_that_names_it(tmp_path, text):
    with pytest.raises(UnusableManifest) as wrong:
        read(tmp_path, text)
    assert WRONG[text] in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_manifest_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(InputError, match="No such file") as wrong:
        Manifest.read(tmp_path / "none.yaml")
    assert wrong.value.exit_code == 2
