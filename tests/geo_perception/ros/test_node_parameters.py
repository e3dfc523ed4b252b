"""Parameters are checked at the door, with a reason."""

import math

import pytest

from geo_perception.ros.parameters import SHARED, Change, Spec, find_problem, parameter_table, unknown_names

SPECS = (
    Spec("rate", 1.0, "a rate", low=0.0, high=10.0),
    Spec("mode", "none", "a mode", Change.UNCONFIGURED, choices=("none", "all")),
    Spec("start", True, "a switch", Change.NEVER),
    Spec("sure", "auto", "a guess", choices=("auto", "true", "false")),
    Spec("bits", 0, "bits", choices=(0, 12)),
    Spec("d", [0.0] * 5, "numbers", lengths=(4, 5)),
)


class TestFindProblem:
    @pytest.mark.parametrize(
        ("values", "state", "words"),
        [
            ({"rate": 11.0}, "active", "rate is 11; give a value from 0 to 10"),
            ({"rate": math.nan}, "active", "give a finite number"),
            ({"rate": 5.0, "mode": "some"}, None, "mode is 'some'; use one of none, all"),
            ({"mode": "all"}, "active", "only while the node is unconfigured"),
            ({"mode": "all"}, "inactive", "only while the node is unconfigured"),
            ({"start": False}, "unconfigured", "start is read-only"),
            ({"sure": "perhaps"}, None, "sure is 'perhaps'; use one of auto, true, false"),
            ({"sure": 1}, None, "sure is '1'; use one of"),
            ({"mode": True}, None, "mode is 'True'; use one of"),
            ({"bits": 8}, None, "bits is '8'; use one of 0, 12"),
            ({"d": [0.0] * 3}, None, "d takes 4 or 5 numbers, 3 were given"),
            ({"d": [0.0, math.inf, 0.0, 0.0]}, None, "give a finite number"),
        ],
    )
    def test_what_is_refused(self, values, state, words):
        problem = find_problem(SPECS, values, state)
        assert words in problem
        assert "\n" not in problem

    @pytest.mark.parametrize(
        ("values", "state"),
        [
            ({"rate": 10.0}, "active"),
            ({"mode": "all"}, "unconfigured"),
            ({"start": False}, None),
            ({"d": [0.0] * 4}, "active"),
            ({"sure": "true"}, "active"),
            ({"sure": False}, "active"),
            ({"bits": 12}, "active"),
            ({"use_sim_time": True}, "active"),
        ],
    )
    def test_what_is_taken(self, values, state):
        assert find_problem(SPECS, values, state) == ""


def test_a_mistyped_name_is_answered_with_the_nearest_one():
    (sentence,) = unknown_names(["image_transprot", "use_sim_time"], SHARED)
    assert sentence == "parameter 'image_transprot' is not known and ignored; 'image_transport' is near"


def test_the_table_has_a_row_for_each_parameter():
    table = parameter_table(SPECS)
    assert '| `mode` | `"none"` | one of `none`, `all` | while unconfigured | a mode |' in table
    assert "| `d` | `5 zeros` | 4 or 5 numbers | any time | numbers |" in table
    assert "| `start` | `true` |  | read-only | a switch |" in table


def test_every_default_is_a_value_that_would_be_taken():
    from geo_perception.localization.node import PARAMETERS

    for spec in SHARED + PARAMETERS:
        assert spec.problem(spec.default) == ""
        assert spec.description
