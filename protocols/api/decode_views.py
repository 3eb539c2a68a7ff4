"""`POST /protocols/decode`, the codec bench for programs."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Codec, DeviceType, validate_key
from iiot_site.lib.serializers import StrictSerializer
from protocols.bench import ENCODINGS, decode_pasted
from protocols.types import Sample
from telemetry.qualities import QUALITY_NAMES


class FrameSerializer(StrictSerializer):
    codec = serializers.ChoiceField(choices=Codec.choices, default=Codec.AUTO)
    payload = serializers.CharField(trim_whitespace=False, help_text="The frame, written as `encoding` says.")
    encoding = serializers.ChoiceField(choices=list(ENCODINGS.items()), default="text")
    device = serializers.CharField(
        default="", allow_blank=True, validators=[validate_key], help_text="Key of the sender, which SenML and line protocol may name."
    )
    line_precision = serializers.ChoiceField(choices=DeviceType.LinePrecision.choices, default=DeviceType.LinePrecision.NANOSECONDS)


class SampleSerializer(serializers.Serializer[Sample]):
    metric = serializers.CharField()
    value = serializers.JSONField(allow_null=True, help_text="A number, a boolean or a text; null where the device has none.")
    time = serializers.DateTimeField(source="ts", allow_null=True, help_text="Null: the time of receipt.")
    quality = serializers.SerializerMethodField()
    unit = serializers.CharField()

    def get_quality(self, sample: Sample) -> str:
        """Name the quality."""
        return QUALITY_NAMES[sample.quality]


class DecodedSerializer(serializers.Serializer[Any]):
    """What a frame holds, before the device's metrics and the time policy judge it."""

    codec = serializers.CharField(help_text="The codec that read the frame; with `auto`, the one that was found.")
    samples = SampleSerializer(many=True)


class DecodeView(APIView):
    """Decodes a frame as the pipeline would; nothing is stored."""

    required_permissions = {"POST": "telemetry:read"}

    @extend_schema(
        request=FrameSerializer,
        responses=DecodedSerializer,
        examples=[
            OpenApiExample("JSON", {"payload": '{"temperature": 21.5}'}, request_only=True),
            OpenApiExample(
                "SenML in CBOR", {"codec": "senml", "encoding": "base64", "payload": "gaIAa3RlbXBlcmF0dXJlAvlNYA=="}, request_only=True
            ),
            OpenApiExample(
                "One value",
                {
                    "codec": "json",
                    "samples": [{"metric": "temperature", "value": 21.5, "time": None, "quality": "good", "unit": ""}],
                },
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Decode one frame; a frame that cannot be read answers with its error."""
        serializer = FrameSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        frame = decode_pasted(now=timezone.now(), **serializer.validated_data)
        return Response(DecodedSerializer(frame).data)
