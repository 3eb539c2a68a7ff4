"""Commands and states in the admin: to look at; they are given and changed on the device's page or over the API."""

from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


class CommandAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["name", "device", "state", "attempts", "created_by_name", "created_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["device"]
    search_fields = ["name", "device__name", "device__key"]


class DesiredStateAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["device", "version", "changed_by_name", "changed_at", "reported_at", "sent_at"]
    list_select_related = ["device"]
    search_fields = ["device__name", "device__key"]


class DesiredStateChangeAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["device", "version", "by_name", "at"]
    list_select_related = ["device"]
    search_fields = ["device__name", "device__key", "by_name"]
