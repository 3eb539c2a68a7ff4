"""Reads about alerts and incidents."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, F, IntegerField, Max, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from alerting.models import Alert, Incident, IncidentEvent, Severity

GROUPS_SHOWN, EARLIER_SHOWN = 20, 20


def list_incidents() -> QuerySet[Incident]:
    """Return all incidents, newest first, with device, site, people, `alert_count` and how often each came back, in one query."""
    counts = Alert.objects.filter(incident=OuterRef("pk")).order_by().values("incident").annotate(n=Count("pk")).values("n")
    return with_returns(Incident.objects.select_related("device", "site", "assignee")).annotate(
        alert_count=Coalesce(Subquery(counts, output_field=IntegerField()), 0)
    )


def with_returns(incidents: QuerySet[Incident]) -> QuerySet[Incident]:
    """Add `open_since`, when each was opened for the last time, and `times_back`, how often it came back after it was resolved."""
    reopened = IncidentEvent.objects.filter(incident=OuterRef("pk"), kind=IncidentEvent.Kind.REOPENED)
    last = reopened.order_by("-at").values("at")[:1]
    counts = reopened.order_by().values("incident").annotate(n=Count("pk")).values("n")
    return incidents.annotate(
        open_since=Coalesce(Subquery(last), "opened_at"),
        times_back=Coalesce(Subquery(counts, output_field=IntegerField()), 0),
    )


def list_by_urgency(incidents: QuerySet[Incident]) -> QuerySet[Incident]:
    """Order by what burns: nobody on it first, then severity, then the longest open; resolved ones last, the latest first."""
    nobody = Case(When(state=Incident.State.NEW, then=0), When(state=Incident.State.RESOLVED, then=2), default=1)
    ranks = [When(severity=name, then=Value(rank)) for rank, name in enumerate(Severity.values)]
    severity = Case(When(state=Incident.State.RESOLVED, then=Value(0)), *ranks, output_field=IntegerField())
    ordered = with_returns(incidents).select_related("device", "site", "assignee")
    return ordered.order_by(nobody, severity, F("resolved_at").desc(), F("open_since").asc(), "number")


def list_alerts() -> QuerySet[Alert]:
    """Return all alerts, newest first, with device and incident."""
    return Alert.objects.select_related("device", "incident")


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """What fired again and again in one incident: the newest alert, and how often and when there were such."""

    newest: Alert
    count: int
    first_at: datetime
    last_at: datetime
    earlier: Sequence[Alert]


def list_alert_groups(incident: Incident) -> list[AlertGroup]:
    """Return the alerts of an incident, those about the same thing in one group with the last 20 before the newest; newest first."""
    alerts = Alert.objects.filter(incident=incident)
    spans = alerts.order_by().values("dedup_key").annotate(n=Count("pk"), first_at=Min("occurred_at"), last_at=Max("occurred_at"))
    groups = []
    for span in spans.order_by("-last_at")[:GROUPS_SHOWN]:
        newest, *earlier = alerts.filter(dedup_key=span["dedup_key"]).order_by("-occurred_at")[: EARLIER_SHOWN + 1]
        groups.append(AlertGroup(newest, span["n"], span["first_at"], span["last_at"], earlier))
    return groups


def find_last_taker(incident: Incident) -> IncidentEvent | None:
    """Return the last entry of somebody who took the incident on."""
    taken = IncidentEvent.objects.filter(incident=incident, kind__in=[IncidentEvent.Kind.ACKNOWLEDGED, IncidentEvent.Kind.INVESTIGATING])
    return taken.order_by("-at", "-id").first()


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
