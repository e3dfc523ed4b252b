"""Cards of depth networks: what they may say, and which one a file has."""

from pathlib import Path

import pytest

from geo_perception.depth.card import DepthCard, card_beside, card_of, packaged_cards, read_card
from geo_perception.errors import InputError

LEAST = "name: mine\noutput: depth\nsize_px: [64, 48]\n"


def test_a_card_says_how_a_network_is_used():
    card = read_card(LEAST + "mean: [0.5, 0.5, 0.5]\nmetric: true\ncanonical_focal_px: 300\nrange: 255\n", "a card")
    assert (card.name, card.output, card.size_px, card.mean) == ("mine", "depth", (64, 48), (0.5, 0.5, 0.5))
    assert (card.metric, card.canonical_focal_px, card.range, card.std) == (True, 300.0, 255, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "a card is no card of a depth network"),
        ("name: [", "a card is no YAML"),
        (LEAST + "colour: red\n", "'colour' is none of them. A card has area_px, "),
        ("output: depth\nsize_px: [4, 4]\n", "a card lacks 'name'; add it"),
        (LEAST.replace("depth", "heat"), "output 'heat' is none of depth, inverse_depth, disparity, log_depth, points"),
        (LEAST + "area_px: 40000\n", "give size_px .width, height. or area_px, one of them"),
        ("name: a\noutput: depth\n", "give size_px .width, height. or area_px, one of them"),
        (LEAST.replace("[64, 48]", "[64]"), "size_px .64. is no width and height"),
        (LEAST.replace("[64, 48]", "64"), "size_px must be a list"),
        (LEAST + "std: [1, 0, 1]\n", "those of std positive"),
        (LEAST + "std: [1, a, 1]\n", "could not convert string to float"),
        (LEAST + "range: 2\n", "range 2 is neither 1 nor 255"),
        (LEAST + "multiple_px: 3.5\n", "multiple_px must be a whole number"),
        (LEAST + "metric: perhaps\n", "metric must be true or false"),
        (LEAST + "canonical_focal_px: -1\n", "canonical_focal_px must be positive"),
    ],
)
def test_what_is_no_card_is_refused_by_a_sentence_that_names_it(text, words):
    with pytest.raises(InputError, match=words) as refusal:
        read_card(text, "a card")
    assert "a card" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_packaged_cards_name_a_licence_and_a_source_each_and_share_no_pattern():
    cards = packaged_cards()
    assert {"FastDepth", "MiDaS v2.1 small", "Metric3D v2", "UniDepth V2"} <= {card.name for card in cards}
    assert all(card.source.startswith("https://") and card.licence != "unknown" and card.files for card in cards)
    patterns = [pattern for card in cards for pattern in card.files]
    assert len(set(patterns)) == len(patterns)


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("fastdepth.onnx", "FastDepth"),
        ("depth_anything_v2_vits.onnx", "Depth Anything V2"),
        ("Depth-Anything-V2-Metric-Hypersim-vits.onnx", "Depth Anything V2, metric"),
        ("da3metric-large.onnx", "Depth Anything 3, metric"),
        ("model-small.onnx", "MiDaS v2.1 small"),
        ("metric3d_vit_small.onnx", "Metric3D v2"),
        ("moge-2-vits-normal.onnx", "MoGe-2"),
    ],
)
def test_a_file_is_known_by_its_name_and_by_the_closest_one(file_name, name):
    assert card_of(Path("anywhere") / file_name).name == name


def test_the_card_beside_a_file_comes_first(tmp_path):
    model = tmp_path / "fastdepth.onnx"
    assert card_beside(model) is None
    (tmp_path / "fastdepth.yaml").write_text(LEAST)
    assert card_beside(model) == tmp_path / "fastdepth.yaml"
    assert card_of(model).name == "mine"
    assert card_beside(tmp_path / "fastdepth.safetensors") is None


def test_a_file_that_nobody_knows_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(
        InputError, match=r"write other.yaml beside it .docs/depth.md., or name the file as one of .*fastdepth"
    ):
        card_of(tmp_path / "other.onnx")


def test_a_card_made_in_python_is_checked_alike():
    with pytest.raises(InputError, match="no less than its square"):
        DepthCard("a", "depth", area_px=100, multiple_px=32)
