"""Merging and comparing states, without a database. The examples of RFC 7396 Appendix A that are about objects."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import StateRefusedError
from devices.state_merge import check_state, find_delta, is_same, make_patch, merge_patch

_VALUES = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=6,
)
_STATES = st.dictionaries(st.text("xyz", min_size=1, max_size=2), _VALUES, max_size=3)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"b": {"c": None}}, {"a": "foo", "b": {}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_merged_as_the_rfc_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(_STATES, _STATES)
def test_the_delta_brings_the_report_to_what_is_desired(desired: Any, reported: Any) -> None:
    assert find_delta(desired, merge_patch(reported, find_delta(desired, reported))) == {}


@given(_STATES, _STATES)
def test_the_made_patch_turns_one_document_into_the_other(before: Any, after: Any) -> None:
    assert is_same(merge_patch(before, make_patch(before, after)), after)


@pytest.mark.parametrize(
    ("desired", "reported", "delta"),
    [
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": 1}, {"a": True}, {"a": 1}),
        ({"a": 1e300}, {"a": 10**300}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"a": [1, 2]}),
        ({}, {"only": "reported"}, {}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": {"b": 1}}),
    ],
)
def test_the_delta_is_what_is_desired_and_not_reported(desired: Any, reported: Any, delta: Any) -> None:
    assert find_delta(desired, reported) == delta


def _nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([1], "object"),
        (None, "object"),
        (_nested(7), "deeper"),
        ({"a": [[[[[[1]]]]]]}, "deeper"),
        ({"a": "x" * 16_400}, "bytes"),
        ({"a": {"b": "x\0"}}, "a.b contains the character NUL"),
        ({"x\0": 1}, "NUL"),
        ({"a": "\ud800"}, "surrogate"),
        ({"": 1}, "name of 0"),
        ({"x" * 129: 1}, "name of 129"),
        ({"a": [float("inf")]}, "a.0 is not a finite number"),
        ({"a": float("nan")}, "finite"),
        ({"a": 10**400}, "finite"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_named(document: object, word: str) -> None:
    with pytest.raises(StateRefusedError, match=word):
        check_state(document)


def test_six_levels_can_be_kept() -> None:
    check_state(_nested(6))


def test_patches_that_are_small_alone_do_not_grow_beyond_the_limit() -> None:
    with pytest.raises(StateRefusedError, match="bytes"):
        merge_patch({"a": "x" * 9_000}, {"b": "x" * 9_000})
