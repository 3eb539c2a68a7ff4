"""The ingest ledger over the API, as JSON and as CSV."""

import csv
import io
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from iiot_site.lib.serializers import ChoiceNamingSerializer
from iiot_site.lib.turns import count_as_long
from telemetry.api.parameters import MomentField
from telemetry.ledger import BUCKETS, load_ledger

MAX_LEDGER_BUCKETS = 10_000
SHORT_LEDGER_BUCKETS = 1_000
COUNTS = ("received", "stored", "duplicate", "rejected", "messages", "messages_repeated", "messages_rejected")
COLUMNS = ("time", "listener", *COUNTS, "rejected_by_reason", "adds_up")

LEDGER_EXAMPLE = OpenApiExample(
    "One hour",
    {
        "results": [
            {
                "time": "2026-11-20T08:00:00Z",
                "listener": "mqtt",
                "received": 1204,
                "stored": 1200,
                "duplicate": 3,
                "rejected": 1,
                "messages": 402,
                "messages_repeated": 1,
                "messages_rejected": 1,
                "rejected_by_reason": {"malformed_json": 1},
                "adds_up": True,
            }
        ]
    },
    response_only=True,
)


class LedgerParameters(ChoiceNamingSerializer):
    """`from`, `to`, `listener` and `bucket` of a query for the ledger."""

    to = MomentField(required=False, help_text="Before this time (exclusive); now without it. ISO 8601 or ms since 1970.")
    listener = serializers.CharField(required=False, max_length=20, default="", help_text="Such as mqtt or http. Left out: all.")
    bucket = serializers.ChoiceField(
        required=False,
        choices=tuple(BUCKETS),
        default="hour",
        help_text="Hours and days are UTC. Of minutes older than 35 days there are hours.",
    )

    def get_fields(self) -> dict[str, Any]:
        """Add `from`, which is no name that Python lets a class have."""
        start = MomentField(required=False, help_text="From this time on (inclusive); a day before `to` without it.")
        return {**super().get_fields(), "from": start}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        end = attrs.setdefault("to", timezone.now())
        try:
            start = attrs.setdefault("from", end - timedelta(days=1))
        except OverflowError:
            raise serializers.ValidationError({"to": ["This is too long ago."]}) from None
        if start > end:
            raise serializers.ValidationError({"from": ["This must not be after `to`."]})
        if (end - start) / BUCKETS[attrs["bucket"]] > MAX_LEDGER_BUCKETS:
            raise serializers.ValidationError({"bucket": [f"These would be more than {MAX_LEDGER_BUCKETS} buckets. Make them wider."]})
        return attrs


class LedgerRowSerializer(serializers.Serializer[Any]):
    """One listener over one span: `received` = `stored` + `duplicate` + `rejected`, in values."""

    time = serializers.DateTimeField()
    listener = serializers.CharField()
    received = serializers.IntegerField(help_text="Values; a message that was refused as a whole counts as one.")
    stored = serializers.IntegerField()
    duplicate = serializers.IntegerField(help_text="Stored before: same device, metric and time, or sent again by the broker.")
    rejected = serializers.IntegerField()
    messages = serializers.IntegerField()
    messages_repeated = serializers.IntegerField(help_text="Recognised as sent again by the broker.")
    messages_rejected = serializers.IntegerField(help_text="Nothing of them was accepted.")
    rejected_by_reason = serializers.DictField(child=serializers.IntegerField())
    adds_up = serializers.BooleanField()


class LedgerSerializer(serializers.Serializer[Any]):
    results = LedgerRowSerializer(many=True)


class LedgerCsvRenderer(BaseRenderer):
    """`format=csv`: a row per span and listener; the reasons in one column, as `reason=count` with blanks between."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if "results" not in data:
            return JSONRenderer().render(data)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        for row in data["results"]:
            reasons = " ".join(f"{reason}={count}" for reason, count in sorted(row["rejected_by_reason"].items()))
            writer.writerow({**row, "rejected_by_reason": reasons})
        return text.getvalue().encode()


class LedgerView(APIView):
    """What became of everything that came in."""

    permission_resource = "telemetry"
    renderer_classes = (JSONRenderer, LedgerCsvRenderer)

    @extend_schema(
        parameters=[LedgerParameters, OpenApiParameter("format", OpenApiTypes.STR, enum=["json", "csv"])],
        responses=LedgerSerializer,
        examples=[LEDGER_EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """Return received, stored, duplicate and rejected values per listener and span, oldest first."""
        parameters = LedgerParameters(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        wanted = parameters.validated_data
        if (wanted["to"] - wanted["from"]) / BUCKETS[wanted["bucket"]] > SHORT_LEDGER_BUCKETS:
            count_as_long(request)
        rows = load_ledger(start=wanted["from"], end=wanted["to"], bucket=wanted["bucket"], listener=wanted["listener"])
        return Response(LedgerSerializer({"results": rows}).data)
