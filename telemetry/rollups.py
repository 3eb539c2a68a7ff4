"""Keeps the roll-ups of one minute and of one hour.

Time before `closed_until` is closed: `store_readings` notes the minute of every reading that comes later than that in
ChangedMinute, in its own transaction. Time before `folded_until` is rolled up. A minute is folded only when all
transactions that began before it was closed have ended (`barrier`), so every reading is either there when its minute
is folded, or has noted it. Readers take roll-ups for what is folded and has not changed, and readings for the rest:
they are exact at any moment, whatever comes late or twice and wherever this stops.

One process at a time works on a tenant; each step is a transaction of its own and can be repeated.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from telemetry.models import RollupProgress
from telemetry.partitions import list_partition_days
from telemetry.rollup_plan import HOUR, MINUTE, bin_sql, floor, next_fold

GRACE = timedelta(seconds=15)  # readings are seldom later than this; those that are cost a second look at their minute
CHANGED_AT_ONCE = 5_000

# Sums of values beyond this become infinite instead of an error of the database.
SUMMABLE_SQL = "CASE WHEN abs(value) <= 1e290 THEN value ELSE value * 'Infinity'::float8 END"
_SQUARE_SQL = "CASE WHEN abs(value) <= 1e145 THEN value * value ELSE 'Infinity'::float8 END"

_COLUMNS = ("n", "total", "squares", "low", "low_at", "high", "high_at", "first_at", "first_value", "last_at", "last_value", "quality")
_UPSERT_SQL = f"""
ON CONFLICT (device_id, metric_id, bucket) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
"""
# The rows come in order of time, so the arrays are in order too.
_MINUTES_SQL = f"""
SELECT bucket, count(*) AS n, sum({SUMMABLE_SQL}) AS total, sum({_SQUARE_SQL}) AS squares,
    min(value) AS low, (array_agg(ts))[array_position(array_agg(value), min(value))] AS low_at,
    max(value) AS high, (array_agg(ts))[array_position(array_agg(value), max(value))] AS high_at,
    min(ts) AS first_at, (array_agg(value))[1] AS first_value, max(ts) AS last_at, (array_agg(value))[count(*)::integer] AS last_value,
    max(quality) AS quality
FROM (
    SELECT {bin_sql(MINUTE, "ts")} AS bucket, ts, value, quality FROM telemetry_reading
    WHERE device_id = series.device_id AND metric_id = series.metric_id AND {{bounds}} ORDER BY bucket, ts
) AS readings GROUP BY bucket
"""  # noqa: S608 - made of constants
_HOURS_SQL = f"""
SELECT {bin_sql(HOUR, "bucket")} AS bucket, sum(n) AS n, sum(total) AS total, sum(squares) AS squares,
    min(low) AS low, (array_agg(low_at ORDER BY low, low_at))[1] AS low_at,
    max(high) AS high, (array_agg(high_at ORDER BY high DESC, high_at))[1] AS high_at,
    min(first_at) AS first_at, (array_agg(first_value ORDER BY first_at))[1] AS first_value,
    max(last_at) AS last_at, (array_agg(last_value ORDER BY last_at DESC))[1] AS last_value, max(quality) AS quality
FROM telemetry_minuterollup
WHERE device_id = series.device_id AND metric_id = series.metric_id AND {{bounds}} GROUP BY 1
"""  # noqa: S608 - made of constants
_INSERT_SQL = f"INSERT INTO {{table}} (device_id, metric_id, bucket, {', '.join(_COLUMNS)})"
_INSERT_MINUTES_SQL = _INSERT_SQL.format(table="telemetry_minuterollup")
_INSERT_HOURS_SQL = _INSERT_SQL.format(table="telemetry_hourrollup")
# A series whose newest reading is older than the span has none in it.
_SELECT_ALL_SQL = """
SELECT series.device_id, series.metric_id, parts.* FROM telemetry_latestreading AS series CROSS JOIN LATERAL ({parts}) AS parts
WHERE series.ts >= %(start)s
"""
_FOLD_MINUTES_SQL = (
    _INSERT_MINUTES_SQL + _SELECT_ALL_SQL.format(parts=_MINUTES_SQL.format(bounds="ts >= %(start)s AND ts < %(end)s")) + _UPSERT_SQL
)
_FOLD_HOURS_SQL = (
    _INSERT_HOURS_SQL + _SELECT_ALL_SQL.format(parts=_HOURS_SQL.format(bounds="bucket >= %(start)s AND bucket < %(end)s")) + _UPSERT_SQL
)
# One statement is one snapshot: what it takes away is exactly what it has seen the readings of.
_REFOLD_MINUTES_SQL = f"""
WITH gone AS (
    DELETE FROM telemetry_changedminute WHERE id IN (SELECT id FROM telemetry_changedminute ORDER BY id LIMIT %(limit)s)
    RETURNING device_id, metric_id, minute
), series AS (
    SELECT DISTINCT device_id, metric_id, minute FROM gone
), refolded AS (
    {_INSERT_MINUTES_SQL}
    SELECT series.device_id, series.metric_id, parts.* FROM series CROSS JOIN LATERAL (
        {_MINUTES_SQL.format(bounds="ts >= series.minute AND ts < series.minute + interval '1 minute'")}
    ) AS parts {_UPSERT_SQL}
)
SELECT DISTINCT device_id, metric_id, {bin_sql(HOUR, "minute")} FROM gone
"""  # noqa: S608 - made of constants
_REFOLD_HOURS_SQL = f"""
{_INSERT_HOURS_SQL}
SELECT series.device_id, series.metric_id, parts.*
FROM unnest(%s::integer[], %s::smallint[], %s::timestamptz[]) AS series(device_id, metric_id, hour) CROSS JOIN LATERAL (
    {_HOURS_SQL.format(bounds="bucket >= series.hour AND bucket < series.hour + interval '1 hour'")}
) AS parts {_UPSERT_SQL}
"""  # noqa: S608 - made of constants
# In the snapshot of `closed_until`'s commit or a later one, the next transaction's number.
_SET_BARRIER_SQL = "UPDATE telemetry_rollupprogress SET barrier = pg_snapshot_xmax(pg_current_snapshot())::text::bigint WHERE id = 1"
# The numbers of running transactions other than this one. A barrier from another server (a restored dump) never passes.
_IS_PASSED_SQL = """
SELECT NOT EXISTS (SELECT FROM pg_snapshot_xip(pg_current_snapshot()) AS running WHERE running::text::bigint < %(barrier)s),
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint < %(barrier)s
"""


def roll_up(*, now: datetime, budget_seconds: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
    """Bring the current tenant's roll-ups up to date, as far as the budget goes; the next call continues."""
    give_up_at = clock() + budget_seconds
    _close(now)
    _set_barrier()
    for step in (_refold, _fold):
        while clock() < give_up_at and step():
            pass


@transaction.atomic
def _close(now: datetime) -> None:
    """Close the time until shortly before `now`, when all that was closed before is folded."""
    progress = _take()
    closed_until = floor(now - GRACE, MINUTE)
    if progress is None and not RollupProgress.objects.exists():
        begin = _beginning(now)
        RollupProgress.objects.bulk_create([RollupProgress(closed_until=begin, folded_until=begin)], ignore_conflicts=True)
        progress = _take()
    if progress is not None and progress.folded_until == progress.closed_until < closed_until:
        RollupProgress.objects.update(closed_until=closed_until, barrier=None)


def _beginning(now: datetime) -> datetime:
    """Return a time before which no reading is, nor comes: the age policy keeps those out."""
    days = list_partition_days()
    oldest = now - timedelta(days=settings.IIOT_MAX_READING_AGE_DAYS + 1)
    first = min(days, default=oldest.date())
    return floor(min(oldest, datetime(first.year, first.month, first.day, tzinfo=UTC)), HOUR)


@transaction.atomic
def _set_barrier() -> None:
    """Note which transactions know what is closed; in a transaction after the one that closed."""
    progress = _take()
    if progress is not None and progress.barrier is None and progress.folded_until < progress.closed_until:
        _execute(_SET_BARRIER_SQL)


@transaction.atomic
def _fold() -> bool:
    """Roll up the next span; return whether it went on."""
    progress = _take()
    if progress is None or progress.barrier is None or progress.folded_until >= progress.closed_until:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_IS_PASSED_SQL, {"barrier": progress.barrier})
        is_passed, is_foreign = cursor.fetchone() or (False, False)
    if is_foreign:
        RollupProgress.objects.update(barrier=None)
    if is_foreign or not is_passed:
        return False
    start, end = next_fold(folded_until=progress.folded_until, closed_until=progress.closed_until, days=list_partition_days())
    if start < end:
        _execute(_FOLD_MINUTES_SQL, {"start": start, "end": end})
    first_hour, last_hour = floor(start, HOUR), floor(end, HOUR)
    if first_hour < last_hour:
        _execute(_FOLD_HOURS_SQL, {"start": first_hour, "end": last_hour})
    RollupProgress.objects.update(folded_until=end)
    return True


@transaction.atomic
def _refold() -> bool:
    """Roll up again what changed after it was closed; return whether there was something."""
    progress = _take()
    if progress is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_REFOLD_MINUTES_SQL, {"limit": CHANGED_AT_ONCE})
        changed = cursor.fetchall()
    hours = [row for row in changed if row[2] + HOUR <= progress.folded_until]
    if hours:
        _execute(_REFOLD_HOURS_SQL, [list(column) for column in zip(*hours, strict=True)])
    return bool(changed)


def _take() -> RollupProgress | None:
    """Return the progress and keep others away from it until the end of the transaction; None if another is at it."""
    return RollupProgress.objects.select_for_update(skip_locked=True).first()


def _execute(sql: str, facts: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, facts)
