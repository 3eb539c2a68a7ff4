"""Telemetry in JSON: every form of api.md, and what each fault is called."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codecs.json import MAX_VALUES, decode_telemetry, read_telemetry, read_timestamp
from protocols.errors import InvalidShapeError, InvalidTimestampError, MessageError, TooManyValuesError
from protocols.types import Sample

FRAMES = Path(__file__).parents[2] / "fixtures" / "mqtt"
LIMIT = 256 * 1024
AT = datetime(2025, 11, 20, 0, 53, 20, tzinfo=UTC)


def decode(name: str) -> list[Sample]:
    return decode_telemetry((FRAMES / name).read_bytes(), max_bytes=LIMIT)


def test_it_reads_a_flat_message() -> None:
    assert decode("single_value.json") == [Sample("temperature", 99.0, None)]
    assert decode("flat_pump.json") == [
        Sample("temperature", 21.5, None),
        Sample("pressure", 3.02, None),
        Sample("vibration", 1.4, None),
        Sample("running", True, None),
    ]


def test_it_reads_a_message_with_a_time_stamp() -> None:
    assert decode("with_time.json") == [Sample("temperature", 21.5, AT), Sample("state", "idle", AT)]


def test_it_reads_a_list_of_messages_in_order() -> None:
    assert [(s.value, s.ts) for s in decode("list.json")] == [
        (21.5, AT),
        (21.6, datetime(2025, 11, 19, 23, 53, 21, 250_000, tzinfo=UTC)),
        (21.7, None),
    ]


def test_it_reads_quality_and_unit() -> None:
    assert decode("quality_and_unit.json") == [Sample("temperature", 21.5, None, 1, "°C"), Sample("pressure", 3.0, None)]


def test_it_keeps_names_and_texts_in_any_script() -> None:
    assert decode("unicode.json") == [Sample("Zähler 1", 12.0, None), Sample("note", "Störung: Lüfter 🚨", None)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bad_nan.json", "malformed_json"),
        ("bad_cut.json", "malformed_json"),
        ("bad_duplicate.json", "duplicate_key"),
        ("bad_latin1.json", "not_utf8"),
    ],
)
def test_it_names_what_is_wrong_with_a_bad_frame(name: str, code: str) -> None:
    with pytest.raises(MessageError) as raised:
        decode(name)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "document",
    [
        21.5,
        "hello",
        None,
        [],
        {},
        [[{"temperature": 1}]],
        [{"temperature": 1}, 5],
        {"ts": 1763600000000},
        {"ts": 1763600000000, "values": {}},
        {"ts": 1763600000000, "temperature": 21.5},
        {"values": [1, 2]},
        {"values": {"temperature": 1}, "extra": 1},
        {"temperature": [1, 2]},
        {"temperature": {}},
        {"temperature": {"value": {"value": 1}}},
        {"temperature": {"value": 1, "quality": "excellent"}},
        {"temperature": {"value": 1, "quality": 0}},
        {"temperature": {"value": 1, "unit": 3}},
        {"temperature": {"value": 1, "unit": "x" * 25}},
        {"temperature": {"value": 1, "scale": 10}},
    ],
)
def test_other_shapes_are_refused_with_what_to_change(document: object) -> None:
    with pytest.raises(InvalidShapeError) as raised:
        read_telemetry(document)
    assert raised.value.detail


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        (1763600000000, AT),
        (1763600000000.5, AT.replace(microsecond=500)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("2025-11-20T00:53:20Z", AT),
        ("2025-11-20 01:53:20+01:00", AT),
        ("20251120T005320Z", AT),
    ],
)
def test_times_are_ms_since_1970_or_iso_8601_with_an_offset(raw: object, moment: datetime) -> None:
    assert read_timestamp(raw) == moment


@pytest.mark.parametrize(
    "raw",
    [
        None,
        True,
        -1,
        1e300,
        10**30,
        "",
        "yesterday",
        "2025-11-20",
        "2025-11-20T00:53:20",
        "1763600000000",
        "0001-01-01T00:00:00+14:00",
        [1],
        {},
    ],
)
def test_any_other_time_is_refused(raw: object) -> None:
    with pytest.raises(InvalidTimestampError):
        read_timestamp(raw)


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ts", "values", "value", "quality", "unit", "temperature"]) | st.text(max_size=5), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(documents)
def test_no_document_makes_anything_but_samples_or_a_typed_error(document: object) -> None:
    with suppress(MessageError):
        assert all(s.ts is None or s.ts.tzinfo is UTC for s in read_telemetry(document))


def test_a_message_holds_a_bounded_number_of_values() -> None:
    assert len(read_telemetry([{"a": 1.0, "b": 2.0}] * (MAX_VALUES // 2))) == MAX_VALUES
    with pytest.raises(TooManyValuesError):
        read_telemetry([{"a": 1.0, "b": 2.0}] * (MAX_VALUES // 2 + 1))
    with pytest.raises(TooManyValuesError):
        read_telemetry({f"m{number}": 1.0 for number in range(MAX_VALUES + 1)})
