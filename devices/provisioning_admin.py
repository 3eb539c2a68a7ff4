"""Keys for self-registration and printed labels, in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from devices import provisioning_services
from devices.models import ProvisioningKey
from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


class ProvisioningKeyAdmin(TenantModelAdmin):
    """Keys are made and revoked, never changed: whoever has one relies on what it was made for."""

    list_display = ["name", "device_type", "prefix", "use_count", "max_uses", "expires_at", "revoked_at"]
    list_filter = [["device_type", AutocompleteSelectFilter]]
    list_filter_submit = True
    list_select_related = ["device_type"]
    search_fields = ["name", "prefix"]
    autocomplete_fields = ["device_type", "site"]
    fields = ["name", "device_type", "site", "max_uses", "expires_at"]
    actions = ["revoke"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ProvisioningKey, form: Any, change: bool) -> None:
        key = provisioning_services.issue_provisioning_key(key=obj, now=timezone.now())
        self.message_user(request, f"The key, shown this once: {key}", messages.WARNING)

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ProvisioningKey]) -> None:
        for key in queryset:
            provisioning_services.revoke_provisioning_key(key=key, now=timezone.now())

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("devices.change_provisioningkey")


class ClaimCodeAdmin(ReadOnlyMixin, TenantModelAdmin):
    """Labels that were printed. Deleting one makes its code worthless; the next label has another."""

    list_display = ["device", "created_at", "claimed_at"]
    list_filter = [["claimed_at", admin.EmptyFieldListFilter]]
    list_select_related = ["device"]
    search_fields = ["device__key", "device__name"]
    fields = ["device", "created_at", "claimed_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("devices.delete_claimcode")
