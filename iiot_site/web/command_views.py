"""The card of a device's commands, a part of its page: send one, see what became of the last ones."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from connections.opcua_selectors import list_command_names
from devices.command_services import queue_command
from devices.models import Device, Protocol
from devices.reaching import explain_unreachable, protocol_to
from iiot_site.lib.errors import IIoTError
from iiot_site.web.command_form import CommandForm, find_declared
from tenants.page_access import page

SHOWN, MORE_SHOWN = 5, 50


@page("command:read")
@require_GET
def show_commands(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The last commands; `all=1` shows more of them."""
    device = get_object_or_404(Device, uuid=device_id)
    return render(request, "devices/_commands.html", commands_context(device, shows_more="all" in request.GET))


@page("command:write")
@require_GET
def show_command_form(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """The form of one of the type's commands (`command`)."""
    device = _get_device(device_id)
    return render(request, "devices/_command_form.html", form_context(device, name=request.GET.get("command", "")))


@page("command:write")
@require_POST
def send_command(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """Queue a command. The form comes back with what is wrong, or fresh and with what was done."""
    device = _get_device(device_id)
    declared = find_declared(device.device_type.commands, request.POST.get("command", ""))
    form = CommandForm(request.POST, declared=declared)
    if not form.is_valid():
        return render(request, "devices/_command_form.html", form_context(device, form=form))
    try:
        command = queue_command(
            device=device,
            name=form.name,
            payload=form.parameters,
            lifetime=form.lifetime,
            user=request.user,  # type: ignore[arg-type]  # the page's guard lets no anonymous user in
            author=str(request.user)[:160],
            idempotency_key=f"page-{form.cleaned_data['key']}",
            now=timezone.now(),
        )
    except IIoTError as exc:
        return render(request, "devices/_command_form.html", form_context(device, form=form, error=exc.detail))
    context = form_context(device, name=command.name) | {"queued": command}
    response = render(request, "devices/_command_form.html", context)
    response["HX-Trigger"] = "commands-changed"
    return response


def commands_context(device: Device, *, shows_more: bool = False) -> dict[str, Any]:
    """Return what the list shows."""
    shown = MORE_SHOWN if shows_more else SHOWN
    commands = list(device.commands.order_by("-created_at")[: shown + 1])
    return {"device": device, "commands": commands[:shown], "has_more": len(commands) > shown, "shows_more": shows_more}


def form_context(device: Device, *, name: str = "", form: CommandForm | None = None, error: str = "") -> dict[str, Any]:
    """Return what the form shows: the command of this name, else the first that the device's type declares."""
    declarations = device.device_type.commands
    form = form or CommandForm(declared=find_declared(declarations, name), initial={"key": uuid.uuid4()})
    obstacle = explain_unreachable(device, timezone.now())
    context = {
        "device": device,
        "declarations": declarations,
        "form": form,
        "declared": form.declared,
        "error": error,
        "obstacle": obstacle,
    }
    if protocol_to(device) == Protocol.OPCUA:
        context["written"] = list_command_names(device)
    return context


def _get_device(device_id: uuid.UUID) -> Device:
    return get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)
