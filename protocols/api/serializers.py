"""Shapes of the answers."""

from typing import Any

from rest_framework import serializers

from protocols.models import ListenerState


class RefusalSerializer(serializers.Serializer[Any]):
    """A message, or one value of it, that was not stored."""

    index = serializers.IntegerField(help_text="Place of the message in the request, from 0.")
    reason = serializers.CharField()
    detail = serializers.CharField(help_text="What to change.")
    metric = serializers.CharField(allow_null=True, help_text="The value that was refused; null for the whole message.")


class StoredSerializer(serializers.Serializer[Any]):
    """What became of the readings in a request. It is sent after they are committed."""

    stored = serializers.IntegerField()
    duplicates = serializers.IntegerField(help_text="Readings that were there already: same device, metric and time.")
    rejected = RefusalSerializer(many=True)


class ListenerSerializer(serializers.ModelSerializer[ListenerState]):
    """A listener process, as it reported last."""

    is_alive = serializers.BooleanField(help_text="Whether it reported within the last 15 seconds.")

    processes = serializers.IntegerField(help_text="How many processes of this name are alive.")

    class Meta:
        model = ListenerState
        fields = ("name", "number", "processes", "state", "is_alive", "started_at", "heartbeat_at")
