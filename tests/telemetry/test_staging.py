import struct
from datetime import UTC, date, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from telemetry.staging import days_of, encode_columns, encode_numbers
from telemetry.types import NewReading

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def reading(ts: datetime, value: float = 1.5) -> NewReading:
    return NewReading(device_id=7, metric_id=3, ts=ts, received_at=NOW, value=value, text=None, quality=1)


def test_an_empty_stream_is_a_header_and_a_trailer() -> None:
    assert encode_numbers([]) == b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"


@given(ts=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11))])), value=st.floats(allow_nan=False))
def test_a_row_carries_microseconds_since_2000_and_the_exact_number(ts: datetime, value: float) -> None:
    row = struct.unpack("!hiqidiiihihiq", encode_numbers([reading(ts, value)])[19:-2])
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=row[2]) == ts
    assert row[0] == 6
    assert row[4] == value
    assert (row[6], row[8], row[10]) == (7, 3, 1)


def test_columns_say_what_rows_say() -> None:
    readings = [reading(NOW + timedelta(seconds=n), n / 4) for n in range(3)]
    rows = struct.unpack("!" + "hiqidiiihihiq" * 3, encode_numbers(readings)[19:-2])
    columns = encode_columns(readings)
    for place, (column, oid, code) in enumerate(zip(columns, (1184, 701, 23, 21, 21, 1184), "qdihhq", strict=True)):
        assert struct.unpack("!5i", column[:20]) == (1, 0, oid, 3, 1)
        assert struct.unpack("!" + f"i{code}" * 3, column[20:])[1::2] == rows[2 + 2 * place :: 13]


def test_days_are_those_of_utc_whatever_zone_a_time_comes_in() -> None:
    late_in_new_york = datetime(2026, 11, 20, 22, tzinfo=timezone(timedelta(hours=-5)))
    before_2000 = datetime(1999, 12, 31, 23, tzinfo=UTC)
    assert days_of([reading(late_in_new_york), reading(NOW), reading(before_2000)]) == {
        date(2026, 11, 21),
        date(2026, 11, 20),
        date(1999, 12, 31),
    }
