"""The overview: what burns, whether the plant reports, how much arrives."""

from datetime import timedelta

from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from alerting.models import Incident, Severity
from alerting.selectors import count_open_incidents, list_by_urgency, open_incidents, with_returns
from devices.models import Device
from devices.selectors import count_devices_by_status
from iiot_site.web.shares import make_shares
from telemetry import rate
from telemetry.models import RejectedMessage
from tenants.page_access import page

INCIDENTS_SHOWN = 12
SILENT_SHOWN = 8
RATE_SECONDS = 600
_SILENT = (Device.Status.OFFLINE, Device.Status.STALE)


@page("device:read")
@require_GET
def show_overview(request: HttpRequest) -> HttpResponse:
    """The whole page; its parts read themselves again."""
    return render(request, "web/overview.html", _figures() | _silent() | _open_incidents())


@page("device:read")
@require_GET
def show_figures(request: HttpRequest) -> HttpResponse:
    """The figures on top."""
    return render(request, "web/_figures.html", _figures())


@page("device:read")
@require_GET
def show_silent(request: HttpRequest) -> HttpResponse:
    """The devices that fell silent, the latest first."""
    return render(request, "web/_silent.html", _silent())


@page("incident:read")
@require_GET
def show_incidents(request: HttpRequest) -> HttpResponse:
    """The open incidents."""
    return render(request, "web/_overview_incidents.html", _open_incidents())


@page("telemetry:read")
@require_GET
def show_rate(request: HttpRequest) -> JsonResponse:
    """Messages per second of the last ten minutes, oldest first; the current second is left out, it is not over."""
    tenant = request.tenant  # type: ignore[attr-defined]  # set by TenantMiddleware
    now = timezone.now()
    counts = rate.messages_by_second(tenant.schema_name, now, RATE_SECONDS)
    return JsonResponse(
        {"until": int(now.timestamp()) - 1, "counts": counts, "per_second": rate.messages_per_second(tenant.schema_name, now)}
    )


def _figures() -> dict[str, object]:
    now = timezone.now()
    by_status = count_devices_by_status()
    rejected = RejectedMessage.objects.filter(received_at__gte=now - timedelta(hours=24))
    return {
        "device_count": sum(by_status.values()),
        "by_status": by_status,
        "shares": make_shares(by_status),
        "rejected_count": rejected.count(),
        "newest_rejected": rejected.select_related("device").first(),
    } | _incident_figures()


def _incident_figures() -> dict[str, object]:
    counts = count_open_incidents()
    waiting = Incident.objects.filter(state=Incident.State.NEW)
    return {
        "open_count": sum(counts.values()),
        "by_severity": [(name, counts[name]) for name in Severity.values if counts.get(name)],
        "waiting_count": waiting.count(),
        "longest_waiting": with_returns(waiting).order_by(F("open_since").asc()).first(),
    }


def _silent() -> dict[str, object]:
    silent = Device.objects.select_related("device_type", "site").filter(is_enabled=True, status__in=_SILENT)
    return {"silent": silent.order_by("status", "-last_seen_at")[:SILENT_SHOWN], "silent_count": silent.count()}


def _open_incidents() -> dict[str, object]:
    incidents = list_by_urgency(Incident.objects.filter(open_incidents()))
    return {"incidents": incidents[:INCIDENTS_SHOWN], "more_count": max(0, incidents.count() - INCIDENTS_SHOWN)}
