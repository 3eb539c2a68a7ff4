"""Shapes of connections and registers in the API."""

from typing import Any

from rest_framework import serializers

from connections.models import ModbusConnection, ModbusRegister
from devices.models import Device, DeviceType
from iiot_site.lib.serializers import NamedRef, SecondsField, StrictModelSerializer


class ModbusConnectionSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    device = NamedRef(queryset=Device.objects.all())
    poll_interval_seconds = SecondsField(source="poll_interval", required=False)
    timeout_seconds = SecondsField(source="timeout", required=False)

    class Meta:
        model = ModbusConnection
        fields = [
            "id",
            "device",
            "host",
            "port",
            "unit_id",
            "poll_interval_seconds",
            "timeout_seconds",
            "is_enabled",
            "state",
            "state_at",
            "last_error",
            "last_answer_at",
        ]
        read_only_fields = ["state", "state_at", "last_error", "last_answer_at"]


class ModbusRegisterSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    device_type = NamedRef(queryset=DeviceType.objects.all())
    create_only = ("device_type",)

    class Meta:
        model = ModbusRegister
        fields = [
            "id",
            "device_type",
            "metric",
            "table",
            "address",
            "data_type",
            "length",
            "word_order",
            "byte_swap",
            "scale",
            "offset",
            "bit",
        ]
        validators: list[Any] = []
