"""A device's health."""

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Device
from protocols.called_devices import load_health


class FindingSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    level = serializers.ChoiceField(["problem", "warning"])
    text = serializers.CharField()


class LastErrorSerializer(serializers.Serializer[Any]):
    time = serializers.DateTimeField(source="received_at")
    reason = serializers.CharField()
    detail = serializers.CharField()


class DeviceHealthSerializer(serializers.Serializer[Any]):
    """Shares and counts are of the last 24 hours; null where nothing is known."""

    status = serializers.ChoiceField(Device.Status.choices, source="figures.status")
    silent_since = serializers.DateTimeField(allow_null=True)
    status_changes = serializers.IntegerField(source="figures.status_changes", help_text="How often it came or went.")
    bad_share = serializers.FloatField(source="figures.bad_share", allow_null=True, help_text="Of its metrics' minutes, 0 to 1.")
    uncertain_share = serializers.FloatField(source="figures.uncertain_share", allow_null=True)
    clock_skew_seconds = serializers.FloatField(
        source="figures.clock_skew_seconds",
        allow_null=True,
        help_text="Median of receipt less source time.",
    )
    rejected = serializers.IntegerField(source="figures.rejected")
    rejected_by_reason = serializers.DictField(child=serializers.IntegerField())
    next_expiry_at = serializers.DateTimeField(
        source="figures.next_expiry_at", allow_null=True, help_text="Of its credentials, for those who may read them."
    )
    last_errors = LastErrorSerializer(many=True)
    findings = FindingSerializer(many=True)


EXAMPLE = OpenApiExample(
    "A device with a slow clock",
    {
        "status": "online",
        "silent_since": None,
        "status_changes": 2,
        "bad_share": 0.0,
        "uncertain_share": 0.01,
        "clock_skew_seconds": 95.2,
        "rejected": 1,
        "rejected_by_reason": {"not_json": 1},
        "next_expiry_at": None,
        "last_errors": [{"time": "2026-11-20T08:00:00Z", "reason": "not_json", "detail": "The payload is not JSON."}],
        "findings": [{"code": "clock_skew", "level": "warning", "text": "Its clock is 95 s behind, or its values come late: …"}],
    },
    response_only=True,
)


class DeviceHealthView(APIView):
    """How a device has been doing."""

    permission_resource = "telemetry"

    @extend_schema(responses=DeviceHealthSerializer, examples=[EXAMPLE])
    def get(self, request: Request, id: str) -> Response:
        """Return what was measured over the last 24 hours, and what is worth a look."""
        device = get_object_or_404(Device, uuid=id)
        health = load_health(device=device, permissions=request.principal.permissions, now=timezone.now())  # type: ignore[attr-defined]  # set by authentication
        return Response(DeviceHealthSerializer(health).data)
