"""Commands in the admin: to look at; they are given on the device's page or over the API."""

from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


class CommandAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["name", "device", "state", "attempts", "created_by_name", "created_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["device"]
    search_fields = ["name", "device__name", "device__key"]
