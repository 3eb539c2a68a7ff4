"""Credentials of a device in the admin: a link leads to a page that asks, its button issues; the secret is in that answer only."""

import uuid
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from devices import services
from devices.connecting import list_examples
from devices.credential_states import credential_state
from devices.forms import CredentialForm, RotationForm
from devices.models import Device, DeviceCredential
from devices.selectors import list_valid_credentials
from devices.types import IssuedCredential
from iiot_site.lib.errors import IIoTError
from tenants.admin_base import ReadOnlyMixin

_WARNINGS = {
    "token": "Tokens that the device has now keep working until you revoke them.",
    "mqtt": "A password that the device has now stops working at once. To leave it time, rotate it instead.",
    "x509": "Certificates that the device has now keep working until you revoke them.",
    "oscore": "Keys that the device has now keep working until you revoke them.",
}


class CredentialInline(ReadOnlyMixin, TabularInline):
    model = DeviceCredential
    fields = ["kind", "identifier", "state", "created_at", "expires_at", "last_used_at"]
    readonly_fields = fields
    extra = 0

    @display(description="State", label={"valid": "success", "rotated": "warning", "expired": "danger", "revoked": "info"})
    def state(self, credential: DeviceCredential) -> str:
        return credential_state(
            revoked_at=credential.revoked_at,
            rotated_at=credential.rotated_at,
            expires_at=credential.expires_at,
            now=timezone.now(),
        )


class CredentialActionsMixin:
    """Issue, rotate and revoke, for the admin of devices."""

    admin_site: Any
    opts: Any

    def has_issue_credential_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Those who may write credentials; asked by the actions below."""
        return request.user.has_perm("devices.add_devicecredential")

    @action(description="Issue password", url_path="issue-mqtt-credential", permissions=["issue_credential"])
    def issue_mqtt_credential(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._issue(request, object_id, DeviceCredential.Kind.MQTT)

    @action(description="Issue token", url_path="issue-token", permissions=["issue_credential"])
    def issue_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._issue(request, object_id, DeviceCredential.Kind.TOKEN)

    @action(description="Register certificate", url_path="issue-certificate", permissions=["issue_credential"])
    def issue_certificate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._issue(request, object_id, DeviceCredential.Kind.X509)

    @action(description="Issue OSCORE keys", url_path="issue-oscore", permissions=["issue_credential"])
    def issue_oscore(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._issue(request, object_id, DeviceCredential.Kind.OSCORE)

    @action(description="Rotate credential", url_path="rotate-credential", permissions=["issue_credential"])
    def rotate_credential(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """First choose which (`?credential=`), then what the successor is like."""
        device, now = self._device(request, object_id), timezone.now()
        current = device.credentials.filter(revoked_at=None, rotated_at=None)
        title = "Rotate credential"
        wanted = _read_uuid(request.GET.get("credential", ""))
        chosen = current.filter(pk=wanted).first() if wanted else None
        if chosen is None:
            return self._page(request, device, title=title, choices=current)
        form = RotationForm(request.POST or None, takes_certificate=chosen.kind == DeviceCredential.Kind.X509)
        if request.method == "POST" and form.is_valid():
            expires_at = form.expires_at or services.successor_expiry(chosen, now=now)
            try:
                issued = services.rotate_credential(
                    credential=chosen, now=now, overlap=form.overlap, expires_at=expires_at, certificate=form.pem
                )
            except IIoTError as exc:
                return self._page(request, device, title=title, warning=exc.detail, form=_styled(form))
            return self._page_with_secret(request, device, issued, title=title)
        warning = f"{chosen.get_kind_display()} {chosen.identifier}: its successor is shown once."
        return self._page(request, device, title=title, warning=warning, form=_styled(form))

    @action(description="Revoke credentials", url_path="revoke-credentials", permissions=["issue_credential"])
    def revoke_credentials(self, request: HttpRequest, object_id: str) -> HttpResponse:
        device, now = self._device(request, object_id), timezone.now()
        valid = list_valid_credentials(device, now)
        if request.method == "POST":
            chosen = set(request.POST.getlist("credential"))
            for credential in valid:
                if str(credential.pk) in chosen:
                    services.revoke_credential(credential=credential, now=now)
            return HttpResponseRedirect(reverse("admin:devices_device_change", args=[device.pk]))
        return self._page(request, device, title="Revoke credentials", credentials=valid)

    @action(description="Import, keys, labels", url_path="add-devices", permissions=["add_devices"])
    def add_devices(self, request: HttpRequest) -> HttpResponse:
        """Lead to the page for many devices."""
        return HttpResponseRedirect(reverse("onboarding"))

    def has_add_devices_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Those who may add devices."""
        return request.user.has_perm("devices.add_device")

    def _issue(self, request: HttpRequest, object_id: str, kind: DeviceCredential.Kind) -> HttpResponse:
        device = self._device(request, object_id)
        title, warning = f"Issue: {kind.label}", _WARNINGS[kind]
        form = CredentialForm(request.POST if request.method == "POST" else None, takes_certificate=kind == DeviceCredential.Kind.X509)
        if request.method == "POST" and form.is_valid():
            try:
                issued = services.issue_credential(
                    device=device, kind=kind, now=timezone.now(), expires_at=form.expires_at, certificate=form.pem
                )
            except IIoTError as exc:
                return self._page(request, device, title=title, warning=exc.detail, form=_styled(form))
            return self._page_with_secret(request, device, issued, title=title)
        return self._page(request, device, title=title, warning=warning, form=_styled(form))

    def _device(self, request: HttpRequest, object_id: str) -> Device:
        device: Device | None = self.get_object(request, object_id)  # type: ignore[attr-defined]  # of the admin
        if device is None:
            raise Http404
        if not self.has_view_permission(request, device):  # type: ignore[attr-defined]  # of the admin
            raise PermissionDenied
        return device

    def _page_with_secret(self, request: HttpRequest, device: Device, issued: IssuedCredential, *, title: str) -> HttpResponse:
        base_url = request.build_absolute_uri("/").rstrip("/")
        examples = list_examples(device=device, issued=issued, base_url=base_url)
        return self._page(request, device, title=title, issued=issued, examples=examples)

    def _page(self, request: HttpRequest, device: Device, **context: Any) -> HttpResponse:
        whole = {**self.admin_site.each_context(request), "opts": self.opts, "device": device, **context}
        return TemplateResponse(request, "admin/devices/device/credentials.html", whole)


def _styled(form: forms.Form) -> forms.Form:
    """Give the fields the looks of the admin."""
    for field in form.fields.values():
        looks: Any = UnfoldAdminTextInputWidget
        if isinstance(field.widget, forms.Select):
            looks = UnfoldAdminSelectWidget
        elif isinstance(field.widget, forms.Textarea):
            looks = UnfoldAdminTextareaWidget
        field.widget.attrs["class"] = looks().attrs.get("class", "")
    return form


def _read_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
