"""Conditions from JSON, with errors that say what to change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.conditions.errors import ConditionInvalidError
from rules.conditions.parsing import dump_condition, parse_condition
from rules.conditions.threshold import OPERATORS, Threshold

GOOD = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80}


def test_a_threshold_is_read_and_written_back() -> None:
    assert parse_condition(GOOD) == Threshold("temperature", ">", 80.0)
    assert dump_condition(parse_condition({**GOOD, "clear_threshold": None})) == GOOD


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"type": "magic"}, "type", "threshold"),
        ({"type": ["threshold"]}, "type", "threshold"),
        ({"metric": ""}, "metric", "64 letters"),
        ({"metric": "x" * 65}, "metric", "64 letters"),
        ({"metric": "a\u0000b"}, "metric", "64 letters"),
        ({"metric": "\ud800"}, "metric", "64 letters"),
        ({"metric": 7}, "metric", "by its key"),
        ({"operator": "=>"}, "operator", ">="),
        ({"threshold": "80"}, "threshold", "number"),
        ({"threshold": True}, "threshold", "number"),
        ({"threshold": float("inf")}, "threshold", "finite"),
        ({"threshold": 10**400}, "threshold", "number"),
        ({"clear_threshold": float("nan")}, "clear_threshold", "finite"),
        ({"clear_threshold": 81}, "clear_threshold", "at most 80"),
        ({"operator": "<=", "clear_threshold": 79}, "clear_threshold", "at least 80"),
        ({"operator": "==", "clear_threshold": 80}, "clear_threshold", "Leave it out"),
        ({"treshold": 80}, "treshold", "Known fields"),
    ],
)
def test_an_error_names_the_field_and_what_to_change(change: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(ConditionInvalidError) as refused:
        parse_condition(GOOD | change)
    assert refused.value.field == field
    assert hint in refused.value.detail


@pytest.mark.parametrize("field", ["metric", "operator", "threshold"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ConditionInvalidError) as refused:
        parse_condition({name: value for name, value in GOOD.items() if name != field})
    assert refused.value.errors == {"condition": {field: [refused.value.detail]}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
)


@given(JSON | st.fixed_dictionaries({name: JSON | st.just(value) for name, value in GOOD.items()}, optional={"clear_threshold": JSON}))
def test_nothing_but_its_own_error_ever_comes_out(data: object) -> None:
    try:
        condition = parse_condition(data)
    except ConditionInvalidError:
        return
    assert condition.operator in OPERATORS
