"""Whole histories, in batches of rows that fit into memory: each batch is a query of its own, no cursor stays open."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection

from devices.models import Device, Metric
from telemetry.bucket_history import load_buckets, read_figure
from telemetry.export_formats import Column, Kind
from telemetry.qualities import QUALITY_NAMES
from telemetry.selectors import list_metrics
from telemetry.types import BucketQuery, HistoryBucket

ROWS_AT_ONCE = 20_000

_PAGE_SQL = """
SELECT ts, value, quality FROM {table}
WHERE device_id = %s AND metric_id = %s AND ts >= %s AND ts < %s AND (%s::timestamptz IS NULL OR ts > %s) ORDER BY ts LIMIT %s
"""
_NUMBERS_SQL = _PAGE_SQL.format(table="telemetry_reading")
_TEXTS_SQL = _PAGE_SQL.format(table="telemetry_textreading")

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Export:
    """What goes into a file: rows of these columns, in batches."""

    columns: Sequence[Column]
    batches: Iterator[Rows]


def export_readings(*, devices: Sequence[Device], metric_keys: Sequence[str], start: datetime, end: datetime) -> Export:
    """Return what was stored from `start` (inclusive) to `end` (exclusive), by device, metric and time. Booleans are 0 and 1."""
    columns = [
        Column("device", Kind.TEXT),
        Column("metric", Kind.TEXT),
        Column("time", Kind.TIME),
        Column("value", Kind.NUMBER),
        Column("text", Kind.TEXT),
        Column("quality", Kind.TEXT),
    ]
    return Export(columns, _reading_batches(devices, metric_keys, start, end))


def export_buckets(
    *, queries: Sequence[tuple[Device, BucketQuery]], metric_keys: Sequence[str], aggregates: Sequence[str], now: datetime
) -> Export:
    """Return buckets with the figures that `aggregates` name, by device and time."""
    figures = [Column(name, Kind.INTEGER if name == "count" else Kind.NUMBER) for name in aggregates]
    columns = [Column("device", Kind.TEXT), Column("metric", Kind.TEXT), Column("time", Kind.TIME), *figures, Column("quality", Kind.TEXT)]
    return Export(columns, _bucket_batches(queries, metric_keys, aggregates, now))


def _reading_batches(devices: Sequence[Device], metric_keys: Sequence[str], start: datetime, end: datetime) -> Iterator[Rows]:
    for device in devices:
        for metric in sorted(list_metrics(device, metric_keys), key=lambda metric: metric.key):
            yield from _series_batches(device, metric, start, end)


def _series_batches(device: Device, metric: Metric, start: datetime, end: datetime) -> Iterator[Rows]:
    is_text = metric.data_type == Metric.DataType.TEXT
    after: datetime | None = None
    while True:
        with connection.cursor() as cursor:
            bounds: list[Any] = [device.id, metric.id, after or start, end, after, after, ROWS_AT_ONCE]
            cursor.execute(_TEXTS_SQL if is_text else _NUMBERS_SQL, bounds)
            found = cursor.fetchall()
        if not found:
            return
        key, name = device.key, metric.key
        if is_text:
            yield [(key, name, ts, None, value, QUALITY_NAMES[quality]) for ts, value, quality in found]
        else:
            yield [(key, name, ts, value, None, QUALITY_NAMES[quality]) for ts, value, quality in found]
        if len(found) < ROWS_AT_ONCE:
            return
        after = found[-1][0]


def _bucket_batches(
    queries: Sequence[tuple[Device, BucketQuery]], metric_keys: Sequence[str], aggregates: Sequence[str], now: datetime
) -> Iterator[Rows]:
    for device, query in queries:
        metrics = list_metrics(device, metric_keys)
        rest: tuple[datetime, datetime] | None = (query.start, query.end)
        while rest is not None:
            page = load_buckets(device=device, metrics=metrics, query=replace(query, start=rest[0], end=rest[1]), now=now)
            rest = page.rest
            yield [_bucket_row(device.key, bucket, aggregates) for bucket in page.buckets]


def _bucket_row(key: str, bucket: HistoryBucket, aggregates: Sequence[str]) -> tuple[Any, ...]:
    quality = None if bucket.quality is None else QUALITY_NAMES[bucket.quality]
    return (key, bucket.metric, bucket.ts, *[read_figure(bucket, name) for name in aggregates], quality)
