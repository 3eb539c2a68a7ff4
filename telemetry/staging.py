"""Readings as PostgreSQL takes them fastest: rows of a binary COPY, or few of them as arrays, one for each column.

Source: PostgreSQL documentation, COPY, "Binary Format", and array_send in src/backend/utils/adt/arrayfuncs.c: dimensions,
a flag for nulls, the type's OID, length and first index, then each element after its size. timestamptz counts
microseconds since 2000-01-01 UTC.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from telemetry.types import NewReading

# Six fields, each preceded by its length in bytes: ts, value, device_id, metric_id, quality, received_at.
_pack = struct.Struct("!hiqidiiihihiq").pack
STAGE_COLUMNS = "ts timestamptz, value double precision, device_id integer, metric_id smallint, quality smallint, received_at timestamptz"
_TIMESTAMPTZ, _FLOAT8, _INT4, _INT2 = (1184, "q", 8), (701, "d", 8), (23, "i", 4), (21, "h", 2)  # OID, struct code, size
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.date()


def encode_numbers(readings: Iterable[NewReading]) -> bytes:
    """Return readings that have a value as one binary COPY stream, columns as in `STAGE_COLUMNS`."""
    epoch, pack = _EPOCH, _pack
    rows = [_HEADER]
    ts = received_at = epoch
    source = received = 0
    for r in readings:
        if r.ts is not ts:  # many readings share one message, and so its times
            ts = r.ts
            source = _microseconds(ts - epoch)
        if r.received_at is not received_at:
            received_at = r.received_at
            received = _microseconds(received_at - epoch)
        rows.append(pack(6, 8, source, 8, r.value, 4, r.device_id, 2, r.metric_id, 2, r.quality, 8, received))
    rows.append(_TRAILER)
    return b"".join(rows)


def encode_columns(readings: Sequence[NewReading]) -> list[bytes]:
    """Return readings that have a value as binary arrays, in the order of `STAGE_COLUMNS`."""
    epoch = _EPOCH
    ts = received_at = epoch
    source = received = 0
    sources, receipts = [], []
    for r in readings:
        if r.ts is not ts:
            ts = r.ts
            source = _microseconds(ts - epoch)
        if r.received_at is not received_at:
            received_at = r.received_at
            received = _microseconds(received_at - epoch)
        sources.append(source)
        receipts.append(received)
    return [
        _encode_array(_TIMESTAMPTZ, sources),
        _encode_array(_FLOAT8, [r.value for r in readings]),
        _encode_array(_INT4, [r.device_id for r in readings]),
        _encode_array(_INT2, [r.metric_id for r in readings]),
        _encode_array(_INT2, [r.quality for r in readings]),
        _encode_array(_TIMESTAMPTZ, receipts),
    ]


def _encode_array(element: tuple[int, str, int], values: Sequence[object]) -> bytes:
    oid, code, size = element
    fields: list[object] = [size] * (2 * len(values))
    fields[1::2] = values
    return struct.pack("!iiIii" + f"i{code}" * len(values), 1, 0, oid, len(values), 1, *fields)


def _microseconds(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def days_of(readings: Iterable[NewReading]) -> set[date]:
    """Return the UTC days that the readings fall into."""
    return {_EPOCH_DAY + timedelta(days=n) for n in {(ts - _EPOCH).days for ts in {r.ts for r in readings}}}
