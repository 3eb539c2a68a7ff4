"""The page of a device's last raw frames."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from devices.models import Device
from iiot_site.lib.page_parts import render_part
from iiot_site.web.ingest_views import show_payload
from protocols.frame_view import view_frames
from tenants.page_access import page

FRAMES_SHOWN = 20


@page("telemetry:read")
@require_GET
def show_frames(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The last frames, which are kept while the page is open. An htmx request gets the list alone."""
    device = get_object_or_404(Device, uuid=device_id)
    view = view_frames(device=device, limit=FRAMES_SHOWN)
    rows = [(frame, show_payload(frame.payload)) for frame in view.frames]
    context = {"device": device, "rows": rows, "is_collecting": view.is_collecting}
    return render_part(request, whole="devices/frames.html", part="devices/_frames.html", context=context)
