"""The plant in the admin: sites as a tree, types with their metrics, devices with their credentials."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OrderBy, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from devices import services
from devices.command_admin import CommandAdmin, DesiredStateAdmin, DesiredStateChangeAdmin
from devices.credential_admin import CredentialActionsMixin, CredentialInline
from devices.detection_services import reset_detection
from devices.models import ClaimCode, Command, DesiredState, DesiredStateChange, Device, DeviceType, Metric, ProvisioningKey, Site
from devices.provisioning_admin import ClaimCodeAdmin, ProvisioningKeyAdmin
from devices.selectors import site_path
from tenants.admin_base import TenantModelAdmin


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
    list_display = ["name", "protocol", "codec", "unknown_metrics", "inactivity_timeout", "offline_severity"]
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
    list_display = ["key", "name", "device_type", "unit", "data_type", "minimum", "maximum", "registered_at"]
    list_filter = ["data_type", ["device_type", AutocompleteSelectFilter]]
    list_filter_submit = True
    list_select_related = ["device_type"]
    search_fields = ["key", "name", "device_type__name"]
    autocomplete_fields = ["device_type"]

    def get_readonly_fields(self, request: HttpRequest, obj: Metric | None = None) -> list[str]:
        """Stored readings hang on these."""
        return ["device_type", "key", "data_type", "registered_at"] if obj else []

    def save_model(self, request: HttpRequest, obj: Metric, form: Any, change: bool) -> None:
        services.save_metric(metric=obj)

    def delete_model(self, request: HttpRequest, obj: Metric) -> None:
        services.delete_metric(metric=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Metric]) -> None:
        for metric in queryset:
            services.delete_metric(metric=metric)


KNOWN_FIELDS = [
    "uuid",
    "shown_status",
    "status_since",
    "last_seen_at",
    "last_seen_via",
    "detected_protocol",
    "detected_codec",
    "detected_at",
    "created_at",
]


@admin.register(Device)
class DeviceAdmin(CredentialActionsMixin, TenantModelAdmin):
    form = DeviceForm
    list_display = ["name", "key", "device_type", "site", "shown_status", "last_seen_at", "is_enabled"]
    list_filter = ["status", ["device_type", AutocompleteSelectFilter], ["site", AutocompleteSelectFilter], "is_enabled"]
    list_filter_submit = True
    list_select_related = ["device_type", "site"]
    search_fields = ["name", "key"]
    autocomplete_fields = ["device_type", "site", "gateway"]
    fieldsets = [
        (None, {"fields": ["key", "name", "device_type", "site", "is_enabled"]}),
        ("Details", {"fields": ["protocol", "gateway", "tags", "firmware", "latitude", "longitude"]}),
        ("What the platform knows", {"fields": KNOWN_FIELDS}),
    ]
    inlines = [CredentialInline]
    actions_list = ["add_devices"]
    actions_detail = [
        "issue_mqtt_credential",
        "issue_token",
        "issue_certificate",
        "issue_oscore",
        "rotate_credential",
        "revoke_credentials",
    ]
    actions = ["detect_anew"]

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> list[str]:
        return ["key", *KNOWN_FIELDS] if obj else KNOWN_FIELDS

    @display(description="Status", label={"Online": "success", "Stale": "warning", "Offline": "danger", "Never seen": "info"})
    def shown_status(self, device: Device) -> str:
        return device.get_status_display()

    @admin.action(description="Detect protocol and format anew", permissions=["change"])
    def detect_anew(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        for device in queryset:
            reset_detection(device=device)
        self.message_user(request, "The next valid message of each of them says protocol and format anew.")

    def save_model(self, request: HttpRequest, obj: Device, form: Any, change: bool) -> None:
        services.save_device(device=obj)

    def delete_model(self, request: HttpRequest, obj: Device) -> None:
        services.delete_device(device=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        for device in queryset:
            services.delete_device(device=device)


admin.site.register(ProvisioningKey, ProvisioningKeyAdmin)
admin.site.register(ClaimCode, ClaimCodeAdmin)
admin.site.register(Command, CommandAdmin)
admin.site.register(DesiredState, DesiredStateAdmin)
admin.site.register(DesiredStateChange, DesiredStateChangeAdmin)
