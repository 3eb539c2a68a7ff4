"""Pages of incidents: the list and the incident, with what people do about it. Actions are small htmx posts.

An action answers 204 and the event `incident-changed`; every part of the page that shows incidents listens to it and
reads itself again, as it does on a live frame. A browser without scripts is sent back to the incident.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from alerting import services
from alerting.incident_states import ACTIONS, allowed_actions
from alerting.models import Alert, Incident, Severity
from alerting.selectors import find_last_taker, list_alert_groups, list_by_urgency, open_incidents, with_returns
from alerting.timeline import fold_timeline
from devices.models import Metric
from iiot_site.lib.errors import IIoTError
from iiot_site.lib.page_parts import render_part
from tenants.models import User
from tenants.page_access import page
from tenants.permissions import allows

PAGE_SIZE = 25
STATE_CHOICES = {"open": "Open", "new": "New", "resolved": "Resolved", "all": "All"}


@page("incident:read")
@require_GET
def show_incidents(request: HttpRequest) -> HttpResponse:
    """List incidents; an htmx request gets the list alone."""
    state = request.GET.get("state", "open")
    state = state if state in STATE_CHOICES else "open"
    severity = request.GET.get("severity", "")
    found = _filter(Incident.objects.all(), state, severity, request.GET.get("q", "").strip())
    context = {
        "incidents": Paginator(list_by_urgency(found), PAGE_SIZE).get_page(request.GET.get("page")),
        "state": state,
        "severity": severity,
        "states": STATE_CHOICES,
        "severities": Severity.choices,
    }
    return render_part(request, whole="alerting/incidents.html", part="alerting/_incidents.html", context=context)


def _filter(incidents: QuerySet[Incident], state: str, severity: str, words: str) -> QuerySet[Incident]:
    if state == "open":
        incidents = incidents.filter(open_incidents())
    elif state in Incident.State.values:
        incidents = incidents.filter(state=state)
    if severity in Severity.values:
        incidents = incidents.filter(severity=severity)
    return incidents.filter(title__icontains=words) if words else incidents


@page("incident:read")
@require_GET
def show_incident_count(request: HttpRequest) -> HttpResponse:
    """The badge in the navigation: how many incidents nobody has taken on."""
    return render(request, "parts/incident_count.html")


@page("incident:read")
@require_GET
def show_incident(request: HttpRequest, incident_id: uuid.UUID) -> HttpResponse:
    """One incident; an htmx request gets what changes with its state."""
    incident = get_object_or_404(with_returns(Incident.objects.select_related("device", "site", "assignee")), id=incident_id)
    groups = list_alert_groups(incident)
    context = {
        "incident": incident,
        "chart_metric": _find_chart_metric(incident, [group.newest for group in groups]) if _sees_telemetry(request) else None,
        "actions": allowed_actions(incident.state),
        "groups": groups,
        "alert_count": sum(group.count for group in groups),
        "is_firing": any(group.newest.resolved_at is None for group in groups),
        "last_taker": find_last_taker(incident) if incident.state == Incident.State.NEW else None,
        "returns_after": timedelta(seconds=settings.IIOT_INCIDENT_REOPEN_SECONDS),
        "entries": fold_timeline(list(incident.events.order_by("-at", "-id")[:200])),
    }
    return render_part(request, whole="alerting/incident.html", part="alerting/_incident.html", context=context)


def _sees_telemetry(request: HttpRequest) -> bool:
    return allows(request.membership.permissions, "telemetry:read")  # type: ignore[attr-defined]  # set by the middleware


def _find_chart_metric(incident: Incident, alerts: list[Alert]) -> Metric | None:
    """Return the metric that raised the incident, where an alert names one of the incident's device."""
    keys = [alert.details.get("metric") for alert in alerts if alert.device_id == incident.device_id]
    if incident.device is None or not keys or not isinstance(keys[0], str):
        return None
    return Metric.objects.filter(device_type=incident.device.device_type_id, key=keys[0]).exclude(data_type=Metric.DataType.TEXT).first()


@page("incident:write")
@require_POST
def act_on_incident(request: HttpRequest, incident_id: uuid.UUID, action: str) -> HttpResponse:
    """Acknowledge, investigate, resolve or reopen."""
    get_object_or_404(Incident, id=incident_id)
    if action not in ACTIONS:
        raise Http404
    return _answer(
        request,
        incident_id,
        lambda: services.transition_incident(incident_id=incident_id, action=action, actor=_person(request), now=timezone.now()),
    )


@page("incident:write")
@require_POST
def add_note(request: HttpRequest, incident_id: uuid.UUID) -> HttpResponse:
    """Add a note to the timeline."""
    get_object_or_404(Incident, id=incident_id)
    text = request.POST.get("text", "").strip()
    if not text or len(text) > services.MAX_NOTE_CHARACTERS:
        return HttpResponse(f"Write a note of 1 to {services.MAX_NOTE_CHARACTERS} characters.", status=422, content_type="text/plain")
    return _answer(
        request, incident_id, lambda: services.add_note(incident_id=incident_id, actor=_person(request), now=timezone.now(), text=text)
    )


def _person(request: HttpRequest) -> User:
    return cast("User", request.user)  # the page decorator lets only members in


def _answer(request: HttpRequest, incident_id: uuid.UUID, act: Callable[[], object]) -> HttpResponse:
    changed = {"HX-Trigger": "incident-changed"}
    try:
        act()
    except IIoTError as error:
        return HttpResponse(error.detail, status=error.http_status, content_type="text/plain", headers=changed)
    if getattr(request, "htmx", False):
        return HttpResponse(status=204, headers=changed)
    return redirect("incident", incident_id)
