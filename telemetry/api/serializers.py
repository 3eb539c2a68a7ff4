"""Shapes of latest values, history and rejected messages in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from telemetry.models import RejectedMessage
from telemetry.qualities import QUALITY_NAMES


@extend_schema_field({"oneOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string"}]})
class ValueField(serializers.Field[Any, Any, Any, Any]):
    """A number, a boolean or a text; of a bucket always a number."""

    def to_representation(self, value: Any) -> Any:
        return value


class LatestValueSerializer(serializers.Serializer[Any]):
    metric = serializers.CharField()
    name = serializers.CharField()
    value = ValueField()
    unit = serializers.CharField()
    quality = serializers.ChoiceField(choices=QUALITY_NAMES)
    time = serializers.DateTimeField()
    age_seconds = serializers.FloatField()


class LatestSerializer(serializers.Serializer[Any]):
    results = LatestValueSerializer(many=True)


class PointSerializer(serializers.Serializer[Any]):
    """With `bucket`: `value` is what `agg` names first, `quality` the worst in the bucket, and avg, min, max and count are there too."""

    device = serializers.UUIDField()
    metric = serializers.CharField()
    time = serializers.DateTimeField(help_text="Source time; of a bucket when it begins.")
    value = ValueField(allow_null=True)
    quality = serializers.ChoiceField(choices=QUALITY_NAMES, allow_null=True)
    avg = serializers.FloatField(required=False, allow_null=True)
    min = serializers.FloatField(required=False, allow_null=True)
    max = serializers.FloatField(required=False, allow_null=True)
    count = serializers.IntegerField(required=False)
    sum = serializers.FloatField(required=False, allow_null=True, help_text="This and the following: where `agg` names them.")
    first = serializers.FloatField(required=False, allow_null=True)
    last = serializers.FloatField(required=False, allow_null=True)
    time_weighted = serializers.FloatField(required=False, allow_null=True)
    increase = serializers.FloatField(required=False, allow_null=True)


class HistorySerializer(serializers.Serializer[Any]):
    results = PointSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="Address of the next page, or null.")


class RejectedMessageSerializer(serializers.ModelSerializer[RejectedMessage]):
    device = serializers.SerializerMethodField()
    payload = serializers.SerializerMethodField(help_text="The first 4 KiB; bytes that are no UTF-8 are shown as \\xNN.")

    class Meta:
        model = RejectedMessage
        fields = ["id", "received_at", "protocol", "source", "device", "reason", "detail", "payload", "payload_bytes"]
        read_only_fields = fields

    @extend_schema_field({"type": "object", "nullable": True, "properties": {"id": {"type": "string"}, "name": {"type": "string"}}})
    def get_device(self, message: RejectedMessage) -> dict[str, str] | None:
        return {"id": str(message.device.uuid), "name": message.device.name} if message.device else None

    def get_payload(self, message: RejectedMessage) -> str:
        return bytes(message.payload).decode("utf-8", "backslashreplace")
