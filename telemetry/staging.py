"""Readings as PostgreSQL takes them fastest: rows of a binary COPY.

Source: PostgreSQL documentation, COPY, "Binary Format"; timestamptz counts microseconds since 2000-01-01 UTC.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from telemetry.types import NewReading

# Six fields, each preceded by its length in bytes: ts, value, device_id, metric_id, quality, received_at.
_pack = struct.Struct("!hiqidiiihihiq").pack
STAGE_COLUMNS = "ts timestamptz, value double precision, device_id integer, metric_id smallint, quality smallint, received_at timestamptz"
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


def _microseconds(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def days_of(readings: Iterable[NewReading]) -> set[date]:
    """Return the UTC days that the readings fall into."""
    return {_EPOCH_DAY + timedelta(days=n) for n in {(ts - _EPOCH).days for ts in {r.ts for r in readings}}}
