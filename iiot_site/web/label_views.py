"""Labels for devices, and the page on which a scanned one puts its device into service."""

import uuid
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from devices.claim_services import claim_device, get_claimable, load_codes
from devices.errors import ClaimRefusedError
from devices.labels import claim_url, qr_svg
from devices.models import Device, DeviceType, Site
from devices.selectors import list_site_subtree_ids, list_site_tree
from iiot_site.lib.turns import count_as_long
from tenants.page_access import page

MAX_LABELS = 200


class LabelForm(forms.Form):
    """Which devices get a label."""

    q = forms.CharField(required=False, max_length=120)
    site = forms.UUIDField(required=False)
    type = forms.IntegerField(required=False, min_value=1, max_value=2**31)
    device = forms.UUIDField(required=False)


class ClaimForm(forms.Form):
    """What somebody in front of the device knows."""

    name = forms.CharField(max_length=120)
    site = forms.ModelChoiceField(Site.objects.all(), required=False)
    is_enabled = forms.BooleanField(required=False)


@page("device:write")
@require_GET
def choose_labels(request: HttpRequest) -> HttpResponse:
    """Ask which devices get a label."""
    context = {"sites": list_site_tree(), "types": DeviceType.objects.order_by("name"), "limit": MAX_LABELS}
    return render(request, "devices/labels.html", context)


@page("device:write")
@require_POST
@never_cache
def print_labels(request: HttpRequest) -> HttpResponse:
    """Show labels to print; makes codes for devices that have none."""
    form = LabelForm(request.POST)
    count_as_long(request)
    found = list(_choose(form.cleaned_data)[: MAX_LABELS + 1]) if form.is_valid() else []
    devices = found[:MAX_LABELS]
    codes = load_codes(devices=devices, now=timezone.now())
    labels = [
        {"device": device, "is_claimed": device.pk not in codes, "qr": _qr(request, device, codes.get(device.pk))} for device in devices
    ]
    return render(request, "devices/label_sheet.html", {"labels": labels, "is_cut": len(found) > MAX_LABELS, "limit": MAX_LABELS})


@page("device:write")
@require_http_methods(["GET", "POST"])
@never_cache
def claim(request: HttpRequest) -> HttpResponse:
    """Show the device of a scanned label, and let whoever scanned it name, place and enable it."""
    device_key, code = (request.GET.get(name, "")[:64] for name in ("device", "code"))
    try:
        label = get_claimable(device_key=device_key, code=code)
    except ClaimRefusedError as exc:
        return render(request, "devices/claim.html", {"problem": exc.detail}, status=404)
    if label.claimed_at is not None:
        return render(request, "devices/claim.html", {"device": label.device, "claimed_at": label.claimed_at})
    form = ClaimForm(request.POST or None, initial={"name": label.device.name, "site": label.device.site_id, "is_enabled": True})
    if request.method == "POST" and form.is_valid():
        try:
            device = claim_device(device_key=device_key, code=code, now=timezone.now(), **form.cleaned_data)
        except ClaimRefusedError as exc:
            return render(request, "devices/claim.html", {"problem": exc.detail}, status=409)
        except ValidationError as exc:
            return render(request, "devices/claim.html", {"problem": " ".join(exc.messages)}, status=400)
        return redirect("device", device_id=device.uuid)
    context = {"device": label.device, "form": form, "sites": list_site_tree(), "chosen_site": str(form["site"].value() or "")}
    return render(request, "devices/claim.html", context, status=400 if request.method == "POST" else 200)


def _choose(chosen: dict[str, Any]) -> QuerySet[Device]:
    devices = Device.objects.select_related("device_type", "site").order_by("name", "id")
    if chosen["device"]:
        return devices.filter(uuid=chosen["device"])
    if words := chosen["q"]:
        devices = devices.filter(Q(name__icontains=words) | Q(key__icontains=words))
    if chosen["type"]:
        devices = devices.filter(device_type_id=chosen["type"])
    if isinstance(chosen["site"], uuid.UUID):
        devices = devices.filter(site_id__in=list_site_subtree_ids(chosen["site"]))
    return devices


def _qr(request: HttpRequest, device: Device, code: str | None) -> SafeString:
    base_url = request.build_absolute_uri("/").rstrip("/")
    slug = request.tenant.slug  # type: ignore[attr-defined]  # set by TenantMiddleware
    if code is None:
        address = f"{base_url}/t/{slug}/devices/{device.uuid}"
    else:
        address = claim_url(base_url=base_url, tenant=slug, device_key=device.key, code=code)
    return mark_safe(qr_svg(address))  # noqa: S308  # drawn by segno: numbers only, the text is in the pattern
