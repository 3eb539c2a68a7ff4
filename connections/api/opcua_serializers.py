"""Shapes of OPC UA servers and nodes in the API. A password goes in and never comes out."""

from typing import Any

from rest_framework import serializers

from connections.opcua_models import OpcUaNode, OpcUaServer
from devices.models import Device
from iiot_site.lib.serializers import NamedRef, SecondsField, StrictModelSerializer, StrictSerializer


class OpcUaServerSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    password = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        max_length=200,
        trim_whitespace=False,
        help_text="Left out: as it is. Empty: none.",
    )
    has_password = serializers.BooleanField(read_only=True)
    trusted_fingerprint = serializers.CharField(read_only=True, help_text="SHA-256 of the accepted certificate.")
    offered_fingerprint = serializers.CharField(read_only=True, help_text="SHA-256 of a certificate that nobody has accepted yet.")
    publishing_interval_seconds = SecondsField(source="publishing_interval", required=False)
    sampling_interval_seconds = SecondsField(source="sampling_interval", required=False, allow_null=True)

    class Meta:
        model = OpcUaServer
        fields = [
            "id",
            "name",
            "endpoint_url",
            "security",
            "authentication",
            "username",
            "password",
            "has_password",
            "trusted_fingerprint",
            "offered_fingerprint",
            "publishing_interval_seconds",
            "sampling_interval_seconds",
            "is_enabled",
            "state",
            "state_at",
            "last_error",
            "heard_at",
            "item_count",
        ]
        read_only_fields = ["state", "state_at", "last_error", "heard_at", "item_count"]


class OpcUaNodeSerializer(StrictModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    device = NamedRef(queryset=Device.objects.all())

    class Meta:
        model = OpcUaNode
        fields = ["id", "node_id", "device", "metric", "scale", "offset", "deadband", "command", "problem"]
        read_only_fields = ["problem"]
        validators: list[Any] = []


class TrustSerializer(StrictSerializer):
    fingerprint = serializers.CharField(max_length=100, help_text="`offered_fingerprint`, after somebody compared it.")
