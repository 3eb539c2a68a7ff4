"""A device's last raw frames."""

import base64
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Device
from protocols.frame_view import MAX_FRAMES, SeenFrame, view_frames
from telemetry.models import Quality

DEFAULT_FRAMES = 20


class FrameLimitSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_FRAMES, default=DEFAULT_FRAMES)


class FrameSampleSerializer(serializers.Serializer[Any]):
    metric = serializers.CharField()
    value = serializers.JSONField(allow_null=True, help_text="A number, true, false, a text, or null.")
    unit = serializers.CharField()
    time = serializers.DateTimeField(source="ts", allow_null=True, help_text="Null: the time of receipt counts.")
    quality = serializers.SerializerMethodField()

    def get_quality(self, sample: Any) -> str:
        """Return the quality as the device sent it."""
        return str(Quality(sample.quality).label)


class ProblemSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    detail = serializers.CharField()


class FrameSerializer(serializers.Serializer[Any]):
    time = serializers.DateTimeField(source="received_at")
    protocol = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # a field of this name; DRF keeps it apart from the attribute
    outcome = serializers.ChoiceField(["stored", "partly", "rejected"])
    problems = ProblemSerializer(many=True)
    codec = serializers.CharField(help_text="How it was read; empty where it could not be.")
    values = FrameSampleSerializer(many=True, source="samples")
    payload_base64 = serializers.SerializerMethodField(help_text="The first 4 KiB.")
    payload_bytes = serializers.IntegerField()

    def get_payload_base64(self, frame: SeenFrame) -> str:
        """Return the bytes as they came."""
        return base64.b64encode(frame.payload).decode()


class FramesSerializer(serializers.Serializer[Any]):
    is_collecting = serializers.BooleanField(help_text="Whether frames that come now are kept; those refused always are.")
    results = FrameSerializer(many=True, source="frames")


EXAMPLE = OpenApiExample(
    "A stored frame",
    {
        "is_collecting": True,
        "results": [
            {
                "time": "2026-11-20T08:00:00Z",
                "protocol": "mqtt",
                "source": "t/acme/pump-7/telemetry",
                "outcome": "stored",
                "problems": [],
                "codec": "json",
                "values": [{"metric": "temperature", "value": 21.5, "unit": "", "time": None, "quality": "good"}],
                "payload_base64": "eyJ0ZW1wZXJhdHVyZSI6IDIxLjV9",
                "payload_bytes": 21,
            }
        ],
    },
    response_only=True,
)


class DeviceFramesView(APIView):
    """The device's last frames with what was read from them."""

    permission_resource = "telemetry"

    @extend_schema(
        parameters=[OpenApiParameter("limit", int, description=f"1 to {MAX_FRAMES}, {DEFAULT_FRAMES} if left out.")],
        responses=FramesSerializer,
        examples=[EXAMPLE],
    )
    def get(self, request: Request, id: str) -> Response:
        """Return the last frames, newest first. Stored ones are kept only while somebody asks: ask again within two minutes."""
        parameters = FrameLimitSerializer(data=request.query_params)
        parameters.is_valid(raise_exception=True)
        view = view_frames(device=get_object_or_404(Device, uuid=id), limit=parameters.validated_data["limit"])
        return Response(FramesSerializer(view).data)
