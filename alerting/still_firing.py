"""Brings back what a person resolved while it went on being wrong: a source that fires says so only once."""

from datetime import datetime, timedelta

from django.conf import settings

from alerting.errors import IllegalTransitionError, SameIncidentOpenError
from alerting.models import Incident
from alerting.services import transition_incident


def reopen_still_firing(*, now: datetime) -> int:
    """Reopen incidents resolved IIOT_INCIDENT_REOPEN_SECONDS ago or longer whose alerts fire all the same; return how many."""
    limit = now - timedelta(seconds=settings.IIOT_INCIDENT_REOPEN_SECONDS)
    firing = Incident.objects.filter(state=Incident.State.RESOLVED, resolved_at__lte=limit, alerts__resolved_at=None)
    reopened = 0
    for incident in firing.distinct().order_by("number"):
        minutes = (now - (incident.resolved_at or now)) // timedelta(minutes=1)
        note = f"Still firing {minutes} min after it was resolved."
        try:
            transition_incident(incident_id=incident.pk, action="reopen", actor=None, now=now, note=note)
        except (IllegalTransitionError, SameIncidentOpenError):
            continue  # somebody, or a newer signal, was quicker
        reopened += 1
    return reopened
