"""Latest values, history and rejected messages."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import F
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from devices.models import Device, Metric
from iiot_site.lib.times import format_time
from telemetry.api.filters import RejectedMessageFilter
from telemetry.api.parameters import PARAMETER_EXAMPLES, DeviceHistoryParameters, HistoryParameters
from telemetry.api.serializers import QUALITY_NAMES, HistorySerializer, LatestSerializer, RejectedMessageSerializer
from telemetry.bucket_history import load_buckets, read_figure
from telemetry.buckets import Buckets, CalendarBuckets, FixedBuckets
from telemetry.models import Quality, RejectedMessage
from telemetry.selectors import list_latest, list_metrics, load_history
from telemetry.types import BucketQuery, HistoryBucket

ALWAYS_SHOWN = ("avg", "min", "max", "count")

POINT_EXAMPLE = OpenApiExample(
    "One page",
    {
        "results": [
            {
                "device": "0d9b3d3e-6b8d-4ac0-9d5e-0a3a3e8f9b10",
                "metric": "temperature",
                "time": "2026-11-20T08:00:00Z",
                "value": 21.5,
                "quality": "good",
            }
        ],
        "next": None,
    },
    response_only=True,
)
LATEST_EXAMPLE = OpenApiExample(
    "Latest values",
    {
        "results": [
            {
                "metric": "temperature",
                "name": "Oil temperature",
                "value": 21.5,
                "unit": "°C",
                "quality": "good",
                "time": "2026-11-20T08:00:00Z",
                "age_seconds": 1.2,
            }
        ]
    },
    response_only=True,
)


BUCKET_EXAMPLE = OpenApiExample(
    "Buckets (bucket=5m, agg=avg,max)",
    {
        "results": [
            {
                "device": "0d9b3d3e-6b8d-4ac0-9d5e-0a3a3e8f9b10",
                "metric": "temperature",
                "time": "2026-11-20T08:00:00Z",
                "value": 21.5,
                "quality": "good",
                "avg": 21.5,
                "min": 20.0,
                "max": 23.0,
                "count": 300,
            }
        ],
        "next": None,
    },
    response_only=True,
)


class DeviceLatestView(APIView):
    """The newest value of each metric of a device."""

    permission_resource = "telemetry"

    @extend_schema(responses=LatestSerializer, examples=[LATEST_EXAMPLE])
    def get(self, request: Request, id: str) -> Response:
        """Return the newest value (by source time) of each metric, with its age."""
        now = timezone.now()
        device = get_object_or_404(Device, uuid=id)
        results = [
            {
                "metric": latest.metric,
                "name": latest.name,
                "value": latest.value,
                "unit": latest.unit,
                "quality": Quality(latest.quality).label,
                "time": latest.ts,
                "age_seconds": round((now - latest.ts).total_seconds(), 3),
            }
            for latest in list_latest(device)
        ]
        return Response(LatestSerializer({"results": results}).data)


class DeviceHistoryView(APIView):
    """The history of a device that the path names."""

    permission_resource = "telemetry"

    @extend_schema(
        parameters=[HistoryParameters, *PARAMETER_EXAMPLES], responses=HistorySerializer, examples=[POINT_EXAMPLE, BUCKET_EXAMPLE]
    )
    def get(self, request: Request, id: str) -> Response:
        """Return stored values from `from` (inclusive) to `to` (exclusive), oldest first; with `bucket`, aggregated."""
        parameters = HistoryParameters(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        return answer_history(request, find_device(id), parameters.validated_data)


class HistoryView(APIView):
    """`GET /telemetry`. The app `protocols` routes it, because its `POST /telemetry` extends this view."""

    permission_resource = "telemetry"

    @extend_schema(
        parameters=[DeviceHistoryParameters, *PARAMETER_EXAMPLES], responses=HistorySerializer, examples=[POINT_EXAMPLE, BUCKET_EXAMPLE]
    )
    def get(self, request: Request) -> Response:
        """Return stored values from `from` (inclusive) to `to` (exclusive), oldest first; with `bucket`, aggregated."""
        parameters = DeviceHistoryParameters(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        return answer_history(request, find_device(parameters.validated_data["device"]), parameters.validated_data)


def find_device(uuid: object) -> Device:
    """Return the device with what its history needs of its type and site, or answer 404."""
    return get_object_or_404(Device.objects.select_related("device_type", "site"), uuid=uuid)


def answer_history(request: Request, device: Device, wanted: dict[str, Any]) -> Response:
    """Answer a checked query for history."""
    metrics = list_metrics(device, wanted.get("metric", ()))
    newest_first = wanted["order"] == "desc"
    if "bucket" in wanted:
        results, changes = _bucket_results(device, metrics, wanted)
    else:
        page = load_history(
            device=device,
            metrics=metrics,
            start=wanted.get("from"),
            end=wanted.get("to"),
            limit=wanted["limit"],
            cursor=wanted.get("cursor"),
            newest_first=newest_first,
        )
        results = [_point(device, p.metric, p.ts, p.value, p.quality) for p in page.points]
        changes = {"cursor": page.next_cursor} if page.next_cursor else None
    # Built by hand: a page has a thousand rows, and a serializer would cost more than the query.
    return Response({"results": results, "next": _next_address(request, changes)})


def _bucket_results(device: Device, metrics: list[Metric], wanted: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
    query = BucketQuery(
        start=wanted["from"],
        end=wanted["to"],
        buckets=_choose_buckets(device, wanted),
        aggregates=frozenset(wanted["agg"]),
        limit=wanted["limit"],
        newest_first=wanted["order"] == "desc",
        with_gaps="fill" in wanted,
    )
    page = load_buckets(device=device, metrics=metrics, query=query, now=timezone.now())
    changes = {"from": format_time(page.rest[0]), "to": format_time(page.rest[1])} if page.rest else None
    return [_bucket(device, bucket, wanted["agg"]) for bucket in page.buckets], changes


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


class RejectedMessageViewSet(ReadOnlyModelViewSet[RejectedMessage]):
    """Messages that were not stored, newest first, with the reason and what to change."""

    permission_resource = "telemetry"
    queryset = RejectedMessage.objects.select_related("device").order_by(F("received_at").desc(), "id")
    serializer_class = RejectedMessageSerializer
    filterset_class = RejectedMessageFilter
    search_fields = ["source", "detail"]
    ordering_fields = ["received_at"]
