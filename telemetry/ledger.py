"""Reads the ingest ledger: over time, and against the readings that are really there."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection

from telemetry.types import LedgerRow

BUCKETS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
HOUR_SLOT = -1  # entries of whole hours, see `telemetry.ledger_thinning`
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)

_LEDGER_SQL = """
WITH chosen AS (
    SELECT *, date_bin(%(width)s, minute, %(origin)s) AS bucket FROM telemetry_ingestledger
    WHERE minute >= date_trunc('hour', %(start)s, 'UTC') AND minute < %(end)s AND (minute >= %(start)s OR slot = %(hour_slot)s)
    AND (%(listener)s = '' OR listener = %(listener)s)
), reasons AS (
    SELECT bucket, listener, jsonb_object_agg(reason, total) AS by_reason FROM (
        SELECT bucket, listener, key AS reason, sum(value::bigint) AS total
        FROM chosen, jsonb_each_text(rejected_by_reason) GROUP BY bucket, listener, key
    ) AS totals GROUP BY bucket, listener
)
SELECT bucket, listener, sum(received)::bigint, sum(stored)::bigint, sum(duplicate)::bigint, sum(rejected)::bigint,
    coalesce(by_reason, '{}')::text, sum(messages)::bigint, sum(messages_repeated)::bigint, sum(messages_rejected)::bigint
FROM chosen LEFT JOIN reasons USING (bucket, listener) GROUP BY bucket, listener, by_reason ORDER BY bucket, listener
"""
_BROKEN_SQL = """
SELECT minute, listener, slot FROM telemetry_ingestledger AS ledger
WHERE received <> stored + duplicate + rejected
OR rejected <> (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(rejected_by_reason))
OR stored <> (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(stored_by_day))
ORDER BY minute, listener, slot LIMIT %s
"""
# One statement sees one snapshot, and ledger and readings are committed together: the days agree even under load.
_COMPARE_SQL = """
WITH told AS (
    SELECT key::date AS day, sum(value::bigint) AS n FROM telemetry_ingestledger, jsonb_each_text(stored_by_day) GROUP BY 1
), found AS (
    SELECT day, sum(n) AS n FROM (
        SELECT (ts AT TIME ZONE 'UTC')::date AS day, count(*) AS n FROM telemetry_reading GROUP BY 1
        UNION ALL SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM telemetry_textreading GROUP BY 1
    ) AS tables GROUP BY day
)
SELECT day, coalesce(told.n, 0)::bigint, coalesce(found.n, 0)::bigint FROM told FULL JOIN found USING (day)
WHERE told.n IS DISTINCT FROM found.n ORDER BY day
"""


@dataclass(frozen=True, slots=True)
class DayDifference:
    """A day of source time on which the tables hold another number of readings than the ledger says."""

    day: date
    in_ledger: int
    in_tables: int


def load_ledger(*, start: datetime, end: datetime, bucket: str, listener: str = "") -> list[LedgerRow]:
    """Return the ledger from `start` (inclusive) to `end` (exclusive) by listener and `bucket` (UTC), oldest first.

    Minutes that have been merged are there as whole hours, see `telemetry.ledger_thinning`.
    """
    facts: dict[str, Any] = {
        "width": BUCKETS[bucket],
        "origin": _ORIGIN,
        "start": start,
        "end": end,
        "listener": listener,
        "hour_slot": HOUR_SLOT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LEDGER_SQL, facts)
        return [_row(list(row)) for row in cursor.fetchall()]


def _row(columns: list[Any]) -> LedgerRow:
    columns[6] = json.loads(columns[6])
    return LedgerRow(*columns)


def list_broken_entries(*, limit: int = 100) -> list[tuple[datetime, str, int]]:
    """Return minute, listener and slot of entries of the current tenant that do not add up, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_BROKEN_SQL, [limit])
        return list(cursor.fetchall())


def list_day_differences() -> list[DayDifference]:
    """Return the days on which the current tenant's ledger and readings disagree."""
    with connection.cursor() as cursor:
        cursor.execute(_COMPARE_SQL)
        return [DayDifference(*row) for row in cursor.fetchall()]
