"""The strict gate: nothing but plain, bounded, unambiguous values comes through."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.codecs.gate import MAX_DEPTH, parse_json
from protocols.errors import (
    DuplicateKeyError,
    ForbiddenCharacterError,
    MalformedJsonError,
    MessageError,
    MessageTooLargeError,
    NotFiniteError,
    NotUtf8Error,
    TooDeepError,
)

LIMIT = 256 * 1024
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def error_of(payload: bytes, *, max_bytes: int) -> MessageError | None:
    try:
        parse_json(payload, max_bytes=max_bytes)
    except MessageError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", MalformedJsonError),
        (b"21.5 ", None),
        (b"{'temperature': 21.5}", MalformedJsonError),
        (b'{"a": 1} {"b": 2}', MalformedJsonError),
        (b'{"a": 1}\x00', MalformedJsonError),
        (b'\xef\xbb\xbf{"a": 1}', MalformedJsonError),
        (b'{"a": 1,}', MalformedJsonError),
        (b'{"a": NaN}', NotFiniteError),
        (b'{"a": -Infinity}', NotFiniteError),
        (b'{"a": 1e999}', NotFiniteError),
        (b'{"a": ' + b"9" * 400 + b"}", NotFiniteError),
        (b'{"a": ' + b"9" * 5000 + b"}", NotFiniteError),
        (b'{"a": "\xfcber"}', NotUtf8Error),
        (b'{"a": "\xed\xa0\x80"}', NotUtf8Error),
        (b'{"a": "\\ud800"}', NotUtf8Error),
        (b'"\\ud800"', NotUtf8Error),
        (b'{"\\udc00": 1}', NotUtf8Error),
        (b'{"a": "x\\u0000y"}', ForbiddenCharacterError),
        (b'{"a\\u0000": 1}', ForbiddenCharacterError),
        (b'{"a": 1, "a": 2}', DuplicateKeyError),
        (b'{"a": 1, "\\u0061": 2}', DuplicateKeyError),
        (b'[{"a": {"b": 1, "b": {"c": 1}}}]', DuplicateKeyError),
        (b'{"a": "12:30", "b": 1, "b": "::"}', DuplicateKeyError),
        (b"[" * 100_000, TooDeepError),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), None),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), TooDeepError),
        (b'"' + b"x" * LIMIT + b'"', MessageTooLargeError),
    ],
)
def test_each_fault_has_an_error_of_its_own(payload: bytes, error: type[MessageError] | None) -> None:
    if error is None:
        parse_json(payload, max_bytes=LIMIT)
        return
    with pytest.raises(error) as raised:
        parse_json(payload, max_bytes=LIMIT)
    assert raised.value.detail


def test_colons_inside_texts_are_no_duplicate_keys() -> None:
    assert parse_json(b'{"at": "2026-01-31T08:00:00Z", "b:c": "::"}', max_bytes=LIMIT) == {"at": "2026-01-31T08:00:00Z", "b:c": "::"}


@given(st.binary(max_size=300))
@example(b'{"a":1')
@example(b'"\\ud83d')
def test_no_bytes_make_anything_but_a_typed_error(payload: bytes) -> None:
    error = error_of(payload, max_bytes=200)
    assert error is None or (error.detail and error.code != MessageError.code)


@given(st.text(alphabet='{}[]":,\\u0d8+-.eE9ntf \n', max_size=60))
def test_no_text_that_looks_like_json_makes_anything_but_a_typed_error(text: str) -> None:
    error = error_of(text.encode(), max_bytes=LIMIT)
    assert error is None or error.detail


@given(json_values)
def test_what_is_well_formed_comes_through_unchanged_or_is_refused_for_a_stated_reason(value: object) -> None:
    payload = json.dumps(value).encode()
    try:
        document = parse_json(payload, max_bytes=LIMIT)
    except (ForbiddenCharacterError, TooDeepError):
        assert "\\u0000" in payload.decode() or payload.count(b"[") + payload.count(b"{") > MAX_DEPTH
    except NotUtf8Error:
        assert "\\ud" in payload.decode()
    else:
        assert document == value
