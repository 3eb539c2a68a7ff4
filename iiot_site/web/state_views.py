"""The card of a device's desired and reported state, a part of its page."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from devices.errors import StateRefusedError, StateVersionError, UnreachableDeviceError
from devices.models import Device
from devices.reaching import explain_unreachable
from devices.state_merge import check_state, make_patch
from devices.state_services import change_desired, load_state
from iiot_site.web.state_rows import UnreadableError, list_rows, read_document, write_document
from tenants.page_access import page

CHANGES_SHOWN = 5
_OUTDATED = "Somebody else changed the desired state meanwhile. Copy your text, load the present one, and try again."


@page("state:read")
@require_GET
def show_state(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """What is desired and what is reported."""
    device = get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)
    return render(request, "devices/_state.html", state_context(device))


@page("state:write")
@require_GET
def show_state_form(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The form that edits what is desired, with what is desired now."""
    return _render_form(request, get_object_or_404(Device, uuid=device_id))


@page("state:write")
@require_POST
def save_state(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """Change what is desired to the document in the form. The form comes back with what is wrong, or empty."""
    device = get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)
    text, version = request.POST.get("document", ""), request.POST.get("version", "")
    state = load_state(device)
    if version != str(state.version):
        return _render_form(request, device, text=text, version=version, error=_OUTDATED, is_outdated=True)
    try:
        wanted = read_document(text)
        check_state(wanted)
        change_desired(
            device=device,
            patch=make_patch(state.desired, wanted),
            expected_version=state.version,
            user=request.user,  # type: ignore[arg-type]  # the page's guard lets no anonymous user in
            author=str(request.user)[:160],
            now=timezone.now(),
        )
    except UnreadableError as exc:
        return _render_form(request, device, text=text, version=version, error=str(exc))
    except StateVersionError:
        return _render_form(request, device, text=text, version=version, error=_OUTDATED, is_outdated=True)
    except (StateRefusedError, UnreachableDeviceError) as exc:
        return _render_form(request, device, text=text, version=version, error=exc.detail)
    return HttpResponse(headers={"HX-Trigger": "state-changed"})  # the form is gone; the part below says the rest


def state_context(device: Device) -> dict[str, Any]:
    """Return what the card shows."""
    state = load_state(device)
    rows = list_rows(state.desired, state.reported)
    return {
        "device": device,
        "state": state,
        "state_rows": rows,
        "waiting_count": sum(row.standing == "waiting" for row in rows),
        "state_obstacle": explain_unreachable(device, timezone.now(), cargo="state"),
        "state_changes": list(device.state_changes.order_by("-version")[:CHANGES_SHOWN]),
    }


def _render_form(
    request: HttpRequest, device: Device, *, text: str | None = None, version: str = "", error: str = "", is_outdated: bool = False
) -> HttpResponse:
    state = load_state(device)
    context = {
        "device": device,
        "text": write_document(state.desired) if text is None else text,
        "version": state.version if text is None else version,
        "error": error,
        "is_outdated": is_outdated,
    }
    return render(request, "devices/_state_form.html", context)
