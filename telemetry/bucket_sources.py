"""The rows that buckets are summed up from: roll-ups where they are folded and have not changed, readings for the rest.

Each row is one or many readings of a series: ts, metric_id, n, total, low, high, first_at, first_value, last_at,
last_value, quality. Roll-ups and the notes of changed minutes are read in the same statement, so it sees one state.
"""

from collections.abc import Sequence
from datetime import datetime

from telemetry.buckets import EPOCH
from telemetry.models import RollupProgress
from telemetry.rollup_plan import Source, Unit, coarsest_unit, plan_sources
from telemetry.rollups import SUMMABLE_SQL

_READING_COLUMNS = f"""
ts, metric_id, 1 AS n, {SUMMABLE_SQL} AS total, value AS low, value AS high,
ts AS first_at, value AS first_value, ts AS last_at, value AS last_value, quality
"""
_READINGS_SQL = f"""
SELECT {_READING_COLUMNS} FROM telemetry_reading
WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND ts >= %(start_{{i}})s AND ts < %(end_{{i}})s
"""  # noqa: S608 - made of constants
_CHANGED_SQL = """
SELECT DISTINCT metric_id, date_trunc('{unit}', minute, 'UTC') AS bucket FROM telemetry_changedminute
WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND minute >= %(start_{i})s AND minute < %(end_{i})s
"""
_ROLLUPS_SQL = f"""
SELECT bucket AS ts, metric_id, n, total, low, high, first_at, first_value, last_at, last_value, quality
FROM telemetry_{{unit}}rollup
WHERE device_id = %(device)s AND metric_id = ANY(%(metrics)s) AND bucket >= %(start_{{i}})s AND bucket < %(end_{{i}})s
    AND (metric_id, bucket) NOT IN ({_CHANGED_SQL})
UNION ALL
SELECT readings.* FROM ({_CHANGED_SQL}) AS changed CROSS JOIN LATERAL (
    SELECT {_READING_COLUMNS} FROM telemetry_reading
    WHERE device_id = %(device)s AND metric_id = changed.metric_id AND ts >= changed.bucket AND ts < changed.bucket + interval '1 {{unit}}'
) AS readings
"""  # noqa: S608 - made of constants


def build_parts(*, start: datetime, end: datetime, edges: Sequence[datetime]) -> tuple[str, dict[str, datetime]]:
    """Return the SQL of the rows of [start, end) for buckets with these edges, and its parameters beside `device` and `metrics`."""
    coarsest = coarsest_unit(edges)
    folded_until = EPOCH if coarsest == Unit.READING else _load_folded_until()
    arms: list[str] = []
    facts: dict[str, datetime] = {}
    for i, source in enumerate(plan_sources(start=start, end=end, folded_until=folded_until, coarsest=coarsest)):
        arms.append(_arm(source, i))
        facts |= {f"start_{i}": source.start, f"end_{i}": source.end}
    return " UNION ALL ".join(arms), facts


def _arm(source: Source, i: int) -> str:
    template = _READINGS_SQL if source.unit == Unit.READING else _ROLLUPS_SQL
    return template.format(i=i, unit=source.unit.value)


def _load_folded_until() -> datetime:
    return RollupProgress.objects.values_list("folded_until", flat=True).first() or EPOCH
