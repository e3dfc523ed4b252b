"""Options that several commands share."""

import pytest
import typer
from geo_training.options import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("800", 800), ("500k", 500_000), ("1M", 1_000_000), ("1.5G", 1_500_000_000), ("2MB", 2_000_000),
     (" 64 kb ", 64_000), ("1e6", 1_000_000)],
)  # fmt: skip
def test_sizes_are_bytes_and_powers_of_ten(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "one", "0", "-1M", "0.4", "1T", "1MiB", "nan", "inf", "1e30", "1 000"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(typer.BadParameter, match=r"is not a size; give bytes, or a number with k, M or G"):
        parse_bytes(text)
