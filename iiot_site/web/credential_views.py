"""Pages of a device's credentials: what there is, issue, rotate, revoke. A secret is in the answer to its button only."""

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from devices.connecting import list_examples
from devices.credential_states import credential_state
from devices.forms import OVERLAPS, CredentialForm, RotationForm
from devices.models import Device, DeviceCredential
from devices.selectors import list_valid_credentials
from devices.services import issue_credential, revoke_credential, rotate_credential, successor_expiry
from devices.types import IssuedCredential
from iiot_site.lib.errors import IIoTError
from tenants.page_access import page

Kind = DeviceCredential.Kind
OTHERS_SHOWN = 10


@page("credential:read")
@require_GET
@never_cache
def show_credentials(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """List a device's credentials, with forms for those who may change them."""
    return _page(request, _get_device(device_id))


@page("credential:write")
@require_POST
@never_cache
def issue_device_credential(request: HttpRequest, device_id: uuid.UUID) -> HttpResponse:
    """Issue one of the kind that the form names, and show it."""
    device, kind = _get_device(device_id), request.POST.get("kind", "")
    if kind not in Kind.values:
        return _page(request, device, problem="Choose a kind.", status=400)
    form = CredentialForm(request.POST, takes_certificate=kind == Kind.X509)
    if not form.is_valid():
        return _page(request, device, problem=_first_error(form), status=400)
    try:
        issued = issue_credential(device=device, kind=kind, now=timezone.now(), expires_at=form.expires_at, certificate=form.pem)
    except IIoTError as exc:
        return _page(request, device, problem=exc.detail, status=exc.http_status)
    return _page(request, device, issued=issued)


@page("credential:write")
@require_POST
@never_cache
def rotate_device_credential(request: HttpRequest, device_id: uuid.UUID, credential_id: uuid.UUID) -> HttpResponse:
    """Issue a successor, and show it."""
    device, now = _get_device(device_id), timezone.now()
    credential = get_object_or_404(device.credentials, pk=credential_id)
    form = RotationForm(request.POST, takes_certificate=credential.kind == Kind.X509)
    if not form.is_valid():
        return _page(request, device, problem=_first_error(form), status=400)
    expires_at = form.expires_at or successor_expiry(credential, now=now)
    try:
        issued = rotate_credential(credential=credential, now=now, overlap=form.overlap, expires_at=expires_at, certificate=form.pem)
    except IIoTError as exc:
        return _page(request, device, problem=exc.detail, status=exc.http_status)
    return _page(request, device, issued=issued)


@page("credential:write")
@require_POST
def revoke_device_credential(request: HttpRequest, device_id: uuid.UUID, credential_id: uuid.UUID) -> HttpResponse:
    """Make a credential worthless."""
    credential = get_object_or_404(_get_device(device_id).credentials, pk=credential_id)
    revoke_credential(credential=credential, now=timezone.now())
    return redirect("device-credentials", device_id=device_id)


def list_rows(device: Device) -> list[dict[str, Any]]:
    """Return credentials with their state: those that work first, of the others the newest ten."""
    working = list_working_rows(device)
    others = device.credentials.exclude(pk__in=[row["credential"].pk for row in working]).order_by("-created_at")
    return working + [_row(credential, timezone.now()) for credential in others[:OTHERS_SHOWN]]


def list_working_rows(device: Device) -> list[dict[str, Any]]:
    """Return the credentials that the device can use now."""
    now = timezone.now()
    return [_row(credential, now) for credential in list_valid_credentials(device, now).order_by("-created_at")]


def _row(credential: DeviceCredential, now: datetime) -> dict[str, Any]:
    state = credential_state(revoked_at=credential.revoked_at, rotated_at=credential.rotated_at, expires_at=credential.expires_at, now=now)
    return {"credential": credential, "state": state, "can_rotate": state in {"valid", "expired"} and not credential.rotated_at}


def _get_device(device_id: uuid.UUID) -> Device:
    return get_object_or_404(Device.objects.select_related("device_type"), uuid=device_id)


def _first_error(form: CredentialForm) -> str:
    field, errors = next(iter(form.errors.items()))
    return f"{form.fields[field].label}: {errors[0]}"


def _page(
    request: HttpRequest, device: Device, *, issued: IssuedCredential | None = None, problem: str = "", status: int = 200
) -> HttpResponse:
    base_url = request.build_absolute_uri("/").rstrip("/")
    context = {
        "device": device,
        "rows": list_rows(device),
        "kinds": [choice for choice in Kind.choices if choice[0] != Kind.X509],
        "overlaps": OVERLAPS.items(),
        "issued": issued,
        "examples": list_examples(device=device, issued=issued, base_url=base_url) if issued else [],
        "problem": problem,
    }
    return render(request, "devices/credentials.html", context, status=status)
