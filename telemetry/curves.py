"""A series as a curve of about as many points as a screen shows. Every point is one that was stored.

Where there are many more, the oldest, newest, lowest and highest of each of as many equal spans are taken first (M4: Jugel et
al., VLDB 2014), from the roll-ups where these are; the points are chosen from those (see `telemetry.downsample`).
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import connection

from devices.models import Device, Metric
from telemetry.bucket_history import gap_after
from telemetry.bucket_sources import build_parts
from telemetry.buckets import EPOCH, FixedBuckets, list_edges
from telemetry.downsample import choose_points, share_points, split_at_gaps, widen_gap
from telemetry.rollup_plan import HOUR, MINUTE
from telemetry.types import NumberPoint

FEW = 4  # readings for each point wanted; with more than this, spans are looked at instead

_READINGS_SQL = """
SELECT ts, value, quality FROM telemetry_reading
WHERE device_id = %(device)s AND metric_id = %(metric)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts LIMIT %(limit)s
"""
_SPANS_SQL = """
SELECT sum(n), max(quality),
    min(first_at), (array_agg(first_value))[array_position(array_agg(first_at), min(first_at))],
    max(last_at), (array_agg(last_value))[array_position(array_agg(last_at), max(last_at))],
    (array_agg(low_at))[array_position(array_agg(low), min(low))], min(low),
    (array_agg(high_at))[array_position(array_agg(high), max(high))], max(high)
FROM ({parts}) AS parts GROUP BY date_bin(%(width)s, ts, %(origin)s) ORDER BY 3
"""


@dataclass(frozen=True, slots=True)
class _Span:
    """What stands for one span: some of its points, oldest first, and how far apart its readings are on average."""

    points: list[NumberPoint]
    step: float | None


def load_curve(*, device: Device, metric: Metric, start: datetime, end: datetime, count: int) -> list[list[NumberPoint]]:
    """Return about `count` points of [start, end), oldest first, in stretches with a gap between them.

    A gap is as in `telemetry.bucket_history`, but at least five usual steps long. Where spans stand for many readings,
    a point's quality is the worst of its span. A text metric has no curve.
    """
    if start >= end or metric.data_type == Metric.DataType.TEXT:
        return []
    spans = _load_readings(device, metric, start, end, FEW * count) or _load_spans(device, metric, start, end, count)
    return _thin_out(spans, count, gap_after(metric, device).total_seconds())


def _thin_out(spans: list[_Span], count: int, gap: float) -> list[list[NumberPoint]]:
    steps = [span.step for span in spans if span.step is not None]
    gap = widen_gap(gap, steps)
    starts = [span.points[0].ts.timestamp() for span in spans]
    stretches = split_at_gaps(starts, [span.points[-1].ts.timestamp() for span in spans], gap=gap)
    curves = [[point for i in stretch for point in spans[i].points] for stretch in stretches]
    shares = share_points([len(curve) for curve in curves], count=count) if curves else []
    chosen = []
    for curve, share in zip(curves, shares, strict=True):
        kept = choose_points([point.ts.timestamp() for point in curve], [point.value for point in curve], count=share)
        chosen.append([curve[i] for i in kept])
    return chosen


def _load_readings(device: Device, metric: Metric, start: datetime, end: datetime, limit: int) -> list[_Span]:
    """Return the readings, each as a span of its own; nothing where there are more than `limit`."""
    facts: dict[str, Any] = {"device": device.id, "metric": metric.id, "start": start, "end": end, "limit": limit + 1}
    with connection.cursor() as cursor:
        cursor.execute(_READINGS_SQL, facts)
        points = [NumberPoint(*row) for row in cursor.fetchall()]
    if len(points) > limit:
        return []
    steps = [None, *((b.ts - a.ts).total_seconds() for a, b in pairwise(points))]
    return [_Span([point], step) for point, step in zip(points, steps, strict=False)]


def _load_spans(device: Device, metric: Metric, start: datetime, end: datetime, count: int) -> list[_Span]:
    width = _span_width((end - start) / count)
    edges = list_edges(FixedBuckets(width), start=start, end=end)
    parts, facts = build_parts(device_id=device.id, metric_ids=[metric.id], start=start, end=end, edges=edges)
    facts |= {"width": width, "origin": EPOCH}
    with connection.cursor() as cursor:
        cursor.execute(_SPANS_SQL.format(parts=parts), facts)
        rows = cursor.fetchall()
    spans = []
    for n, quality, *corners in rows:
        first_at, last_at = corners[0], corners[2]
        points = dict(sorted(zip(corners[::2], corners[1::2], strict=True)))
        step = (last_at - first_at).total_seconds() / (n - 1) if n > 1 else None
        spans.append(_Span([NumberPoint(ts, value, quality) for ts, value in points.items()], step))
    return spans


def _span_width(least: timedelta) -> timedelta:
    """Return a width of whole hours or minutes where it is that long, so that roll-ups serve."""
    for unit in (HOUR, MINUTE, timedelta(seconds=1)):
        if least >= unit:
            return unit * math.ceil(least / unit)
    return timedelta(seconds=1)
