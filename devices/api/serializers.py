"""Shapes of sites, device types, metrics, devices and credentials in the API."""

from typing import Any

from rest_framework import serializers

from devices.certificates import MAX_PEM_CHARACTERS
from devices.credential_states import CredentialState, credential_state
from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
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
        fields = [
            "id",
            "name",
            "protocol",
            "codec",
            "line_precision",
            "unknown_metrics",
            "inactivity_timeout_seconds",
            "offline_severity",
            "commands",
        ]


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
            "registered_at",
        ]
        read_only_fields = ["registered_at"]
        validators: list[Any] = []


class DeviceSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    name = serializers.CharField(max_length=120, required=False, help_text="Left out: the key.")
    device_type = NamedRef(queryset=DeviceType.objects.all())
    site = NamedRef(queryset=Site.objects.all(), id_field="id", allow_null=True, required=False)
    gateway = NamedRef(queryset=Device.objects.all(), allow_null=True, required=False)
    tags = serializers.ListField(child=serializers.CharField(max_length=60), max_length=50, required=False)
    status = serializers.ChoiceField(choices=Device.Status.choices, read_only=True)
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
            "status_since",
            "last_seen_at",
            "last_seen_via",
            "detected_protocol",
            "detected_codec",
            "detected_at",
            "connection",
            "connection_since",
            "created_at",
        ]
        read_only_fields = [
            "detected_protocol",
            "detected_codec",
            "detected_at",
            "status_since",
            "last_seen_at",
            "last_seen_via",
            "connection",
            "connection_since",
            "created_at",
        ]


class CredentialSerializer(serializers.ModelSerializer[DeviceCredential]):
    """A credential without its secret."""

    state = serializers.SerializerMethodField(help_text="`rotated`: it has a successor and works until it expires.")

    class Meta:
        model = DeviceCredential
        fields = ["id", "kind", "identifier", "subject", "state", "created_at", "expires_at", "rotated_at", "revoked_at", "last_used_at"]
        read_only_fields = fields

    def get_state(self, credential: DeviceCredential) -> CredentialState:
        """Return the state at the time of the request, which the view puts into the context."""
        return credential_state(
            revoked_at=credential.revoked_at,
            rotated_at=credential.rotated_at,
            expires_at=credential.expires_at,
            now=self.context["now"],
        )


class NewCredentialSerializer(StrictSerializer):
    kind = serializers.ChoiceField(choices=DeviceCredential.Kind.choices)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    certificate = serializers.CharField(
        required=False, default="", max_length=MAX_PEM_CHARACTERS, help_text="PEM, for the kind x509; its common name is the device."
    )


class RotationSerializer(StrictSerializer):
    overlap_hours = serializers.FloatField(
        required=False, default=24.0, min_value=0, max_value=720, help_text="How long the old one goes on working; 0: not at all."
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Left out: the successor lives as long as the old one was meant to. Null: for ever."
    )
    certificate = serializers.CharField(required=False, default="", max_length=MAX_PEM_CHARACTERS, help_text="PEM of the successor.")


class OscoreKeysSerializer(serializers.Serializer[Any]):
    """RFC 8613 parameters in hex; the device's sender id is `client_id`. AES-CCM-16-64-128, HKDF SHA-256."""

    master_secret = serializers.CharField()
    master_salt = serializers.CharField()
    client_id = serializers.CharField()
    server_id = serializers.CharField()
    id_context = serializers.CharField(allow_blank=True)


class ConnectionExampleSerializer(serializers.Serializer[Any]):
    """Something to paste that uses the new credential."""

    label = serializers.CharField()  # type: ignore[assignment]  # a field of this name; DRF keeps it apart from the attribute
    text = serializers.CharField()


class IssuedCredentialSerializer(serializers.Serializer[Any]):
    """A credential just made; `secret`, `oscore` and `examples` are shown this once."""

    id = serializers.UUIDField(source="credential_id")
    kind = serializers.ChoiceField(choices=DeviceCredential.Kind.choices)
    username = serializers.CharField(help_text="Of a password; else empty.")
    secret = serializers.CharField(help_text="Password, whole bearer token or master secret; empty for a certificate. Keep it.")
    expires_at = serializers.DateTimeField(allow_null=True)
    fingerprint = serializers.CharField(help_text="SHA-256 of a certificate; else empty.")
    oscore = OscoreKeysSerializer(allow_null=True)
    device_url = serializers.URLField(help_text="The device's page.")
    examples = ConnectionExampleSerializer(many=True)
