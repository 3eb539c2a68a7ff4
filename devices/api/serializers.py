"""Shapes of sites, device types, metrics, devices and credentials in the API."""

from typing import Any

from rest_framework import serializers

from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
from devices.status import DeviceStatus, device_status
from iiot_site.lib.serializers import NamedRef, SecondsField, StrictModelSerializer, StrictSerializer


class SiteSerializer(StrictModelSerializer):
    parent = NamedRef(  # type: ignore[assignment]  # a field of this name; DRF keeps it apart from the attribute
        queryset=Site.objects.all(), id_field="id", allow_null=True, required=False
    )

    class Meta:
        model = Site
        fields = ["id", "name", "kind", "parent", "timezone"]
        validators: list[Any] = []


class DeviceTypeSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    inactivity_timeout_seconds = SecondsField(source="inactivity_timeout", required=False)

    class Meta:
        model = DeviceType
        fields = ["id", "name", "protocol", "codec", "line_precision", "unknown_metrics", "inactivity_timeout_seconds"]


class MetricSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    device_type = NamedRef(queryset=DeviceType.objects.all())
    expected_period_seconds = SecondsField(source="expected_period", required=False, allow_null=True)
    create_only = ("device_type", "key", "data_type")

    class Meta:
        model = Metric
        fields = [
            "id",
            "device_type",
            "key",
            "name",
            "unit",
            "data_type",
            "minimum",
            "maximum",
            "deadband",
            "expected_period_seconds",
        ]
        validators: list[Any] = []


class DeviceSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    name = serializers.CharField(max_length=120, required=False, help_text="Left out: the key.")
    device_type = NamedRef(queryset=DeviceType.objects.all())
    site = NamedRef(queryset=Site.objects.all(), id_field="id", allow_null=True, required=False)
    gateway = NamedRef(queryset=Device.objects.all(), allow_null=True, required=False)
    tags = serializers.ListField(child=serializers.CharField(max_length=60), max_length=50, required=False)
    status = serializers.SerializerMethodField()
    create_only = ("key",)

    class Meta:
        model = Device
        fields = [
            "id",
            "key",
            "name",
            "device_type",
            "site",
            "gateway",
            "protocol",
            "tags",
            "firmware",
            "latitude",
            "longitude",
            "is_enabled",
            "status",
            "last_seen_at",
            "created_at",
        ]
        read_only_fields = ["last_seen_at", "created_at"]

    def get_status(self, device: Device) -> DeviceStatus:
        """Return the status at the time of the request, which the view puts into the context."""
        return device_status(device.last_seen_at, device.device_type.inactivity_timeout, self.context["now"])


class CredentialSerializer(serializers.ModelSerializer[DeviceCredential]):
    """A credential without its secret."""

    class Meta:
        model = DeviceCredential
        fields = ["id", "kind", "identifier", "created_at", "expires_at", "revoked_at"]
        read_only_fields = fields


class NewCredentialSerializer(StrictSerializer):
    kind = serializers.ChoiceField(choices=DeviceCredential.Kind.choices)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class IssuedCredentialSerializer(serializers.Serializer[Any]):
    """A credential just made; `secret` is shown this once."""

    id = serializers.UUIDField(source="credential_id")
    kind = serializers.ChoiceField(choices=DeviceCredential.Kind.choices)
    username = serializers.CharField(help_text="MQTT username; empty for a token.")
    secret = serializers.CharField(help_text="MQTT password or whole bearer token. Keep it: it cannot be read again.")
