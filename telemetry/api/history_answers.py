"""Answers to checked queries for history: a page as JSON, or all of it as a file."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from devices.models import Device, Metric
from iiot_site.lib.times import format_time
from iiot_site.lib.turns import count_as_long
from telemetry.api.parameters import MAX_POINTS_TOGETHER
from telemetry.api.streaming import file_name, stream_file
from telemetry.bucket_history import load_buckets, read_figure
from telemetry.buckets import Buckets, CalendarBuckets, FixedBuckets
from telemetry.curves import load_curve
from telemetry.export import Export, export_buckets, export_readings
from telemetry.export_formats import encode_csv, encode_parquet
from telemetry.qualities import QUALITY_NAMES
from telemetry.selectors import list_metrics, load_history
from telemetry.types import BucketQuery, HistoryBucket

SHORT_SPAN = timedelta(days=1)
ALWAYS_SHOWN = ("avg", "min", "max", "count")
FILES = {"csv": (encode_csv, "text/csv; charset=utf-8"), "parquet": (encode_parquet, "application/vnd.apache.parquet")}


def find_devices(ids: Sequence[UUID | str]) -> list[Device]:
    """Return the devices in this order, with what their history needs of type and site, or answer 404."""
    found = {device.uuid: device for device in Device.objects.select_related("device_type", "site").filter(uuid__in=ids)}
    if len(found) < len(ids):
        raise NotFound
    return sorted(found.values(), key=lambda device: device.key)


def answer_history(request: Request, devices: Sequence[Device], wanted: dict[str, Any]) -> Response | StreamingHttpResponse:
    """Answer a checked query for the history of a device, or for a file of several."""
    if _takes_long(wanted):
        count_as_long(request)
    if wanted["format"] == "json":
        return _answer_page(request, devices[0], wanted)
    keys = wanted.get("metric", [])
    encode, content_type = FILES[wanted["format"]]
    export = _export(devices, keys, wanted)
    names = [devices[0].key if len(devices) == 1 else f"{len(devices)}-devices", *keys[:3]]
    name = file_name(names, wanted["from"], wanted["to"], wanted["format"])
    return stream_file(request._request, encode(export.columns, export.batches), name=name, content_type=content_type)  # noqa: SLF001 - DRF's request wraps the one that knows the server


def _takes_long(wanted: dict[str, Any]) -> bool:
    """Tell whether much is read for the answer: a page of readings is found by its index, all else reads its whole span."""
    if wanted["format"] != "json":
        return True
    return ("bucket" in wanted or "points" in wanted) and wanted["to"] - wanted["from"] > SHORT_SPAN


def _export(devices: Sequence[Device], keys: list[str], wanted: dict[str, Any]) -> Export:
    if "bucket" not in wanted:
        return export_readings(devices=devices, metric_keys=keys, start=wanted["from"], end=wanted["to"])
    queries = [(device, _bucket_query(device, wanted)) for device in devices]
    return export_buckets(queries=queries, metric_keys=keys, aggregates=wanted["agg"], now=timezone.now())


def _answer_page(request: Request, device: Device, wanted: dict[str, Any]) -> Response:
    metrics = list_metrics(device, wanted.get("metric", ()))
    changes: dict[str, str] | None
    if "points" in wanted:
        results, changes = _curve_results(device, metrics, wanted), None
    elif "bucket" in wanted:
        results, changes = _bucket_results(device, metrics, wanted)
    else:
        page = load_history(
            device=device,
            metrics=metrics,
            start=wanted.get("from"),
            end=wanted.get("to"),
            limit=wanted["limit"],
            cursor=wanted.get("cursor"),
            newest_first=wanted["order"] == "desc",
        )
        results = [_point(device, p.metric, p.ts, p.value, p.quality) for p in page.points]
        changes = {"cursor": page.next_cursor} if page.next_cursor else None
    # Built by hand: a page has a thousand rows, and a serializer would cost more than the query.
    return Response({"results": results, "next": _next_address(request, changes)})


def _bucket_results(device: Device, metrics: list[Metric], wanted: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
    page = load_buckets(device=device, metrics=metrics, query=_bucket_query(device, wanted), now=timezone.now())
    changes = {"from": format_time(page.rest[0]), "to": format_time(page.rest[1])} if page.rest else None
    return [_bucket(device, bucket, wanted["agg"]) for bucket in page.buckets], changes


def _curve_results(device: Device, metrics: list[Metric], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the points of each metric's curve, by metric and time."""
    curves = [metric for metric in metrics if metric.data_type != Metric.DataType.TEXT]
    count = max(3, min(wanted["points"], MAX_POINTS_TOGETHER // max(1, len(curves))))
    results = []
    for metric in sorted(curves, key=lambda metric: metric.key):
        stretches = load_curve(device=device, metric=metric, start=wanted["from"], end=wanted["to"], count=count)
        for number, stretch in enumerate(stretches):
            if number and "fill" in wanted:
                results.append(_point(device, metric.key, stretch[0].ts - timedelta(milliseconds=1), None, None))
            results += [_point(device, metric.key, point.ts, point.value, point.quality) for point in stretch]
    return results


def _bucket_query(device: Device, wanted: dict[str, Any]) -> BucketQuery:
    return BucketQuery(
        start=wanted["from"],
        end=wanted["to"],
        buckets=_choose_buckets(device, wanted),
        aggregates=frozenset(wanted["agg"]),
        limit=wanted["limit"],
        newest_first=wanted["order"] == "desc",
        with_gaps="fill" in wanted,
    )


def _choose_buckets(device: Device, wanted: dict[str, Any]) -> Buckets:
    width = wanted["bucket"]
    if isinstance(width, timedelta):
        return FixedBuckets(width)
    return CalendarBuckets(width, wanted.get("tz") or ZoneInfo(device.site.timezone if device.site else "UTC"))


def _bucket(device: Device, bucket: HistoryBucket, aggregates: list[str]) -> dict[str, Any]:
    figures = {name: read_figure(bucket, name) for name in (*ALWAYS_SHOWN, *aggregates)}
    return {**_point(device, bucket.metric, bucket.ts, figures[aggregates[0]], bucket.quality), **figures}


def _point(device: Device, metric: str, ts: datetime, value: bool | float | str | None, quality: int | None) -> dict[str, Any]:
    named = None if quality is None else QUALITY_NAMES[quality]
    return {"device": str(device.uuid), "metric": metric, "time": format_time(ts), "value": value, "quality": named}


def _next_address(request: Request, changes: dict[str, str] | None) -> str | None:
    if changes is None:
        return None
    query = request.query_params.copy()
    for name, value in changes.items():
        query[name] = value
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
