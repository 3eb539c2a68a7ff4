"""Query parameters of the history: checked, and turned into plain values."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from telemetry.selectors import MAX_LIMIT

AGGREGATES = ("avg", "min", "max", "count")
MAX_BUCKETS = 50_000
# Far beyond any reading, and near enough that adding a page of the widest buckets stays in the calendar.
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(3000, 1, 1, tzinfo=UTC)


@extend_schema_field(OpenApiTypes.STR)
class MomentField(serializers.Field[datetime, str, str, Any]):
    """A time as ISO 8601 (UTC where it names no zone) or as milliseconds since 1970."""

    default_error_messages = {
        "invalid": "Use ISO 8601 or milliseconds since 1970.",
        "out_of_range": "Use a time from 1970 to 2999.",
    }

    def to_internal_value(self, data: Any) -> datetime:
        try:
            moment = _read_moment(str(data))
        except (ValueError, OverflowError):
            self.fail("invalid")
        if not FIRST_MOMENT <= moment < LAST_MOMENT:
            self.fail("out_of_range")
        return moment

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


def _read_moment(text: str) -> datetime:
    if text.lstrip("-").isdecimal():
        return FIRST_MOMENT + timedelta(milliseconds=int(text))
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that nobody escaped arrives as a blank
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class HistoryParameters(serializers.Serializer[Any]):
    """`from`, `to`, `metric`, `bucket`, `agg`, `limit` and `cursor` of a query for history."""

    metric = serializers.CharField(required=False, help_text="One metric key, or several with commas. Left out: all.")
    to = MomentField(required=False, help_text="Before this time (exclusive). ISO 8601 or ms since 1970.")
    bucket = serializers.IntegerField(required=False, min_value=1, max_value=31_622_400, help_text="Width of a bucket in seconds.")
    agg = serializers.ChoiceField(required=False, choices=AGGREGATES, default="avg", help_text="What `value` is in a bucket.")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MAX_LIMIT, default=MAX_LIMIT)
    cursor = serializers.CharField(required=False, max_length=100, help_text="As in `next` of the answer before.")

    def get_fields(self) -> dict[str, Any]:
        """Add `from`, which is no name that Python lets a class have."""
        start = MomentField(required=False, help_text="From this time on (inclusive). ISO 8601 or ms since 1970.")
        return {**super().get_fields(), "from": start}

    def validate_metric(self, value: str) -> list[str]:
        return [key.strip() for key in value.split(",") if key.strip()]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("from"), attrs.get("to")
        if start is not None and end is not None and start > end:
            raise serializers.ValidationError({"from": ["This must not be after `to`."]})
        if "bucket" in attrs:
            if start is None:
                raise serializers.ValidationError({"from": ["Say from when on, as buckets need bounds."]})
            attrs["to"] = end = end or timezone.now()
            if (end - start) / timedelta(seconds=attrs["bucket"]) > MAX_BUCKETS:
                raise serializers.ValidationError({"bucket": [f"These would be more than {MAX_BUCKETS} buckets. Make them wider."]})
        return attrs


class DeviceHistoryParameters(HistoryParameters):
    """As above, of the device that `device` names."""

    device = serializers.UUIDField(help_text="The device's id.")
