"""The rows that buckets are summed up from: roll-ups where they are folded and have not changed, readings for the rest.

Each row is one or many readings of a series: ts, metric_id, n, total, low, low_at, high, high_at, first_at,
first_value, last_at, last_value, quality. What is folded and what has changed is read first: a reading that was there before the query is
counted, one that is stored meanwhile may be.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from telemetry.buckets import EPOCH
from telemetry.rollup_plan import WIDTHS, Source, Unit, coarsest_unit, floor, plan_sources
from telemetry.rollups import SUMMABLE_SQL

MAX_CHANGED = 1000  # with more changed minutes than this, readings are read throughout

_PROGRESS_SQL = """
SELECT folded_until, metric_id, minute FROM telemetry_rollupprogress LEFT JOIN (
    SELECT DISTINCT metric_id, minute FROM telemetry_changedminute
    WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND minute > %(start)s - interval '1 hour' AND minute < %(end)s
    LIMIT %(limit)s
) AS changed ON true
"""
_READING_COLUMNS = f"""
ts, metric_id, 1 AS n, {SUMMABLE_SQL} AS total, value AS low, ts AS low_at, value AS high, ts AS high_at,
ts AS first_at, value AS first_value, ts AS last_at, value AS last_value, quality
"""
_READINGS_SQL = f"""
SELECT {_READING_COLUMNS} FROM telemetry_reading
WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND ts >= %(start_{{i}})s AND ts < %(end_{{i}})s
"""  # noqa: S608 - made of constants
_ROLLUPS_SQL = """
SELECT bucket AS ts, metric_id, n, total, low, low_at, high, high_at, first_at, first_value, last_at, last_value, quality
FROM telemetry_{unit}rollup
WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND bucket >= %(start_{i})s AND bucket < %(end_{i})s
"""
_ROLLUPS_WITHOUT_CHANGED_SQL = f"""{_ROLLUPS_SQL}
    AND (metric_id, bucket) NOT IN (SELECT * FROM unnest(%(changed_metrics_{{i}})s::smallint[], %(changed_{{i}})s::timestamptz[]))
UNION ALL
SELECT readings.* FROM unnest(%(changed_metrics_{{i}})s::smallint[], %(changed_{{i}})s::timestamptz[]) AS changed(metric, bucket)
CROSS JOIN LATERAL (
    SELECT {_READING_COLUMNS} FROM telemetry_reading
    WHERE device_id = %(device)s AND metric_id = changed.metric AND ts >= changed.bucket AND ts < changed.bucket + interval '1 {{unit}}'
) AS readings
"""  # noqa: S608 - made of constants

_Changed = Collection[tuple[int, datetime]]


def build_parts(
    *, device_id: int, metric_ids: Sequence[int], start: datetime, end: datetime, edges: Sequence[datetime]
) -> tuple[str, dict[str, Any]]:
    """Return the SQL of the rows of [start, end) for buckets with these edges, and its parameters."""
    facts: dict[str, Any] = {"device": device_id, "metrics": list(metric_ids), "start": start, "end": end}
    coarsest = coarsest_unit(edges)
    folded_until, changed = (EPOCH, set()) if coarsest == Unit.READING else _load_progress(facts)
    arms = []
    for i, source in enumerate(plan_sources(start=start, end=end, folded_until=folded_until, coarsest=coarsest)):
        arms.append(_build_arm(source, i, changed, facts))
    return " UNION ALL ".join(arms), facts


def _build_arm(source: Source, i: int, changed: _Changed, facts: dict[str, Any]) -> str:
    facts |= {f"start_{i}": source.start, f"end_{i}": source.end}
    width = WIDTHS.get(source.unit)
    if width is None:
        return _READINGS_SQL.format(i=i)
    units = sorted({(metric_id, floor(minute, width)) for metric_id, minute in changed if source.start <= minute < source.end})
    if not units:
        return _ROLLUPS_SQL.format(i=i, unit=source.unit.value)
    facts |= {f"changed_metrics_{i}": [metric_id for metric_id, _ in units], f"changed_{i}": [begin for _, begin in units]}
    return _ROLLUPS_WITHOUT_CHANGED_SQL.format(i=i, unit=source.unit.value)


def _load_progress(facts: dict[str, Any]) -> tuple[datetime, _Changed]:
    """Return until when there are roll-ups, and which minutes of which metrics have changed since."""
    with connection.cursor() as cursor:
        cursor.execute(_PROGRESS_SQL, {**facts, "limit": MAX_CHANGED + 1})
        rows = cursor.fetchall()
    if not rows or len(rows) > MAX_CHANGED:
        return EPOCH, set()
    return rows[0][0], {(metric_id, minute) for _, metric_id, minute in rows if metric_id is not None}
