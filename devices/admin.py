"""The plant in the admin: sites as a tree, types with their metrics, devices with their credentials."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import OrderBy, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from devices import services
from devices.errors import TooManyCredentialsError
from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
from devices.selectors import filter_by_status, site_path
from devices.status import DEVICE_STATUSES, device_status
from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


class TagsField(forms.CharField):
    """A list of texts as one line with commas."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [tag.strip() for tag in (value or "").split(",") if tag.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))


class DeviceForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when it runs
    tags = TagsField(required=False, help_text="With commas between them.")


@admin.register(Site)
class SiteAdmin(TenantModelAdmin):
    list_display = ["indented_name", "kind", "timezone"]
    list_filter = ["kind"]
    search_fields = ["name"]
    autocomplete_fields = ["parent"]
    sortable_by: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        sites: QuerySet[Site] = super().get_queryset(request)
        return sites.annotate(path=site_path())

    def get_ordering(self, request: HttpRequest) -> list[OrderBy]:
        """Also for lists elsewhere to choose a site from, which know nothing of the annotation."""
        return [site_path().asc()]

    @display(description="Name")
    def indented_name(self, site: Site) -> str:
        depth = len(getattr(site, "path", [""])) - 1
        return format_html("{}{}", "\N{EM SPACE}" * 2 * depth + ("└ " if depth else ""), site.name)

    def save_model(self, request: HttpRequest, obj: Site, form: Any, change: bool) -> None:
        services.save_site(site=obj)


class MetricInlineForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:  # stored readings hang on these
            self.fields["key"].disabled = self.fields["data_type"].disabled = True


class MetricInline(TabularInline):
    model = Metric
    form = MetricInlineForm
    can_delete = False
    fields = ["key", "name", "unit", "data_type", "minimum", "maximum"]
    extra = 0
    show_change_link = True


@admin.register(DeviceType)
class DeviceTypeAdmin(TenantModelAdmin):
    list_display = ["name", "protocol", "codec", "unknown_metrics", "inactivity_timeout"]
    list_filter = ["protocol", "codec", "unknown_metrics"]
    search_fields = ["name"]
    inlines = [MetricInline]

    def save_model(self, request: HttpRequest, obj: DeviceType, form: Any, change: bool) -> None:
        services.save_device_type(device_type=obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for metric in formset.save(commit=False):
            services.save_metric(metric=metric)


@admin.register(Metric)
class MetricAdmin(TenantModelAdmin):
    list_display = ["key", "name", "device_type", "unit", "data_type", "minimum", "maximum"]
    list_filter = ["data_type", ["device_type", AutocompleteSelectFilter]]
    list_filter_submit = True
    list_select_related = ["device_type"]
    search_fields = ["key", "name", "device_type__name"]
    autocomplete_fields = ["device_type"]

    def get_readonly_fields(self, request: HttpRequest, obj: Metric | None = None) -> list[str]:
        """Stored readings hang on these."""
        return ["device_type", "key", "data_type"] if obj else []

    def save_model(self, request: HttpRequest, obj: Metric, form: Any, change: bool) -> None:
        services.save_metric(metric=obj)

    def delete_model(self, request: HttpRequest, obj: Metric) -> None:
        services.delete_metric(metric=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Metric]) -> None:
        for metric in queryset:
            services.delete_metric(metric=metric)


class CredentialInline(ReadOnlyMixin, TabularInline):
    model = DeviceCredential
    fields = ["kind", "identifier", "created_at", "expires_at", "revoked_at"]
    readonly_fields = fields
    extra = 0


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status, status.capitalize()) for status in DEVICE_STATUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Device]) -> QuerySet[Device]:
        wanted = next((status for status in DEVICE_STATUSES if status == self.value()), None)
        return filter_by_status(queryset, wanted, timezone.now()) if wanted else queryset


@admin.register(Device)
class DeviceAdmin(TenantModelAdmin):
    form = DeviceForm
    list_display = ["name", "key", "device_type", "site", "status", "last_seen_at", "is_enabled"]
    list_filter = [StatusFilter, ["device_type", AutocompleteSelectFilter], ["site", AutocompleteSelectFilter], "is_enabled"]
    list_filter_submit = True
    list_select_related = ["device_type", "site"]
    search_fields = ["name", "key"]
    autocomplete_fields = ["device_type", "site", "gateway"]
    fieldsets = [
        (None, {"fields": ["key", "name", "device_type", "site", "is_enabled"]}),
        ("Details", {"fields": ["protocol", "gateway", "tags", "firmware", "latitude", "longitude"]}),
        ("What the platform knows", {"fields": ["uuid", "status", "last_seen_at", "created_at"]}),
    ]
    inlines = [CredentialInline]
    actions_detail = ["issue_mqtt_credential", "issue_token", "revoke_credentials"]

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> list[str]:
        known = ["uuid", "status", "last_seen_at", "created_at"]
        return ["key", *known] if obj else known

    @display(description="Status", label={"online": "success", "stale": "warning", "offline": "danger", "never": "info"})
    def status(self, device: Device) -> str:
        if device.last_seen_at is None:
            return "never"
        return device_status(device.last_seen_at, device.device_type.inactivity_timeout, timezone.now())

    def save_model(self, request: HttpRequest, obj: Device, form: Any, change: bool) -> None:
        services.save_device(device=obj)

    def delete_model(self, request: HttpRequest, obj: Device) -> None:
        services.delete_device(device=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        for device in queryset:
            services.delete_device(device=device)

    def has_issue_credential_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Those who may write credentials; asked by the actions below."""
        return request.user.has_perm("devices.add_devicecredential")

    # --- Credentials: a link leads to a page that asks, its button issues; the secret is in that answer only

    @action(description="Issue MQTT credential", url_path="issue-mqtt-credential", permissions=["issue_credential"])
    def issue_mqtt_credential(self, request: HttpRequest, object_id: str) -> HttpResponse:
        warning = "A password that the device has now stops working at once: the broker knows one per device."
        return self._issue(request, object_id, DeviceCredential.Kind.MQTT, warning)

    @action(description="Issue token", url_path="issue-token", permissions=["issue_credential"])
    def issue_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        warning = "Tokens that the device has now keep working until you revoke them."
        return self._issue(request, object_id, DeviceCredential.Kind.TOKEN, warning)

    @action(description="Revoke credentials", url_path="revoke-credentials", permissions=["issue_credential"])
    def revoke_credentials(self, request: HttpRequest, object_id: str) -> HttpResponse:
        device = self._device(request, object_id)
        valid = device.credentials.filter(revoked_at=None)
        if request.method == "POST":
            chosen = set(request.POST.getlist("credential"))
            for credential in valid:
                if str(credential.pk) in chosen:
                    services.revoke_credential(credential=credential, now=timezone.now())
            return HttpResponseRedirect(reverse("admin:devices_device_change", args=[device.pk]))
        return self._page(request, device, title="Revoke credentials", credentials=valid)

    def _issue(self, request: HttpRequest, object_id: str, kind: DeviceCredential.Kind, warning: str) -> HttpResponse:
        device = self._device(request, object_id)
        title = f"Issue: {kind.label}"
        if request.method != "POST":
            return self._page(request, device, title=title, warning=warning)
        try:
            issued = services.issue_credential(device=device, kind=kind, now=timezone.now())
        except TooManyCredentialsError as exc:
            return self._page(request, device, title=title, warning=exc.detail)
        return self._page(request, device, title=title, issued=issued)

    def _device(self, request: HttpRequest, object_id: str) -> Device:
        device: Device | None = self.get_object(request, object_id)
        if device is None:
            raise Http404
        if not self.has_view_permission(request, device):
            raise PermissionDenied
        return device

    def _page(self, request: HttpRequest, device: Device, **context: Any) -> HttpResponse:
        whole = {**self.admin_site.each_context(request), "opts": self.opts, "device": device, **context}
        return TemplateResponse(request, "admin/devices/device/credentials.html", whole)
