"""Listeners, for platform admins to look at."""

from django.contrib import admin

from protocols.models import ListenerState
from tenants.admin_base import ReadOnlyMixin, SharedModelAdmin


@admin.register(ListenerState)
class ListenerStateAdmin(ReadOnlyMixin, SharedModelAdmin):
    """They write it themselves, every few seconds."""

    list_display = ("name", "state", "heartbeat_at", "messages", "rejected", "host", "last_error")
