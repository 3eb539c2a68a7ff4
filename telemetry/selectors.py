"""Reads: latest values and history as it was stored. In buckets: `telemetry.bucket_history`."""

import base64
import binascii
import heapq
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q

from devices.models import Device, Metric
from telemetry.errors import InvalidCursorError
from telemetry.models import LatestReading
from telemetry.types import HistoryPage, HistoryPoint, LatestValue, NumberOrText, NumberPoint, as_shown

MAX_LIMIT = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)
_END = datetime(9999, 12, 30, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# One index scan per metric, each cut at the limit; together never more than the page needs of each.
_HISTORY_SQL = """
SELECT r.ts, m.id, r.value, r.quality
FROM unnest(%(metrics)s::smallint[]) AS m(id) CROSS JOIN LATERAL (
    SELECT ts, value, quality FROM {table}
    WHERE device_id = %(device)s AND metric_id = m.id AND {{bounds}}
    ORDER BY ts {{order}} LIMIT %(limit)s
) r ORDER BY r.ts {{order}}, m.id {{order}} LIMIT %(limit)s
"""
_OLDEST_FIRST = {"bounds": "ts >= %(start)s AND ts < %(end)s AND NOT (ts = %(start)s AND m.id <= %(after_metric)s)", "order": "ASC"}
_NEWEST_FIRST = {"bounds": "ts >= %(start)s AND ts <= %(end)s AND NOT (ts = %(end)s AND m.id >= %(after_metric)s)", "order": "DESC"}
_NUMBERS_SQL = _HISTORY_SQL.format(table="telemetry_reading")
_TEXTS_SQL = _HISTORY_SQL.format(table="telemetry_textreading")

# One index scan per series, from where its reader stopped.
_NUMBERS_AFTER_SQL = """
SELECT s.device_id, s.metric_id, r.ts, r.value, r.quality
FROM unnest(%s::integer[], %s::smallint[], %s::timestamptz[]) AS s(device_id, metric_id, after) CROSS JOIN LATERAL (
    SELECT ts, value, quality FROM telemetry_reading
    WHERE device_id = s.device_id AND metric_id = s.metric_id AND ts > s.after AND quality < %s
    ORDER BY ts LIMIT %s
) r
"""
# The newest value tells most; where that is later, what was stored in the day before.
_VALUES_BEFORE_SQL = """
SELECT w.place, coalesce(n.ts, t.ts, l.ts), coalesce(n.value, l.value), coalesce(t.value, l.text)
FROM unnest(%(places)s::integer[], %(devices)s::integer[], %(metrics)s::integer[], %(times)s::timestamptz[])
    AS w(place, device_id, metric_id, ts)
JOIN telemetry_latestreading AS l ON l.device_id = w.device_id AND l.metric_id = w.metric_id
LEFT JOIN LATERAL (
    SELECT ts, value FROM telemetry_reading AS r WHERE l.ts > w.ts AND l.text IS NULL
    AND r.device_id = w.device_id AND r.metric_id = w.metric_id AND r.ts <= w.ts AND r.ts > w.ts - %(back)s ORDER BY ts DESC LIMIT 1
) AS n ON TRUE
LEFT JOIN LATERAL (
    SELECT ts, value FROM telemetry_textreading AS r WHERE l.ts > w.ts AND l.text IS NOT NULL
    AND r.device_id = w.device_id AND r.metric_id = w.metric_id AND r.ts <= w.ts AND r.ts > w.ts - %(back)s ORDER BY ts DESC LIMIT 1
) AS t ON TRUE
WHERE coalesce(n.ts, t.ts, l.ts) <= w.ts
"""
_LOOK_BACK = timedelta(days=1)


def list_latest(device: Device) -> list[LatestValue]:
    """Return the newest value of each metric of the device, by metric key, in one query."""
    rows = LatestReading.objects.filter(device=device).select_related("metric").order_by("metric__key")
    return [LatestValue(row.metric.key, row.metric.name, _shown(row), row.metric.unit, row.quality, row.ts) for row in rows]


def _shown(row: LatestReading) -> bool | float | str:
    return as_shown(row.value, row.text, is_boolean=row.metric.data_type == Metric.DataType.BOOLEAN)


def list_metrics(device: Device, keys: Collection[str] = ()) -> list[Metric]:
    """Return the metrics that the device may have readings of: its type's, and those it once sent as another type."""
    metrics = Metric.objects.filter(
        Q(device_type_id=device.device_type_id) | Q(id__in=LatestReading.objects.filter(device=device).values("metric_id"))
    )
    return list(metrics.filter(key__in=keys) if keys else metrics)


def load_history(
    *,
    device: Device,
    metrics: Sequence[Metric],
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = MAX_LIMIT,
    cursor: str | None = None,
    newest_first: bool = False,
) -> HistoryPage:
    """Return what was stored from `start` (inclusive) to `end` (exclusive), `limit` points at most.

    Raises:
        InvalidCursorError: `cursor` is not the `next_cursor` of an earlier page.
    """
    limit = min(limit, MAX_LIMIT)
    bounds: dict[str, Any] = {"device": device.id, "start": start or _BEGINNING, "end": end or _END, "after_metric": 0, "limit": limit + 1}
    if cursor:
        ts, bounds["after_metric"] = _decode_cursor(cursor)
        bounds |= {"end": min(ts, bounds["end"])} if newest_first else {"start": max(ts, bounds["start"])}
    keys = {metric.id: metric.key for metric in metrics}
    order = _NEWEST_FIRST if newest_first else _OLDEST_FIRST
    texts = [metric.id for metric in metrics if metric.data_type == Metric.DataType.TEXT]
    numbers = [metric.id for metric in metrics if metric.data_type != Metric.DataType.TEXT]
    both = _fetch(_NUMBERS_SQL.format(**order), numbers, bounds), _fetch(_TEXTS_SQL.format(**order), texts, bounds)
    rows = list(heapq.merge(*both, key=lambda row: row[:2], reverse=newest_first))
    booleans = {metric.id for metric in metrics if metric.data_type == Metric.DataType.BOOLEAN}
    points = [
        HistoryPoint(keys[metric_id], ts, value != 0 if metric_id in booleans else value, quality)
        for ts, metric_id, value, quality in rows[:limit]
    ]
    is_last = len(rows) <= limit
    return HistoryPage(points, None if is_last else _encode_cursor(rows[limit - 1][0], rows[limit - 1][1]))


def load_numbers_after(
    after: Mapping[tuple[int, int], datetime], *, better_than: int, limit: int
) -> dict[tuple[int, int], list[NumberPoint]]:
    """Return for each (device id, metric id) the numbers after its time, oldest first, `limit` of each at most, in one query.

    Only numbers of a quality `better_than` that count. A series without any is left out.
    """
    points: dict[tuple[int, int], list[NumberPoint]] = {}
    devices, metrics = [device_id for device_id, _ in after], [metric_id for _, metric_id in after]
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS_AFTER_SQL, [devices, metrics, list(after.values()), better_than, limit])
        for device_id, metric_id, *point in cursor.fetchall():
            points.setdefault((device_id, metric_id), []).append(NumberPoint(*point))
    return points


def find_values_before(wanted: Mapping[int, tuple[int, int, datetime]]) -> dict[int, tuple[datetime, NumberOrText]]:
    """Return by place the value that each (device id, metric id, time) had then, with its own time; none where there was none.

    Of series that went on since, only what was stored within the day before is found.
    """
    if not wanted:
        return {}
    devices, metrics, times = (list(column) for column in zip(*wanted.values(), strict=True))
    facts: dict[str, Any] = {"places": list(wanted), "devices": devices, "metrics": metrics, "times": times, "back": _LOOK_BACK}
    with connection.cursor() as cursor:
        cursor.execute(_VALUES_BEFORE_SQL, facts)
        return {place: (ts, value if text is None else text) for place, ts, value, text in cursor.fetchall()}


def _fetch(sql: str, metric_ids: Collection[int], bounds: dict[str, Any]) -> list[tuple[Any, ...]]:
    if not metric_ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, {**bounds, "metrics": list(metric_ids)})
        return list(cursor.fetchall())


def _encode_cursor(ts: datetime, metric_id: int) -> str:
    return base64.urlsafe_b64encode(f"{(ts - _EPOCH) // _MICROSECOND}.{metric_id}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> tuple[datetime, int]:
    try:
        microseconds, metric_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(".")
        return _EPOCH + int(microseconds) * _MICROSECOND, int(metric_id)
    except (ValueError, OverflowError, binascii.Error) as exc:
        raise InvalidCursorError("This cursor is not from an earlier answer. Start without one.") from exc
