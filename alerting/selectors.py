"""Reads about alerts and incidents."""

import uuid

from django.db.models import Case, Count, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from alerting.models import Alert, Incident, IncidentEvent, Severity


def list_incidents() -> QuerySet[Incident]:
    """Return all incidents, newest first, with device, site, people and `alert_count`, in one query."""
    counts = Alert.objects.filter(incident=OuterRef("pk")).order_by().values("incident").annotate(n=Count("pk")).values("n")
    return Incident.objects.select_related("device", "site", "assignee").annotate(
        alert_count=Coalesce(Subquery(counts, output_field=IntegerField()), 0)
    )


def with_open_since(incidents: QuerySet[Incident]) -> QuerySet[Incident]:
    """Add `open_since`: when each was opened for the last time, which is later than `opened_at` where it came back."""
    reopened = IncidentEvent.objects.filter(incident=OuterRef("pk"), kind=IncidentEvent.Kind.REOPENED)
    last = reopened.order_by("-at").values("at")[:1]
    return incidents.annotate(open_since=Coalesce(Subquery(last), "opened_at"))


def list_by_urgency(incidents: QuerySet[Incident]) -> QuerySet[Incident]:
    """Order by what burns: nobody on it first, then severity, then the longest open."""
    nobody = Case(When(state=Incident.State.NEW, then=0), When(state=Incident.State.RESOLVED, then=2), default=1)
    severity = Case(*(When(severity=name, then=Value(rank)) for rank, name in enumerate(Severity.values)), output_field=IntegerField())
    return with_open_since(incidents).select_related("device", "site", "assignee").order_by(nobody, severity, "opened_at")


def list_alerts() -> QuerySet[Alert]:
    """Return all alerts, newest first, with device and incident."""
    return Alert.objects.select_related("device", "incident")


def list_timeline(incident_id: uuid.UUID) -> QuerySet[IncidentEvent]:
    """Return what happened to an incident, oldest first."""
    return IncidentEvent.objects.filter(incident=incident_id).select_related("actor")


def count_open_incidents() -> dict[str, int]:
    """Return how many incidents are open by severity; severities without one are left out."""
    rows = Incident.objects.filter(open_incidents()).order_by().values_list("severity").annotate(Count("pk"))
    return dict(rows)


def open_incidents() -> Q:
    """Return the condition of being open."""
    return ~Q(state=Incident.State.RESOLVED)


def list_firing_keys(*, source: str) -> set[str]:
    """Return the dedup keys of what `source` has firing."""
    return set(Alert.objects.filter(source=source, resolved_at=None).values_list("dedup_key", flat=True))


def list_orphaned_keys(*, source: str) -> set[str]:
    """Return the dedup keys of what `source` has firing about devices that are gone."""
    return set(Alert.objects.filter(source=source, resolved_at=None, device=None).values_list("dedup_key", flat=True))
