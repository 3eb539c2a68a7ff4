"""Shapes of alerts, incidents and their timeline in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers

from alerting.models import Alert, Incident, IncidentEvent
from alerting.services import MAX_NOTE_CHARACTERS
from iiot_site.lib.serializers import NamedRef, StrictSerializer


def person(name: str) -> Any:
    """Describe somebody in the OpenAPI schema; an API key has a name and no id."""
    fields: dict[str, Any] = {"id": serializers.UUIDField(allow_null=True), "name": serializers.CharField()}
    return inline_serializer(name, fields, allow_null=True)


class AssigneeField(serializers.RelatedField[Any, Any, Any]):
    """A person by id and name."""

    def use_pk_only_optimization(self) -> bool:
        return False

    def to_representation(self, value: Any) -> dict[str, str]:
        return {"id": str(value.pk), "name": str(value)}


class IncidentSerializer(serializers.ModelSerializer[Incident]):
    site = NamedRef(id_field="id", read_only=True)
    device = NamedRef(read_only=True)
    assignee = extend_schema_field(person("Person"))(AssigneeField)(read_only=True)
    acknowledged_by = serializers.SerializerMethodField()
    alert_count = serializers.IntegerField(read_only=True)
    open_since = serializers.DateTimeField(read_only=True, help_text="When it was opened or came back last.")
    times_back = serializers.IntegerField(read_only=True, help_text="How often it came back after it was resolved.")

    class Meta:
        model = Incident
        fields = [
            "id",
            "number",
            "title",
            "state",
            "severity",
            "site",
            "device",
            "opened_at",
            "open_since",
            "times_back",
            "acknowledged_at",
            "acknowledged_by",
            "resolved_at",
            "resolved_automatically",
            "assignee",
            "alert_count",
        ]
        read_only_fields = fields

    @extend_schema_field(person("Acknowledger"))
    def get_acknowledged_by(self, incident: Incident) -> dict[str, str | None] | None:
        """Return who acknowledged first since the incident was opened or reopened."""
        if incident.acknowledged_at is None:
            return None
        return {"id": str(incident.acknowledged_by_id) if incident.acknowledged_by_id else None, "name": incident.acknowledged_by_name}


class AlertSerializer(serializers.ModelSerializer[Alert]):
    incident = NamedRef(id_field="id", name_field="title", read_only=True)
    device = NamedRef(read_only=True)
    state = serializers.SerializerMethodField()
    details = serializers.DictField(read_only=True, help_text="Why it fired: rule, version, condition, value, time.")

    class Meta:
        model = Alert
        fields = [
            "id",
            "incident",
            "state",
            "severity",
            "summary",
            "source",
            "dedup_key",
            "device",
            "details",
            "occurred_at",
            "received_at",
            "resolved_at",
            "count",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=["firing", "resolved"]))
    def get_state(self, alert: Alert) -> str:
        """Return whether it still fires."""
        return "firing" if alert.resolved_at is None else "resolved"


class TimelineSerializer(serializers.ModelSerializer[IncidentEvent]):
    actor = serializers.SerializerMethodField()

    class Meta:
        model = IncidentEvent
        fields = ["id", "at", "kind", "actor", "text", "details"]
        read_only_fields = fields

    @extend_schema_field(person("Actor"))
    def get_actor(self, event: IncidentEvent) -> dict[str, str | None] | None:
        """Return who did it; null is the platform itself."""
        if not event.actor_name:
            return None
        return {"id": str(event.actor_id) if event.actor_id else None, "name": event.actor_name}


class CommandSerializer(StrictSerializer):
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=MAX_NOTE_CHARACTERS)


class NoteSerializer(StrictSerializer):
    text = serializers.CharField(max_length=MAX_NOTE_CHARACTERS)


class AssignSerializer(StrictSerializer):
    assignee = serializers.UUIDField(
        source="assignee_id", allow_null=True, help_text="A member of the tenant; null takes the incident from its assignee."
    )
