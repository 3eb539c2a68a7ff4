"""Query parameters of the history: checked, and turned into plain values."""

import uuid
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_field
from rest_framework import serializers

from iiot_site.lib.serializers import ChoiceNamingSerializer
from telemetry.bucket_history import AGGREGATES
from telemetry.buckets import CALENDAR_UNITS, parse_duration
from telemetry.selectors import MAX_LIMIT

FORMATS = ("json", "csv", "parquet")
MAX_BUCKETS = 50_000
MAX_DEVICES = 100
MAX_POINTS = 5_000
MAX_POINTS_TOGETHER = 50_000
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


@extend_schema_field(OpenApiTypes.STR)
class KeysField(serializers.Field[list[str], str, list[str], Any]):
    """Names with commas between them, or the parameter several times."""

    def get_value(self, dictionary: Any) -> Any:
        name = str(self.field_name)
        return ",".join(dictionary.getlist(name)) if name in dictionary else serializers.empty

    def to_internal_value(self, data: Any) -> list[str]:
        return list(dict.fromkeys(key.strip() for key in str(data).split(",") if key.strip()))

    def to_representation(self, value: list[str]) -> list[str]:
        return value


class AggregatesField(KeysField):
    """What is wanted of a bucket."""

    default_error_messages = {"invalid": "Use one or several of " + ", ".join(AGGREGATES) + "."}

    def to_internal_value(self, data: Any) -> list[str]:
        names = super().to_internal_value(data)
        if not names or not set(names) <= set(AGGREGATES):
            self.fail("invalid")
        return names


class DevicesField(KeysField):
    """Ids of devices."""

    default_error_messages = {
        "invalid": "Use the id of a device, a UUID: GET /devices?search=<key> tells it.",
        "too_many": f"Name {MAX_DEVICES} devices at most.",
    }

    def to_internal_value(self, data: Any) -> Any:
        try:
            ids = list(dict.fromkeys(uuid.UUID(text) for text in super().to_internal_value(data)))
        except ValueError:
            self.fail("invalid")
        if not ids:
            self.fail("invalid")
        if len(ids) > MAX_DEVICES:
            self.fail("too_many")
        return ids


class BucketField(serializers.CharField):
    """A width, or the name of a calendar unit."""

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        if text in CALENDAR_UNITS:
            return text
        try:
            return parse_duration(text)
        except ValueError as exc:
            raise serializers.ValidationError(str(exc)) from exc


class ZoneField(serializers.CharField):
    """An IANA time zone."""

    default_error_messages = {"unknown": "Use an IANA time zone such as Europe/Berlin."}

    def to_internal_value(self, data: Any) -> Any:
        name = super().to_internal_value(data)
        if name not in zoneinfo.available_timezones():
            self.fail("unknown")
        return ZoneInfo(name)


class HistoryParameters(ChoiceNamingSerializer):
    """What a query for history may say; see docs/queries.md."""

    metric = KeysField(required=False, help_text="One metric key, or several with commas. Left out: all.")
    to = MomentField(required=False, help_text="Before this time (exclusive). ISO 8601 or ms since 1970.")
    bucket = BucketField(
        required=False,
        help_text="Width: seconds, or `30s`, `5m`, `1h`, `1d` (counted from 1970 UTC); or `day`, `week`, `month`, `year` of `tz`.",
    )
    agg = AggregatesField(required=False, help_text="What is wanted of a bucket; `value` is the first that is named. Left out: avg.")
    tz = ZoneField(required=False, help_text="IANA zone of calendar buckets. Left out: that of the device's site, else UTC.")
    fill = serializers.ChoiceField(
        required=False, choices=["gaps"], help_text="`gaps`: null in empty buckets, and in gaps between `points`."
    )
    order = serializers.ChoiceField(required=False, choices=["asc", "desc"], default="asc", help_text="`desc`: newest first.")
    points = serializers.IntegerField(
        required=False,
        min_value=3,
        max_value=MAX_POINTS,
        help_text="About so many of the stored numbers of each metric, chosen so that the curve keeps its shape (LTTB).",
    )
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_LIMIT, default=MAX_LIMIT, help_text="Values on a page; with `bucket`, spans of time."
    )
    cursor = serializers.CharField(required=False, max_length=100, help_text="As in `next` of the answer before.")

    def get_fields(self) -> dict[str, Any]:
        """Add `from`, which is no name that Python lets a class have, and `format`, which means something else to DRF."""
        start = MomentField(required=False, help_text="From this time on (inclusive). ISO 8601 or ms since 1970.")
        file = serializers.ChoiceField(
            required=False,
            choices=FORMATS,
            default="json",
            help_text="`csv`, `parquet`: the whole span as a file; a day without `from`.",
        )
        return {**super().get_fields(), "from": start, "format": file}

    def to_internal_value(self, data: Any) -> Any:
        """Refuse parameters that mean nothing here: a typing error would silently answer another question."""
        if unknown := [name for name in data if name not in self.fields]:
            known = ", ".join(sorted(self.fields))
            raise serializers.ValidationError({name: [f"There is no such parameter here. There are: {known}."] for name in unknown})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("from"), attrs.get("to")
        if start is not None and end is not None and start > end:
            raise serializers.ValidationError({"from": ["This must not be after `to`."]})
        if attrs["format"] != "json":
            self._validate_file(attrs)
        if "bucket" in attrs:
            if "points" in attrs:
                raise serializers.ValidationError({"points": ["Choose either this or `bucket`."]})
            return self._validate_buckets(attrs)
        if "points" in attrs:
            self._validate_points(attrs)
        for name in ("agg", "tz", "fill"):
            if name in attrs and not (name == "fill" and "points" in attrs):
                raise serializers.ValidationError({name: ["This goes with `bucket`."]})
        return attrs

    def _validate_points(self, attrs: dict[str, Any]) -> None:
        for name in ("limit", "cursor", "order", "format"):
            if name in self.initial_data:
                raise serializers.ValidationError({name: ["This does not go with `points`: they come all at once, oldest first."]})
        if "from" not in attrs:
            raise serializers.ValidationError({"from": ["Say from when on, as a curve needs bounds."]})
        if attrs.setdefault("to", timezone.now()) < attrs["from"]:
            raise serializers.ValidationError({"from": ["This must not be after `to`."]})

    def _validate_file(self, attrs: dict[str, Any]) -> None:
        for name in ("limit", "cursor", "order"):
            if name in self.initial_data:
                raise serializers.ValidationError({name: ["A file has all of its span, oldest first."]})
        end = attrs.setdefault("to", timezone.now())
        if "bucket" not in attrs:
            attrs.setdefault("from", max(end - timedelta(days=1), FIRST_MOMENT))

    def _validate_buckets(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("from"), attrs.setdefault("to", timezone.now())
        width = attrs["bucket"]
        if start is None:
            raise serializers.ValidationError({"from": ["Say from when on, as buckets need bounds."]})
        if "cursor" in attrs:
            raise serializers.ValidationError({"cursor": ["Buckets have none: follow `next`."]})
        if "tz" in attrs and isinstance(width, timedelta):
            raise serializers.ValidationError({"tz": [f"This goes with calendar buckets: {', '.join(CALENDAR_UNITS)}."]})
        if isinstance(width, timedelta) and (end - start) / width > MAX_BUCKETS:
            raise serializers.ValidationError({"bucket": [f"These would be more than {MAX_BUCKETS} buckets. Make them wider."]})
        attrs.setdefault("agg", ["avg"])
        return attrs


class DeviceHistoryParameters(HistoryParameters):
    """As above, of the device that `device` names."""

    device = DevicesField(help_text="The device's id. In a file: several, with commas.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["format"] == "json" and len(attrs["device"]) > 1:
            raise serializers.ValidationError({"device": ["Name one device; several go with `format=csv` and `format=parquet`."]})
        return super().validate(attrs)


def _documented(name: str, schema: dict[str, Any], **examples: str) -> OpenApiParameter:
    """Put examples to a parameter of `HistoryParameters`, which serializers have no place for."""
    description = str(DeviceHistoryParameters().fields[name].help_text)
    shown = [OpenApiExample(label.replace("_", " "), value) for label, value in examples.items()]
    return OpenApiParameter(name, schema, description=description, examples=shown, required=name == "device")


DEVICE_EXAMPLE = _documented("device", {"type": "string"}, One="0d9b3d3e-6b8d-4ac0-9d5e-0a3a3e8f9b10")
PARAMETER_EXAMPLES = [
    _documented("metric", {"type": "string"}, One="temperature", Several="temperature,pressure"),
    _documented("from", {"type": "string"}, ISO_8601="2026-11-20T08:00:00Z", Milliseconds="1763625600000"),
    _documented("to", {"type": "string"}, ISO_8601="2026-11-20T09:00:00Z", Milliseconds="1763629200000"),
    _documented("bucket", {"type": "string"}, Seconds="60", A_width="5m", A_calendar_unit="day"),
    _documented("agg", {"type": "string"}, One="avg", Several="avg,max", Over_time="time_weighted", Of_a_counter="increase"),
    _documented("tz", {"type": "string"}, A_zone="Europe/Berlin"),
]
