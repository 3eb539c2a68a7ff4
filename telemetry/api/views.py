"""Latest values, history and rejected messages."""

from django.db.models import F
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from devices.models import Device
from telemetry.api.filters import RejectedMessageFilter
from telemetry.api.history_answers import answer_history, find_devices
from telemetry.api.negotiation import FormatIsAParameter
from telemetry.api.parameters import DEVICE_EXAMPLE, PARAMETER_EXAMPLES, DeviceHistoryParameters, HistoryParameters
from telemetry.api.serializers import HistorySerializer, LatestSerializer, RejectedMessageSerializer
from telemetry.models import Quality, RejectedMessage
from telemetry.selectors import list_latest

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


HISTORY_ANSWERS = {
    (200, "application/json"): HistorySerializer,
    (200, "text/csv"): OpenApiTypes.STR,
    (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
}
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
HISTORY_EXAMPLES = [POINT_EXAMPLE, BUCKET_EXAMPLE]


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
    content_negotiation_class = FormatIsAParameter

    @extend_schema(parameters=[HistoryParameters, *PARAMETER_EXAMPLES], responses=HISTORY_ANSWERS, examples=HISTORY_EXAMPLES)
    def get(self, request: Request, id: str) -> Response | StreamingHttpResponse:
        """Return stored values from `from` (inclusive) to `to` (exclusive); with `bucket`, aggregated; with `format`, as a file."""
        parameters = HistoryParameters(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        return answer_history(request, find_devices([id]), parameters.validated_data)


class HistoryView(APIView):
    """`GET /telemetry`. The app `protocols` routes it, because its `POST /telemetry` extends this view."""

    permission_resource = "telemetry"
    content_negotiation_class = FormatIsAParameter

    @extend_schema(
        parameters=[DeviceHistoryParameters, DEVICE_EXAMPLE, *PARAMETER_EXAMPLES],
        responses=HISTORY_ANSWERS,
        examples=HISTORY_EXAMPLES,
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        """Return stored values from `from` (inclusive) to `to` (exclusive); with `bucket`, aggregated; with `format`, as a file."""
        parameters = DeviceHistoryParameters(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        return answer_history(request, find_devices(parameters.validated_data["device"]), parameters.validated_data)


class RejectedMessageViewSet(ReadOnlyModelViewSet[RejectedMessage]):
    """Messages that were not stored, newest first, with the reason and what to change."""

    permission_resource = "telemetry"
    queryset = RejectedMessage.objects.select_related("device").order_by(F("received_at").desc(), "id")
    serializer_class = RejectedMessageSerializer
    filterset_class = RejectedMessageFilter
    search_fields = ["source", "detail"]
    ordering_fields = ["received_at"]
