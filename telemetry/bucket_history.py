"""History in buckets of time.

Beside count, average, minimum, maximum and total (sum) there are:

first, last
    The oldest and the newest value in the bucket.
time_weighted
    The average over time: each value holds until the next one of its series, the newest until now, and what held when
    the bucket began counts from there. Time between two values further apart than `GAP_PERIODS` times the metric's
    expected period (without one: than the inactivity timeout of the device's type) is a gap and does not count.
increase
    How far a counter went up: the sum over the values in the bucket of what each adds to the one before it in its
    series, which may lie before the bucket. A value below the one before it is a reset, as in Prometheus: the counter
    began again at zero, so that value is what it adds. Nothing is extrapolated, so the increases of adjoining buckets
    sum up to that of both; the first value of a series adds nothing.

The first five, and first and last, come from the roll-ups where they can (see `telemetry.rollups`), with the same result.
Values of every quality count; `quality` tells the worst. A figure that no float can hold is None.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from devices.models import Device, Metric
from telemetry.bucket_sources import build_parts
from telemetry.buckets import EPOCH, FixedBuckets, list_edges, page_bounds
from telemetry.rollups import SUMMABLE_SQL
from telemetry.types import BucketPage, BucketQuery, HistoryBucket

GAP_PERIODS = 3
# The API's name of each figure → the field of a bucket.
AGGREGATES = {
    "avg": "average",
    "min": "minimum",
    "max": "maximum",
    "count": "count",
    "sum": "total",
    "first": "first",
    "last": "last",
    "time_weighted": "time_weighted",
    "increase": "increase",
}

_FIRST_SQL = "(array_agg(first_value ORDER BY first_at))[1]"
_LAST_SQL = "(array_agg(last_value ORDER BY last_at DESC))[1]"
_BUCKETS_SQL = """
SELECT {bucket} AS bucket, metric_id, sum(n), sum(total), min(low), max(high), max(quality), {first}, {last}
FROM ({parts}) AS parts GROUP BY bucket, metric_id
"""
_FIXED_SQL = "date_bin(%(width)s, ts, %(origin)s)"
_CALENDAR_SQL = "(%(edges)s::timestamptz[])[width_bucket(ts, %(edges)s::timestamptz[])]"

# The values of each series in the page, with the one before it and the one after it.
_POINTS_SQL = f"""
WITH bounds AS MATERIALIZED (SELECT %(edges)s::timestamptz[] AS edges), points AS (
    SELECT m.id AS metric_id, m.hold, ts, {SUMMABLE_SQL} AS value, quality
    FROM unnest(%(metrics)s::smallint[], %(holds)s::interval[]) AS m(id, hold) CROSS JOIN LATERAL (
        (SELECT ts, value, quality FROM telemetry_reading WHERE device_id = %(device)s AND metric_id = m.id
            AND ts < %(start)s ORDER BY ts DESC LIMIT 1)
        UNION ALL SELECT ts, value, quality FROM telemetry_reading WHERE device_id = %(device)s AND metric_id = m.id
            AND ts >= %(start)s AND ts < %(end)s
        UNION ALL (SELECT ts, value, quality FROM telemetry_reading WHERE device_id = %(device)s AND metric_id = m.id
            AND ts >= %(end)s ORDER BY ts LIMIT 1)
    ) AS p
)"""  # noqa: S608 - made of constants
_INCREASE_SQL = f"""{_POINTS_SQL}, steps AS (
    SELECT metric_id, ts, value, lag(value) OVER (PARTITION BY metric_id ORDER BY ts) AS before FROM points
)
SELECT edges[width_bucket(ts, edges)] AS bucket, metric_id, sum(CASE WHEN value < before THEN value ELSE value - before END)
FROM steps, bounds WHERE ts >= %(start)s AND ts < %(end)s GROUP BY bucket, metric_id
"""  # noqa: S608 - made of constants
_TIME_WEIGHTED_SQL = f"""{_POINTS_SQL}, pairs AS (
    SELECT *, lead(ts, 1, greatest(ts, %(now)s)) OVER (PARTITION BY metric_id ORDER BY ts) AS next_ts FROM points
), held AS (
    SELECT metric_id, value, quality, greatest(ts, %(start)s) AS since, least(next_ts, %(end)s) AS until
    FROM pairs WHERE next_ts - ts <= hold AND next_ts > %(start)s AND ts < %(end)s AND next_ts > ts
), spans AS (
    SELECT held.*, edges, width_bucket(since, edges) AS first, width_bucket(until - interval '1 microsecond', edges) AS last
    FROM held, bounds
), shares AS (
    SELECT metric_id, first AS bucket, value, quality, edges, until - since AS share FROM spans WHERE first = last
    UNION ALL
    SELECT metric_id, b, value, quality, edges, least(until, edges[b + 1]) - greatest(since, edges[b])
    FROM spans CROSS JOIN LATERAL generate_series(first, last) AS b WHERE first < last
)
SELECT edges[bucket], metric_id, sum(value * extract(epoch FROM share)::float8) / sum(extract(epoch FROM share)::float8), max(quality)
FROM shares GROUP BY edges[bucket], metric_id
"""  # noqa: S608 - made of constants

_Found = dict[tuple[datetime, int], HistoryBucket]


def load_buckets(*, device: Device, metrics: Sequence[Metric], query: BucketQuery, now: datetime) -> BucketPage:
    """Return the first page of the buckets that the query wants, by time and metric key. Text metrics have none.

    Empty buckets are left out unless the query is `with_gaps`. Each bucket holds the same on whichever page it stands,
    except that one which begins before the query's start, or ends after its end, knows only what lies between.
    """
    start, end = page_bounds(query.buckets, start=query.start, end=query.end, limit=query.limit, newest_first=query.newest_first)
    numbers = [metric for metric in metrics if metric.data_type != Metric.DataType.TEXT]
    page = replace(query, start=start, end=end)
    found = _load_page(device, numbers, page, now) if numbers and start < end else {}
    buckets = sorted(found.values(), key=lambda bucket: (bucket.ts, bucket.metric), reverse=query.newest_first)
    rest = (query.start, start) if query.newest_first else (end, query.end)
    return BucketPage(buckets, rest if rest[0] < rest[1] else None)


def gap_after(metric: Metric, device: Device) -> timedelta:
    """Return how far apart two values may be without a gap between them."""
    if metric.expected_period is not None:
        return GAP_PERIODS * metric.expected_period
    return device.device_type.inactivity_timeout


def _load_page(device: Device, metrics: Sequence[Metric], page: BucketQuery, now: datetime) -> _Found:
    edges = list_edges(page.buckets, start=page.start, end=page.end)
    keys = {metric.id: metric.key for metric in metrics}
    facts: dict[str, Any] = {
        "device": device.id,
        "metrics": list(keys),
        "holds": [gap_after(metric, device) for metric in metrics],
        "start": page.start,
        "end": page.end,
        "edges": edges,
        "now": now,
        "origin": EPOCH,
        "width": page.buckets.width if isinstance(page.buckets, FixedBuckets) else None,
    }
    found: _Found = {}
    parts, bounds = build_parts(device_id=device.id, metric_ids=list(keys), start=page.start, end=page.end, edges=edges)
    for ts, metric_id, n, total, low, high, quality, first, last in _fetch(_buckets_sql(page, parts), facts | bounds):
        average = _finite(total / n)
        found[ts, metric_id] = HistoryBucket(keys[metric_id], ts, n, average, low, high, _finite(total), quality, first, last)
    if "time_weighted" in page.aggregates:
        for ts, metric_id, figure, quality in _fetch(_TIME_WEIGHTED_SQL, facts):
            bucket = found.get((ts, metric_id)) or _empty(keys[metric_id], ts)
            worst = max(quality, bucket.quality or 0)
            found[ts, metric_id] = replace(bucket, time_weighted=_finite(figure), quality=worst)
    if "increase" in page.aggregates:
        for ts, metric_id, figure in _fetch(_INCREASE_SQL, facts):
            bucket = found.get((ts, metric_id)) or _empty(keys[metric_id], ts)  # its first reading may have come just now
            found[ts, metric_id] = replace(bucket, increase=_finite(figure))
    return found | _fill_gaps(found, keys, edges[:-1]) if page.with_gaps else found


def _fill_gaps(found: _Found, keys: dict[int, str], starts: Sequence[datetime]) -> _Found:
    """Return an empty bucket for each key and start that has none. A device whose type was changed may have a key twice."""
    ids = {key: metric_id for metric_id, key in keys.items()}
    known = {(bucket.ts, bucket.metric) for bucket in found.values()}
    return {(start, metric_id): _empty(key, start) for start in starts for key, metric_id in ids.items() if (start, key) not in known}


def _buckets_sql(page: BucketQuery, parts: str) -> str:
    return _BUCKETS_SQL.format(
        bucket=_FIXED_SQL if isinstance(page.buckets, FixedBuckets) else _CALENDAR_SQL,
        parts=parts,
        first=_FIRST_SQL if "first" in page.aggregates else "NULL",
        last=_LAST_SQL if "last" in page.aggregates else "NULL",
    )


def _fetch(sql: str, facts: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, facts)
        return list(cursor.fetchall())


def _empty(key: str, ts: datetime) -> HistoryBucket:
    return HistoryBucket(key, ts, 0, None, None, None, None, None)


def _finite(figure: float | None) -> float | None:
    return figure if figure is not None and math.isfinite(figure) else None


def read_figure(bucket: HistoryBucket, aggregate: str) -> float | int | None:
    """Return the figure of a bucket that `aggregate` names."""
    figure: float | int | None = getattr(bucket, AGGREGATES[aggregate])
    return figure
