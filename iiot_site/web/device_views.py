"""Pages of devices: the list, and the device with its live values, chart and open incidents."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from alerting.models import Alert, Incident
from alerting.selectors import list_by_urgency, open_incidents
from devices.connecting import choose_example_metric
from devices.detection_services import reset_detection
from devices.models import Codec, Device, DeviceCredential, DeviceType, Metric, Protocol
from devices.selectors import list_site_subtree_ids, list_site_tree
from devices.status import DEVICE_STATUSES
from iiot_site.lib.page_parts import render_part
from iiot_site.lib.turns import count_as_long
from iiot_site.web.command_views import commands_context, form_context
from iiot_site.web.credential_views import list_working_rows
from iiot_site.web.device_chart import SPANS, list_threshold_rules, load_chart
from iiot_site.web.device_link_views import links_context
from iiot_site.web.state_views import state_context
from protocols.called_devices import load_health
from telemetry.selectors import list_latest
from tenants.page_access import page
from tenants.permissions import allows

PAGE_SIZE = 50
SHORT_SPAN = timedelta(days=1)
NEW_METRIC_FOR = timedelta(days=1)
_OPEN = ~Q(incidents__state=Incident.State.RESOLVED) & Q(incidents__isnull=False)
ORDERS: dict[str, tuple[str | OrderBy, ...]] = {
    "name": ("name", "id"),
    "last_seen": (F("last_seen_at").asc(nulls_last=True), "id"),
    "open": ("-open_count", "name", "id"),
}


@page("device:read")
@require_GET
def show_devices(request: HttpRequest) -> HttpResponse:
    """List devices; an htmx request gets the list alone. The address carries every filter, so it can be shared."""
    chosen = {name: request.GET.get(name, "").strip() for name in ("q", "site", "type", "status", "order")}
    devices = _filter(Device.objects.select_related("device_type", "site"), chosen).annotate(open_count=Count("incidents", filter=_OPEN))
    ordered = devices.order_by(*ORDERS.get(chosen["order"], ORDERS["name"]))
    found = Paginator(ordered, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "devices": found,
        "chosen": chosen,
        "is_filtered": any(value for name, value in chosen.items() if name != "order"),
        "sites": list_site_tree(),
        "types": DeviceType.objects.order_by("name"),
        "statuses": DEVICE_STATUSES,
    }
    return render_part(request, whole="devices/devices.html", part="devices/_devices.html", context=context)


def _filter(devices: QuerySet[Device], chosen: Mapping[str, str]) -> QuerySet[Device]:
    if words := chosen["q"]:
        devices = devices.filter(Q(name__icontains=words) | Q(key__icontains=words))
    if chosen["site"]:
        devices = devices.filter(site_id__in=_subtree(chosen["site"]))
    if chosen["type"].isdecimal():
        devices = devices.filter(device_type_id=int(chosen["type"][:18]))
    if chosen["status"] in DEVICE_STATUSES:
        devices = devices.filter(status=chosen["status"])
    return devices


def _subtree(site_id: str) -> list[uuid.UUID]:
    try:
        return list_site_subtree_ids(uuid.UUID(site_id))
    except ValueError:
        return []


@page("device:read")
@require_GET
def show_device(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The device: what it says now, how that developed, what is wrong with it, how it sends."""
    device = get_object_or_404(Device.objects.select_related("device_type", "site", "gateway"), uuid=device_id)
    permissions = request.membership.permissions  # type: ignore[attr-defined]  # set by the middleware
    may_read_values = allows(permissions, "telemetry:read")
    latest = sorted(list_latest(device), key=lambda value: (value.name or value.metric).casefold()) if may_read_values else []
    numbers, booleans = _list_keys(device, Metric.DataType.NUMBER), _list_keys(device, Metric.DataType.BOOLEAN)
    reported = [value.metric for value in latest]
    context = {
        "device": device,
        "spoken": _how_it_speaks(device),
        "latest": latest,
        "booleans": booleans,
        "new_metrics": _list_new_keys(device) if may_read_values else [],
        "chart_metric": _choose_chart_metric(device, [key for key in (*numbers, *booleans) if key in reported]),
        "spans": SPANS,
        "incidents": _open_incidents(device),
        "credentials": list_working_rows(device) if allows(permissions, "credential:read") else None,
        "how_to_send": _how_to_send(request, device),
    } | links_context(device)
    if allows(permissions, "command:read"):
        context |= commands_context(device) | form_context(device)
    if allows(permissions, "state:read"):
        context |= state_context(device)
    return render(request, "devices/device.html", context)


@page("device:write")
@require_POST
def detect_anew(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """Let the device's next valid message say its protocol and format anew."""
    reset_detection(device=get_object_or_404(Device, uuid=device_id))
    return redirect("device", device_id=device_id)


@page("incident:read")
@require_GET
def show_device_incidents(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The open incidents of a device."""
    device = get_object_or_404(Device, uuid=device_id)
    return render(request, "devices/_device_incidents.html", {"device": device, "incidents": _open_incidents(device)})


@page("telemetry:read")
@require_GET
def show_device_health(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """How the device has been doing, as a part of its page."""
    device = get_object_or_404(Device, uuid=device_id)
    health = load_health(device=device, permissions=request.membership.permissions, now=timezone.now())  # type: ignore[attr-defined]  # set by the middleware
    return render(request, "devices/_device_health.html", {"device": device, "health": health})


@page("telemetry:read")
@require_GET
def show_device_now(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """Whether the device is heard, and the newest value of one metric (`metric`), as a part of other pages."""
    device = get_object_or_404(Device, uuid=device_id)
    metric = request.GET.get("metric", "")
    value = next((latest for latest in list_latest(device) if latest.metric == metric), None)
    return render(request, "devices/_device_now.html", {"device": device, "metric": metric, "value": value})


@page("telemetry:read")
@require_GET
def show_device_chart(request: HttpRequest, device_id: uuid.UUID) -> JsonResponse:
    """What the chart draws of one metric (`metric`, `span`), in as many points as a screen has."""
    device = get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)
    metric = get_object_or_404(device.device_type.metrics, key=request.GET.get("metric", ""))
    span = SPANS.get(request.GET.get("span", ""), SPANS["1h"])
    if span.length > SHORT_SPAN:
        count_as_long(request)
    return JsonResponse(load_chart(device=device, metric=metric, span=span, now=timezone.now()))


def _list_keys(device: Device, data_type: str) -> list[str]:
    return list(device.device_type.metrics.filter(data_type=data_type).order_by("key").values_list("key", flat=True))


def _list_new_keys(device: Device) -> list[str]:
    """Return the metrics that a message registered lately: nobody has looked at them yet, and some are misspelt."""
    recent = device.device_type.metrics.filter(registered_at__gte=timezone.now() - NEW_METRIC_FOR)
    return list(recent.values_list("key", flat=True))


def _choose_chart_metric(device: Device, metrics: list[str]) -> str:
    """Return what an operator wants to see first: the metric that burns, else one that a rule watches, else the first."""
    firing = Alert.objects.filter(device=device, resolved_at=None).order_by("-occurred_at")
    burning = list_by_urgency(Incident.objects.filter(alerts__in=firing)).values_list("alerts__details__metric", flat=True)
    watched = (rule.condition.metric for rule in list_threshold_rules(device))
    return next((key for key in (*burning[:1], *watched, *metrics) if key in metrics), "")


def _open_incidents(device: Device) -> list[Incident]:
    return list(list_by_urgency(Incident.objects.filter(open_incidents(), device=device))[:20])


def _how_it_speaks(device: Device) -> dict[str, str]:
    """Protocol and format in words: as declared, else as detected."""
    protocol, codec = device.protocol or device.device_type.protocol, device.device_type.codec
    return {
        "protocol": _in_words(Protocol, device.detected_protocol) if protocol == Protocol.AUTO else Protocol(protocol).label,
        "codec": _in_words(Codec, device.detected_codec) if codec == Codec.AUTO else Codec(codec).label,
    }


def _in_words(names: type[Protocol] | type[Codec], detected: str) -> str:
    if not detected:
        return "detected from the first valid message"
    return f"{names(detected).label if detected in names.values else detected.upper()} (detected)"


def _how_to_send(request: HttpRequest, device: Device) -> dict[str, object]:
    """Addresses and commands for whoever connects the device. Names only, never a secret."""
    slug = request.tenant.slug  # type: ignore[attr-defined]  # set by TenantMiddleware
    credentials = device.credentials.filter(kind=DeviceCredential.Kind.MQTT, revoked_at=None)
    return {
        "username": credentials.values_list("identifier", flat=True).first(),
        "topic": f"t/{slug}/{device.key}/telemetry",
        "mqtt_host": settings.IIOT_MQTT_PUBLIC_HOST,
        "mqtt_port": settings.IIOT_MQTT_PUBLIC_PORT,
        "url": request.build_absolute_uri("/api/v1/telemetry"),
        "metric": choose_example_metric(device),
    }
