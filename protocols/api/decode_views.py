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
from protocols.bench import ENCODINGS, JudgedFrame, JudgedSample, judge_pasted
from telemetry.qualities import QUALITY_NAMES


class FrameSerializer(StrictSerializer):
    codec = serializers.ChoiceField(choices=Codec.choices, default=Codec.AUTO)
    payload = serializers.CharField(trim_whitespace=False, help_text="The frame, written as `encoding` says.")
    encoding = serializers.ChoiceField(choices=list(ENCODINGS.items()), default="text")
    device = serializers.CharField(
        default="", allow_blank=True, validators=[validate_key], help_text="Key of the sender, for which the values are judged."
    )
    line_precision = serializers.ChoiceField(choices=DeviceType.LinePrecision.choices, default=DeviceType.LinePrecision.NANOSECONDS)


class RefusalSerializer(serializers.Serializer[Any]):
    """Why something would not be stored, in the pipeline's words."""

    reason = serializers.CharField()
    detail = serializers.CharField()


class SampleSerializer(serializers.Serializer[JudgedSample]):
    metric = serializers.CharField(source="sample.metric")
    value = serializers.JSONField(
        source="sample.value", allow_null=True, help_text="A number, a boolean or a text; null where the device has none."
    )
    time = serializers.DateTimeField(source="sample.ts", allow_null=True, help_text="Null: the time of receipt.")
    quality = serializers.SerializerMethodField()
    unit = serializers.CharField(source="sample.unit")
    refusal = RefusalSerializer(allow_null=True)

    def get_quality(self, judged: JudgedSample) -> str:
        """Name the quality."""
        return QUALITY_NAMES[judged.quality]


class DecodedSerializer(serializers.Serializer[JudgedFrame]):
    """What a frame holds, and what the pipeline would say to it."""

    codec = serializers.CharField(help_text="The codec that read the frame; with `auto`, the one that was found.")
    samples = SampleSerializer(many=True)
    refusal = RefusalSerializer(allow_null=True, help_text="Why the whole message would be refused, such as `unknown_device`.")
    unchecked = serializers.CharField(help_text="What was not judged because no device was named; else empty.")


class DecodeView(APIView):
    """Decodes and judges a frame as the pipeline would; nothing is stored."""

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
                    "samples": [{"metric": "temperature", "value": 21.5, "time": None, "quality": "good", "unit": "", "refusal": None}],
                    "refusal": None,
                    "unchecked": "",
                },
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Decode one frame; a frame that cannot be read answers with its error."""
        serializer = FrameSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        frame = judge_pasted(now=timezone.now(), **serializer.validated_data)
        return Response(DecodedSerializer(frame).data)
