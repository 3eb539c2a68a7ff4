"""How the platform reads a device, as a part of the device's page."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from connections.device_links import load_device_links
from devices.models import Device, Protocol
from telemetry.device_health import is_called
from tenants.page_access import page


@page("connection:read")
@require_GET
def show_device_links(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The connections of a device and how they do."""
    device = get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)
    return render(request, "devices/_device_links.html", links_context(device))


def links_context(device: Device) -> dict[str, object]:
    """Return what is said of a device that the platform reads; `is_called` is False for one that sends by itself."""
    links = load_device_links(device)
    declared = Protocol(device.protocol or device.device_type.protocol)
    waits = is_called(device)
    return {"device": device, "links": links, "is_called": bool(links) or waits, "also_sends": not waits, "declared": declared}
