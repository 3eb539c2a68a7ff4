"""Rejected messages in the admin, to look into. Readings are shown on the device page and through the API."""

from django.contrib import admin
from unfold.decorators import display

from telemetry.models import RejectedMessage
from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin


@admin.register(RejectedMessage)
class RejectedMessageAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["received_at", "reason", "source", "device", "detail"]
    list_filter = ["reason", "protocol"]
    list_select_related = ["device"]
    search_fields = ["source", "detail", "device__name"]
    fields = ["received_at", "protocol", "source", "device", "reason", "detail", "payload_text", "payload_bytes"]
    readonly_fields = fields

    @display(description="Payload (first 4 KiB)")
    def payload_text(self, message: RejectedMessage) -> str:
        return bytes(message.payload).decode("utf-8", "backslashreplace")
