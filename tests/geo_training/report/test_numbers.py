"""How numbers are written, those that are none included."""

import math

import pytest
from geo_training.report.numbers import count, latency_label, number, percent, short, signed, three, two

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (number(1.25, 1, " cm"), "1.2 cm"),
        (number(1.26, 1, " cm", 0.04), "1.3 ± 0.0 cm"),
        (number(3.0, 2, deviation=0.125), "3.00 ± 0.12"),
        (percent(0.9876), "98.8 %"),
        (two(1.0), "1.00"),
        (three(0.12349), "0.123"),
        (count(12.0), "12"),
        (signed(0.5, 1), "+0.5"),
        (signed(-0.04, 2), "-0.04"),
        (short(12345.678), "1.235e+04"),
    ],
)
def test_by_hand(written, text):
    assert written == text


@pytest.mark.parametrize("write", [percent, two, three, count, short, lambda value: signed(value, 1)])
def test_what_is_not_known_is_a_dash_and_what_misses_made_infinite_says_so(write):
    assert (write(NAN), write(INF)) == ("–", "∞")


def test_latency_says_of_how_many_answers_it_is_where_they_are_few():
    metrics = {"timed_frames": 20, "frames": 20, "frame_ms_p50": 12.4, "frame_ms_p99": 30.0}
    assert latency_label(metrics) == "12 ms a frame (p99 30)"
    assert latency_label(metrics | {"timed_frames": 7}) == "12 ms a frame (p99 30) over 7 answers"
    assert latency_label({"timed_frames": 0}) == "no frame was answered, so no time is known"
