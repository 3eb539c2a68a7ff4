"""Alerts are signals that something is wrong; incidents are what people work on."""

import uuid

from django.conf import settings
from django.db import models

from devices.models import Device, Site


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"
    HIGH = "high", "High"
    MEDIUM = "medium", "Medium"
    LOW = "low", "Low"
    INFO = "info", "Info"


class Incident(models.Model):
    """One piece of work for people, opened by alerts; its states are in `alerting.incident_states`."""

    class State(models.TextChoices):
        NEW = "new", "New"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        INVESTIGATING = "investigating", "Investigating"
        RESOLVED = "resolved", "Resolved"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.PositiveIntegerField(unique=True, editable=False, help_text="Counts up within the tenant.")
    title = models.CharField(max_length=300)
    state = models.CharField(max_length=16, choices=State, default=State.NEW)
    severity = models.CharField(max_length=8, choices=Severity)
    dedup_key = models.CharField(max_length=200, help_text="Signals with this key join this incident while it is open.")
    site = models.ForeignKey(Site, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    device = models.ForeignKey(Device, null=True, blank=True, on_delete=models.SET_NULL, related_name="incidents")
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, db_constraint=False, on_delete=models.DO_NOTHING, related_name="+"
    )
    opened_at = models.DateTimeField(db_index=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, db_constraint=False, on_delete=models.DO_NOTHING, related_name="+"
    )
    acknowledged_by_name = models.CharField(max_length=160, blank=True, help_text="Who it was; also set for an API key.")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_automatically = models.BooleanField(default=False, help_text="Its last alert cleared; no person resolved it.")

    class Meta:
        ordering = ["-number"]
        indexes = [models.Index(fields=["state", "-opened_at"]), models.Index(fields=["dedup_key", "-number"])]
        constraints = [
            models.UniqueConstraint(fields=["dedup_key"], condition=~models.Q(state="resolved"), name="one_open_incident_per_key")
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.title}"


class Alert(models.Model):
    """A signal that fires until it is resolved; repeats only count up."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="alerts")
    dedup_key = models.CharField(max_length=200)
    severity = models.CharField(max_length=8, choices=Severity)
    source = models.CharField(max_length=120, db_index=True, help_text="Who raised it, such as rule:<id>.")
    summary = models.CharField(max_length=300)
    device = models.ForeignKey(Device, null=True, on_delete=models.SET_NULL, related_name="alerts")
    details = models.JSONField(default=dict, help_text="Why it fired: rule version, inputs, window.")
    occurred_at = models.DateTimeField(help_text="Source time of what triggered it.")
    received_at = models.DateTimeField()
    last_signal_at = models.DateTimeField(
        null=True, help_text="Source time of the newest signal; older ones are redeliveries. Empty once its source withdrew it."
    )
    resolved_at = models.DateTimeField(null=True)
    count = models.PositiveIntegerField(default=1)
    tell_at = models.DateTimeField(null=True, editable=False, help_text="When its device is to be told of its newest state. Empty: told.")

    class Meta:
        ordering = ["-occurred_at"]
        indexes = [
            models.Index(fields=["dedup_key", "-received_at"]),
            models.Index(fields=["-occurred_at"]),
            models.Index(fields=["tell_at"], condition=models.Q(tell_at__isnull=False), name="alerts_to_tell"),
        ]
        constraints = [models.UniqueConstraint(fields=["dedup_key"], condition=models.Q(resolved_at=None), name="one_firing_alert_per_key")]

    def __str__(self) -> str:
        return self.summary


class IncidentEvent(models.Model):
    """One line of an incident's timeline: what happened, when, and who did it. Only ever added."""

    class Kind(models.TextChoices):
        OPENED = "opened", "Opened"
        ALERT_JOINED = "alert_joined", "Alert joined"
        ALERT_RESOLVED = "alert_resolved", "Alert resolved"
        ALERT_WITHDRAWN = "alert_withdrawn", "Alert withdrawn"
        SEVERITY_RAISED = "severity_raised", "Severity raised"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        INVESTIGATING = "investigating", "Investigating"
        RESOLVED = "resolved", "Resolved"
        REOPENED = "reopened", "Reopened"
        NOTED = "noted", "Note"
        ASSIGNED = "assigned", "Assigned"
        UNASSIGNED = "unassigned", "Unassigned"

    id = models.BigAutoField(primary_key=True)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    kind = models.CharField(max_length=24, choices=Kind)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
        help_text="Empty: the platform itself or an API key.",
    )
    actor_name = models.CharField(max_length=160, blank=True, help_text="Empty: the platform itself.")
    text = models.TextField(blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M:%S}"
