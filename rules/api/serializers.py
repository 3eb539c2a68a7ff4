"""The shape of rules in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from devices.models import Device, DeviceType, Site
from iiot_site.lib.serializers import NamedRef, StrictModelSerializer
from rules.conditions.errors import ConditionInvalidError
from rules.conditions.parsing import dump_condition, parse_condition
from rules.conditions.threshold import OPERATORS
from rules.models import Rule

_NUMBER = {"type": "number", "format": "double"}
CONDITION_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["threshold"]},
        "metric": {"type": "string", "description": "Key of a metric."},
        "operator": {"type": "string", "enum": list(OPERATORS)},
        "threshold": _NUMBER,
        "clear_threshold": {**_NUMBER, "nullable": True, "description": "Once firing, clear only beyond this (hysteresis)."},
    },
    "required": ["type", "metric", "operator", "threshold"],
    "additionalProperties": False,
}


@extend_schema_field(CONDITION_SCHEMA)
class ConditionField(serializers.JSONField):
    """A condition: checked here, so that its errors come together with those of other fields."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return dump_condition(parse_condition(data))
        except ConditionInvalidError as exc:
            raise serializers.ValidationError(exc.by_field) from exc


class RuleSerializer(StrictModelSerializer):
    condition = ConditionField()
    device = NamedRef(queryset=Device.objects.all(), allow_null=True, required=False)
    device_type = NamedRef(queryset=DeviceType.objects.all(), allow_null=True, required=False)
    site = NamedRef(queryset=Site.objects.all(), id_field="id", allow_null=True, required=False, help_text="With everything below it.")

    class Meta:
        model = Rule
        fields = [
            "id",
            "name",
            "description",
            "is_enabled",
            "severity",
            "condition",
            "device",
            "device_type",
            "site",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "version", "created_at", "updated_at"]
