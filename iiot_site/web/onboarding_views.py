"""The page for many new devices: a CSV file, and keys with which devices register themselves."""

import csv
import io
import uuid
from typing import Any

import redis
from django import forms
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from devices.csv_import import COLUMNS, MAX_BYTES, MAX_ROWS
from devices.errors import ImportRefusedError
from devices.import_services import ImportReport, import_devices
from devices.models import DeviceType, ProvisioningKey
from devices.provisioning import why_unusable
from devices.provisioning_services import issue_provisioning_key, revoke_provisioning_key
from devices.selectors import list_site_tree
from iiot_site.lib.csv_cells import neutralise
from iiot_site.lib.encryption import seal, unseal
from iiot_site.lib.turns import count_as_long
from tenants.page_access import page
from tenants.permissions import allows

DOWNLOAD_SECONDS = 900
_PURPOSE = "credentials of an import"


class ImportForm(forms.Form):
    """A file and what to do with it."""

    file = forms.FileField(max_length=255, allow_empty_file=True)
    mode = forms.ChoiceField(choices=[("check", "Check"), ("import", "Import")])
    partial = forms.BooleanField(required=False)
    credentials = forms.ChoiceField(required=False, choices=[("", "None"), ("mqtt", "mqtt"), ("token", "token")])


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A new provisioning key."""

    class Meta:
        model = ProvisioningKey
        fields = ["name", "device_type", "site", "max_uses", "expires_at"]


@page("device:write")
@require_GET
@never_cache
def show_onboarding(request: HttpRequest) -> HttpResponse:
    """The page."""
    return _page(request)


@page("device:write")
@require_POST
@never_cache
def import_file(request: HttpRequest) -> HttpResponse:
    """Check or import the uploaded file; the answer is the report alone."""
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        return render(request, "devices/_import_report.html", {"problem": "Choose a CSV file."})
    chosen = form.cleaned_data
    count_as_long(request)
    kind = chosen["credentials"] if _may_write_credentials(request) else ""
    try:
        report = import_devices(
            content=chosen["file"].read(MAX_BYTES + 1),
            now=timezone.now(),
            dry_run=chosen["mode"] == "check",
            is_partial=chosen["partial"],
            credential_kind=kind,
        )
    except ImportRefusedError as exc:
        return render(request, "devices/_import_report.html", {"problem": exc.detail, "errors": exc.errors.get("rows", [])})
    context = {"report": report, "errors": report.errors, "is_check": chosen["mode"] == "check"}
    try:
        context["download"] = _keep_credentials(request, report)
    except redis.RedisError:
        context["problem"] = "The devices were imported, but Redis is away and their credentials are lost. Issue new ones."
    return render(request, "devices/_import_report.html", context)


@page("credential:write")
@require_POST
@never_cache
def download_credentials(request: HttpRequest, download_id: uuid.UUID) -> HttpResponse:
    """Hand over the credentials of an import, once."""
    name = _download_name(request, download_id)
    try:
        sealed = cache.get(name)
        is_first = cache.delete(name)  # of two at once only one deletes it
    except redis.RedisError:
        return _page(request, problem="Redis is away. Try again in a minute, or issue new credentials.", status=503)
    if sealed is None or not is_first:
        return _page(request, problem="These credentials have been downloaded or are older than 15 minutes. Issue new ones.", status=410)
    content = unseal(sealed, purpose=_PURPOSE)
    headers = {"Content-Disposition": 'attachment; filename="device-credentials.csv"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


@page("credential:write")
@require_POST
@never_cache
def issue_key(request: HttpRequest) -> HttpResponse:
    """Make a provisioning key and show it, this once."""
    form = KeyForm(request.POST)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        return _page(request, problem=f"{form.fields[field].label if field in form.fields else 'Key'}: {errors[0]}", status=400)
    return _page(request, secret=issue_provisioning_key(key=form.instance, now=timezone.now()))


@page("credential:write")
@require_POST
def revoke_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Let no further device register with a key."""
    revoke_provisioning_key(key=get_object_or_404(ProvisioningKey, pk=key_id), now=timezone.now())
    return redirect("onboarding")


def _page(request: HttpRequest, *, secret: str = "", problem: str = "", status: int = 200) -> HttpResponse:
    may_read = allows(request.membership.permissions, "credential:read")  # type: ignore[attr-defined]  # set by the middleware
    context = {
        "columns": COLUMNS,
        "row_limit": MAX_ROWS,
        "types": DeviceType.objects.order_by("name"),
        "sites": list_site_tree(),
        "keys": _list_keys() if may_read else None,
        "secret": secret,
        "base_url": request.build_absolute_uri("/").rstrip("/"),
        "problem": problem,
    }
    return render(request, "devices/onboarding.html", context, status=status)


def _list_keys() -> list[dict[str, Any]]:
    now = timezone.now()
    rows = ProvisioningKey.objects.select_related("device_type", "site")[:100]
    return [
        {
            "key": key,
            "why_unusable": why_unusable(
                revoked_at=key.revoked_at, expires_at=key.expires_at, use_count=key.use_count, max_uses=key.max_uses, now=now
            ),
        }
        for key in rows
    ]


def _may_write_credentials(request: HttpRequest) -> bool:
    return allows(request.membership.permissions, "credential:write")  # type: ignore[attr-defined]  # set by the middleware


def _keep_credentials(request: HttpRequest, report: ImportReport) -> uuid.UUID | None:
    """Keep the secrets sealed for this person for a quarter of an hour; return the download's id, None where there are none."""
    if not report.credentials:
        return None
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["device", "kind", "username", "secret"])
    for one in report.credentials:
        writer.writerow([neutralise(one.device_key), one.issued.kind, one.issued.username, one.issued.secret])
    download_id = uuid.uuid4()
    cache.set(_download_name(request, download_id), seal(text.getvalue().encode(), purpose=_PURPOSE), DOWNLOAD_SECONDS)
    return download_id


def _download_name(request: HttpRequest, download_id: uuid.UUID) -> str:
    """The cache adds the tenant."""
    return f"import-credentials:{request.user.pk}:{download_id}"
